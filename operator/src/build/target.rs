//! An OrderService that has been validated and completed with its defaults.

use k8s_openapi::api::core::v1::ResourceRequirements;
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference};
use kube::Resource as _;
use std::collections::BTreeMap;
use thiserror::Error;

use super::access::Access;
use super::database_secret;
use super::labels::{self, Component};
use super::pod_options::PodOptions;
use crate::crd::{
    Autoscaling, Database, DatabaseTls, Disruption, Maintenance, Monitoring, NetworkPolicyOptions,
    OnSecretChange, OrderService, OrderServiceSpec, PodMonitorOptions, ResourceLimits,
    ResourceRequests, RolloutStrategy, SecretKeyRef, ServiceAccountOptions, Settings,
};

/// Why an OrderService is invalid. The CRD rejects all of these; an older CRD may have accepted them.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum InvalidSpec {
    /// The spec has neither `replicas` nor `autoscaling`, or both.
    #[error("give either replicas or autoscaling, and not both")]
    Replicas,
    /// A field is missing that the API server always sets.
    #[error("metadata.{0} is missing")]
    Metadata(&'static str),
    /// Names of objects are derived from the name, so it is restricted.
    #[error(
        "metadata.name must be a DNS label that starts with a letter, of at most 43 characters"
    )]
    Name,
    /// A field whose content the schema does not describe has another form than in a pod.
    #[error("{field}: {message}")]
    Field {
        /// The field.
        field: &'static str,
        /// What is wrong.
        message: String,
    },
}

/// How the number of pods is decided.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Replicas {
    /// By the spec.
    Fixed(i32),
    /// By a HorizontalPodAutoscaler.
    Autoscaled(Autoscaling),
}

/// The input of the builders.
#[derive(Clone, Debug)]
pub(crate) struct Target {
    /// Name of the OrderService and of most of its objects.
    pub name: String,
    /// Namespace of the OrderService and of its objects.
    pub namespace: String,
    /// The reference to the OrderService in its objects.
    pub owner: OwnerReference,
    pub image: String,
    /// Tag of the image, or the start of its digest. `None` if it is not a valid label.
    pub version: Option<String>,
    /// How the number of pods is decided.
    pub replicas: Replicas,
    /// The secret that the service reads.
    pub database: SecretKeyRef,
    /// What happens when that secret changes.
    pub on_secret_change: OnSecretChange,
    /// The certificates for the connections to the database.
    pub database_tls: Option<DatabaseTls>,
    /// The secret that the migration and the maintenance read: only the owner of the tables may change partitions.
    pub migrations: SecretKeyRef,
    /// Who may call.
    pub access: Access,
    /// Requests and limits, with defaults.
    pub resources: ResourceRequirements,
    /// Settings of the service.
    pub settings: Settings,
    /// The allowed traffic.
    pub network_policy: NetworkPolicyOptions,
    /// The maximum number of pods that may be evicted at the same time.
    pub disruption: Disruption,
    /// How pods are replaced during a rollout.
    pub rollout: RolloutStrategy,
    /// Where the pods run, and what is added to them.
    pub pods: PodOptions,
    /// The ServiceAccount of the pods.
    pub service_account: ServiceAccountOptions,
    /// The PodMonitor, if there is one.
    pub pod_monitor: Option<PodMonitorOptions>,
    /// When data is maintained, and where removed orders go.
    pub maintenance: Maintenance,
    /// The number of seconds that a rollout may take without progress.
    pub progress_deadline_seconds: i32,
    /// Whether only the status is written.
    pub paused: bool,
}

impl Target {
    /// Validates an OrderService and adds the defaults.
    ///
    /// # Errors
    /// When it is invalid.
    pub(crate) fn new(object: &OrderService) -> Result<Self, InvalidSpec> {
        let pods = PodOptions::new(&object.spec)?;
        // No `..`, so that a field that is missing here does not compile.
        let OrderServiceSpec {
            image,
            replicas,
            autoscaling,
            database,
            migrations,
            auth,
            resources,
            settings,
            network_policy,
            disruption,
            rollout,
            image_pull_secrets: _,
            scheduling: _,
            pod_metadata: _,
            pod_template: _,
            security_context: _,
            service_account,
            monitoring: Monitoring { pod_monitor },
            maintenance,
            progress_deadline_seconds,
            paused,
        } = object.spec.clone();
        let name = object
            .metadata
            .name
            .clone()
            .ok_or(InvalidSpec::Metadata("name"))?;
        if name.len() > 43 || !name.starts_with(|first: char| first.is_ascii_lowercase()) {
            return Err(InvalidSpec::Name);
        }
        let Database {
            secret_ref: database,
            on_secret_change,
            tls: database_tls,
        } = database;
        Ok(Self {
            namespace: object
                .metadata
                .namespace
                .clone()
                .ok_or(InvalidSpec::Metadata("namespace"))?,
            owner: object
                .controller_owner_ref(&())
                .ok_or(InvalidSpec::Metadata("uid"))?,
            version: version(&image),
            image,
            replicas: match (replicas, autoscaling) {
                (Some(replicas), None) => Replicas::Fixed(replicas),
                (None, Some(autoscaling)) => Replicas::Autoscaled(autoscaling),
                _ => return Err(InvalidSpec::Replicas),
            },
            migrations: migrations.map_or_else(|| database.clone(), |other| other.secret_ref),
            database,
            access: Access::new(auth),
            resources: requirements(
                resources.requests.unwrap_or_default(),
                resources.limits.unwrap_or_default(),
            ),
            settings,
            network_policy,
            disruption,
            rollout,
            pods,
            service_account,
            pod_monitor,
            on_secret_change,
            database_tls,
            maintenance,
            progress_deadline_seconds,
            paused,
            name,
        })
    }

