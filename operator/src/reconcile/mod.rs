//! The controller: from an OrderService to what it is made of, in five steps, again and again.

pub mod apply;
pub mod condition_events;
mod deployment;
pub mod digest_key;
pub mod error;
pub mod migration;
mod pipeline;
mod reconciliation;
pub mod rollout;
pub mod secrets;
pub mod status;

use std::sync::Arc;
use std::time::Duration;

pub use pipeline::{error_policy, reconcile};

use crate::backoff;
use crate::cluster::{Cluster, Recorder};
use crate::diff::contention;
use crate::metrics::Metrics;
use crate::watch::{index, status_cache};

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
    pub key: digest_key::DigestKey,
    /// How long to wait after failures.
    pub backoff: backoff::Backoff,
    /// What others change again and again.
    pub contention: contention::Contention,
    /// Status that was written and has not come back yet.
    pub statuses: status_cache::StatusCache,
    /// How long an object is left alone when nothing happens.
    pub resync: Duration,
}

impl Context {
    /// Knows nothing yet.
    pub fn new(
        cluster: Cluster,
        recorder: Recorder,
        metrics: Arc<Metrics>,
        key: digest_key::DigestKey,
        resync: Duration,
    ) -> Self {
        Self {
            cluster,
            recorder,
            index: index::Index::default(),
            metrics,
            key,
            backoff: backoff::Backoff::default(),
            contention: contention::Contention::default(),
            statuses: status_cache::StatusCache::default(),
            resync,
        }
    }
}
