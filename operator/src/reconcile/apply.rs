//! Applies one object: reads it, compares it, and writes only if it differs.

use std::time::Duration;

use kube::api::{DynamicObject, ObjectMeta};
use serde::Serialize;
use serde_json::Value;

use super::Context;
use super::error::{ApiResultExt as _, Error};
use super::write::write;
use crate::build::labels::{APPLIED, INSTANCE, MANAGED_BY, MANAGER};
use crate::build::{Target, short_hash};
use crate::cluster::{Kind, as_applied};
use crate::diff::admission::Admitted;
use crate::diff::compare::differences;
use crate::diff::drift::{self, Drift};
use crate::watch::index;

/// The result of applying an object.
#[derive(Debug)]
pub(crate) enum Outcome {
    /// The object matches according to the index, and was not read.
    Checked,
    /// The object was read, and matches.
    InSync(Box<DynamicObject>),
    /// The object was created, or changed because the desired object has changed.
    Applied(Box<DynamicObject>),
    /// A change by another field manager was reverted.
    Corrected(Box<DynamicObject>, Vec<Drift>),
    /// The object was applied, and admission changed these fields, which it had not changed before. Drift of other
    /// fields was reverted.
    Admitted(Box<DynamicObject>, Vec<String>, Vec<Drift>),
    /// Another field manager changes the object repeatedly: the revert, or the creation, waits this long.
    Contested(Option<Box<DynamicObject>>, Duration),
    /// The object has another owner and was not changed.
    Foreign,
}

/// An object to apply.
pub(crate) struct Desired {
    pub kind: Kind,
    pub name: String,
    /// The complete object, with the annotation of its digest.
    pub value: Value,
    pub(super) digest: String,
}

impl Desired {
    /// Wraps an object that was built.
    ///
    /// # Errors
    /// When it cannot be written as JSON.
    pub(crate) fn new<T: Serialize>(kind: Kind, object: &T) -> Result<Self, serde_json::Error> {
        Ok(Self::from_value(kind, as_applied(kind, object)?))
    }

    /// Wraps an object in JSON.
    pub(crate) fn from_value(kind: Kind, mut value: Value) -> Self {
        let digest = short_hash(&value);
        annotate(&mut value, APPLIED, &digest);
        let name = value.pointer("/metadata/name").and_then(Value::as_str);
        Self {
            kind,
            name: name.unwrap_or_default().to_owned(),
            value,
            digest,
        }
    }
}

/// Adds an annotation to an object in JSON.
pub(crate) fn annotate(value: &mut Value, key: &str, text: &str) {
    if let Some(Value::Object(metadata)) = value.get_mut("metadata") {
        let annotations = metadata
            .entry("annotations")
            .or_insert_with(|| Value::Object(serde_json::Map::default()));
        if let Value::Object(annotations) = annotations {
            annotations.insert(key.to_owned(), Value::String(text.to_owned()));
        }
    }
}

/// Applies an object.
///
/// # Errors
/// When the API server rejects a request or does not respond, or an object of that name is being deleted.
pub(crate) async fn ensure(
    context: &Context,
    target: &Target,
    desired: &Desired,
) -> Result<Outcome, Error> {
    let namespace = target.namespace.as_str();
    if context
        .records
        .index
        .is_current(desired.kind, namespace, &desired.name, &desired.digest)
    {
        return Ok(Outcome::Checked);
    }
    let live = read(context, desired.kind, namespace, &desired.name).await?;
    ensure_live(context, target, desired, live).await
}

/// Reads an object.
///
/// # Errors
/// When the API server rejects a request or does not respond.
pub(crate) async fn read(
    context: &Context,
    kind: Kind,
    namespace: &str,
    name: &str,
) -> Result<Option<DynamicObject>, Error> {
    let got = context.cluster.get(kind, namespace, name).await;
    got.during(|| format!("get {} {name}", kind.as_str()))
}

