//! An OrderService that was found fit to be built.

use k8s_openapi::api::core::v1::ResourceRequirements;
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference};
use kube::Resource as _;
use std::collections::BTreeMap;
use thiserror::Error;

use super::labels::{self, Component};
use crate::crd::{
    Autoscaling, Disruption, NetworkPolicyOptions, OrderService, OrderServiceSpec, ResourceList,
    SecretKeyRef, Settings,
};

/// Why an OrderService cannot be built. The CRD refuses all of these; an older one may not have.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum InvalidSpec {
    /// Neither or both.
    #[error("give either replicas or autoscaling, and not both")]
    Replicas,
    /// An object of the API always has these.
    #[error("metadata.{0} is missing")]
    Metadata(&'static str),
    /// Names are derived from it.
    #[error(
        "metadata.name must be a DNS label that starts with a letter, of at most 44 characters"
    )]
    Name,
}

/// Who decides how many pods there are.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Replicas {
    /// The spec.
    Fixed(i32),
    /// A HorizontalPodAutoscaler.
    Autoscaled(Autoscaling),
}

/// Everything that builders need to know.
#[derive(Clone, Debug)]
pub(crate) struct Target {
    /// Name of the OrderService and of most of what it is made of.
    pub name: String,
    /// Where all of it is.
    pub namespace: String,
    /// Who owns it.
    pub owner: OwnerReference,
    /// The image.
    pub image: String,
    /// The image's tag or the start of its digest, where it is fit for a label.
    pub version: Option<String>,
    /// Who decides how many pods there are.
    pub replicas: Replicas,
    /// The secret that pods read.
    pub database: SecretKeyRef,
    /// The secret that the migration reads.
    pub migrations: SecretKeyRef,
    /// Requests and limits, defaults filled in.
    pub resources: ResourceRequirements,
    /// Settings of the service.
    pub settings: Settings,
    /// Which traffic is let in and out.
    pub network_policy: NetworkPolicyOptions,
    /// How many pods may be evicted at a time.
    pub disruption: Disruption,
    /// Seconds a rollout may go without progress.
    pub progress_deadline_seconds: i32,
    /// Nothing is written but the status.
    pub paused: bool,
}

impl Target {
    /// Checks an OrderService and fills in what it leaves out.
    ///
    /// # Errors
    /// When it cannot be built.
    pub(crate) fn new(object: &OrderService) -> Result<Self, InvalidSpec> {
        // No `..`: a field that is added and forgotten here does not compile.
        let OrderServiceSpec {
            image,
            replicas,
            autoscaling,
            database,
            migrations,
            resources,
            settings,
            network_policy,
            disruption,
            progress_deadline_seconds,
            paused,
        } = object.spec.clone();
        let name = object
            .metadata
            .name
            .clone()
            .ok_or(InvalidSpec::Metadata("name"))?;
        if name.len() > 44 || !name.starts_with(|first: char| first.is_ascii_lowercase()) {
            return Err(InvalidSpec::Name);
        }
        let database = database.secret_ref;
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
            resources: requirements(
                resources.requests.unwrap_or_default(),
                resources.limits.unwrap_or_default(),
            ),
            settings,
            network_policy,
            disruption,
            progress_deadline_seconds,
            paused,
            name,
        })
    }

    /// Metadata of an object that this is made of.
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

/// The tag, or the start of the digest, where it is fit for a label.
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

/// Requests and limits. What is left out keeps its default, unless a limit is below it.
fn requirements(requests: ResourceList, limits: ResourceList) -> ResourceRequirements {
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
    fn versions() {
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
        let limits = ResourceList {
            memory: Some(Quantity("16Mi".to_owned())),
            ..ResourceList::default()
        };
        let built = requirements(ResourceList::default(), limits);
        assert_eq!(built.requests.unwrap()["memory"].0, "16Mi");
    }
}
