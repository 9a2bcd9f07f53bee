//! Converges the cluster to the state that an OrderService describes.

pub(crate) mod apply;
mod condition_events;
mod conditions;
mod database_secret;
mod deployment;
pub mod digest_key;
pub mod error;
mod migration;
mod permit;
mod pipeline;
mod pod_monitor;
mod reconciliation;
mod retry;
mod rollout;
mod secrets;
mod status;
mod unused;
mod write;

use std::sync::Arc;
use std::time::Duration;

pub use pipeline::{error_policy, reconcile};

use crate::cluster::{Cluster, Recorder};
use crate::metrics::Metrics;
use crate::watch::Records;

/// The dependencies of every reconcile.
pub struct Context {
    /// The API server.
    pub(crate) cluster: Cluster,
    /// Publishes events.
    pub(crate) recorder: Recorder,
    /// State that outlives a reconcile.
    pub records: Arc<Records>,
    /// The metrics of the process.
    pub(crate) metrics: Arc<Metrics>,
    /// The key of the digests of secrets.
    pub(crate) key: digest_key::DigestKey,
    /// The interval between reconciles of an object that does not change.
    pub(crate) resync: Duration,
}

impl Context {
    /// The metrics of the process.
    pub fn metrics(&self) -> &Metrics {
        &self.metrics
    }

    /// Creates a context with empty records.
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
            records: Arc::default(),
            metrics,
            key,
            resync,
        }
    }
}
