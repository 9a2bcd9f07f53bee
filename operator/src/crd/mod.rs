//! The custom resource `OrderService`.
//!
//! `order-operator crd` generates the CRD from these types. A rule that the schema cannot express is a CEL rule at
//! the field, with a message for users. The doc comments are the descriptions of the CRD. A last sentence
//! `Default: ….` becomes a column of the table in docs/OPERATOR.md.

mod auth;
mod database;
mod maintenance;
mod network;
mod pod;
mod pod_template;
mod resources;
mod scaling;
mod schema;
mod settings;
mod spec;
mod status;

pub use auth::{AnonymousScope, Auth, AuthSecretRef};
pub use database::{
    CaSecretRef, ClientSecretRef, Database, DatabaseTls, Migrations, OnSecretChange, SecretKeyRef,
};
pub use maintenance::{Archive, Maintenance};
pub use network::{DatabaseSelector, Dns, NetworkPolicyOptions};
pub use pod::{
    LocalSecretRef, Monitoring, PodMetadata, PodMonitorOptions, PodUser, Scheduling,
    ServiceAccountOptions, TaintEffect, Toleration, TolerationOperator,
};
pub use pod_template::PodTemplate;
pub use resources::{ResourceLimits, ResourceRequests, Resources};
pub use scaling::{Autoscaling, Disruption, RolloutStrategy};
pub use settings::{LogFormat, Settings};
pub use spec::{OrderService, OrderServiceSpec};
pub use status::{
    Condition, ConditionStatus, FailedRevision, MigrationStatus, OrderServiceStatus, RetryStatus,
};

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinitionVersion;
use kube::{CustomResourceExt as _, Resource as _};
use serde_json::{Value, json};

/// The served versions, of which the first is stored. Their schemas are identical, so the API server converts an object
/// by changing its `apiVersion`. docs/RELEASING.md describes how the stored version changes.
const VERSIONS: [&str; 2] = ["v1alpha1", "v1beta1"];

/// Returns the custom resource definition as it is installed.
///
/// # Errors
/// When it cannot be written as JSON.
pub fn definition() -> Result<Value, serde_json::Error> {
    let mut crd = OrderService::crd();
    crd.metadata.labels = Some(
        [("app.kubernetes.io/name", "order-operator")]
            .map(|(key, value)| (key.to_owned(), value.to_owned()))
            .into(),
    );
    // The derive macro writes the stored version.
    if let [stored] = crd.spec.versions.as_slice() {
        let others = VERSIONS.into_iter().filter(|name| *name != stored.name);
        let others: Vec<_> = others
            .map(|name| CustomResourceDefinitionVersion {
                name: name.to_owned(),
                storage: false,
                ..stored.clone()
            })
            .collect();
        crd.spec.versions.extend(others);
    }
    let mut crd = serde_json::to_value(crd)?;
    remove_nullable(&mut crd);
    set_default_status(&mut crd);
    Ok(crd)
}

/// Makes the API server add `observedGeneration: -1` to an object without a status. Without it, kstatus and
/// the tools that use it, such as Flux, take an object that the operator has not seen yet for one that
/// is up to date.
fn set_default_status(crd: &mut Value) {
    let versions = crd.pointer_mut("/spec/versions");
    for version in versions.and_then(Value::as_array_mut).into_iter().flatten() {
        if let Some(Value::Object(status)) =
            version.pointer_mut("/schema/openAPIV3Schema/properties/status")
        {
            status.insert("default".to_owned(), json!({"observedGeneration": -1}));
        }
    }
}

/// The `apiVersion` of each served version.
fn api_versions() -> [String; 2] {
    VERSIONS.map(|version| format!("{}/{version}", OrderService::group(&())))
}

/// An object is not an OrderService of a served version.
#[derive(Clone, Debug, thiserror::Error, PartialEq, Eq)]
pub enum KindError {
    /// It is of another kind or version.
    #[error(
        "expected an {} of {}, found a {kind} of {version}",
        OrderService::kind(&()),
        api_versions().join(" or ")
    )]
    Other {
        /// The kind of the object.
        kind: String,
        /// The API version of the object.
        version: String,
    },
    /// It does not name its kind.
    #[error(
        "expected an {} of {}; the object names no kind",
        OrderService::kind(&()),
        api_versions().join(" or ")
    )]
    Missing,
}

/// The custom resource definition cannot be written.
#[derive(Debug, thiserror::Error)]
pub enum DefinitionError {
    /// As JSON.
    #[error(transparent)]
    Json(#[from] serde_json::Error),
    /// As YAML.
    #[error(transparent)]
    Yaml(#[from] serde_saphyr::ser::Error),
}

/// Checks that an object is an OrderService of a served version.
///
/// # Errors
/// When it is of another kind or version.
pub fn check_kind(object: &Value) -> Result<(), KindError> {
    let says = |field| object.get(field).and_then(Value::as_str);
    let kind = OrderService::kind(&());
    match (says("kind"), says("apiVersion")) {
        (Some(found), Some(of))
            if found == kind && api_versions().iter().any(|version| version == of) =>
        {
            Ok(())
        }
        (Some(found), of) => Err(KindError::Other {
            kind: found.to_owned(),
            version: of.unwrap_or("no version").to_owned(),
        }),
        (None, _) => Err(KindError::Missing),
    }
}

/// Optional fields may be omitted but must not be null, so that there is only one way to omit a field and `has()`
/// in the rules is sufficient.
fn remove_nullable(schema: &mut Value) {
    match schema {
        Value::Object(fields) => {
            fields.remove("nullable");
            fields.values_mut().for_each(remove_nullable);
        }
        Value::Array(items) => items.iter_mut().for_each(remove_nullable),
        _ => {}
    }
}

/// Returns the definition as YAML, as it is committed.
///
/// # Errors
/// When it cannot be written as YAML.
pub fn yaml() -> Result<String, DefinitionError> {
    let yaml = serde_saphyr::to_string(&definition()?)?;
    Ok(format!(
        "# Generated by `order-operator crd` from operator/src/crd.\n{yaml}"
    ))
}
