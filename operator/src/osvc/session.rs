//! The connection to the cluster. Each request has a timeout, and its error names the cause.

use std::time::Duration;

use kube::api::DynamicObject;
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Client, Config};
use serde_json::Value;

use super::error::OsvcError;
use crate::cli::osvc::Connection;
use crate::cluster::connect::connect_unfenced;
use crate::cluster::inspect::Shown;
use crate::cluster::{Cluster, WarningEvent};
use crate::metrics::Metrics;

/// A cluster, and how long it may take to respond.
pub struct Session {
    cluster: Cluster,
    /// The address of the API server, for errors.
    url: String,
    namespace: String,
    timeout: Duration,
}

impl Session {
    /// Sends requests through this client.
    pub fn new(client: Client, url: String, namespace: String, timeout: Duration) -> Self {
        let cluster = Cluster::new(client);
        Self {
            cluster,
            url,
            namespace,
            timeout,
        }
    }

    /// Connects as the kubeconfig and the options describe. Nothing is sent yet.
    ///
    /// # Errors
    /// When no cluster is configured, or the configuration cannot be used.
    pub(crate) async fn open(options: &Connection) -> Result<Self, OsvcError> {
        let choice = KubeConfigOptions {
            context: options.context.clone(),
            ..KubeConfigOptions::default()
        };
        let mut config = match &options.kubeconfig {
            Some(file) => {
                Config::from_custom_kubeconfig(Kubeconfig::read_from(file)?, &choice).await?
            }
            None if choice.context.is_some() => Config::from_kubeconfig(&choice).await?,
            None => Config::infer().await?,
        };
        // Each request has a timeout of its own, and a log that is followed may be silent for long.
        config.read_timeout = None;
        let url = config.cluster_url.to_string();
        let namespace = options.namespace.clone();
        let namespace = namespace.unwrap_or_else(|| config.default_namespace.clone());
        let client = connect_unfenced(config, Metrics::new()?.into());
        let client = client.map_err(|error| OsvcError::of_request(&url, error))?;
        Ok(Self::new(client, url, namespace, options.request_timeout))
    }

    /// The namespace of the options or of the context.
    pub(crate) fn namespace(&self) -> &str {
        &self.namespace
    }

    /// Returns all objects with these labels, in one namespace or in all.
    pub(crate) async fn list(
        &self,
        kind: Shown,
        namespace: Option<&str>,
        labels: &str,
    ) -> Result<Vec<DynamicObject>, OsvcError> {
        let mut objects = Vec::new();
        let mut token: Option<String> = None;
        loop {
            let page = self.cluster.page(kind, namespace, labels, token.as_deref());
            let page = self.bounded(page).await?;
            objects.extend(page.items);
            token = page.metadata.continue_.filter(|token| !token.is_empty());
            if token.is_none() {
                return Ok(objects);
            }
        }
    }

    pub(crate) async fn order_service(
        &self,
        namespace: &str,
        name: &str,
    ) -> Result<DynamicObject, OsvcError> {
        let read = self
            .bounded(self.cluster.order_service(namespace, name))
            .await;
        read.map_err(|error| names_service(error, namespace, name))
    }

    pub(crate) async fn warnings(
        &self,
        namespace: &str,
        uid: &str,
    ) -> Result<Vec<WarningEvent>, OsvcError> {
        self.bounded(self.cluster.warnings(namespace, uid)).await
    }

    pub(crate) async fn change(&self, name: &str, patch: &Value) -> Result<(), OsvcError> {
        let changed = self
            .bounded(self.cluster.change(&self.namespace, name, patch))
            .await;
        changed.map_err(|error| names_service(error, &self.namespace, name))
    }

    /// Opens the log of a pod. Only the start of the response has a timeout.
    pub(crate) async fn log(
        &self,
        pod: &str,
        follow: bool,
        tail: Option<i64>,
    ) -> Result<impl futures_util::AsyncRead + Send + use<>, OsvcError> {
        self.bounded(self.cluster.log(&self.namespace, pod, follow, tail))
            .await
    }

    async fn bounded<T>(
        &self,
        request: impl Future<Output = kube::Result<T>>,
    ) -> Result<T, OsvcError> {
        match tokio::time::timeout(self.timeout, request).await {
            Ok(result) => result.map_err(|error| OsvcError::of_request(&self.url, error)),
            Err(_) => Err(OsvcError::Timeout {
                url: self.url.clone(),
                timeout: self.timeout,
            }),
        }
    }
}

/// Names the OrderService that does not exist. The API server's text names the resource of the API.
fn names_service(error: OsvcError, namespace: &str, name: &str) -> OsvcError {
    match error {
        OsvcError::NotFound(_) => OsvcError::NotFound(format!(
            "OrderService {name} does not exist in the namespace {namespace}"
        )),
        other => other,
    }
}
