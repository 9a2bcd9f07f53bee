//! The PodMonitor of the Prometheus operator. It selects pods and not a Service, so that unready pods are included,
//! whose metrics matter most.

use serde_json::{Value, json};

use super::Target;
use super::labels::{self, Component};

/// Builds the PodMonitor, or returns `None` if the spec has none.
pub(crate) fn build(target: &Target) -> Option<Value> {
    let options = target.pod_monitor.as_ref()?;
    let component = Some(Component::Server);
    let mut metadata = target.object_meta(&target.name, component);
    let labels = metadata.labels.get_or_insert_default();
    for (key, value) in &options.labels {
        labels.entry(key.clone()).or_insert_with(|| value.clone());
    }
    Some(json!({
        "metadata": metadata,
        "spec": {
            // The rules and the dashboard select job="order-service".
            "jobLabel": "app.kubernetes.io/name",
            "selector": {"matchLabels": labels::selector(target, component)},
            "podMetricsEndpoints": [{
                "port": "metrics", "path": "/metrics", "scheme": "http",
                "interval": options.interval, "scrapeTimeout": "5s",
            }],
            // Far above what the service exposes; a bound on mistakes.
            "sampleLimit": 5000,
        },
    }))
}