    /// Whether pods read a copy of the URL of the database.
    pub(crate) fn copies_url(&self) -> bool {
        match self.on_secret_change {
            OnSecretChange::Roll | OnSecretChange::Ignore => true,
            OnSecretChange::Reload => false,
        }
    }

    /// Returns this target with pods that read the copy of the URL with this digest.
    pub(super) fn reading_copy(&self, digest: &str) -> Self {
        let copy = SecretKeyRef {
            name: database_secret::name(self, digest),
            key: database_secret::KEY.to_owned(),
        };
        let mut target = self.clone();
        if target.migrations == target.database {
            target.migrations = copy.clone();
        }
        target.database = copy;
        target
    }

    /// Returns this target with another image.
    pub(super) fn running(&self, image: &str) -> Self {
        Self {
            version: version(image),
            image: image.to_owned(),
            ..self.clone()
        }
    }

    /// Metadata of an object that the OrderService owns.
    pub(super) fn object_meta(&self, name: &str, component: Option<Component>) -> ObjectMeta {
        ObjectMeta {
            name: Some(name.to_owned()),
            namespace: Some(self.namespace.clone()),
            labels: Some(labels::object(self, component)),
            owner_references: Some(vec![self.owner.clone()]),
            ..ObjectMeta::default()
        }
    }
}

/// Returns the tag, or the start of the digest. `None` if it is not a valid label.
fn version(image: &str) -> Option<String> {
    let (rest, digest) = match image.split_once('@') {
        Some((rest, digest)) => (rest, Some(digest)),
        None => (image, None),
    };
    let last = rest.rsplit('/').next().unwrap_or_default();
    let tag = last.split_once(':').map(|(_, tag)| tag.to_owned());
    let digest = || digest.map(|digest| digest.replace(':', "-").chars().take(19).collect());
    tag.or_else(digest).filter(|label: &String| {
        let edge = |c: Option<char>| c.is_some_and(|c| c.is_ascii_alphanumeric());
        label.len() <= 63 && edge(label.chars().next()) && edge(label.chars().last())
    })
}

/// Computes requests and limits. A missing request has its default, or the limit if that is lower.
fn requirements(requests: ResourceRequests, limits: ResourceLimits) -> ResourceRequirements {
    let quantity = |text: &str| Quantity(text.to_owned());
    let memory_limit = limits.memory.unwrap_or_else(|| quantity("128Mi"));
    let storage_limit = limits
        .ephemeral_storage
        .unwrap_or_else(|| quantity("256Mi"));
    let at_most = |request: Option<Quantity>, default: &str, limit: Option<&Quantity>| {
        request.unwrap_or_else(|| match limit {
            Some(limit) if amount(limit) < amount(&quantity(default)) => limit.clone(),
            _ => quantity(default),
        })
    };
    let requests = BTreeMap::from([
        (
            "cpu".to_owned(),
            at_most(requests.cpu, "100m", limits.cpu.as_ref()),
        ),
        (
            "memory".to_owned(),
            at_most(requests.memory, "32Mi", Some(&memory_limit)),
        ),
        (
            "ephemeral-storage".to_owned(),
            at_most(requests.ephemeral_storage, "64Mi", Some(&storage_limit)),
        ),
    ]);
    let mut all_limits = BTreeMap::from([
        ("memory".to_owned(), memory_limit),
        ("ephemeral-storage".to_owned(), storage_limit),
    ]);
    if let Some(cpu) = limits.cpu {
        all_limits.insert("cpu".to_owned(), cpu);
    }
    ResourceRequirements {
        claims: None,
        requests: Some(requests),
        limits: Some(all_limits),
    }
}

fn amount(quantity: &Quantity) -> Option<i128> {
    crate::quantity::parse(&quantity.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_version_is_the_tag_or_the_start_of_the_digest() {
        for (image, expected) in [
            ("order-service:1.2.3", Some("1.2.3")),
            ("localhost:5000/orders:1.2", Some("1.2")),
            (
                "localhost:5000/orders@sha256:0123456789abcdef",
                Some("sha256-0123456789ab"),
            ),
            ("orders:1.2@sha256:0123456789abcdef", Some("1.2")),
            ("orders:1.2_", None),
            ("localhost:5000/orders", None),
        ] {
            assert_eq!(version(image).as_deref(), expected, "{image}");
        }
    }

    #[test]
    fn a_limit_below_the_default_request_lowers_it() {
        let limits = ResourceLimits {
            memory: Some(Quantity("16Mi".to_owned())),
            ..ResourceLimits::default()
        };
        let built = requirements(ResourceRequests::default(), limits);
        assert_eq!(built.requests.unwrap()["memory"].0, "16Mi");
    }
}
