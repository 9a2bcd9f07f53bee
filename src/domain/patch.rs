//! Updates of an order.

use std::collections::BTreeMap;

use chrono::{DateTime, SubsecRound as _, Utc};

use super::{Metadata, Order, Quantity, Status, Violation};

/// A change of metadata.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum MetadataPatch {
    /// Removes all entries.
    Clear,
    /// Sets these entries; a key without a value is removed.
    Merge(BTreeMap<String, Option<String>>),
}

impl MetadataPatch {
    /// Validates each entry by itself. The number of entries after the update depends on the order.
    ///
    /// # Errors
    /// Every violation found, with pointers below `/metadata`.
    pub fn check(&self) -> Result<(), Vec<Violation>> {
        match self {
            Self::Clear => Ok(()),
            Self::Merge(entries) => Metadata::check_entries(
                entries
                    .iter()
                    .map(|(key, value)| (key.as_str(), value.as_deref())),
            ),
        }
    }

    fn apply_to(&self, metadata: &Metadata) -> Result<Metadata, Vec<Violation>> {
        match self {
            Self::Clear => Ok(Metadata::default()),
            Self::Merge(changes) => {
                let mut entries = metadata.entries().clone();
                for (key, value) in changes {
                    match value {
                        Some(value) => entries.insert(key.clone(), value.clone()),
                        None => entries.remove(key),
                    };
                }
                Metadata::parse(entries)
            }
        }
    }
}

/// An update of an order. Fields without a value stay unchanged.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Patch {
    /// The new status.
    pub status: Option<Status>,
    /// The new quantity.
    pub quantity: Option<Quantity>,
    /// The change of metadata.
    pub metadata: Option<MetadataPatch>,
}

/// Why an order cannot be updated.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PatchError {
    /// The requested status cannot follow the current one.
    IllegalTransition {
        /// The current status.
        from: Status,
        /// The requested status.
        to: Status,
    },
    /// The quantity can only change while the order is pending.
    NotEditable {
        /// The current status.
        status: Status,
    },
    /// The metadata would not be legal after the update.
    Invalid(Vec<Violation>),
}

impl Order {
    /// Returns the next version of the order, or `None` if the patch changes nothing.
    ///
    /// # Errors
    /// [`PatchError`].
    pub fn patched(&self, patch: &Patch, now: DateTime<Utc>) -> Result<Option<Self>, PatchError> {
        let mut next = self.clone();
        if let Some(to) = patch.status.filter(|to| *to != self.status) {
            if !self.status.next().contains(&to) {
                return Err(PatchError::IllegalTransition {
                    from: self.status,
                    to,
                });
            }
            next.status = to;
        }
        if let Some(quantity) = patch.quantity.filter(|q| q.get() != self.quantity) {
            if self.status != Status::Pending {
                return Err(PatchError::NotEditable {
                    status: self.status,
                });
            }
            next.quantity = quantity.get();
        }
        if let Some(metadata) = &patch.metadata {
            next.metadata = metadata
                .apply_to(&self.metadata)
                .map_err(PatchError::Invalid)?;
        }
        if next == *self {
            return Ok(None);
        }
        next.version += 1;
        // The clocks of replicas differ, and the times of an order must not go backwards.
        next.updated_at = now.trunc_subsecs(6).max(self.updated_at);
        Ok(Some(next))
    }
}

#[cfg(test)]
mod tests;
