//! Every metric: its name, its labels and its help text.
//!
//! The registry is the service's own. Names and labels follow the Prometheus guidelines: base units
//! (seconds), counters end in `_total`.

mod declare;
mod stages;

use std::collections::HashMap;
use std::time::Duration;

use prometheus::process_collector::ProcessCollector;
use prometheus::{
    Encoder as _, Gauge, GaugeVec, Histogram, HistogramVec, IntCounter, IntCounterVec, IntGauge,
    IntGaugeVec, Registry, TextEncoder,
};

use super::QueryName;
use declare::{Declaration, Metric, metrics};
pub use prometheus::Error as MetricsError;
use stages::RequestStages;
pub use stages::{StoreStages, StoreTimes};

/// From half a millisecond to ten seconds, the default of `REQUEST_TIMEOUT`.
const SECONDS: &[f64] = &[
    0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0,
];

/// Powers of two up to the default of `QUEUE_CAPACITY`.
const BATCH_SIZES: &[f64] = &[
    1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0, 512.0, 1024.0, 2048.0, 4096.0,
];

/// The content type of the Prometheus text format.
pub(crate) const TEXT_FORMAT: &str = "text/plain; version=0.0.4; charset=utf-8";

metrics! {
    /// All metrics of one service. The doc comment of each is its help text.
    #[derive(Debug)]
    pub struct Metrics {
        /// Requests of routes that need a scope, by kind of credential and by outcome.
        auth: IntCounterVec = "auth_total" ["method", "outcome"],
        /// Age of the keys of each issuer; NaN before the first successful fetch.
        auth_key_set_age: GaugeVec = "auth_key_set_age_seconds" ["issuer"],
        /// Changes of AUTH_FILE that were read, by outcome.
        auth_file_reloads: IntCounterVec = "auth_file_reload_total" ["outcome"],
        /// Requests served, by route template.
        http_requests: IntCounterVec = "http_requests_total" ["method", "path", "status"],
        /// Time to respond to a request.
        http_duration: HistogramVec = "http_request_duration_seconds" ["method", "path"] in SECONDS,
        /// Time of a request in each stage: queue and pool (waiting), database, and write (sending the response).
        request_stages: RequestStages = "request_stage_seconds" ["stage"] in SECONDS,
        /// Requests in progress.
        pub(crate) http_in_flight: IntGauge = "http_requests_in_flight",
        /// Client connections of the API that are open now.
        pub(crate) http_connections: IntGauge = "http_connections",
        /// Bytes of responses that are not sent yet; small responses do not count.
        pub(crate) response_buffer: IntGauge = "http_response_buffer_bytes",
        /// Open database connections, by state.
        pool_connections: IntGaugeVec = "db_pool_connections" ["state"],
        /// The largest number of database connections that may be open.
        pool_max: IntGauge = "db_pool_max_connections",
        /// Time to acquire a database connection.
        pub pool_acquire: Histogram = "db_pool_acquire_seconds" in SECONDS,
        /// Time of a use case in the database.
        query_duration: QueryDurations = "db_query_duration_seconds" ["query"] in SECONDS,
        /// Failures of the database, by kind.
        db_errors: IntCounterVec = "db_errors_total" ["kind"],
        /// Requests in a queue now, waiting or executing.
        queue_depth: IntGaugeVec = "queue_depth" ["queue"],
        /// Requests rejected because a queue was full.
        queue_rejected: IntCounterVec = "queue_rejected_total" ["queue"],
        /// Requests that one statement served.
        batch_size: HistogramVec = "batch_size" ["queue"] in BATCH_SIZES,
        /// Requests rejected with 429, because their caller or their address exceeded a limit or a share.
        pub(super) rate_limited: IntCounter = "rate_limited_total",
        /// Open event streams.
        pub(crate) event_streams: IntGauge = "event_streams",
        /// Exports of orders in progress.
        pub(crate) order_exports: IntGauge = "order_exports",
        /// Age of the oldest event that waits for a transaction before it reaches the feed; NaN when it could not be measured.
        pub(crate) feed_lag: Gauge = "feed_lag_seconds",
        /// Failed attempts to measure the lag of the feed.
        pub(crate) feed_lag_failures: IntCounter = "feed_lag_failures_total",
        /// Time until the end of the last monthly partition of events that follows without a gap; NaN when it could not be measured, +Inf on SQLite.
        pub(crate) event_partitions_ahead: Gauge = "event_partitions_ahead_seconds",
        /// Age of the oldest erasure that is not done, 0 without one; NaN when it could not be measured.
        pub(crate) erasure_oldest: Gauge = "erasure_oldest_seconds",
        /// Orders created.
        pub orders_created: IntCounter = "orders_created_total",
        /// Requests that repeated one that had created an order.
        pub(crate) orders_replayed: IntCounter = "orders_idempotent_replays_total",
        /// Panics caught.
        pub(crate) panics: IntCounter = "panics_total",
        /// Log lines that were dropped because they could not be written in time.
        pub(crate) log_lines_dropped: IntCounter = "log_lines_dropped_total",
        /// Always 1; the labels name what is running.
        build_info: IntGaugeVec = "build_info" ["version", "revision"],
    }
}

