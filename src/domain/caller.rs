//! Who makes a request, as far as stored data depends on it.

use std::str::FromStr;
use std::sync::Arc;

use super::Tenant;

/// Who makes a request: whose data it sees, and what its events say about it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Caller {
    /// Whose data the request sees and writes.
    pub tenant: Tenant,
    /// The id of an API key, or `ISSUER|SUBJECT` of a token. Empty without credentials.
    pub id: Arc<str>,
    /// What kind of caller it is.
    pub auth_type: AuthType,
}

/// The kind of a caller: the values of `authtype` (CloudEvents auth context extension) that this service writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AuthType {
    /// No credentials.
    Unauthenticated,
    /// An API key.
    ApiKey,
    /// A Kubernetes ServiceAccount.
    ServiceAccount,
    /// The service itself: a command such as an import, which has no caller.
    System,
    /// The subject of another token, which does not say whether it is a person or a program.
    Unknown,
}

/// The text is not a value of `authtype` that this service writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a type of caller")]
pub struct UnknownAuthType;

impl FromStr for AuthType {
    type Err = UnknownAuthType;

    fn from_str(text: &str) -> Result<Self, UnknownAuthType> {
        let found = Self::ALL.into_iter().find(|each| each.as_str() == text);
        found.ok_or(UnknownAuthType)
    }
}

impl AuthType {
    /// Every kind.
    pub const ALL: [Self; 5] = [
        Self::Unauthenticated,
        Self::ApiKey,
        Self::ServiceAccount,
        Self::System,
        Self::Unknown,
    ];

    /// The value of `authtype`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Unauthenticated => "unauthenticated",
            Self::ApiKey => "api_key",
            Self::ServiceAccount => "service_account",
            Self::System => "system",
            Self::Unknown => "unknown",
        }
    }
}

impl Caller {
    /// A command of this service that changes the data of this tenant.
    pub fn system(tenant: Tenant) -> Self {
        Self {
            tenant,
            id: "".into(),
            auth_type: AuthType::System,
        }
    }

    /// The caller of requests without credentials, which belong to the default tenant.
    pub fn anonymous() -> Self {
        Self {
            tenant: Tenant::default(),
            id: "".into(),
            auth_type: AuthType::Unauthenticated,
        }
    }
}
