//! The fields that admission changes.
//!
//! A mutating admission policy or webhook (Kyverno, Gatekeeper, GKE Autopilot, MutatingAdmissionPolicy) changes an
//! object after the API server has applied it. A field that differs in the response to the operator's own apply was
//! changed by admission, and every further apply has the same result. Therefore these fields are accepted and are not
//! drift, as long as they have the value that admission gave them.
//!
//! The accepted fields are in an annotation of the object, because a new leader cannot derive them: without the
//! annotation it would write every such object once. `metadata.managedFields` is not a substitute, because the API
//! server computes it before admission.

use std::collections::{BTreeMap, HashMap};

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;

use parking_lot::Mutex;

use super::compare::Difference;
use crate::build::labels::ADMITTED;
use crate::build::{is_short_hash, short_hash};
use crate::cluster::Kind;

/// The fields that admission changed: a digest of the value of each, by path.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Admitted(BTreeMap<String, String>);

impl Admitted {
    /// Returns the fields that differ in the response to an apply.
    pub(crate) fn of(differences: &[Difference]) -> Self {
        let digests = differences
            .iter()
            .map(|field| (field.path.to_string(), short_hash(&field.live)));
        Self(digests.collect())
    }

    /// Returns the fields in the annotation of an object.
    pub(crate) fn recorded(metadata: &ObjectMeta) -> Self {
        let text = metadata
            .annotations
            .as_ref()
            .and_then(|all| all.get(ADMITTED));
        // An annotation that somebody else wrote may be any text. Nothing is accepted then.
        text.and_then(|text| serde_json::from_str(text).ok())
            .map(Self)
            .unwrap_or_default()
    }

    /// Returns the value of the annotation, or `None` without fields.
    ///
    /// # Errors
    /// When it cannot be written as JSON.
    pub(crate) fn annotation(&self) -> Result<Option<String>, serde_json::Error> {
        if self.0.is_empty() {
            return Ok(None);
        }
        serde_json::to_string(&self.0).map(Some)
    }

    /// Whether admission gave the field this value.
    pub(crate) fn accepts(&self, field: &Difference) -> bool {
        self.0
            .get(&field.path.to_string())
            .is_some_and(|digest| *digest == short_hash(&field.live))
    }

    /// Returns the paths of the fields that are not in `other` with the same value.
    pub(crate) fn fields_without(&self, other: &Self) -> Vec<String> {
        self.0
            .iter()
            .filter(|(field, digest)| other.0.get(*field) != Some(*digest))
            .map(|(field, _)| field.clone())
            .collect()
    }

    /// Adds the fields of another set.
    pub(crate) fn extend(&mut self, other: Self) {
        self.0.extend(other.0);
    }
}

/// The fields that admission changed in objects that exist only for a while, such as the budget of a migration. They
/// are shown once, not again for each such object. An object whose name contains a hash counts as the one before it.
#[derive(Debug, Default)]
pub(crate) struct Admissions(Mutex<HashMap<Box<str>, Objects>>);

type Objects = BTreeMap<(Kind, Box<str>), Admitted>;

impl Admissions {
    /// Returns what admission changed when an object of this name was written last.
    pub(crate) fn last(&self, owner: &str, kind: Kind, name: &str) -> Admitted {
        let all = self.0.lock();
        let objects = all.get(owner);
        let found = objects.and_then(|objects| objects.get(&(kind, without_hash(name).into())));
        found.cloned().unwrap_or_default()
    }

    /// Records what admission changed when an object was written.
    pub(crate) fn record(&self, owner: &str, kind: Kind, name: &str, admitted: &Admitted) {
        let mut all = self.0.lock();
        let key = (kind, without_hash(name).into());
        if !admitted.0.is_empty() {
            let objects = all.entry(owner.into()).or_default();
            objects.insert(key, admitted.clone());
        } else if let Some(objects) = all.get_mut(owner) {
            objects.remove(&key);
        }
    }

    /// Removes an OrderService that was deleted.
    pub(crate) fn forget(&self, owner: &str) {
        self.0.lock().remove(owner);
    }
}

/// The name without the hash of [`short_hash`] at its end.
fn without_hash(name: &str) -> &str {
    match name.rsplit_once('-') {
        Some((start, hash)) if is_short_hash(hash) => start,
        _ => name,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::diff::compare::differences;

    #[test]
    fn a_field_is_accepted_only_with_its_value_and_survives_the_annotation() {
        let desired = json!({"spec": {"a": 1, "b": 2}});
        let changed = |live| differences(&desired, &live);
        let admitted = Admitted::of(&changed(json!({"spec": {"a": 5}})));
        let text = admitted.annotation().unwrap().unwrap();
        let metadata = ObjectMeta {
            annotations: Some([(ADMITTED.to_owned(), text)].into()),
            ..ObjectMeta::default()
        };
        let recorded = Admitted::recorded(&metadata);
        assert_eq!(recorded, admitted);
        let accepted = |live| -> Vec<bool> {
            changed(live)
                .iter()
                .map(|field| recorded.accepts(field))
                .collect()
        };
        assert_eq!(accepted(json!({"spec": {"a": 5}})), [true, true]);
        assert_eq!(accepted(json!({"spec": {"a": 6, "b": 2}})), [false]);
        assert_eq!(accepted(json!({"spec": {"a": 5, "b": 3}})), [true, false]);
    }

    #[test]
    fn an_annotation_of_somebody_else_accepts_nothing() {
        for text in ["", "[]", "{\"spec.a\": 1}", "words"] {
            let metadata = ObjectMeta {
                annotations: Some([(ADMITTED.to_owned(), text.to_owned())].into()),
                ..ObjectMeta::default()
            };
            assert_eq!(Admitted::recorded(&metadata), Admitted::default(), "{text}");
        }
    }
}
