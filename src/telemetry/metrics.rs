//! Every metric: its name, its help text, and where it is kept.
//!
//! The registry is the service's own. Names and labels are those of the Prometheus guidelines:
//! base units (seconds), counters end in `_total`.

use std::collections::HashMap;
use std::time::Duration;

use prometheus::{
    Encoder as _, Gauge, Histogram, HistogramOpts, HistogramVec, IntCounter, IntCounterVec,
    IntGauge, IntGaugeVec, Opts, Registry, TextEncoder,
};

use super::QueryName;
/// From half a millisecond to ten seconds, the default of `REQUEST_TIMEOUT`.
const SECONDS: &[f64] = &[
    0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0,
];

/// The content type of the Prometheus text format.
pub const TEXT_FORMAT: &str = "text/plain; version=0.0.4; charset=utf-8";

/// All metrics of one service.
#[derive(Debug)]
pub struct Metrics {
    registry: Registry,
    http_requests: IntCounterVec,
    http_duration: HistogramVec,
    /// Requests being answered now.
    pub http_in_flight: IntGauge,
    /// Client connections that are open now.
    pub http_connections: IntGauge,
    /// Bytes of large responses that are not sent yet.
    pub response_buffer: IntGauge,
    pool_connections: IntGaugeVec,
    pool_max: IntGauge,
    /// Time to get a connection, in seconds.
    pub pool_acquire: Histogram,
    query_duration: HistogramVec,
    /// The series of each query, found once: finding one takes a lock.
    queries: HashMap<QueryName, Histogram>,
    db_errors: IntCounterVec,
    queue_depth: IntGaugeVec,
    queue_rejected: IntCounterVec,
    batch_size: HistogramVec,
    /// Open event streams.
    pub event_streams: IntGauge,
    /// Age of the oldest event that readers do not get yet, in seconds; NaN when it could not be
    /// measured.
    pub feed_lag: Gauge,
    /// Attempts to measure it that failed.
    pub feed_lag_failures: IntCounter,
    /// Orders placed.
    pub orders_created: IntCounter,
    /// Requests that repeated one that had placed an order.
    pub orders_replayed: IntCounter,
    /// Panics caught.
    pub panics: IntCounter,
    /// Log lines that could not be written.
    pub log_lines_dropped: IntCounter,
}

/// The metrics of one kind of request, found once and kept by each worker.
#[derive(Clone, Debug)]
pub struct RequestMetrics {
    /// Requests answered.
    pub total: IntCounter,
    /// Time to answer, in seconds.
    pub duration: Histogram,
}

/// How many database connections there are.
#[derive(Clone, Copy, Debug, Default)]
pub struct PoolConnections {
    /// Open and free.
    pub idle: usize,
    /// Open and acquired.
    pub in_use: usize,
    /// The most there may be.
    pub max: usize,
}

/// The metrics of one queue, found once.
#[derive(Clone, Debug)]
pub struct QueueMetrics {
    /// Requests in it now, waiting or at work.
    pub depth: IntGauge,
    /// Requests refused because the store was full.
    pub rejected: IntCounter,
    /// Requests that one statement served.
    pub batch_size: Histogram,
}

impl Metrics {
    /// Registers every metric with a registry of its own.
    ///
    /// # Errors
    /// When two metrics have one name: a mistake in this file.
    pub fn new() -> Result<Self, prometheus::Error> {
        let registry = Registry::new();
        let query_duration = HistogramVec::new(
            histogram(
                "db_query_duration_seconds",
                "Time of a use case in the database.",
            ),
            &["query"],
        )?;
        let queries = QueryName::ALL
            .map(|query| (query, query_duration.with_label_values(&[query.as_str()])))
            .into();
        let metrics = Self {
            http_requests: IntCounterVec::new(
                Opts::new(
                    "http_requests_total",
                    "Requests answered, by route template.",
                ),
                &["method", "path", "status"],
            )?,
            http_duration: HistogramVec::new(
                histogram("http_request_duration_seconds", "Time to answer a request."),
                &["method", "path"],
            )?,
            http_in_flight: IntGauge::new(
                "http_requests_in_flight",
                "Requests being answered now.",
            )?,
            http_connections: IntGauge::new(
                "http_connections",
                "Client connections of the API that are open now.",
            )?,
            response_buffer: IntGauge::new(
                "http_response_buffer_bytes",
                "Bytes of responses that are not sent yet; small responses do not count.",
            )?,
            pool_connections: IntGaugeVec::new(
                Opts::new(
                    "db_pool_connections",
                    "Open database connections, by state.",
                ),
                &["state"],
            )?,
            pool_max: IntGauge::new("db_pool_max_connections", "The most there may be.")?,
            pool_acquire: Histogram::with_opts(histogram(
                "db_pool_acquire_seconds",
                "Time to get a database connection.",
            ))?,
            query_duration,
            queries,
            db_errors: IntCounterVec::new(
                Opts::new("db_errors_total", "Failures of the database, by kind."),
                &["kind"],
            )?,
            queue_depth: IntGaugeVec::new(
                Opts::new(
                    "queue_depth",
                    "Requests in a queue now, waiting or at work.",
                ),
                &["queue"],
            )?,
            queue_rejected: IntCounterVec::new(
                Opts::new(
                    "queue_rejected_total",
                    "Requests refused because a queue was full.",
                ),
                &["queue"],
            )?,
            batch_size: HistogramVec::new(
                HistogramOpts::new("batch_size", "Requests that one statement served.")
                    .buckets(prometheus::exponential_buckets(1.0, 2.0, 13)?),
                &["queue"],
            )?,
            event_streams: IntGauge::new("event_streams", "Open event streams.")?,
            feed_lag: Gauge::new(
                "feed_lag_seconds",
                "Age of the oldest event that waits for a transaction before it reaches the feed; NaN when it could not be measured.",
            )?,
            feed_lag_failures: IntCounter::new(
                "feed_lag_failures_total",
                "Failed attempts to measure the lag of the feed.",
            )?,
            orders_created: IntCounter::new("orders_created_total", "Orders placed.")?,
            orders_replayed: IntCounter::new(
                "orders_idempotent_replays_total",
                "Requests that repeated one that had placed an order.",
            )?,
            panics: IntCounter::new("panics_total", "Panics caught.")?,
            log_lines_dropped: IntCounter::new(
                "log_lines_dropped_total",
                "Log lines that were dropped because nobody read them in time.",
            )?,
            registry,
        };
        metrics.register()?;
        Ok(metrics)
    }

