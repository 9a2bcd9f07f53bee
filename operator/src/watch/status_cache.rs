//! Statuses that were written but that the watch has not delivered yet. A reconcile that starts from an older
//! status would lose decisions, most importantly which rollout failed.

use std::collections::HashMap;

use parking_lot::Mutex;

use crate::crd::{OrderService, OrderServiceStatus};

/// Written statuses by the UID of the object, with the `resourceVersion` of the write.
#[derive(Debug, Default)]
pub struct StatusCache(Mutex<HashMap<String, (u64, OrderServiceStatus)>>);

impl StatusCache {
    /// Returns the newest known status of an object.
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

    /// Stores a written status until the watch delivers it.
    pub fn store(&self, object: &OrderService) {
        if let (Some(uid), Some(version), Some(status)) =
            (&object.metadata.uid, version(object), &object.status)
        {
            self.0.lock().insert(uid.clone(), (version, status.clone()));
        }
    }

    /// Removes an object.
    pub fn forget(&self, uid: &str) {
        self.0.lock().remove(uid);
    }
}

fn version(object: &OrderService) -> Option<u64> {
    object.metadata.resource_version.as_ref()?.parse().ok()
}
