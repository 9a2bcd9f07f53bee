//! Labels and annotations.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;

use super::{StringMap, Target};

/// The field manager of applied objects, and the value of [`MANAGED_BY`].
pub(crate) const MANAGER: &str = "order-operator";
/// The label of objects that the operator created.
pub(crate) const MANAGED_BY: &str = "app.kubernetes.io/managed-by";
/// The label with the name of the OrderService.
pub(crate) const INSTANCE: &str = "app.kubernetes.io/instance";
/// The label of pods with the hash of their template.
pub(crate) const REVISION: &str = "orders.example.com/revision";
/// The annotation of each applied object with the digest of the applied content.
pub(crate) const APPLIED: &str = "orders.example.com/applied";
/// The annotation of a copy of the URL of the database with the name and the key of the secret that was copied.
pub(crate) const SECRET_SOURCE: &str = "orders.example.com/database-secret-source";
/// The prefix of the annotations of the operator.
pub(crate) const PREFIX: &str = "orders.example.com/";
/// The annotation with the fields that admission changed after an apply.
pub(crate) const ADMITTED: &str = "orders.example.com/admitted";
/// The annotation of pods with the digest of the secret that they read.
pub(crate) const SECRET_DIGEST: &str = "orders.example.com/database-secret";
/// The annotation of the Deployment with the pod template as it was applied.
pub(crate) const TEMPLATE: &str = "orders.example.com/template";
/// The annotation of the Deployment with the template for a rollback, while another one rolls out.
pub(crate) const LAST_GOOD: &str = "orders.example.com/last-good-template";
/// The annotation of the Deployment with the revision that last rolled out completely.
pub(crate) const GOOD_REVISION: &str = "orders.example.com/good-revision";

/// The annotation of an OrderService whose new value retries a failed rollout once.
pub(crate) const RETRY: &str = "orders.example.com/retry";

/// The purpose of a pod.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Component {
    /// Serves requests.
    Server,
    /// Migrates the schema.
    Migrate,
    /// Creates partitions and applies the retention.
    Maintain,
}

impl Component {
    fn as_str(self) -> &'static str {
        match self {
            Self::Server => "server",
            Self::Migrate => "migrate",
            Self::Maintain => "maintain",
        }
    }
}

/// The labels that select the pods of an instance: those of one component, or all of them.
pub(crate) fn selector(target: &Target, component: Option<Component>) -> StringMap {
    let mut labels = super::string_map([
        ("app.kubernetes.io/name", "order-service"),
        (INSTANCE, target.name.as_str()),
    ]);
    if let Some(component) = component {
        labels.insert(
            "app.kubernetes.io/component".to_owned(),
            component.as_str().to_owned(),
        );
    }
    labels
}

/// Labels of a pod.
pub(crate) fn pod(target: &Target, component: Component) -> StringMap {
    let mut labels = target.pods.metadata.labels.clone();
    labels.extend(selector(target, Some(component)));
    labels.insert(
        "app.kubernetes.io/part-of".to_owned(),
        "order-service".to_owned(),
    );
    if let Some(version) = &target.version {
        labels.insert("app.kubernetes.io/version".to_owned(), version.clone());
    }
    labels
}

/// Labels of an object that is not a pod.
pub(crate) fn object(target: &Target, component: Option<Component>) -> StringMap {
    let mut labels = selector(target, component);
    labels.insert(
        "app.kubernetes.io/part-of".to_owned(),
        "order-service".to_owned(),
    );
    labels.insert(MANAGED_BY.to_owned(), MANAGER.to_owned());
    labels
}

/// The selector as a field of an object.
pub(crate) fn label_selector(labels: StringMap) -> LabelSelector {
    LabelSelector {
        match_labels: Some(labels),
        match_expressions: None,
    }
}

/// The selector as text, for queries and the scale subresource.
pub(crate) fn query(labels: &StringMap) -> String {
    let pairs: Vec<_> = labels
        .iter()
        .map(|(key, value)| format!("{key}={value}"))
        .collect();
    pairs.join(",")
}
