//! The client of the API server: all reads and writes except watches and the Lease.

pub mod connect;
mod events;
pub mod fence_layer;
pub(crate) mod inspect;
mod kind;
mod pod;
pub mod watch_activity;

use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::Secret;
use kube::api::{
    Api, ApiResource, DeleteParams, DynamicObject, ListParams, Patch, PatchParams, PostParams,
    Preconditions, PropagationPolicy,
};
use kube::{Client, Resource as _};
use serde_json::{Value, json};

pub use events::{Event, Recorder};
pub use kind::Kind;
pub use pod::{PodState, PodStatus, WarningEvent};

use crate::build::labels::MANAGER;
use crate::crd::{OrderService, OrderServiceStatus};

/// The result of a request to the API server.
pub type Result<T> = std::result::Result<T, kube::Error>;

/// A client of the API server.
#[derive(Clone)]
pub struct Cluster {
    client: Client,
}

impl Cluster {
    /// Sends requests through this client.
    pub fn new(client: Client) -> Self {
        Self { client }
    }

    fn api(&self, kind: Kind, namespace: &str) -> Api<DynamicObject> {
        Api::namespaced_with(self.client.clone(), namespace, &kind.resource())
    }

    /// Returns an object, if it exists.
    ///
    /// # Errors
    /// When the API server rejects the request or does not respond.
    pub async fn get(
        &self,
        kind: Kind,
        namespace: &str,
        name: &str,
    ) -> Result<Option<DynamicObject>> {
        self.api(kind, namespace).get_opt(name).await
    }

    /// Returns an object of a kind that the cluster may not have. The outer `None` means that it does not have it.
    ///
    /// # Errors
    /// When the API server rejects the request or does not respond.
    pub async fn get_optional_kind(
        &self,
        kind: Kind,
        namespace: &str,
        name: &str,
    ) -> Result<Option<Option<DynamicObject>>> {
        match self.api(kind, namespace).get(name).await {
            Ok(object) => Ok(Some(Some(object))),
            // The API server names the missing object, but not in the response for an unknown path.
            Err(kube::Error::Api(status)) if status.code == 404 => {
                let names_object = status.details.is_some_and(|details| details.name == name);
                Ok(names_object.then_some(None))
            }
            Err(error) => Err(error),
        }
    }

    /// Returns the Jobs with these labels.
    ///
    /// # Errors
    /// When the API server rejects the request or does not respond.
    pub async fn jobs(&self, namespace: &str, labels: &str) -> Result<Vec<DynamicObject>> {
        let params = ListParams::default().labels(labels);
        let jobs = self.api(Kind::Job, namespace).list(&params).await?;
        Ok(jobs.items)
    }

    /// Applies an object with server-side apply. With `force`, the operator takes over its fields from other field
    /// managers. Fields that the object does not contain stay unchanged.
    ///
    /// # Errors
    /// When the API server rejects the request or does not respond.
    pub async fn apply(&self, kind: Kind, object: &Value, force: bool) -> Result<DynamicObject> {
        let text = |pointer| {
            object
                .pointer(pointer)
                .and_then(Value::as_str)
                .unwrap_or_default()
        };
        let (namespace, name) = (text("/metadata/namespace"), text("/metadata/name"));
        let mut params = PatchParams::apply(MANAGER);
        params.force = force;
        self.api(kind, namespace)
            .patch(name, &params, &Patch::Apply(object))
            .await
    }

    /// Sets an annotation of an object, or removes it, and changes nothing else. A newer object of the same name
    /// is not changed.
    ///
    /// # Errors
    /// When the API server rejects the request or does not respond, or the object was replaced.
    pub async fn annotate(
        &self,
        kind: Kind,
        object: &DynamicObject,
        key: &str,
        text: Option<&str>,
    ) -> Result<DynamicObject> {
        let metadata = &object.metadata;
        let namespace = metadata.namespace.as_deref().unwrap_or_default();
        let name = metadata.name.as_deref().unwrap_or_default();
        // With `null`, a merge patch removes the key (RFC 7396).
        let patch = json!({"metadata": {"uid": metadata.uid, "annotations": {key: text}}});
        self.api(kind, namespace)
            .patch(name, &as_manager(), &Patch::Merge(patch))
            .await
    }

    /// Deletes an object, but not a newer one of the same name.
    ///
    /// # Errors
    /// When the API server rejects the request or does not respond. A missing object is not an error.
    pub async fn delete(&self, kind: Kind, namespace: &str, name: &str, uid: &str) -> Result<()> {
        let params = DeleteParams {
            propagation_policy: Some(PropagationPolicy::Background),
            preconditions: Some(Preconditions {
                uid: Some(uid.to_owned()),
                resource_version: None,
            }),
            ..DeleteParams::default()
        };
        match self.api(kind, namespace).delete(name, &params).await {
            Err(kube::Error::Api(status)) if status.code == 404 => Ok(()),
            other => other.map(|_| ()),
        }
    }

