//! The errors of a reconcile, and how they are handled.

use std::time::Duration;

use thiserror::Error;

use super::digest_key::SECRET_NAME;
use crate::cluster::fence_layer::Fenced;

/// Why a reconcile failed.
#[derive(Debug, Error)]
pub enum Error {
    /// The API server rejected a request or did not respond.
    #[error("{what}: {source}")]
    Api {
        /// The operation, such as `get Deployment orders`.
        what: String,
        /// The error of the client.
        source: kube::Error,
    },
    /// An object could not be written as JSON.
    #[error("cannot be written as JSON: {0}")]
    Json(#[from] serde_json::Error),
    /// The reconcile reached its timeout.
    #[error("the API server did not respond in time")]
    Timeout,
    /// An object was changed between the read and the write.
    #[error("{0} was changed in the meantime")]
    ModifiedConcurrently(&'static str),
    /// The Secret with the key of the operator does not exist.
    #[error(
        "Secret {SECRET_NAME} does not exist in {0}: apply the manifests of this version of the operator"
    )]
    NoKey(String),
    /// The system provides no random numbers.
    #[error("the system provides no random numbers")]
    NoRandomness,
    /// An object is being deleted, and its name is not free yet.
    #[error("{0} is being deleted")]
    BeingDeleted(String),
}

/// How an error is handled.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ErrorClass {
    /// The error resolves by itself: the API server is busy or not reachable.
    Transient,
    /// Another client wrote first: read the object again.
    Conflict,
    /// The error remains until a user changes something.
    Permanent,
    /// This process is not the leader any more.
    Fenced,
}

const FIRST_RETRY: Duration = Duration::from_secs(1);
/// A conflict is usually resolved by reading the object again.
const FIRST_RETRY_AFTER_CONFLICT: Duration = Duration::from_millis(200);

impl ErrorClass {
    /// Returns the delay before the first retry.
    pub(crate) fn first_retry(self) -> Duration {
        match self {
            Self::Conflict => FIRST_RETRY_AFTER_CONFLICT,
            Self::Transient | Self::Permanent | Self::Fenced => FIRST_RETRY,
        }
    }

    /// Returns the label value in the metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Transient => "transient",
            Self::Conflict => "conflict",
            Self::Permanent => "permanent",
            Self::Fenced => "fenced",
        }
    }
}

impl Error {
    /// Returns the class of the error.
    pub fn class(&self) -> ErrorClass {
        match self {
            Self::Api { source, .. } => classify(source),
            Self::Json(_) | Self::NoKey(_) => ErrorClass::Permanent,
            Self::Timeout | Self::NoRandomness => ErrorClass::Transient,
            Self::ModifiedConcurrently(_) | Self::BeingDeleted(_) => ErrorClass::Conflict,
        }
    }

    /// Whether the namespace is being deleted or is gone. The OrderService is deleted with it.
    pub(crate) fn is_namespace_terminating(&self) -> bool {
        let Self::Api {
            source: kube::Error::Api(status),
            ..
        } = self
        else {
            return false;
        };
        let Some(details) = &status.details else {
            return false;
        };
        // The API server rejects creations in a namespace that is being deleted with 403 and this cause, and with 404
        // once the namespace is gone.
        let is_terminating = details
            .causes
            .iter()
            .any(|cause| cause.reason == "NamespaceTerminating");
        (status.code == 403 && is_terminating)
            || (status.code == 404 && details.kind == "namespaces")
    }

    /// Returns a message for users. For a rejected request it is the message of the API server.
    pub fn message(&self) -> String {
        match self {
            Self::Api {
                what,
                source: kube::Error::Api(status),
            } => format!("{what}: {}", status.message),
            // The text of the error may contain part of a secret, so only the position is reported.
            Self::Api {
                what,
                source: kube::Error::SerdeError(error),
            } => format!(
                "{what}: the response cannot be read, line {} column {}",
                error.line(),
                error.column()
            ),
            other => other.to_string(),
        }
    }
}

fn classify(error: &kube::Error) -> ErrorClass {
    match error {
        kube::Error::Api(status) => match status.code {
            409 => ErrorClass::Conflict,
            // Too many requests, and server errors.
            408 | 429 | 500.. => ErrorClass::Transient,
            _ => ErrorClass::Permanent,
        },
        kube::Error::Service(error) if is_fenced(&**error) => ErrorClass::Fenced,
        kube::Error::SerdeError(_) | kube::Error::BuildRequest(_) => ErrorClass::Permanent,
        _ => ErrorClass::Transient,
    }
}

/// Whether the fence rejected the request, in the layer or at the connection.
fn is_fenced(error: &(dyn std::error::Error + 'static)) -> bool {
    std::iter::successors(Some(error), |error| error.source()).any(|error| error.is::<Fenced>())
}

/// Adds the operation to an error of the client.
pub trait ApiResultExt<T> {
    /// Adds the operation.
    ///
    /// # Errors
    /// The error, if there is one.
    fn during(self, what: impl FnOnce() -> String) -> Result<T, Error>;
}

impl<T> ApiResultExt<T> for Result<T, kube::Error> {
    fn during(self, what: impl FnOnce() -> String) -> Result<T, Error> {
        self.map_err(|source| Error::Api {
            what: what(),
            source,
        })
    }
}

#[cfg(test)]
mod tests;
