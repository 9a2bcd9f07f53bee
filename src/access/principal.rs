//! Who makes a request.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use super::scope::{Scope, Scopes};
use crate::domain::Tenant;

/// How far the clocks of an issuer and of this process may differ (RFC 7519, section 4.1.4).
pub(super) const LEEWAY: Duration = Duration::from_secs(60);

/// How a caller has authenticated. Also the CloudEvents extension `authtype`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Method {
    /// No credentials.
    Anonymous,
    /// An API key.
    ApiKey,
    /// A JSON Web Token.
    Token,
}

impl Method {
    /// Its name in metrics and logs.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Anonymous => "anonymous",
            Self::ApiKey => "api_key",
            Self::Token => "token",
        }
    }

}

/// A caller: who it is, for which tenant it acts, and what it may do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Principal {
    /// The id of the API key, or `ISSUER|SUBJECT`. Empty without credentials.
    pub id: Arc<str>,
    /// How it has authenticated.
    pub method: Method,
    /// Whose data it sees.
    pub tenant: Tenant,
    /// What it may do.
    pub scopes: Scopes,
    /// When its credential is no longer valid, leeway included.
    pub expires: Option<SystemTime>,
}

impl Principal {
    /// A caller without credentials.
    pub fn anonymous(scopes: Scopes) -> Self {
        Self {
            id: "".into(),
            method: Method::Anonymous,
            tenant: Tenant::default(),
            scopes,
            expires: None,
        }
    }

    /// The value of `authtype` (CloudEvents auth context extension). A token does not say whether its
    /// subject is a person or a program; only the subjects of Kubernetes have a fixed form.
    pub fn auth_type(&self) -> &'static str {
        match self.method {
            Method::Anonymous => "unauthenticated",
            Method::ApiKey => "api_key",
            Method::Token if self.id.contains("|system:serviceaccount:") => "service_account",
            Method::Token => "unknown",
        }
    }

    /// Whether its credential is no longer valid.
    pub fn is_expired(&self, now: SystemTime) -> bool {
        self.expires.is_some_and(|expires| expires <= now)
    }

    /// Whether it may do what needs `scope`.
    pub fn may(&self, scope: Scope) -> bool {
        self.scopes.contains(scope)
    }
}
