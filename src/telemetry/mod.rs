//! Logs, metrics, and a record of every request.

mod access;
pub mod logging;
mod metrics;
mod query;

pub use access::{AccessRecord, Recorder};
pub(crate) use metrics::{AuthCounters, TEXT_FORMAT};
pub use metrics::{Metrics, MetricsError, PoolConnections, QueueMetrics, StoreStages, StoreTimes};
pub use query::QueryName;
