//! The Deployment of the pods that serve requests.

use k8s_openapi::api::apps::v1::{
    Deployment, DeploymentSpec, DeploymentStrategy, RollingUpdateDeployment,
};
use k8s_openapi::api::core::v1::{
    ContainerPort, EnvVar, EnvVarSource, HTTPGetAction, PodTemplateSpec, Probe,
    ResourceFieldSelector, TopologySpreadConstraint,
};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

use super::labels::{self, Component, REVISION, SECRET_DIGEST};
use super::{Target, pod, short_hash, string_map};
use crate::crd::Settings;

const CONTAINER: &str = pod::SERVER_CONTAINER;

/// Builds the Deployment of a pod template. Without `replicas` it does not own that field.
pub(crate) fn build(
    target: &Target,
    template: PodTemplateSpec,
    replicas: Option<i32>,
) -> Deployment {
    let component = Some(Component::Server);
    Deployment {
        metadata: target.object_meta(&target.name, component),
        spec: Some(DeploymentSpec {
            replicas,
            revision_history_limit: Some(5),
            // A pod that fails shortly after its first success must not count as rolled out.
            min_ready_seconds: Some(10),
            progress_deadline_seconds: Some(target.progress_deadline_seconds),
            paused: None,
            strategy: Some(DeploymentStrategy {
                type_: Some("RollingUpdate".to_owned()),
                rolling_update: Some(RollingUpdateDeployment {
                    max_unavailable: Some(target.rollout.max_unavailable.clone()),
                    max_surge: Some(target.rollout.max_surge.clone()),
                }),
            }),
            selector: labels::label_selector(labels::selector(target, component)),
            template,
        }),
        status: None,
    }
}

/// Builds the template of the pods. `secret` is the digest of the secret: when it changes, the pods roll.
pub(crate) fn pod_template(
    target: &Target,
    config_map: &str,
    secret: Option<&str>,
) -> PodTemplateSpec {
    let mut container = pod::container(target, CONTAINER, &["serve"]);
    container.ports = Some(vec![port("http", 8080), port("metrics", 9090)]);
    container.env_from = Some(pod::settings(config_map));
    // Variables on which other parts of the pod depend: `env` overrides the ConfigMap.
    let mut env = vec![
        pod::variable("BIND_ADDRESS", "0.0.0.0:8080"),
        pod::variable("METRICS_ADDRESS", "0.0.0.0:9090"),
    ];
    env.extend(container.env.take().unwrap_or_default());
    env.extend(target.access.variables());
    env.extend([
        pod::variable("DRAIN_DELAY", &target.settings.drain_delay),
        pod::variable("SHUTDOWN_TIMEOUT", &target.settings.shutdown_timeout),
        workers(target.settings.workers),
    ]);
    container.env = Some(env);
    // Checks only the process itself: if liveness included the database, its failure would restart every pod.
    container.startup_probe = Some(probe("/healthz", 1, 1, 60));
    container.liveness_probe = Some(probe("/healthz", 10, 2, 3));
    // Checks the database, its schema, and whether the pod is draining.
    container.readiness_probe = Some(probe("/readyz", 5, 2, 2));

    let mut spec = pod::spec(target, &target.database, container);
    target.access.mount(&mut spec);
    spec.termination_grace_period_seconds = Some(grace_period(&target.settings));
    spec.topology_spread_constraints = Some(match &target.pods.topology_spread_constraints {
        Some(given) => given.iter().map(|one| selecting(target, one)).collect(),
        None => ["topology.kubernetes.io/zone", "kubernetes.io/hostname"]
            .map(|topology| selecting(target, &spread(topology)))
            .into(),
    });
    target.pods.merge_additions(&mut spec);
    let mut annotations = string_map([
        // For a Prometheus that discovers its targets by annotations.
        ("prometheus.io/scrape", "true"),
        ("prometheus.io/port", "9090"),
        ("prometheus.io/path", "/metrics"),
    ]);
    annotations.extend(target.pods.metadata.annotations.clone());
    annotations.extend(secret.map(|digest| (SECRET_DIGEST.to_owned(), digest.to_owned())));
    let mut template = PodTemplateSpec {
        metadata: Some(ObjectMeta {
            labels: Some(labels::pod(target, Component::Server)),
            annotations: Some(annotations),
            ..ObjectMeta::default()
        }),
        spec: Some(spec),
    };
    let revision = short_hash(&template);
    if let Some(labels) = template
        .metadata
        .as_mut()
        .and_then(|meta| meta.labels.as_mut())
    {
        labels.insert(REVISION.to_owned(), revision);
    }
    template
}

fn port(name: &str, container_port: i32) -> ContainerPort {
    ContainerPort {
        name: Some(name.to_owned()),
        container_port,
        protocol: Some("TCP".to_owned()),
        ..ContainerPort::default()
    }
}

/// The configured number, or the CPU request of the pod instead of the cores of the node. Divisor 1 rounds up, so
/// 100m is 1.
fn workers(set: Option<i32>) -> EnvVar {
    match set {
        Some(workers) => pod::variable("WORKERS", &workers.to_string()),
        None => EnvVar {
            name: "WORKERS".to_owned(),
            value: None,
            value_from: Some(EnvVarSource {
                resource_field_ref: Some(ResourceFieldSelector {
                    container_name: Some(CONTAINER.to_owned()),
                    resource: "requests.cpu".to_owned(),
                    divisor: Some(Quantity("1".to_owned())),
                }),
                ..EnvVarSource::default()
            }),
        },
    }
}

fn probe(path: &str, period: i32, timeout: i32, failures: i32) -> Probe {
    Probe {
        http_get: Some(HTTPGetAction {
            path: Some(path.to_owned()),
            port: IntOrString::String("http".to_owned()),
            ..HTTPGetAction::default()
        }),
        period_seconds: Some(period),
        timeout_seconds: Some(timeout),
        failure_threshold: Some(failures),
        ..Probe::default()
    }
}

fn spread(topology: &str) -> TopologySpreadConstraint {
    TopologySpreadConstraint {
        max_skew: 1,
        topology_key: topology.to_owned(),
        when_unsatisfiable: "ScheduleAnyway".to_owned(),
        ..TopologySpreadConstraint::default()
    }
}

/// A constraint without a selector selects the pods that serve.
fn selecting(target: &Target, constraint: &TopologySpreadConstraint) -> TopologySpreadConstraint {
    let mut constraint = constraint.clone();
    if constraint.label_selector.is_none() {
        let selector = labels::selector(target, Some(Component::Server));
        constraint.label_selector = Some(labels::label_selector(selector));
        // Only pods of one revision are compared. Otherwise the pods would be unevenly spread after a rollout.
        constraint
            .match_label_keys
            .get_or_insert_with(|| vec!["pod-template-hash".to_owned()]);
    }
    constraint
}

/// The seconds that a pod has to terminate: the drain, the requests in flight, the accepted work of the store
/// (twice the timeouts of a connection and a statement), and a margin.
fn grace_period(settings: &Settings) -> i64 {
    let seconds = |text: &str| {
        let span = humantime::parse_duration(text).unwrap_or_default();
        i64::try_from(span.as_millis().div_ceil(1000)).unwrap_or(i64::MAX)
    };
    let or = |text: &Option<String>, default| text.as_deref().map_or(default, seconds);
    let store = 2 * (or(&settings.pool_acquire_timeout, 5) + or(&settings.statement_timeout, 5));
    seconds(&settings.drain_delay) + seconds(&settings.shutdown_timeout) + store + 15
}
