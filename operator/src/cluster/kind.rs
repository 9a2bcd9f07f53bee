//! The kinds of objects that an OrderService owns.

use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::autoscaling::v2::HorizontalPodAutoscaler;
use k8s_openapi::api::batch::v1::{CronJob, Job};
use k8s_openapi::api::core::v1::{ConfigMap, Secret, Service, ServiceAccount};
use k8s_openapi::api::networking::v1::NetworkPolicy;
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use kube::api::{ApiResource, GroupVersionKind};

/// A kind of object.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    /// The identity of the pods.
    ServiceAccount,
    /// The settings of the pods.
    ConfigMap,
    /// The allowed traffic of the pods.
    NetworkPolicy,
    /// The address of the API.
    Service,
    /// The maximum number of pods that may be evicted.
    PodDisruptionBudget,
    /// The migration.
    Job,
    /// The pods.
    Deployment,
    /// The autoscaler of the pods.
    HorizontalPodAutoscaler,
    /// The maintenance.
    CronJob,
    /// A copy of the URL of the database.
    Secret,
    /// The scrapes of the metrics.
    PodMonitor,
}

impl Kind {
    /// The smallest value in the order of `Ord`.
    pub const FIRST: Self = Self::ServiceAccount;

    /// Every kind that is watched, in the order in which the objects are applied. Secrets are not watched, because the
    /// right to watch some of them includes all of them. PodMonitors are not watched, because the cluster may not have
    /// the kind.
    pub const WATCHED: [Self; 9] = [
        Self::ServiceAccount,
        Self::NetworkPolicy,
        Self::ConfigMap,
        Self::Service,
        Self::PodDisruptionBudget,
        Self::Job,
        Self::Deployment,
        Self::HorizontalPodAutoscaler,
        Self::CronJob,
    ];

    /// The name of the kind in the API.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::ServiceAccount => "ServiceAccount",
            Self::ConfigMap => "ConfigMap",
            Self::NetworkPolicy => "NetworkPolicy",
            Self::Service => "Service",
            Self::PodDisruptionBudget => "PodDisruptionBudget",
            Self::Job => "Job",
            Self::Deployment => "Deployment",
            Self::HorizontalPodAutoscaler => "HorizontalPodAutoscaler",
            Self::CronJob => "CronJob",
            Self::Secret => "Secret",
            Self::PodMonitor => "PodMonitor",
        }
    }

    /// Whether a reconcile reads the status: that of a Job is the migration, that of a Deployment the rollout.
    pub(crate) fn needs_status(self) -> bool {
        match self {
            Self::Job | Self::Deployment => true,
            Self::ServiceAccount
            | Self::ConfigMap
            | Self::NetworkPolicy
            | Self::Service
            | Self::PodDisruptionBudget
            | Self::HorizontalPodAutoscaler
            | Self::CronJob
            | Self::Secret
            | Self::PodMonitor => false,
        }
    }

    /// The group, version and plural of the kind.
    pub fn resource(self) -> ApiResource {
        match self {
            Self::ServiceAccount => ApiResource::erase::<ServiceAccount>(&()),
            Self::ConfigMap => ApiResource::erase::<ConfigMap>(&()),
            Self::NetworkPolicy => ApiResource::erase::<NetworkPolicy>(&()),
            Self::Service => ApiResource::erase::<Service>(&()),
            Self::PodDisruptionBudget => ApiResource::erase::<PodDisruptionBudget>(&()),
            Self::Job => ApiResource::erase::<Job>(&()),
            Self::Deployment => ApiResource::erase::<Deployment>(&()),
            Self::HorizontalPodAutoscaler => ApiResource::erase::<HorizontalPodAutoscaler>(&()),
            Self::CronJob => ApiResource::erase::<CronJob>(&()),
            Self::Secret => ApiResource::erase::<Secret>(&()),
            Self::PodMonitor => ApiResource::from_gvk(&GroupVersionKind::gvk(
                "monitoring.coreos.com",
                "v1",
                "PodMonitor",
            )),
        }
    }
}
