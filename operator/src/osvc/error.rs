//! Why a command of the plugin failed, with its exit code.

use std::io;
use std::time::Duration;

use kube::config::{InferConfigError, KubeconfigError};

use crate::metrics::MetricsError;

/// Why a command failed.
#[derive(Debug, thiserror::Error)]
pub enum OsvcError {
    /// No cluster is configured.
    #[error("no cluster: {}; set KUBECONFIG or --kubeconfig", root_cause(.0))]
    NoCluster(#[from] InferConfigError),
    /// The kubeconfig cannot be used.
    #[error("kubeconfig: {}", root_cause(.0))]
    Kubeconfig(#[from] KubeconfigError),
    /// The API server is not reachable, or its response is not understood.
    #[error("{url}: {}", root_cause(.source))]
    Unreachable {
        /// The address of the API server.
        url: String,
        /// The cause.
        source: Box<kube::Error>,
    },
    /// The API server did not respond.
    #[error("{url}: no response within {}", humantime::format_duration(*.timeout))]
    Timeout {
        /// The address of the API server.
        url: String,
        /// The timeout of the request.
        timeout: Duration,
    },
    /// The API server rejects the request.
    #[error("the API server rejects the request: {0}")]
    Rejected(String),
    /// The credential of the kubeconfig is rejected.
    #[error("the API server rejects the credential: {0}")]
    Unauthorized(String),
    /// The object has changed since it was read.
    #[error("the object has changed meanwhile; nothing is written, try again")]
    Changed,
    /// A permission is missing.
    #[error("not permitted: {0}")]
    Forbidden(String),
    /// The custom resource definition is not installed.
    #[error("the cluster has no OrderServices: the operator and its CRD are not installed")]
    NotInstalled,
    /// The object, or what a command needs of it, does not exist.
    #[error("{0}")]
    NotFound(String),
    /// Standard output cannot be written.
    #[error("standard output: {0}")]
    Output(#[from] io::Error),
    /// JSON cannot be written.
    #[error(transparent)]
    Json(#[from] serde_json::Error),
    /// The client cannot be created.
    #[error(transparent)]
    Metrics(#[from] MetricsError),
}

impl OsvcError {
    /// The error of a request to this API server.
    pub(crate) fn of_request(url: &str, error: kube::Error) -> Self {
        let kube::Error::Api(status) = error else {
            let url = url.to_owned();
            let source = Box::new(error);
            return Self::Unreachable { url, source };
        };
        let names_an_object = status.details.is_some();
        match status.code {
            401 => Self::Unauthorized(status.message),
            403 => Self::Forbidden(status.message),
            // The response for a path that does not exist has no details.
            404 if !names_an_object => Self::NotInstalled,
            404 => Self::NotFound(status.message),
            // The text for a JSON Patch whose `test` does not hold.
            422 if status.message.contains("rejected our request") => Self::Changed,
            _ => Self::Rejected(status.message),
        }
    }

    /// The exit code, as the help describes it.
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::NotInstalled | Self::NotFound(_) => 3,
            Self::Forbidden(_) | Self::Unauthorized(_) => 4,
            _ => 1,
        }
    }
}

/// The innermost error, such as `Connection refused`: the outer ones name layers of the client.
fn root_cause(error: &(dyn std::error::Error + 'static)) -> String {
    let mut cause = error;
    while let Some(source) = cause.source() {
        cause = source;
    }
    cause.to_string()
}
