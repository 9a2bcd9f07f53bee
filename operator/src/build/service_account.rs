//! An identity without a token: the service never uses the Kubernetes API.

use k8s_openapi::api::core::v1::ServiceAccount;

use super::Target;

/// The ServiceAccount of the pods.
pub(crate) fn build(target: &Target) -> ServiceAccount {
    let mut metadata = target.object_meta(&target.name, None);
    let annotations = &target.service_account.annotations;
    metadata.annotations = (!annotations.is_empty()).then(|| annotations.clone());
    ServiceAccount {
        metadata,
        automount_service_account_token: Some(false),
        ..ServiceAccount::default()
    }
}
