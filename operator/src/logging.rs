//! The log of the operator: modules that are quiet by default, and counters.

use std::io;

use log::LevelFilter;
use order_logging::{FatalPanics, LogFormat, Options};

use crate::metrics::Metrics;

/// The maximum number of bytes that lines may occupy in memory before they are written.
const QUEUE_BYTES: usize = 256 << 10;

/// Modules whose lines are not useful by default: kube logs a line for each reconcile.
const QUIET: [(&str, LevelFilter); 2] = [
    ("kube_runtime", LevelFilter::Warn),
    ("kube_client", LevelFilter::Warn),
];

/// The log of the process.
#[derive(Clone)]
pub struct Log(order_logging::Log);

/// Sends all log records of the process to standard error. Logging never blocks: lines that cannot be
/// written are dropped and counted. `filters` is the value of `RUST_LOG`.
///
/// # Errors
/// When the thread that writes cannot be started.
pub fn init(format: LogFormat, filters: &str) -> io::Result<Log> {
    order_logging::init(Options {
        format,
        queue_bytes: QUEUE_BYTES,
        quiet: &QUIET,
        confidential: &[],
        filters,
    })
    .map(Log)
}

impl Log {
    /// Counts dropped lines in the metrics.
    pub(crate) fn count_dropped(&self, metrics: &Metrics) {
        let dropped = metrics.log_lines_dropped.clone();
        self.0.count_dropped(move |count| dropped.inc_by(count));
    }

    /// Waits up to one second until all lines are written. Call it before the process ends.
    pub(crate) fn finish(&self) {
        self.0.finish();
    }

    /// Logs each panic as one line, instead of many lines on standard error.
    pub fn catch_panics(&self) {
        // The profile `operator` aborts on a panic.
        self.0
            .catch_panics("order_operator::panic", FatalPanics::AnyThread, || {});
    }
}
