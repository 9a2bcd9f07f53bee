//! Updates of an order.

use std::collections::BTreeMap;

use chrono::{DateTime, SubsecRound as _, Utc};

use super::{Items, Metadata, Order, Quantity, Status, Violation};

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

/// A change of the lines.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ItemsPatch {
    /// Sets the quantity of the only line.
    Quantity(Quantity),
    /// Replaces all lines.
    Replace(Items),
}

impl ItemsPatch {
    fn apply_to(&self, order: &Order) -> Result<Items, Vec<Violation>> {
        let items = match self {
            Self::Quantity(quantity) => return order.items.with_quantity(*quantity),
            Self::Replace(items) => items,
        };
        let detail = match (order.currency, items.total_amount()) {
            (Some(_), None) => "must have amounts, because the order has a currency",
            (None, Some(_)) => "must not have amounts, because the order has no currency",
            (Some(_), Some(_)) | (None, None) => return Ok(items.clone()),
        };
        Err(vec![Violation::new("/items", detail)])
    }
}

/// An update of an order. Fields without a value stay unchanged.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Patch {
    /// The new status.
    pub status: Option<Status>,
    /// The change of the lines.
    pub items: Option<ItemsPatch>,
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
    /// The lines can only change while the order is pending.
    NotEditable {
        /// The current status.
        status: Status,
    },
    /// The order would not be legal after the update.
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
        if let Some(change) = &patch.items {
            match change.apply_to(self) {
                Ok(items) if items == self.items => {}
                _ if !self.status.is_editable() => {
                    return Err(PatchError::NotEditable {
                        status: self.status,
                    });
                }
                items => next.items = items.map_err(PatchError::Invalid)?,
            }
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
