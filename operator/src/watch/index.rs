//! The names and versions of the objects in the cluster.
//!
//! The watches deliver only metadata. That is enough to decide whether an object has changed since it was last
//! compared, and a thousand OrderServices need only a few megabytes.

use std::collections::{BTreeMap, HashSet};
use std::hash::{BuildHasher as _, RandomState};

use kube::api::ObjectMeta;
use parking_lot::Mutex;

use crate::build::labels::MANAGER;
use crate::cluster::Kind;
use crate::crd::OrderService;
use crate::diff::admission::Admitted;

/// The names and versions of the objects in the cluster, by namespace.
#[derive(Debug, Default)]
pub struct Index {
    namespaces: Mutex<BTreeMap<Box<str>, Objects>>,
    random: RandomState,
}

type Objects = BTreeMap<(Kind, Box<str>), Entry>;

/// An OrderService has nine entries, so texts are stored as numbers where possible.
#[derive(Debug)]
struct Entry {
    uid: Box<str>,
    /// The `resourceVersion`, which grows. `None` if it is not a number; every event then counts as a change.
    version: Option<u64>,
    /// Hash of the UID of the OrderService that controls it.
    owner: Option<u64>,
    /// Digest of the desired object that the object last matched.
    digest: Option<u64>,
    /// Fields that admission changed and whose annotation the API server did not keep.
    admitted: Option<Box<Admitted>>,
    /// Hash of the metadata without that of the status.
    fingerprint: Option<u64>,
    /// Whether the object matched at this version.
    current: bool,
}

/// An object in the cluster.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct IndexedObject {
    pub name: String,
    pub uid: String,
}

impl Index {
    /// Records an object that a watch delivered. Returns whether it needs a reconcile: the watch also
    /// delivers the operator's own writes.
    pub fn observe(&self, kind: Kind, metadata: &ObjectMeta) -> bool {
        self.record(kind, metadata, None)
    }

    /// Records that an object matches the desired object with this digest.
    pub fn record_match(&self, kind: Kind, metadata: &ObjectMeta, digest: &str) {
        self.record(kind, metadata, Some(digest));
    }

    fn record(&self, kind: Kind, metadata: &ObjectMeta, checked: Option<&str>) -> bool {
        let (Some(namespace), Some(name)) = (&metadata.namespace, &metadata.name) else {
            return true;
        };
        let version = metadata.resource_version.as_deref();
        let version = version.and_then(|version| version.parse().ok());
        let uid = metadata.uid.as_deref().unwrap_or_default();
        let mut namespaces = self.namespaces.lock();
        let objects = namespaces.entry(namespace.as_str().into()).or_default();
        let key = (kind, name.as_str().into());
        let before = objects.get(&key).filter(|before| &*before.uid == uid);
        if before.is_some_and(|before| version.is_some() && version < before.version) {
            // This is an event from before the operator's own write, or the response to that write after the event
            // of a later write.
            return false;
        }
        let fingerprint = self.fingerprint(kind, metadata);
        let is_same = |before: &Entry| {
            version.is_some()
                && (version == before.version
                    || (fingerprint.is_some() && fingerprint == before.fingerprint))
        };
        let still = before.is_some_and(|before| before.current && is_same(before));
        let digest = match checked {
            Some(digest) => digest_number(digest),
            None => before.and_then(|before| before.digest),
        };
        let entry = Entry {
            uid: uid.into(),
            version,
            owner: controller_owner(metadata).map(|(uid, _)| self.random.hash_one(uid)),
            admitted: before
                .filter(|before| before.digest == digest)
                .and_then(|before| before.admitted.clone()),
            digest,
            fingerprint,
            current: checked.is_some() || still,
        };
        objects.insert(key, entry);
        !still
    }

    /// Returns a hash of the metadata that stays equal when only the status changes. Controllers update the status of
    /// some kinds every few seconds, and the watch delivers no status to compare. The API server adds an entry of
    /// `metadata.managedFields` for each other change, or changes its fields or its time.
    ///
    /// `None` if the status matters, or if the entries are missing.
    fn fingerprint(&self, kind: Kind, metadata: &ObjectMeta) -> Option<u64> {
        if kind.needs_status() {
            return None;
        }
        let mut metadata = metadata.clone();
        metadata.resource_version = None;
        let entries = metadata.managed_fields.as_mut()?;
        if !entries
            .iter()
            .any(|entry| entry.manager.as_deref() == Some(MANAGER))
        {
            return None;
        }
        entries.retain(|entry| entry.subresource.as_deref() != Some("status"));
        let text = serde_json::to_vec(&metadata).ok()?;
        Some(self.random.hash_one(text))
    }