/// Applies an object whose live version has already been read.
///
/// # Errors
/// When the API server rejects a request or does not respond, or an object of that name is being deleted.
pub(crate) async fn ensure_live(
    context: &Context,
    target: &Target,
    desired: &Desired,
    live: Option<DynamicObject>,
) -> Result<Outcome, Error> {
    let (owner, kind, name) = (&target.owner.uid, desired.kind, desired.name.as_str());
    let Some(live) = live else {
        if let Err(wait) = context.records.contention.allow_create(owner, kind, name) {
            return Ok(Outcome::Contested(None, wait));
        }
        // Without force: an object that was created in the meantime has another owner.
        let before = context.records.admissions.last(owner, kind, name);
        let written = write(context, owner, desired, &desired.value, false, &before);
        let (made, admitted) = written.await?;
        return Ok(outcome(made, admitted, Vec::new()));
    };
    match ownership(target, desired.kind, &live)? {
        Ownership::Foreign => return Ok(Outcome::Foreign),
        Ownership::Ours => {}
    }
    let as_json = serde_json::to_value(&live)?;
    let (namespace, digest) = (target.namespace.as_str(), desired.digest.as_str());
    let records = &context.records;
    let is_applied = live
        .metadata
        .annotations
        .as_ref()
        .and_then(|all| all.get(APPLIED))
        == Some(&desired.digest);
    let recorded = Admitted::recorded(&live.metadata);
    // The annotation describes the desired object that was applied last.
    let mut admitted = if is_applied {
        recorded.clone()
    } else {
        Admitted::default()
    };
    admitted.extend(
        records
            .index
            .admitted(kind, namespace, name, digest)
            .unwrap_or_default(),
    );
    let mut differing = differences(&desired.value, &as_json);
    differing.retain(|field| !admitted.accepts(field));
    if differing.is_empty() {
        records
            .index
            .record_match(kind, &live.metadata, &desired.digest);
        return Ok(Outcome::InSync(Box::new(live)));
    }
    // If the desired object was applied before, another field manager changed the live one. The annotation with the
    // digest may be gone as well, so the index is a second source.
    let is_unchanged = is_applied || records.index.matched_before(kind, namespace, name, digest);
    let changed = if is_unchanged {
        differing
    } else {
        drift::owned_by_others(&differing, &live.metadata)
    };
    let changed = drift::without_own_annotations(changed);
    let drift = drift::attribute(&changed, &live.metadata);
    // A changed desired object is applied at once.
    if !drift.is_empty()
        && let Err(wait) = records.contention.allow_revert(owner, kind, name, &drift)
        && is_unchanged
    {
        return Ok(Outcome::Contested(Some(Box::new(live)), wait));
    }
    let mut value = desired.value.clone();
    if let (Some(Value::Object(metadata)), Some(uid)) =
        (value.get_mut("metadata"), &live.metadata.uid)
    {
        // With the UID, an object that was created in the meantime is not overwritten.
        metadata.insert("uid".to_owned(), Value::String(uid.clone()));
    }
    admitted.extend(recorded);
    let (made, admitted) = write(context, owner, desired, &value, true, &admitted).await?;
    // Admission changes these fields, not another field manager.
    records
        .contention
        .forget_fields(owner, kind, name, &admitted);
    let reverted = drift
        .into_iter()
        .filter(|drift| !admitted.contains(&drift.field))
        .collect();
    Ok(outcome(made, admitted, reverted))
}

fn outcome(made: DynamicObject, admitted: Vec<String>, reverted: Vec<Drift>) -> Outcome {
    let made = Box::new(made);
    if !admitted.is_empty() {
        Outcome::Admitted(made, admitted, reverted)
    } else if reverted.is_empty() {
        Outcome::Applied(made)
    } else {
        Outcome::Corrected(made, reverted)
    }
}

/// The owner of an object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ownership {
    /// The OrderService that is reconciled.
    Ours,
    /// Another owner.
    Foreign,
}

/// Decides who owns an object.
///
/// # Errors
/// When it is being deleted.
pub(crate) fn ownership(
    target: &Target,
    kind: Kind,
    live: &DynamicObject,
) -> Result<Ownership, Error> {
    metadata_ownership(target, kind, &live.metadata)
}

/// Decides who owns the object with this metadata.
///
/// # Errors
/// When it is being deleted.
pub(crate) fn metadata_ownership(
    target: &Target,
    kind: Kind,
    metadata: &ObjectMeta,
) -> Result<Ownership, Error> {
    let being_deleted = || {
        let name = metadata.name.as_deref().unwrap_or_default();
        Err(Error::BeingDeleted(format!("{} {name}", kind.as_str())))
    };
    let controlled = metadata
        .owner_references
        .iter()
        .flatten()
        .any(|owner| owner.controller == Some(true));
    let ours = match index::controller_owner(metadata) {
        Some((uid, _)) if uid == target.owner.uid => true,
        // It belongs to a deleted OrderService of the same name, and the garbage collector will delete it.
        Some((_, name)) if name == target.owner.name => return being_deleted(),
        _ => !controlled && is_orphan(target, metadata),
    };
    if ours && metadata.deletion_timestamp.is_some() {
        return being_deleted();
    }
    Ok(if ours {
        Ownership::Ours
    } else {
        Ownership::Foreign
    })
}

/// Whether the operator created this object for an OrderService that was deleted with `--cascade=orphan`.
fn is_orphan(target: &Target, metadata: &ObjectMeta) -> bool {
    let label = |name| metadata.labels.as_ref().and_then(|all| all.get(name));
    label(MANAGED_BY).is_some_and(|by| by == MANAGER) && label(INSTANCE) == Some(&target.name)
}

/// Deletes the objects of a kind except those with these names.
///
/// # Errors
/// When the API server rejects a request or does not respond.
pub(crate) async fn delete_except(
    context: &Context,
    target: &Target,
    kind: Kind,
    keep: &[&str],
) -> Result<(), Error> {
    let owner = target.owner.uid.as_str();
    for known in context
        .records
        .index
        .owned(kind, &target.namespace, &target.name, owner)
    {
        if keep.contains(&known.name.as_str()) {
            continue;
        }
        context.records.contention.record_own_deletion(&known.uid);
        let deleted = context
            .cluster
            .delete(kind, &target.namespace, &known.name, &known.uid)
            .await;
        deleted.during(|| format!("delete {} {}", kind.as_str(), known.name))?;
        context
            .records
            .index
            .remove(kind, &target.namespace, &known.name);
        log::info!(
            kind = kind.as_str(), name = known.name.as_str(), namespace = target.namespace.as_str();
            "deleted"
        );
    }
    Ok(())
}
