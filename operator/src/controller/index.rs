//! What is known of the objects in the cluster: their names and versions, nothing more.
//!
//! The watches bring metadata only. That is enough to tell that an object is as it was when it was
//! last compared, and a thousand OrderServices take a few megabytes.

use std::collections::{BTreeMap, HashSet};

use kube::api::ObjectMeta;
use parking_lot::Mutex;

use crate::cluster::Kind;
use crate::crd::OrderService;

type Key = (Box<str>, Kind, Box<str>);

/// What is known of the objects in the cluster.
#[derive(Debug, Default)]
pub struct Index(Mutex<BTreeMap<Key, Entry>>);

#[derive(Clone, Debug)]
struct Entry {
    uid: Box<str>,
    version: Box<str>,
    owner: Option<Box<str>>,
    /// What the object was last found, or made, to be as it should be with.
    digest: Option<Box<str>>,
    /// Whether that was at this version.
    current: bool,
}

/// An object that there is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Known {
    /// Its name.
    pub name: String,
    /// Its identity.
    pub uid: String,
}

impl Index {
    /// Notes an object as a watch brought it.
    pub fn saw(&self, kind: Kind, metadata: &ObjectMeta) {
        self.note(kind, metadata, None);
    }

    /// Notes an object that was found, or made, to be as it should be with this digest.
    pub fn checked(&self, kind: Kind, metadata: &ObjectMeta, digest: &str) {
        self.note(kind, metadata, Some(digest));
    }

    fn note(&self, kind: Kind, metadata: &ObjectMeta, digest: Option<&str>) {
        let Some(key) = key(kind, metadata) else {
            return;
        };
        let version = metadata.resource_version.as_deref().unwrap_or_default();
        let uid = metadata.uid.as_deref().unwrap_or_default();
        let mut entries = self.0.lock();
        let before = entries.get(&key).filter(|before| &*before.uid == uid);
        if before.is_some_and(|before| is_older(version, &before.version)) {
            // News from before our own write, or the answer to it after the news of a later one.
            return;
        }
        let still = before.is_some_and(|before| before.current && &*before.version == version);
        let current = digest.is_some() || still;
        let digest = digest
            .map(Into::into)
            .or_else(|| before.and_then(|before| before.digest.clone()));
        let entry = Entry {
            uid: uid.into(),
            version: version.into(),
            owner: owner(metadata).map(|(uid, _)| uid.into()),
            digest,
            current,
        };
        entries.insert(key, entry);
    }

    /// Forgets an object.
    pub fn gone(&self, kind: Kind, namespace: &str, name: &str) {
        self.0.lock().remove(&(namespace.into(), kind, name.into()));
    }

    /// Forgets the objects of a kind that are not among these, and says whether there were any.
    pub fn keep_only(&self, kind: Kind, names: &HashSet<(String, String)>) -> bool {
        let mut entries = self.0.lock();
        let before = entries.len();
        entries.retain(|(namespace, of, name), _| {
            *of != kind || names.contains(&(namespace.to_string(), name.to_string()))
        });
        entries.len() != before
    }

    /// Whether an object is known to be as it should be with this digest.
    pub fn is_checked(&self, kind: Kind, namespace: &str, name: &str, digest: &str) -> bool {
        self.0
            .lock()
            .get(&(namespace.into(), kind, name.into()))
            .is_some_and(|entry| entry.current && entry.digest.as_deref() == Some(digest))
    }

    /// Whether an object was as it should be with this digest when it was last compared or written,
    /// whatever became of it since.
    pub fn was_checked(&self, kind: Kind, namespace: &str, name: &str, digest: &str) -> bool {
        self.0
            .lock()
            .get(&(namespace.into(), kind, name.into()))
            .is_some_and(|entry| entry.digest.as_deref() == Some(digest))
    }

    /// The objects of a kind that belong to an owner. Their names start with its name.
    pub fn owned(&self, kind: Kind, namespace: &str, prefix: &str, owner: &str) -> Vec<Known> {
        self.0
            .lock()
            .range((namespace.into(), kind, prefix.into())..)
            .take_while(|((of, found, name), _)| {
                &**of == namespace && *found == kind && name.starts_with(prefix)
            })
            .filter(|(_, entry)| entry.owner.as_deref() == Some(owner))
            .map(|((_, _, name), entry)| Known {
                name: name.to_string(),
                uid: entry.uid.to_string(),
            })
            .collect()
    }

    /// Forgets everything: another process led meanwhile.
    pub fn clear(&self) {
        self.0.lock().clear();
    }
}

fn key(kind: Kind, metadata: &ObjectMeta) -> Option<Key> {
    let name = metadata.name.as_deref()?;
    let namespace = metadata.namespace.as_deref()?;
    Some((namespace.into(), kind, name.into()))
}

/// Identity and name of the OrderService that controls an object.
pub fn owner(metadata: &ObjectMeta) -> Option<(&str, &str)> {
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

/// Versions grow, and are numbers. Where they are not, news is news.
fn is_older(version: &str, than: &str) -> bool {
    match (version.parse::<u64>(), than.parse::<u64>()) {
        (Ok(version), Ok(than)) => version < than,
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn metadata(version: &str) -> ObjectMeta {
        serde_json::from_value(json!({
            "name": "a", "namespace": "n", "uid": "u", "resourceVersion": version,
            "ownerReferences": [{"apiVersion": "orders.example.com/v1alpha1", "kind": "OrderService",
                "name": "a", "uid": "o", "controller": true}],
        }))
        .unwrap()
    }

    #[test]
    fn a_newer_version_must_be_compared_again_and_older_news_is_ignored() {
        let index = Index::default();
        let is_checked = || index.is_checked(Kind::Service, "n", "a", "d");
        index.checked(Kind::Service, &metadata("5"), "d");
        assert!(is_checked());
        index.saw(Kind::Service, &metadata("4"));
        index.saw(Kind::Service, &metadata("5"));
        assert!(is_checked());
        assert!(!index.is_checked(Kind::Service, "n", "a", "other"));
        index.saw(Kind::Service, &metadata("6"));
        assert!(!is_checked());
        assert!(index.was_checked(Kind::Service, "n", "a", "d"));
        // The answer to a write that somebody followed up comes after the news of it.
        index.checked(Kind::Service, &metadata("5"), "d");
        assert!(!is_checked());
        assert_eq!(index.owned(Kind::Service, "n", "a", "o").len(), 1);
        assert!(index.owned(Kind::Service, "n", "a", "x").is_empty());
        index.gone(Kind::Service, "n", "a");
        assert!(index.owned(Kind::Service, "n", "a", "o").is_empty());
    }
}
