//! What a reconcile may fail with, and what follows from it.

use std::time::Duration;

use thiserror::Error;

use super::digest_key::SECRET_NAME;
use crate::cluster::fence_layer::Fenced;

/// Why a reconcile ended early.
#[derive(Debug, Error)]
pub enum Error {
    /// The API server said no or nothing.
    #[error("{what}: {source}")]
    Api {
        /// What was being done.
        what: String,
        /// What the API server said.
        source: kube::Error,
    },
    /// An object of ours could not be written as JSON.
    #[error("cannot be written as JSON: {0}")]
    Json(#[from] serde_json::Error),
    /// The API server did not answer in time.
    #[error("the API server did not answer in time")]
    Late,
    /// Somebody changed an object between our reading and our writing it.
    #[error("{0} changed meanwhile")]
    Overtaken(&'static str),
    /// The Secret with the operator's own key is not there.
    #[error(
        "Secret {SECRET_NAME} does not exist in {0}: apply the manifests of this version of the operator"
    )]
    NoKey(String),
    /// The system has no random numbers to give.
    #[error("no random numbers")]
    NoRandomness,
    /// An object is on its way out, and its name is not free yet.
    #[error("{0} is being deleted")]
    BeingDeleted(String),
}

/// What follows from an error.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ErrorClass {
    /// It will pass: the API server is busy, or away.
    Transient,
    /// Somebody else was faster: look again.
    Conflict,
    /// It stays until somebody changes something.
    Permanent,
    /// This process is not the leader any more.
    Fenced,
}

const FIRST_RETRY: Duration = Duration::from_secs(1);
/// A conflict is usually resolved by reading the object again.
const FIRST_RETRY_AFTER_CONFLICT: Duration = Duration::from_millis(200);

impl ErrorClass {
    /// How long to wait before the first retry.
    pub(crate) fn first_retry(self) -> Duration {
        match self {
            Self::Conflict => FIRST_RETRY_AFTER_CONFLICT,
            Self::Transient | Self::Permanent | Self::Fenced => FIRST_RETRY,
        }
    }

    /// The word of it, for metrics.
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
    /// What follows.
    pub fn class(&self) -> ErrorClass {
        match self {
            Self::Api { source, .. } => classify(source),
            Self::Json(_) | Self::NoKey(_) => ErrorClass::Permanent,
            Self::Late | Self::NoRandomness => ErrorClass::Transient,
            Self::Overtaken(_) | Self::BeingDeleted(_) => ErrorClass::Conflict,
        }
    }

    /// What a person wants to know of it: the API server's own words where there are some.
    pub fn message(&self) -> String {
        match self {
            Self::Api {
                what,
                source: kube::Error::Api(status),
            } => format!("{what}: {}", status.message),
            // What could not be read may have been a secret: only where it went wrong is told.
            Self::Api {
                what,
                source: kube::Error::SerdeError(error),
            } => format!(
                "{what}: the answer cannot be read, line {} column {}",
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
            // Too busy, and any fault of the server's own.
            408 | 429 | 500.. => ErrorClass::Transient,
            _ => ErrorClass::Permanent,
        },
        kube::Error::Service(error) if is_fenced(&**error) => ErrorClass::Fenced,
        kube::Error::SerdeError(_) | kube::Error::BuildRequest(_) => ErrorClass::Permanent,
        _ => ErrorClass::Transient,
    }
}

/// Whether the fence stopped it, at the door or at the wire.
fn is_fenced(error: &(dyn std::error::Error + 'static)) -> bool {
    std::iter::successors(Some(error), |error| error.source()).any(|error| error.is::<Fenced>())
}

/// Says what was being done when the API server said no.
pub trait ApiResultExt<T> {
    /// Says it.
    ///
    /// # Errors
    /// When there was one.
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
mod tests {
    use kube::core::Status;

    use super::*;

    #[test]
    fn what_could_not_be_read_is_not_told() {
        let source = serde_json::from_str::<u8>("\"postgres://u:password@h\"").unwrap_err();
        assert!(source.to_string().contains("password"));
        let error = Error::Api {
            what: "get Secret db".to_owned(),
            source: kube::Error::SerdeError(source),
        };
        assert_eq!(
            error.message(),
            "get Secret db: the answer cannot be read, line 1 column 25"
        );
    }

    #[test]
    fn classes() {
        for (code, class) in [
            (400, ErrorClass::Permanent),
            (403, ErrorClass::Permanent),
            (409, ErrorClass::Conflict),
            (422, ErrorClass::Permanent),
            (429, ErrorClass::Transient),
            (500, ErrorClass::Transient),
            (503, ErrorClass::Transient),
        ] {
            let status = Status {
                code,
                ..Status::failure("", "")
            };
            assert_eq!(classify(&kube::Error::Api(status.boxed())), class, "{code}");
        }
        assert_eq!(
            classify(&kube::Error::Service(Fenced.into())),
            ErrorClass::Fenced
        );
        let broken = std::io::Error::other("connection reset");
        assert_eq!(
            classify(&kube::Error::Service(broken.into())),
            ErrorClass::Transient
        );
    }
}
