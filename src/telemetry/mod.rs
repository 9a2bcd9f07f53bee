//! What the service tells about itself: logs, metrics, and a record of every request.

mod access;
pub mod logging;
mod metrics;
mod query;

pub use access::{AccessRecord, Recorder};
pub use metrics::{Metrics, PoolConnections, QueueMetrics, TEXT_FORMAT};
pub use query::QueryName;
