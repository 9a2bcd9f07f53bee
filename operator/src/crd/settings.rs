//! Settings of the service, typed: the environment variables that its documentation lists.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::schema;

/// Settings of the service. Each is the environment variable of the same name; what is left out
/// keeps the service's own default. Addresses, files and who migrates are not settings here: they
/// belong to the operator.
#[derive(Clone, Debug, Deserialize, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase", default)]
#[schemars(extend("x-kubernetes-validations" = [{
    "rule": "self.poolMinIdle <= self.poolMaxSize",
    "message": "settings.poolMinIdle must not be larger than settings.poolMaxSize",
}]))]
pub struct Settings {
    /// POOL_MAX_SIZE: most database connections of each pod.
    #[schemars(range(min = 1, max = 10000))]
    pub pool_max_size: i32,
    /// POOL_MIN_IDLE: connections each pod keeps open.
    #[schemars(range(min = 0, max = 10000))]
    pub pool_min_idle: i32,
    /// POOL_ACQUIRE_TIMEOUT: how long work may wait for a connection.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 12), regex(pattern = schema::POSITIVE_DURATION))]
    pub pool_acquire_timeout: Option<String>,
    /// POOL_IDLE_TIMEOUT: a connection idle for longer is closed.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 12), regex(pattern = schema::POSITIVE_DURATION))]
    pub pool_idle_timeout: Option<String>,
    /// POOL_MAX_LIFETIME: a connection is replaced at this age.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 12), regex(pattern = schema::POSITIVE_DURATION))]
    pub pool_max_lifetime: Option<String>,
    /// STATEMENT_TIMEOUT: how long the database may work on one statement.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 12), regex(pattern = schema::POSITIVE_DURATION))]
    pub statement_timeout: Option<String>,
    /// REQUEST_TIMEOUT: how long a whole request may take.
    #[schemars(length(max = 12), regex(pattern = schema::POSITIVE_DURATION))]
    pub request_timeout: String,
    /// MAX_BODY_BYTES: largest body of a request.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 1073741824))]
    pub max_body_bytes: Option<i64>,
    /// QUEUE_CAPACITY: requests that may wait for the database.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 1000000))]
    pub queue_capacity: Option<i32>,
    /// MAX_CONNECTIONS: most connections of clients.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 1000000))]
    pub max_connections: Option<i32>,
    /// RESPONSE_BUFFER_BYTES: bytes of responses that are not sent yet.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 1099511627776_i64))]
    pub response_buffer_bytes: Option<i64>,
    /// MAX_STREAMS: open event streams.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 1000000))]
    pub max_streams: Option<i32>,
    /// DRAIN_DELAY: how long a pod that is going keeps accepting, until all have noticed.
    #[schemars(length(max = 12), regex(pattern = schema::DURATION))]
    pub drain_delay: String,
    /// SHUTDOWN_TIMEOUT: how long requests in flight may take after that.
    #[schemars(length(max = 12), regex(pattern = schema::DURATION))]
    pub shutdown_timeout: String,
    /// WORKERS: HTTP threads of each pod; left out, the CPU request decides.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 1024))]
    pub workers: Option<i32>,
    /// LOG_FORMAT: the form of the log lines.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub log_format: Option<LogFormat>,
    /// RUST_LOG: what to log: a level, or `target=level` items parted by commas.
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
            drain_delay: "5s".to_owned(),
            shutdown_timeout: "20s".to_owned(),
            workers: None,
            log_format: None,
            rust_log: "info".to_owned(),
        }
    }
}

/// The form of the log lines.
#[derive(Clone, Copy, Debug, Deserialize, JsonSchema, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// One JSON object a line.
    Json,
    /// For people.
    Text,
}
