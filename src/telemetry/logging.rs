//! The log of the service: modules that are quiet by default, and counters.

use std::io;
use std::sync::Arc;

use log::LevelFilter;
use order_logging::{FatalPanics, LogFormat, Options};

use super::Metrics;

/// The maximum number of bytes that lines may occupy in memory before they are written.
const QUEUE_BYTES: usize = 1 << 20;

/// Modules whose lines are not useful by default.
const QUIET: [(&str, LevelFilter); 2] = [
    // It logs each start and stop of a worker.
    ("actix_server", LevelFilter::Warn),
    // It logs an error for each malformed request. A client must not be able to write errors into the
    // log.
    ("actix_http", LevelFilter::Off),
];

/// Modules that log bodies of requests or credentials.
const CONFIDENTIAL: [&str; 2] = [
    // It logs the parameters of statements, and so the orders.
    "tokio_postgres",
    // It logs the values of malformed headers, and so whatever a client sends in the wrong header.
    "actix_http",
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
        confidential: &CONFIDENTIAL,
        filters,
    })
    .map(Log)
}

impl Log {
    /// Counts dropped lines in the metrics.
    pub fn count_dropped(&self, metrics: &Metrics) {
        let dropped = metrics.log_lines_dropped.clone();
        self.0.count_dropped(move |count| dropped.inc_by(count));
    }

    /// Waits up to one second until all lines are written. Call it before the process ends.
    pub fn finish(&self) {
        self.0.finish();
    }

    /// Counts each panic and logs it as one line, instead of many lines on standard error.
    pub fn catch_panics(&self, metrics: Arc<Metrics>) {
        let count = move || metrics.panics.inc();
        self.0
            .catch_panics("order_service::panic", FatalPanics::MainThread, count);
    }
}