    fn register(&self) -> Result<(), prometheus::Error> {
        let build_info = IntGaugeVec::new(
            Opts::new("build_info", "Always 1; the labels say what is running."),
            &["version", "revision"],
        )?;
        build_info
            .with_label_values(&[env!("CARGO_PKG_VERSION"), revision()])
            .set(1);
        let Self {
            registry,
            http_requests,
            http_duration,
            http_in_flight,
            http_connections,
            response_buffer,
            pool_connections,
            pool_max,
            pool_acquire,
            query_duration,
            queries: _,
            db_errors,
            queue_depth,
            queue_rejected,
            batch_size,
            event_streams,
            feed_lag,
            feed_lag_failures,
            orders_created,
            orders_replayed,
            panics,
            log_lines_dropped,
        } = self;
        registry.register(Box::new(http_requests.clone()))?;
        registry.register(Box::new(http_duration.clone()))?;
        registry.register(Box::new(http_in_flight.clone()))?;
        registry.register(Box::new(http_connections.clone()))?;
        registry.register(Box::new(response_buffer.clone()))?;
        registry.register(Box::new(pool_connections.clone()))?;
        registry.register(Box::new(pool_max.clone()))?;
        registry.register(Box::new(pool_acquire.clone()))?;
        registry.register(Box::new(query_duration.clone()))?;
        registry.register(Box::new(db_errors.clone()))?;
        registry.register(Box::new(queue_depth.clone()))?;
        registry.register(Box::new(queue_rejected.clone()))?;
        registry.register(Box::new(batch_size.clone()))?;
        registry.register(Box::new(event_streams.clone()))?;
        registry.register(Box::new(feed_lag.clone()))?;
        registry.register(Box::new(feed_lag_failures.clone()))?;
        registry.register(Box::new(orders_created.clone()))?;
        registry.register(Box::new(orders_replayed.clone()))?;
        registry.register(Box::new(panics.clone()))?;
        registry.register(Box::new(log_lines_dropped.clone()))?;
        registry.register(Box::new(build_info))?;
        registry.register(Box::new(
            prometheus::process_collector::ProcessCollector::for_self(),
        ))
    }

    /// The metrics of one kind of request.
    pub fn request(&self, method: &str, path: &str, status: &str) -> RequestMetrics {
        RequestMetrics {
            total: self
                .http_requests
                .with_label_values(&[method, path, status]),
            duration: self.http_duration.with_label_values(&[method, path]),
        }
    }

    /// Records the time of a use case in the database.
    pub fn query_took(&self, query: QueryName, time: Duration) {
        if let Some(series) = self.queries.get(&query) {
            series.observe(time.as_secs_f64());
        }
    }

    /// Exports a series of `db_errors_total` for each kind: one that is there from the start makes
    /// `rate()` see its first increase.
    pub fn expect_db_errors(&self, kinds: &[&str]) {
        for kind in kinds {
            self.db_errors.with_label_values(&[kind]);
        }
    }

    /// Counts a failure of the database.
    pub fn db_error(&self, kind: &str) {
        self.db_errors.with_label_values(&[kind]).inc();
    }

    /// The metrics of one queue.
    pub fn queue(&self, queue: &str) -> QueueMetrics {
        QueueMetrics {
            depth: self.queue_depth.with_label_values(&[queue]),
            rejected: self.queue_rejected.with_label_values(&[queue]),
            batch_size: self.batch_size.with_label_values(&[queue]),
        }
    }

    /// Everything in the Prometheus text format, with gauges read now.
    ///
    /// # Errors
    /// When a metric cannot be encoded.
    pub fn render(&self, pool: PoolConnections) -> Result<Vec<u8>, prometheus::Error> {
        let connections = |state: &str| self.pool_connections.with_label_values(&[state]);
        connections("idle").set(gauge(pool.idle));
        connections("in_use").set(gauge(pool.in_use));
        self.pool_max.set(gauge(pool.max));
        let mut text = Vec::new();
        TextEncoder::new().encode(&self.registry.gather(), &mut text)?;
        Ok(text)
    }
}

fn histogram(name: &str, help: &str) -> HistogramOpts {
    HistogramOpts::new(name, help).buckets(SECONDS.to_vec())
}

fn gauge(number: usize) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

/// The commit this was built from, when the build says so.
fn revision() -> &'static str {
    option_env!("REVISION").unwrap_or("unknown")
}
