//! The settings of the service. The name contains a hash of the content: a changed setting rolls the pods, and
//! pods of a template that is rolled back find their previous settings.

use k8s_openapi::api::core::v1::ConfigMap;

use super::labels::Component;
use super::{StringMap, Target, short_hash};
use crate::crd::{LogFormat, Settings};

/// Builds the ConfigMap from which the pods take their environment.
pub(crate) fn build(target: &Target) -> ConfigMap {
    let data = environment(&target.settings);
    let name = format!("{}-config-{}", target.name, short_hash(&data));
    ConfigMap {
        metadata: target.object_meta(&name, Some(Component::Server)),
        data: Some(data),
        immutable: Some(true),
        ..ConfigMap::default()
    }
}

fn environment(settings: &Settings) -> StringMap {
    // No `..`, so that a setting that is missing here does not compile.
    let Settings {
        pool_max_size,
        pool_min_idle,
        pool_acquire_timeout,
        pool_idle_timeout,
        pool_max_lifetime,
        statement_timeout,
        request_timeout,
        max_body_bytes,
        queue_capacity,
        max_connections,
        response_buffer_bytes,
        max_streams,
        rate_limit,
        rate_burst,
        event_retention,
        idempotency_retention,
        order_retention,
        // Other parts of the pod depend on these, so they are variables in the Deployment.
        drain_delay: _,
        shutdown_timeout: _,
        workers: _,
        log_format,
        rust_log,
    } = settings;
    let log_format = log_format.map(|format| match format {
        LogFormat::Json => "json".to_owned(),
        LogFormat::Text => "text".to_owned(),
    });
    [
        ("POOL_MAX_SIZE", Some(pool_max_size.to_string())),
        ("POOL_MIN_IDLE", Some(pool_min_idle.to_string())),
        ("POOL_ACQUIRE_TIMEOUT", pool_acquire_timeout.clone()),
        ("POOL_IDLE_TIMEOUT", pool_idle_timeout.clone()),
        ("POOL_MAX_LIFETIME", pool_max_lifetime.clone()),
        ("STATEMENT_TIMEOUT", statement_timeout.clone()),
        ("REQUEST_TIMEOUT", Some(request_timeout.clone())),
        (
            "MAX_BODY_BYTES",
            max_body_bytes.map(|bytes| bytes.to_string()),
        ),
        (
            "QUEUE_CAPACITY",
            queue_capacity.map(|length| length.to_string()),
        ),
        (
            "MAX_CONNECTIONS",
            max_connections.map(|count| count.to_string()),
        ),
        (
            "RESPONSE_BUFFER_BYTES",
            response_buffer_bytes.map(|bytes| bytes.to_string()),
        ),
        ("MAX_STREAMS", max_streams.map(|count| count.to_string())),
        ("RATE_LIMIT", rate_limit.map(|rate| rate.to_string())),
        ("RATE_BURST", rate_burst.map(|count| count.to_string())),
        ("EVENT_RETENTION", event_retention.clone()),
        ("IDEMPOTENCY_RETENTION", idempotency_retention.clone()),
        ("ORDER_RETENTION", order_retention.clone()),
        ("LOG_FORMAT", log_format),
        ("RUST_LOG", Some(rust_log.clone())),
    ]
    .into_iter()
    .filter_map(|(name, value)| Some((name.to_owned(), value?)))
    .collect()
}
