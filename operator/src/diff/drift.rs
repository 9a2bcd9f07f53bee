//! The field managers that changed fields that the operator applies.

use std::fmt;

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ManagedFieldsEntry, ObjectMeta};
use serde_json::Value;

use super::compare::{Difference, Path, Step};
use crate::build::labels::{MANAGER, PREFIX};

/// A field that another field manager changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Drift {
    /// The path of the field.
    pub field: String,
    pub author: Author,
    /// When the field manager changed its fields, as far as `metadata.managedFields` contains it.
    pub time: Option<Timestamp>,
}

/// Who changed a field, from `metadata.managedFields`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Author {
    /// The field manager that owns the field now.
    Owner(String),
    /// A removed field has no owner. This field manager wrote the object last.
    LastWriter(String),
    /// The operator still owns the field. The API server determines the owners before admission, so admission changed
    /// the field, during a write of any client.
    Admission,
    /// `metadata.managedFields` has no entry of another field manager.
    Unrecorded,
}

impl fmt::Display for Author {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Owner(manager) => write!(out, "changed by {manager}"),
            Self::LastWriter(manager) => write!(out, "removed, probably by {manager}"),
            Self::Admission => out.write_str("changed by an admission policy"),
            Self::Unrecorded => {
                out.write_str("changed; metadata.managedFields does not contain by which client")
            }
        }
    }
}

/// Finds the field manager that changed each field.
pub(crate) fn attribute(fields: &[Difference], metadata: &ObjectMeta) -> Vec<Drift> {
    fields
        .iter()
        .map(|field| {
            let (author, time) = author(&field.path, metadata);
            Drift {
                field: field.path.to_string(),
                author,
                time,
            }
        })
        .collect()
}

/// Returns the fields that another field manager owns now. They were changed after the operator applied them, whatever
/// the annotations contain: `kubectl rollout undo`, for example, also restores the annotations of the old revision.
pub(crate) fn owned_by_others(fields: &[Difference], metadata: &ObjectMeta) -> Vec<Difference> {
    fields
        .iter()
        .filter(|field| owner(&field.path, metadata).is_some())
        .cloned()
        .collect()
}

/// Removes the annotations of the operator from the drift, unless there is no other.
pub(crate) fn without_own_annotations(fields: Vec<Difference>) -> Vec<Difference> {
    let (own, rest): (Vec<_>, Vec<_>) = fields
        .into_iter()
        .partition(|field| field.path.is_annotation(PREFIX));
    if rest.is_empty() { own } else { rest }
}

fn author(path: &Path, metadata: &ObjectMeta) -> (Author, Option<Timestamp>) {
    let scaled = || {
        entries(metadata).find(|entry| {
            entry.subresource.as_deref() == Some("scale") && path.is_fields(&["spec", "replicas"])
        })
    };
    if let Some(entry) = owner(path, metadata).or_else(scaled) {
        return (Author::Owner(name(entry)), time(entry));
    }
    let is_own = entries(metadata)
        .any(|entry| entry.manager.as_deref() == Some(MANAGER) && has(entry, path));
    if is_own {
        return (Author::Admission, None);
    }
    let applied = entries(metadata)
        .filter(|entry| entry.manager.as_deref() == Some(MANAGER) && entry.subresource.is_none())
        .filter_map(time)
        .max();
    // An entry that is older than the operator's own write is not about this change.
    let later = others(metadata).filter(|entry| time(entry) >= applied);
    match later.max_by_key(|entry| time(entry)) {
        Some(entry) => (Author::LastWriter(name(entry)), time(entry)),
        None => (Author::Unrecorded, None),
    }
}

/// Returns the entry of another field manager that owns the field.
fn owner<'a>(path: &Path, metadata: &'a ObjectMeta) -> Option<&'a ManagedFieldsEntry> {
    others(metadata)
        .filter(|entry| has(entry, path))
        .max_by_key(|entry| time(entry))
}

fn entries(metadata: &ObjectMeta) -> impl Iterator<Item = &ManagedFieldsEntry> {
    metadata.managed_fields.iter().flatten()
}

fn others(metadata: &ObjectMeta) -> impl Iterator<Item = &ManagedFieldsEntry> {
    // Subresources are excluded, because controllers of Kubernetes write the status often.
    entries(metadata).filter(|entry| {
        entry.manager.as_deref().is_some_and(|name| name != MANAGER) && entry.subresource.is_none()
    })
}

fn name(entry: &ManagedFieldsEntry) -> String {
    entry.manager.clone().unwrap_or_default()
}

fn time(entry: &ManagedFieldsEntry) -> Option<Timestamp> {
    entry.time.as_ref().map(|time| time.0)
}

fn has(entry: &ManagedFieldsEntry, path: &Path) -> bool {
    entry
        .fields_v1
        .as_ref()
        .is_some_and(|fields| owns(&fields.0, &path.0))
}

fn owns(fields: &Value, steps: &[Step]) -> bool {
    let Some((step, rest)) = steps.split_first() else {
        return true;
    };
    let Value::Object(entries) = fields else {
        return false;
    };
    let next = match step {
        Step::Field(name) => entries.get(&format!("f:{name}")),
        Step::Item(keys) => entries.iter().find_map(|(entry, fields)| {
            let named: Value = serde_json::from_str(entry.strip_prefix("k:")?).ok()?;
            (named == Value::Object(keys.clone())).then_some(fields)
        }),
    };
    // An entry without children owns the complete field.
    let is_leaf = |next: &Value| next.as_object().is_some_and(serde_json::Map::is_empty);
    next.is_some_and(|next| is_leaf(next) || owns(next, rest))
}

#[cfg(test)]
mod tests;