    /// Records the fields that admission changed in an object that matches apart from them.
    pub(crate) fn record_admitted(
        &self,
        kind: Kind,
        namespace: &str,
        name: &str,
        admitted: Admitted,
    ) {
        let mut namespaces = self.namespaces.lock();
        let objects = namespaces.get_mut(namespace);
        if let Some(entry) = objects.and_then(|objects| objects.get_mut(&(kind, name.into()))) {
            entry.admitted = Some(Box::new(admitted));
        }
    }

    /// Returns the recorded fields that admission changed in an object with the desired object of this digest.
    pub(crate) fn admitted(
        &self,
        kind: Kind,
        namespace: &str,
        name: &str,
        digest: &str,
    ) -> Option<Admitted> {
        let namespaces = self.namespaces.lock();
        let entry = namespaces.get(namespace)?.get(&(kind, name.into()))?;
        let entry = Some(entry).filter(|entry| entry.digest == digest_number(digest));
        entry?.admitted.as_deref().cloned()
    }

    /// Removes an object. An object of the same name and another UID stays: it was created after the deletion.
    pub(super) fn remove_deleted(&self, kind: Kind, metadata: &ObjectMeta) {
        let namespace = metadata.namespace.as_deref().unwrap_or_default();
        let name = metadata.name.as_deref().unwrap_or_default();
        let uid = metadata.uid.as_deref().unwrap_or_default();
        if self.has(kind, namespace, name, |entry| &*entry.uid == uid) {
            self.remove(kind, namespace, name);
        }
    }

    /// Removes an object.
    pub fn remove(&self, kind: Kind, namespace: &str, name: &str) {
        let mut namespaces = self.namespaces.lock();
        if let Some(objects) = namespaces.get_mut(namespace) {
            objects.remove(&(kind, name.into()));
            if objects.is_empty() {
                namespaces.remove(namespace);
            }
        }
    }

    /// Removes the objects of a kind that are not in `names`. Returns whether any were removed.
    pub fn retain(&self, kind: Kind, names: &HashSet<(String, String)>) -> bool {
        let mut any = false;
        self.namespaces.lock().retain(|namespace, objects| {
            objects.retain(|(of, name), _| {
                let keep =
                    *of != kind || names.contains(&(namespace.to_string(), name.to_string()));
                any |= !keep;
                keep
            });
            !objects.is_empty()
        });
        any
    }

    /// Whether the current version of an object matches the desired object with this digest.
    pub fn is_current(&self, kind: Kind, namespace: &str, name: &str, digest: &str) -> bool {
        self.has(kind, namespace, name, |entry| {
            entry.current && entry.digest == digest_number(digest)
        })
    }

    /// Whether an object matched the desired object with this digest when it was last compared or written.
    pub fn matched_before(&self, kind: Kind, namespace: &str, name: &str, digest: &str) -> bool {
        self.has(kind, namespace, name, |entry| {
            entry.digest.is_some() && entry.digest == digest_number(digest)
        })
    }

    fn has(
        &self,
        kind: Kind,
        namespace: &str,
        name: &str,
        such: impl FnOnce(&Entry) -> bool,
    ) -> bool {
        let namespaces = self.namespaces.lock();
        let objects = namespaces.get(namespace);
        let entry = objects.and_then(|objects| objects.get(&(kind, name.into())));
        entry.is_some_and(such)
    }

    /// Returns the objects of a kind that an owner controls and whose names start with `prefix`.
    pub(crate) fn owned(
        &self,
        kind: Kind,
        namespace: &str,
        prefix: &str,
        owner: &str,
    ) -> Vec<IndexedObject> {
        let owner = self.random.hash_one(owner);
        let namespaces = self.namespaces.lock();
        let objects = namespaces.get(namespace).into_iter();
        objects
            .flat_map(|objects| objects.range((kind, prefix.into())..))
            .take_while(|((found, name), _)| *found == kind && name.starts_with(prefix))
            .filter(|(_, entry)| entry.owner == Some(owner))
            .map(|((_, name), entry)| IndexedObject {
                name: name.to_string(),
                uid: entry.uid.to_string(),
            })
            .collect()
    }

    /// Removes all objects.
    pub fn clear(&self) {
        self.namespaces.lock().clear();
    }
}

/// Converts a digest of hexadecimal digits to a number.
fn digest_number(digest: &str) -> Option<u64> {
    u64::from_str_radix(digest, 16).ok()
}

/// UID and name of the OrderService that controls an object.
pub(crate) fn controller_owner(metadata: &ObjectMeta) -> Option<(&str, &str)> {
    use kube::Resource as _;
    metadata
        .owner_references
        .iter()
        .flatten()
        .find(|owner| owner.controller == Some(true))
        .filter(|owner| {
            owner.kind == OrderService::kind(&())
                && owner.api_version.starts_with("orders.example.com/")
        })
        .map(|owner| (owner.uid.as_str(), owner.name.as_str()))
}

#[cfg(test)]
mod tests;
