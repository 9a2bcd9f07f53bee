//! Status that was written and has not come back by the watch yet. To decide by an older one would be
//! to forget what was decided: which rollout failed, above all.

use std::collections::HashMap;

use parking_lot::Mutex;

use crate::crd::{OrderService, OrderServiceStatus};

/// Status by the identity of the object, with the version that it made.
#[derive(Debug, Default)]
pub struct StatusCache(Mutex<HashMap<String, (u64, OrderServiceStatus)>>);

impl StatusCache {
    /// The status of an object, however old the object is.
    pub fn latest(&self, object: &OrderService) -> OrderServiceStatus {
        let uid = object.metadata.uid.as_deref().unwrap_or_default();
        let mut written = self.0.lock();
        if let Some((version, status)) = written.get(uid)
            && self::version(object).is_some_and(|seen| seen < *version)
        {
            return status.clone();
        }
        written.remove(uid);
        object.status.clone().unwrap_or_default()
    }

    /// Remembers what was written, until it comes back.
    pub fn store(&self, object: &OrderService) {
        if let (Some(uid), Some(version), Some(status)) =
            (&object.metadata.uid, version(object), &object.status)
        {
            self.0.lock().insert(uid.clone(), (version, status.clone()));
        }
    }

    /// Forgets an object.
    pub fn forget(&self, uid: &str) {
        self.0.lock().remove(uid);
    }
}

fn version(object: &OrderService) -> Option<u64> {
    object.metadata.resource_version.as_ref()?.parse().ok()
}
