//! Requests of a person: the kubectl plugin reads and changes OrderServices with them. The operator sends none of them.

use futures_util::AsyncRead;
use k8s_openapi::api::apps::v1::{Deployment, ReplicaSet};
use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::Pod;
use kube::api::{
    Api, ApiResource, DynamicObject, ListParams, LogParams, ObjectList, Patch, PatchParams,
};
use serde_json::Value;

use super::{Cluster, Result};
use crate::crd::OrderService;

/// The field manager of the plugin.
const PLUGIN: &str = "kubectl-osvc";
/// The number of objects in a page.
const PAGE: u32 = 200;

/// A kind of object that the plugin shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shown {
    /// The custom resource.
    OrderService,
    /// The server.
    Deployment,
    /// A version of the server.
    ReplicaSet,
    /// A migration.
    Job,
    /// A pod of either.
    Pod,
}

impl Shown {
    fn resource(self) -> ApiResource {
        match self {
            Self::OrderService => ApiResource::erase::<OrderService>(&()),
            Self::Deployment => ApiResource::erase::<Deployment>(&()),
            Self::ReplicaSet => ApiResource::erase::<ReplicaSet>(&()),
            Self::Job => ApiResource::erase::<Job>(&()),
            Self::Pod => ApiResource::erase::<Pod>(&()),
        }
    }
}

impl Cluster {
    /// Returns a page of the objects with these labels, in one namespace or in all, and the token of the next page.
    ///
    /// # Errors
    /// When the API server rejects the request or does not respond.
    pub async fn page(
        &self,
        kind: Shown,
        namespace: Option<&str>,
        labels: &str,
        token: Option<&str>,
    ) -> Result<ObjectList<DynamicObject>> {
        let resource = kind.resource();
        let client = self.client.clone();
        let api = match namespace {
            Some(namespace) => Api::<DynamicObject>::namespaced_with(client, namespace, &resource),
            None => Api::all_with(client, &resource),
        };
        let mut params = ListParams::default().limit(PAGE);
        if !labels.is_empty() {
            params = params.labels(labels);
        }
        if let Some(token) = token {
            params = params.continue_token(token);
        }
        api.list(&params).await
    }

    /// Returns an OrderService. It is not parsed, so fields that only a newer version of the CRD has do no harm.
    ///
    /// # Errors
    /// When the API server rejects the request or does not respond, or the object does not exist.
    pub async fn order_service(&self, namespace: &str, name: &str) -> Result<DynamicObject> {
        self.order_services(namespace).get(name).await
    }

    /// Changes an OrderService with a JSON Merge Patch (RFC 7396), or with a JSON Patch (RFC 6902) if `patch` is an
    /// array.
    ///
    /// # Errors
    /// When the API server rejects the request or does not respond.
    pub async fn change(&self, namespace: &str, name: &str, patch: &Value) -> Result<()> {
        let params = PatchParams {
            field_manager: Some(PLUGIN.to_owned()),
            ..PatchParams::default()
        };
        let api = self.order_services(namespace);
        let changed = if patch.is_array() {
            let operations =
                serde_json::from_value(patch.clone()).map_err(kube::Error::SerdeError)?;
            api.patch(name, &params, &Patch::<()>::Json(operations))
                .await
        } else {
            api.patch(name, &params, &Patch::Merge(patch)).await
        };
        changed.map(|_| ())
    }

    /// Returns the log of a pod as a stream. With `follow`, it ends when the pod ends.
    ///
    /// # Errors
    /// When the API server rejects the request or does not respond, or the pod has not started.
    pub async fn log(
        &self,
        namespace: &str,
        pod: &str,
        follow: bool,
        tail_lines: Option<i64>,
    ) -> Result<impl AsyncRead + Send + use<>> {
        let params = LogParams {
            follow,
            tail_lines,
            ..LogParams::default()
        };
        let api = Api::<Pod>::namespaced(self.client.clone(), namespace);
        api.log_stream(pod, &params).await
    }

    fn order_services(&self, namespace: &str) -> Api<DynamicObject> {
        let resource = Shown::OrderService.resource();
        Api::namespaced_with(self.client.clone(), namespace, &resource)
    }
}
