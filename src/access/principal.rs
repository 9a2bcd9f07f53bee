//! Who makes a request.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use super::scope::{Scope, Scopes};
use crate::domain::{AuthType, Caller, Tenant};

/// How far the clocks of an issuer and of this process may differ (RFC 7519, section 4.1.4).
pub(super) const LEEWAY: Duration = Duration::from_secs(60);

/// How a caller has authenticated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Method {
    /// No credentials.
    Anonymous,
    /// An API key.
    ApiKey,
    /// A JSON Web Token.
    Token,
}

impl Method {
    /// Its name in metrics and logs.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Anonymous => "anonymous",
            Self::ApiKey => "api_key",
            Self::Token => "token",
        }
    }
}

/// Who makes a request, verified: a caller, and what it may do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Principal {
    /// Who it is, as the store sees it.
    pub(crate) caller: Arc<Caller>,
    /// How it has authenticated.
    pub(crate) method: Method,
    /// What it may do.
    pub(crate) scopes: Scopes,
    /// When its credential is no longer valid, leeway included.
    pub(crate) expires: Option<SystemTime>,
}

impl Principal {
    /// The principal of requests without credentials.
    pub(crate) fn anonymous(scopes: Scopes) -> Self {
        Self {
            caller: Arc::new(Caller::anonymous()),
            method: Method::Anonymous,
            scopes,
            expires: None,
        }
    }

    /// The principal of an API key.
    pub(super) fn api_key(
        id: Arc<str>,
        tenant: Tenant,
        scopes: Scopes,
        expires: Option<SystemTime>,
    ) -> Self {
        Self {
            caller: Arc::new(Caller {
                tenant,
                id,
                auth_type: AuthType::ApiKey,
            }),
            method: Method::ApiKey,
            scopes,
            expires,
        }
    }

    /// The principal of a token. A token does not say whether its subject is a person or a program. Only the
    /// subjects of Kubernetes have a fixed form.
    pub(super) fn token(
        issuer: &str,
        subject: &str,
        tenant: Tenant,
        scopes: Scopes,
        expires: SystemTime,
    ) -> Self {
        let auth_type = if subject.starts_with("system:serviceaccount:") {
            AuthType::ServiceAccount
        } else {
            AuthType::Unknown
        };
        Self {
            caller: Arc::new(Caller {
                tenant,
                id: format!("{issuer}|{subject}").into(),
                auth_type,
            }),
            method: Method::Token,
            scopes,
            expires: Some(expires),
        }
    }

    /// Whether its credential is no longer valid.
    pub(crate) fn is_expired(&self, now: SystemTime) -> bool {
        self.expires.is_some_and(|expires| expires <= now)
    }

    /// Whether it may do what needs `scope`.
    pub(crate) fn may(&self, scope: Scope) -> bool {
        self.scopes.contains(scope)
    }
}
