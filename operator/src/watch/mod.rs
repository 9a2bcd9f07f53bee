//! The watches of the API server, and the state that outlives a reconcile.

pub(crate) mod index;
pub(crate) mod queue;
pub(crate) mod start;
pub(crate) mod status_cache;
pub(crate) mod streams;

use std::time::Duration;

use crate::backoff::Backoff;
use crate::diff::admission::Admissions;
use crate::diff::contention::Contention;
use crate::fleet::Fleet;

pub use index::Index;
pub use status_cache::StatusCache;

/// The maximum silence of a watch. A process whose watch is silent for longer misses changes, so it exits.
pub(crate) const MAX_WATCH_SILENCE: Duration = Duration::from_secs(300);

/// State that outlives a reconcile. The watches update it, and a deleted OrderService is removed from it.
#[derive(Debug, Default)]
pub struct Records {
    /// Metadata of the objects in the cluster.
    pub index: Index,
    /// Consecutive failures, by OrderService.
    pub backoff: Backoff,
    /// What admission changed in the objects of each OrderService.
    pub(crate) admissions: Admissions,
    /// Fields and objects that other field managers change repeatedly.
    pub contention: Contention,
    /// Rollouts that no change of a spec requested.
    pub fleet: Fleet,
    /// Statuses that were written but have not been delivered by the watch yet.
    pub statuses: StatusCache,
}

impl Records {
    /// Removes an OrderService that was deleted.
    fn forget(&self, uid: &str) {
        self.backoff.forget(uid);
        self.admissions.forget(uid);
        self.contention.forget(uid);
        self.statuses.forget(uid);
        self.fleet.forget(uid);
    }
}