/// The time of each query. Each series is looked up once, because a look-up takes a lock.
#[derive(Debug)]
struct QueryDurations(HashMap<QueryName, Histogram>);

impl Metric for QueryDurations {
    fn register(registry: &Registry, declaration: &Declaration) -> Result<Self, prometheus::Error> {
        let family = HistogramVec::register(registry, declaration)?;
        let series = |query: QueryName| (query, family.with_label_values(&[query.as_str()]));
        Ok(Self(QueryName::ALL.map(series).into()))
    }
}

/// The metrics of one kind of request. Each worker looks them up once and keeps them.
#[derive(Clone, Debug)]
pub(super) struct RequestMetrics {
    pub(super) total: IntCounter,
    pub(super) duration: Histogram,
}

/// The numbers of database connections.
#[derive(Clone, Copy, Debug, Default)]
pub struct PoolConnections {
    /// Open but not acquired.
    pub idle: usize,
    /// Open and acquired.
    pub in_use: usize,
    /// The maximum number of connections.
    pub max: usize,
}

/// The counters of accepted requests, looked up once, because a look-up takes a lock.
#[derive(Clone, Debug)]
pub(crate) struct AuthCounters {
    pub(crate) anonymous: IntCounter,
    pub(crate) api_key: IntCounter,
    pub(crate) token: IntCounter,
}

/// The metrics of one queue, looked up once.
#[derive(Debug)]
pub struct QueueMetrics {
    /// Requests in the queue now, waiting or executing.
    pub depth: IntGauge,
    /// Requests rejected because the store was full.
    pub rejected: IntCounter,
    /// Requests that one statement served.
    pub batch_size: Histogram,
    /// The time of its requests in each stage.
    pub stages: StoreStages,
}

impl Metrics {
    /// Registers every metric with a registry of its own.
    ///
    /// # Errors
    /// When two metrics have the same name, which is a mistake in this file.
    pub fn new() -> Result<Self, prometheus::Error> {
        let metrics = Self::register()?;
        metrics
            .build_info
            .with_label_values(&[env!("CARGO_PKG_VERSION"), revision()])
            .set(1);
        let process = ProcessCollector::for_self();
        metrics.registry.register(Box::new(process))?;
        Ok(metrics)
    }

    pub(super) fn request(&self, method: &str, path: &str, status: &str) -> RequestMetrics {
        RequestMetrics {
            total: self
                .http_requests
                .with_label_values(&[method, path, status]),
            duration: self.http_duration.with_label_values(&[method, path]),
        }
    }

