//! An identity without a token: the service never uses the Kubernetes API.

use k8s_openapi::api::core::v1::ServiceAccount;

use super::Target;

/// The ServiceAccount of the pods.
pub(crate) fn build(target: &Target) -> ServiceAccount {
    ServiceAccount {
        metadata: target.object_meta(&target.name, None),
        automount_service_account_token: Some(false),
        ..ServiceAccount::default()
    }
}