    /// Gives up the ownership of `spec.replicas` of a Deployment without changing its value. Omitting the field in
    /// the next apply would reset it, because server-side apply removes a field whose last owner omits it.
    ///
    /// # Errors
    /// When the API server rejects the request or does not respond, or the object has changed.
    pub async fn release_replicas(
        &self,
        deployment: &DynamicObject,
    ) -> Result<Option<DynamicObject>> {
        let metadata = &deployment.metadata;
        let (Some(name), Some(namespace)) = (&metadata.name, &metadata.namespace) else {
            return Ok(None);
        };
        let operations: Vec<Value> = metadata
            .managed_fields
            .iter()
            .flatten()
            .enumerate()
            .filter(|(_, entry)| {
                entry.manager.as_deref() == Some(MANAGER)
                    && entry
                        .fields_v1
                        .as_ref()
                        .is_some_and(|fields| fields.0.pointer("/f:spec/f:replicas").is_some())
            })
            .map(|(index, _)| {
                let path = format!("/metadata/managedFields/{index}/fieldsV1/f:spec/f:replicas");
                json!({"op": "remove", "path": path})
            })
            .collect();
        if operations.is_empty() {
            return Ok(None);
        }
        // The paths contain indexes of entries, so the object must still be the version that was read.
        let mut patch = vec![json!({
            "op": "test", "path": "/metadata/resourceVersion", "value": metadata.resource_version,
        })];
        patch.extend(operations);
        let (patch, params) = json_patch(Value::Array(patch))?;
        self.api(Kind::Deployment, namespace)
            .patch(name, &params, &patch)
            .await
            .map(Some)
    }

    /// Sets how many seconds after its end a Job is deleted, unless it is a newer Job of the same name.
    ///
    /// # Errors
    /// When the API server rejects the request or does not respond.
    pub async fn expire_job(
        &self,
        namespace: &str,
        name: &str,
        uid: &str,
        seconds: i32,
    ) -> Result<()> {
        let patch = json!({
            "metadata": {"uid": uid},
            "spec": {"ttlSecondsAfterFinished": seconds},
        });
        self.api(Kind::Job, namespace)
            .patch(name, &as_manager(), &Patch::Merge(patch))
            .await
            .map(|_| ())
    }

    /// Replaces the status, which the operator owns completely. A JSON patch costs the API server much less
    /// than an apply.
    ///
    /// # Errors
    /// When the API server rejects the request or does not respond.
    pub async fn patch_status(
        &self,
        object: &OrderService,
        status: &OrderServiceStatus,
    ) -> Result<OrderService> {
        let metadata = object.meta();
        let namespace = metadata.namespace.as_deref().unwrap_or_default();
        let name = metadata.name.as_deref().unwrap_or_default();
        let (patch, params) = json_patch(json!([
            // The status must not be written to a newer object of the same name.
            {"op": "test", "path": "/metadata/uid", "value": metadata.uid},
            {"op": "add", "path": "/status", "value": status},
        ]))?;
        Api::<OrderService>::namespaced(self.client.clone(), namespace)
            .patch_status(name, &params, &patch)
            .await
    }

    /// Returns a secret, if it exists.
    ///
    /// # Errors
    /// When the API server rejects the request or does not respond.
    pub async fn secret(&self, namespace: &str, name: &str) -> Result<Option<Secret>> {
        Api::<Secret>::namespaced(self.client.clone(), namespace)
            .get_opt(name)
            .await
    }

    /// Creates a secret.
    ///
    /// # Errors
    /// When the API server rejects the request or does not respond, or a secret of that name exists.
    pub async fn create_secret(&self, namespace: &str, secret: &Secret) -> Result<()> {
        let params = PostParams {
            field_manager: Some(MANAGER.to_owned()),
            ..PostParams::default()
        };
        Api::<Secret>::namespaced(self.client.clone(), namespace)
            .create(&params, secret)
            .await
            .map(|_| ())
    }

    /// Writes one key of a secret, unless the secret has changed since it was read.
    ///
    /// # Errors
    /// When the API server rejects the request or does not respond, or the secret has changed.
    pub async fn fill_secret(&self, secret: &Secret, key: &str, value: Vec<u8>) -> Result<()> {
        let metadata = &secret.metadata;
        let (Some(name), Some(namespace)) = (&metadata.name, &metadata.namespace) else {
            return Ok(());
        };
        let patch = json!({
            "metadata": {"resourceVersion": metadata.resource_version},
            "data": {key: ByteString(value)},
        });
        let params = as_manager();
        Api::<Secret>::namespaced(self.client.clone(), namespace)
            .patch(name, &params, &Patch::Merge(patch))
            .await
            .map(|_| ())
    }
}

fn json_patch(operations: Value) -> Result<(Patch<()>, PatchParams)> {
    let patch = serde_json::from_value(operations).map_err(kube::Error::SerdeError)?;
    Ok((Patch::Json(patch), as_manager()))
}

fn as_manager() -> PatchParams {
    PatchParams {
        field_manager: Some(MANAGER.to_owned()),
        ..PatchParams::default()
    }
}

/// Converts an object to JSON with `apiVersion` and `kind`, as it is applied.
///
/// # Errors
/// When it cannot be written as JSON.
pub fn as_applied<T: serde::Serialize>(
    kind: Kind,
    object: &T,
) -> std::result::Result<Value, serde_json::Error> {
    let ApiResource {
        api_version, kind, ..
    } = kind.resource();
    let mut value = serde_json::to_value(object)?;
    if let Value::Object(fields) = &mut value {
        fields.insert("apiVersion".to_owned(), Value::String(api_version));
        fields.insert("kind".to_owned(), Value::String(kind));
    }
    Ok(value)
}
