//! `OrderService`, the custom resource: what a person may ask for, and what is told back.
//!
//! The CRD is made from these types (`order-operator crd`). What a schema can say is said in the
//! schema; what it can't is a CEL rule beside the field, with the sentence a person gets to read.

mod schema;
mod settings;
mod spec;
mod status;

pub use settings::{LogFormat, Settings};
pub use spec::{
    Autoscaling, Database, Disruption, Migrations, NetworkPolicyOptions, OrderService,
    OrderServiceSpec, ResourceList, Resources, SecretKeyRef,
};
pub use status::{Condition, ConditionStatus, FailedRevision, MigrationStatus, OrderServiceStatus};

use kube::{CustomResourceExt as _, Resource as _};
use serde_json::Value;

/// The custom resource definition as it is installed.
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
    let mut crd = serde_json::to_value(crd)?;
    remove_nullable(&mut crd);
    Ok(crd)
}

/// An object is no OrderService of the version that is served.
#[derive(Clone, Debug, thiserror::Error, PartialEq, Eq)]
pub enum KindError {
    /// It is of another kind or version.
    #[error(
        "expected an {} of {}, found a {kind} of {version}",
        OrderService::kind(&()),
        OrderService::api_version(&())
    )]
    Other {
        /// The kind of the object.
        kind: String,
        /// The API version of the object.
        version: String,
    },
    /// It has no kind.
    #[error(
        "expected an {} of {}; the object names no kind",
        OrderService::kind(&()),
        OrderService::api_version(&())
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

/// Checks that an object is an OrderService of the version that is served.
///
/// # Errors
/// When it is of another kind or version.
pub fn check_kind(object: &Value) -> Result<(), KindError> {
    let says = |field| object.get(field).and_then(Value::as_str);
    let (kind, version) = (OrderService::kind(&()), OrderService::api_version(&()));
    match (says("kind"), says("apiVersion")) {
        (Some(found), Some(of)) if found == kind && of == version => Ok(()),
        (Some(found), of) => Err(KindError::Other {
            kind: found.to_owned(),
            version: of.unwrap_or("no version").to_owned(),
        }),
        (None, _) => Err(KindError::Missing),
    }
}

/// What is optional may be left out and not be null: there is one way to say nothing, and `has()`
/// in the rules means what it says.
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

/// The same as YAML, as it is committed.
///
/// # Errors
/// When it cannot be written as YAML.
pub fn yaml() -> Result<String, DefinitionError> {
    let yaml = serde_saphyr::to_string(&definition()?)?;
    Ok(format!(
        "# Made by `order-operator crd`: change operator/src/crd and make this again.\n{yaml}"
    ))
}
