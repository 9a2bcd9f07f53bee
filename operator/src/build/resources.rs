//! All objects of an OrderService.

use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::autoscaling::v2::HorizontalPodAutoscaler;
use k8s_openapi::api::batch::v1::{CronJob, Job};
use k8s_openapi::api::core::v1::{ConfigMap, Service, ServiceAccount};
use k8s_openapi::api::networking::v1::NetworkPolicy;
use k8s_openapi::api::policy::v1::PodDisruptionBudget;

use serde_json::Value;

use super::{Replicas, Target, short_hash};
use crate::crd::OnSecretChange;

/// The objects of an OrderService. The fields are in the order in which the objects are applied. Callers
/// destructure it without `..`, so that a new object cannot be forgotten.
pub(crate) struct Resources {
    pub(crate) service_account: ServiceAccount,
    /// Absent if it is disabled.
    pub(crate) network_policy: Option<NetworkPolicy>,
    pub(crate) config_map: ConfigMap,
    pub(crate) service: Service,
    /// Absent if it is disabled.
    pub(crate) pod_disruption_budget: Option<PodDisruptionBudget>,
    /// Absent while a secret is missing.
    pub(crate) workload: Option<Workload>,
    /// Absent when the spec sets the number of replicas.
    pub(crate) horizontal_pod_autoscaler: Option<HorizontalPodAutoscaler>,
    /// Absent if it is disabled.
    pub(crate) maintenance_cron_job: Option<CronJob>,
    /// Absent if the spec has none.
    pub(crate) pod_monitor: Option<Value>,
}

/// The objects that run pods.
pub(crate) struct Workload {
    /// Identifies what is migrated: the image, the secret, and its content if a change of it is migrated.
    pub(crate) migration_revision: String,
    pub(crate) migration_job: Job,
    /// Exists while the migration runs. Absent if budgets are disabled.
    pub(crate) migration_budget: Option<PodDisruptionBudget>,
    /// Without `spec.replicas` if an autoscaler decides it.
    pub(crate) deployment: Deployment,
}

/// Digests of the secrets that pods read. A changed digest changes the objects, as `database.onSecretChange` says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct SecretDigests {
    /// Of the secret that the service reads.
    pub(crate) database: String,
    /// Of the secret that the migration reads.
    pub(crate) migrations: String,
}

/// Builds the objects. Without `secrets` there is no workload.
pub(crate) fn resources(target: &Target, secrets: Option<&SecretDigests>) -> Resources {
    let config_map = super::config_map(target);
    let config_map_name = config_map.metadata.name.clone().unwrap_or_default();
    let with_url = match secrets {
        Some(secrets) if target.copies_url() => target.reading_copy(&secrets.database),
        _ => target.clone(),
    };
    let workload = secrets.map(|secrets| workload(target, &with_url, &config_map_name, secrets));
    Resources {
        service_account: super::service_account(target),
        network_policy: super::network_policy(target),
        maintenance_cron_job: super::maintenance_cron_job(&with_url, &config_map_name),
        config_map,
        service: super::service(target),
        pod_disruption_budget: super::pod_disruption_budget(target),
        workload,
        horizontal_pod_autoscaler: super::horizontal_pod_autoscaler(target),
        pod_monitor: super::pod_monitor(target),
    }
}

/// Builds the CronJob of the image and the settings that serve, which may not be those of the spec.
pub(crate) fn maintenance_of(
    target: &Target,
    secrets: &SecretDigests,
    image: &str,
    config_map: &str,
) -> Option<CronJob> {
    let mut target = target.running(image);
    if target.copies_url() {
        target = target.reading_copy(&secrets.database);
    }
    super::maintenance_cron_job(&target, config_map)
}

/// Builds the objects that run pods. `with_url` reads the URL that `secrets` describes.
fn workload(
    target: &Target,
    with_url: &Target,
    config_map: &str,
    secrets: &SecretDigests,
) -> Workload {
    let migrated_content = match target.on_secret_change {
        OnSecretChange::Roll => secrets.migrations.as_str(),
        // Its content is that of the copy, which stays.
        OnSecretChange::Ignore if target.migrations == target.database => &secrets.migrations,
        // A change of the content alone is not migrated.
        OnSecretChange::Reload | OnSecretChange::Ignore => "",
    };
    let migration_revision = super::migration_revision(target, migrated_content);
    // A Job is immutable. A migration that is not done yet gets another Job when anything in it changes: a corrected
    // URL, a toleration, or a memory limit.
    let job = super::migration_job(with_url, &migration_revision);
    let job_revision = short_hash(&(&migration_revision, &secrets.migrations, &job.spec));
    let rolled_content = target.copies_url().then_some(secrets.database.as_str());
    let template = super::pod_template(with_url, config_map, rolled_content);
    let replicas = match &target.replicas {
        Replicas::Fixed(replicas) => Some(*replicas),
        Replicas::Autoscaled(_) => None,
    };
    Workload {
        migration_job: super::migration_job(with_url, &job_revision),
        migration_budget: super::migration_budget(target),
        migration_revision,
        deployment: super::deployment(target, template, replicas),
    }
}