    /// Records the duration of a query.
    pub fn query_took(&self, query: QueryName, time: Duration) {
        if let Some(series) = self.query_duration.0.get(&query) {
            series.observe(time.as_secs_f64());
        }
    }

    /// Records how long the response of a request took to send.
    pub(crate) fn response_written(&self, time: Duration) {
        self.request_stages.write.observe(time.as_secs_f64());
    }

    /// Exports a series of `db_errors_total` for each kind. If a series exists from the start, `rate()` includes
    /// its first increase.
    pub(crate) fn expect_db_errors(&self, kinds: &[&str]) {
        for kind in kinds {
            self.db_errors.with_label_values(&[kind]);
        }
    }

    /// Counts a failure of the database.
    pub(crate) fn db_error(&self, kind: &str) {
        self.db_errors.with_label_values(&[kind]).inc();
    }

    /// Exports every series of `auth_total` and `auth_file_reload_total`. If a series exists from the start, `rate()`
    /// includes its first increase.
    pub(crate) fn expect_auth(&self) {
        for method in ["api_key", "token"] {
            for outcome in ["rejected", "forbidden"] {
                self.auth.with_label_values(&[method, outcome]);
            }
        }
        for series in [
            ["anonymous", "rejected"],
            ["other", "rejected"],
            ["token", "unavailable"],
        ] {
            self.auth.with_label_values(&series);
        }
        for outcome in ["success", "failure"] {
            self.auth_file_reloads.with_label_values(&[outcome]);
        }
        self.auth_counters();
    }

    /// Returns the counters of accepted requests.
    pub(crate) fn auth_counters(&self) -> AuthCounters {
        let accepted = |method| self.auth.with_label_values(&[method, "accepted"]);
        AuthCounters {
            anonymous: accepted("anonymous"),
            api_key: accepted("api_key"),
            token: accepted("token"),
        }
    }

    /// Counts a request that was not accepted.
    pub(crate) fn count_auth(&self, method: &str, outcome: &str) {
        self.auth.with_label_values(&[method, outcome]).inc();
    }

    /// Counts a change of `AUTH_FILE` that was read.
    pub(crate) fn auth_file_reloaded(&self, in_force: bool) {
        let outcome = if in_force { "success" } else { "failure" };
        self.auth_file_reloads.with_label_values(&[outcome]).inc();
    }

    /// Returns the metrics of one queue.
    pub fn queue(&self, queue: &str) -> QueueMetrics {
        QueueMetrics {
            depth: self.queue_depth.with_label_values(&[queue]),
            rejected: self.queue_rejected.with_label_values(&[queue]),
            batch_size: self.batch_size.with_label_values(&[queue]),
            stages: self.request_stages.of_store(),
        }
    }

    /// Encodes all metrics in the Prometheus text format. Sets the numbers of `pool` first, and the ages of the keys
    /// of the issuers, by name.
    ///
    /// # Errors
    /// When a metric cannot be encoded.
    pub fn render(
        &self,
        pool: PoolConnections,
        key_set_ages: &[(String, Option<Duration>)],
    ) -> Result<Vec<u8>, prometheus::Error> {
        // An issuer that was removed has no series any more.
        self.auth_key_set_age.reset();
        for (issuer, age) in key_set_ages {
            self.auth_key_set_age
                .with_label_values(&[issuer])
                .set(age.map_or(f64::NAN, |age| age.as_secs_f64()));
        }
        let connections = |state: &str| self.pool_connections.with_label_values(&[state]);
        connections("idle").set(gauge(pool.idle));
        connections("in_use").set(gauge(pool.in_use));
        self.pool_max.set(gauge(pool.max));
        let mut text = Vec::new();
        TextEncoder::new().encode(&self.registry.gather(), &mut text)?;
        Ok(text)
    }
}

fn gauge(number: usize) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

/// The commit of the build, if the build provides it.
fn revision() -> &'static str {
    option_env!("REVISION").unwrap_or("unknown")
}
