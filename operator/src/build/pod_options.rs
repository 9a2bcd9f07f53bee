//! What a platform decides about pods: where they run, with which identity, and what is added to them.

use k8s_openapi::DeepMerge as _;
use k8s_openapi::api::core::v1::{
    Affinity, Capabilities, Container, LocalObjectReference, PodSpec, SecurityContext, Toleration,
    TopologySpreadConstraint,
};
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::target::InvalidSpec;
use super::{StringMap, pod};
use crate::crd::{
    LocalSecretRef, OrderServiceSpec, PodMetadata, PodTemplate, PodUser, Scheduling, TaintEffect,
    TolerationOperator,
};

/// The options of pods, with the types of the Kubernetes API.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct PodOptions {
    node_selector: StringMap,
    tolerations: Vec<Toleration>,
    affinity: Option<Affinity>,
    pub(super) topology_spread_constraints: Option<Vec<TopologySpreadConstraint>>,
    priority_class_name: Option<String>,
    runtime_class_name: Option<String>,
    image_pull_secrets: Vec<LocalObjectReference>,
    /// Labels and annotations.
    pub(super) metadata: PodMetadata,
    /// Who decides user and group.
    pub(super) user: PodUser,
    /// Additions to the pods that serve.
    additions: Option<PodSpec>,
}

impl PodOptions {
    /// Reads the options of a spec.
    ///
    /// # Errors
    /// When a field has another form than in a pod.
    pub(super) fn new(spec: &OrderServiceSpec) -> Result<Self, InvalidSpec> {
        let Scheduling {
            node_selector,
            tolerations,
            affinity,
            topology_spread_constraints,
            priority_class_name,
            runtime_class_name,
        } = spec.scheduling.clone();
        let affinity = affinity
            .map(|affinity| parsed("scheduling.affinity", affinity))
            .transpose()?;
        let topology_spread_constraints = topology_spread_constraints
            .map(|all| {
                let field = "scheduling.topologySpreadConstraints";
                all.into_iter().map(|one| parsed(field, one)).collect()
            })
            .transpose()?;
        Ok(Self {
            node_selector,
            tolerations: tolerations.into_iter().map(toleration).collect(),
            affinity,
            topology_spread_constraints,
            priority_class_name,
            runtime_class_name,
            image_pull_secrets: spec
                .image_pull_secrets
                .iter()
                .map(|LocalSecretRef { name }| LocalObjectReference { name: name.clone() })
                .collect(),
            metadata: spec.pod_metadata.clone(),
            user: spec.security_context,
            additions: spec.pod_template.clone().map(additions).transpose()?,
        })
    }

    /// Applies the options of all pods.
    pub(super) fn apply(&self, spec: &mut PodSpec) {
        let list = |all: &Vec<_>| (!all.is_empty()).then(|| all.clone());
        spec.node_selector = (!self.node_selector.is_empty()).then(|| self.node_selector.clone());
        spec.tolerations = list(&self.tolerations);
        spec.affinity.clone_from(&self.affinity);
        spec.priority_class_name
            .clone_from(&self.priority_class_name);
        spec.runtime_class_name.clone_from(&self.runtime_class_name);
        spec.image_pull_secrets =
            (!self.image_pull_secrets.is_empty()).then(|| self.image_pull_secrets.clone());
    }

    /// Merges the additions to the pods that serve, as server-side apply merges.
    pub(super) fn merge_additions(&self, spec: &mut PodSpec) {
        if let Some(additions) = &self.additions {
            let grace_period = spec.termination_grace_period_seconds;
            spec.merge_from(additions.clone());
            // A shorter period would cut off requests in flight.
            spec.termination_grace_period_seconds =
                spec.termination_grace_period_seconds.max(grace_period);
        }
    }
}

fn parsed<T: DeserializeOwned>(field: &'static str, value: Value) -> Result<T, InvalidSpec> {
    serde_json::from_value(value).map_err(|error| InvalidSpec::Field {
        field,
        message: error.to_string(),
    })
}

fn toleration(toleration: crate::crd::Toleration) -> Toleration {
    let crate::crd::Toleration {
        key,
        operator,
        value,
        effect,
        toleration_seconds,
    } = toleration;
    let operator = operator.map(|operator| match operator {
        TolerationOperator::Equal => "Equal",
        TolerationOperator::Exists => "Exists",
    });
    let effect = effect.map(|effect| match effect {
        TaintEffect::NoSchedule => "NoSchedule",
        TaintEffect::PreferNoSchedule => "PreferNoSchedule",
        TaintEffect::NoExecute => "NoExecute",
    });
    Toleration {
        key,
        operator: operator.map(str::to_owned),
        value,
        effect: effect.map(str::to_owned),
        toleration_seconds,
    }
}

/// Takes the fields that may be added. The schema rejects all others; a spec that did not pass it, such as one that is
/// rendered, must not weaken the pods either.
fn additions(template: PodTemplate) -> Result<PodSpec, InvalidSpec> {
    let PodTemplate { spec } = template;
    let spec: PodSpec = parsed("podTemplate.spec", spec)?;
    let invalid = |message: &str| InvalidSpec::Field {
        field: "podTemplate.spec",
        message: message.to_owned(),
    };
    let volumes = spec.volumes.iter().flatten();
    if volumes.clone().any(|volume| volume.host_path.is_some()) {
        return Err(invalid("hostPath is not allowed"));
    }
    if volumes
        .clone()
        .any(|volume| pod::RESERVED_VOLUMES.contains(&volume.name.as_str()))
    {
        return Err(invalid("a volume has the name of one of the operator"));
    }
    Ok(PodSpec {
        containers: spec.containers.into_iter().map(container).collect(),
        init_containers: spec
            .init_containers
            .map(|all| all.into_iter().map(hardened).collect()),
        volumes: spec.volumes,
        host_aliases: spec.host_aliases,
        dns_policy: spec.dns_policy,
        dns_config: spec.dns_config,
        readiness_gates: spec.readiness_gates,
        host_users: spec.host_users,
        termination_grace_period_seconds: spec.termination_grace_period_seconds,
        ..PodSpec::default()
    })
}

/// Takes the additions to the container of the service, or an added container. `envFrom` is an atomic list, so it would
/// replace the settings.
fn container(container: Container) -> Container {
    if container.name != pod::SERVER_CONTAINER {
        return hardened(container);
    }
    Container {
        name: container.name,
        env: container.env,
        volume_mounts: container.volume_mounts,
        ..Container::default()
    }
}

/// Hardens an added container like that of the service, except for what it may decide.
fn hardened(mut container: Container) -> Container {
    let given = container.security_context.unwrap_or_default();
    container.security_context = Some(SecurityContext {
        allow_privilege_escalation: Some(false),
        read_only_root_filesystem: Some(given.read_only_root_filesystem.unwrap_or(true)),
        run_as_non_root: Some(true),
        run_as_user: given.run_as_user,
        run_as_group: given.run_as_group,
        capabilities: Some(Capabilities {
            add: None,
            drop: Some(vec!["ALL".to_owned()]),
        }),
        ..SecurityContext::default()
    });
    for port in container.ports.iter_mut().flatten() {
        port.host_port = None;
    }
    container
}
