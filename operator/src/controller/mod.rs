//! The controller: from an OrderService to what it is made of, in five steps, again and again.

pub mod apply;
pub mod backoff;
pub mod compare;
pub mod contest;
mod deploy;
pub mod dereference;
pub mod drift;
pub mod error;
pub mod events;
mod feed;
pub mod index;
pub mod key;
pub mod migration;
mod reconcile;
pub mod rollout;
mod run;
mod runtime;
pub mod status;
pub mod statuses;
mod work;

use std::sync::Arc;
use std::time::Duration;

pub use reconcile::{error_policy, reconcile};
pub use run::run;
pub use runtime::{Scope, control};

use crate::cluster::{Cluster, Recorder};
use crate::metrics::Metrics;

/// What every reconcile needs.
pub struct Context {
    /// The API server.
    pub cluster: Cluster,
    /// Where events go.
    pub recorder: Recorder,
    /// What is known of the objects in the cluster.
    pub index: index::Index,
    /// What is measured.
    pub metrics: Arc<Metrics>,
    /// The key with which secrets are digested.
    pub key: key::Key,
    /// How long to wait after failures.
    pub backoff: backoff::Backoff,
    /// What others change again and again.
    pub contests: contest::Contests,
    /// Status that was written and has not come back yet.
    pub statuses: statuses::Statuses,
    /// How long an object is left alone when nothing happens.
    pub resync: Duration,
}

impl Context {
    /// Knows nothing yet.
    pub fn new(
        cluster: Cluster,
        recorder: Recorder,
        metrics: Arc<Metrics>,
        key: key::Key,
        resync: Duration,
    ) -> Self {
        Self {
            cluster,
            recorder,
            index: index::Index::default(),
            metrics,
            key,
            backoff: backoff::Backoff::default(),
            contests: contest::Contests::default(),
            statuses: statuses::Statuses::default(),
            resync,
        }
    }
}
