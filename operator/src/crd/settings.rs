//! The settings of the service: its environment variables, typed.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::schema;

/// Settings of the service. Each is the environment variable of the same name. An omitted setting without a
/// default here keeps the default of the service. The operator sets addresses, files and migrations itself.
#[derive(Clone, Debug, Deserialize, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase", default)]
#[schemars(extend("x-kubernetes-validations" = [{
    "rule": "self.poolMinIdle <= self.poolMaxSize",
    "message": "settings.poolMinIdle must not be larger than settings.poolMaxSize",
}, {
    "rule": "!has(self.rateBurst) || has(self.rateLimit)",
    "message": "settings.rateBurst needs settings.rateLimit",
}]))]
pub struct Settings {
    /// `POOL_MAX_SIZE`: the maximum number of database connections of each pod.
    #[schemars(range(min = 1, max = 10000))]
    pub pool_max_size: i32,
    /// `POOL_MIN_IDLE`: the idle database connections that each pod keeps open. Not above `poolMaxSize`.
    #[schemars(range(min = 0, max = 10000))]
    pub pool_min_idle: i32,
    /// `POOL_ACQUIRE_TIMEOUT`: how long a request may wait for a database connection.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 12), regex(pattern = schema::POSITIVE_DURATION))]
    pub pool_acquire_timeout: Option<String>,
    /// `POOL_IDLE_TIMEOUT`: how long a database connection may be idle before it is closed.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 12), regex(pattern = schema::POSITIVE_DURATION))]
    pub pool_idle_timeout: Option<String>,
    /// `POOL_MAX_LIFETIME`: the age at which a database connection is replaced.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 12), regex(pattern = schema::POSITIVE_DURATION))]
    pub pool_max_lifetime: Option<String>,
    /// `STATEMENT_TIMEOUT`: how long one statement may run.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 12), regex(pattern = schema::POSITIVE_DURATION))]
    pub statement_timeout: Option<String>,
    /// `REQUEST_TIMEOUT`: how long a request may take.
    #[schemars(length(max = 12), regex(pattern = schema::POSITIVE_DURATION))]
    pub request_timeout: String,
    /// `MAX_BODY_BYTES`: the maximum number of bytes of a request body.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 1073741824))]
    pub max_body_bytes: Option<i64>,
    /// `QUEUE_CAPACITY`: the maximum number of requests that wait for the database.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 1000000))]
    pub queue_capacity: Option<i32>,
    /// `MAX_CONNECTIONS`: the maximum number of connections of clients.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 1000000))]
    pub max_connections: Option<i32>,
    /// `RESPONSE_BUFFER_BYTES`: the maximum number of bytes of responses that are not sent yet.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 1099511627776_i64))]
    pub response_buffer_bytes: Option<i64>,
    /// `MAX_STREAMS`: the maximum number of open event streams and exports.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 1000000))]
    pub max_streams: Option<i32>,
    /// `RATE_LIMIT`: the requests per second that each pod accepts from one caller.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 1000000))]
    pub rate_limit: Option<i32>,
    /// `RATE_BURST`: the requests that one caller may send at once. Needs `rateLimit`, which is its default.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 1000000))]
    pub rate_burst: Option<i32>,
    /// `EVENT_RETENTION`: how long events are kept, such as `90d`. Whole months are removed. Default: indefinitely.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 6), regex(pattern = schema::RETENTION))]
    pub event_retention: Option<String>,
    /// `IDEMPOTENCY_RETENTION`: how long idempotency keys are kept, such as `30d`. Default: as long as their orders.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 6), regex(pattern = schema::RETENTION))]
    pub idempotency_retention: Option<String>,
    /// `ORDER_RETENTION`: the time without a change after which delivered and cancelled orders are archived and
    /// removed, such as `2y`. Needs `maintenance.archive`. Default: never.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 6), regex(pattern = schema::RETENTION))]
    pub order_retention: Option<String>,
    /// `DRAIN_DELAY`: how long a terminating pod accepts connections, until all clients use other pods.
    #[schemars(length(max = 12), regex(pattern = schema::DURATION))]
    pub drain_delay: String,
    /// `SHUTDOWN_TIMEOUT`: how long requests in flight may take after the drain.
    #[schemars(length(max = 12), regex(pattern = schema::DURATION))]
    pub shutdown_timeout: String,
    /// `WORKERS`: the HTTP threads of each pod. Default: the CPU request, rounded up.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 1024))]
    pub workers: Option<i32>,
    /// `LOG_FORMAT`: the format of the log lines, `json` or `text`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub log_format: Option<LogFormat>,
    /// `RUST_LOG`: a level, or `target=level` items separated by commas.
    #[schemars(length(min = 1, max = 512))]
    pub rust_log: String,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            pool_max_size: 20,
            pool_min_idle: 5,
            pool_acquire_timeout: None,
            pool_idle_timeout: None,
            pool_max_lifetime: None,
            statement_timeout: None,
            request_timeout: "10s".to_owned(),
            max_body_bytes: None,
            queue_capacity: None,
            max_connections: None,
            response_buffer_bytes: None,
            max_streams: None,
            rate_limit: None,
            rate_burst: None,
            event_retention: None,
            idempotency_retention: None,
            order_retention: None,
            drain_delay: "5s".to_owned(),
            shutdown_timeout: "20s".to_owned(),
            workers: None,
            log_format: None,
            rust_log: "info".to_owned(),
        }
    }
}

/// `LOG_FORMAT`: the format of the log lines, `json` or `text`.
#[derive(Clone, Copy, Debug, Deserialize, JsonSchema, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// One JSON object per line.
    Json,
    /// Human-readable text.
    Text,
}
