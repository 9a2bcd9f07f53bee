//! Authenticates the requests of one worker.

use std::cell::RefCell;
use std::sync::Arc;
use std::time::SystemTime;

use super::cache::Cache;
use super::issuer::Running;
use super::principal::{Method, Principal};
use super::state::{Access, Verified};
use super::{Anonymous, Rejected, Scope, Scopes};
use crate::telemetry::AuthCounters;

/// Authenticates the requests of one worker.
pub(crate) struct Authenticator {
    access: Arc<Access>,
    /// No borrow lasts longer than one call, and none contains an `await`.
    cache: RefCell<Cache>,
    anonymous: Arc<Principal>,
    counters: AuthCounters,
}

/// The result of [`Authenticator::authenticate`].
pub(crate) enum Authentication {
    /// The credential is accepted or rejected.
    Done(Result<Arc<Principal>, Rejected>),
    /// The keys of the token's issuer are needed first.
    Waiting(Pending),
}

/// A credential that waits for the keys of its issuer.
pub(crate) struct Pending {
    access: Arc<Access>,
    running: Arc<Running>,
    credential: String,
}

impl Pending {
    /// Waits for the keys and verifies the credential. The wait has no timeout of its own: an attempt to fetch keys
    /// may take longer than the deadline of the request.
    ///
    /// # Errors
    /// [`Rejected`].
    pub(crate) async fn verify(self) -> Result<Arc<Principal>, Rejected> {
        self.access
            .verify_with_fresh_keys(self.running, &self.credential)
            .await
            .map(Arc::new)
    }
}

impl Authenticator {
    /// Creates an authenticator for one worker.
    pub(crate) fn new(access: Arc<Access>) -> Self {
        let scopes = match access.anonymous() {
            Anonymous::Open => Scopes::ALL,
            Anonymous::Scopes(scopes) => scopes,
        };
        Self {
            counters: access.metrics.auth_counters(),
            cache: RefCell::default(),
            anonymous: Arc::new(Principal::anonymous(scopes)),
            access,
        }
    }

    /// Whether everything is allowed without credentials, and credentials are ignored.
    pub(crate) fn is_open(&self) -> bool {
        self.access.anonymous() == Anonymous::Open
    }

    /// The principal of requests without credentials.
    pub(crate) fn anonymous(&self) -> &Arc<Principal> {
        &self.anonymous
    }

    /// Authenticates the value of an `Authorization` header.
    pub(crate) fn authenticate(&self, header: &[u8]) -> Authentication {
        // Read before the verification: a change in between makes the cache entry outdated, not wrong.
        let generation = self.access.generation();
        let mut cache = self.cache.borrow_mut();
        if let Some(principal) = cache.get(header, generation, SystemTime::now) {
            return Authentication::Done(Ok(principal));
        }
        let credential = match bearer(header) {
            Ok(credential) => credential,
            Err(rejected) => return Authentication::Done(Err(rejected)),
        };
        match self.access.verify(credential) {
            Verified::Done(result) => Authentication::Done(result.map(|principal| {
                let principal = Arc::new(principal);
                cache.insert(header, Arc::clone(&principal), generation);
                principal
            })),
            Verified::NeedsKeys(running) => Authentication::Waiting(Pending {
                access: Arc::clone(&self.access),
                running,
                credential: credential.to_owned(),
            }),
        }
    }

    /// Counts an accepted request.
    pub(crate) fn count_accepted(&self, principal: &Principal) {
        match principal.method {
            Method::Anonymous => self.counters.anonymous.inc(),
            Method::ApiKey => self.counters.api_key.inc(),
            Method::Token => self.counters.token.inc(),
        }
    }

    /// Counts a request without credentials that needs some.
    pub(crate) fn record_missing(&self) {
        let method = Method::Anonymous.as_str();
        self.access.metrics.count_auth(method, "rejected");
    }

    /// Counts a rejected credential and logs it, at a bounded rate.
    pub(crate) fn record_rejected(&self, reason: Rejected, peer: &str, request_id: &str) {
        let outcome = match reason {
            Rejected::KeysUnavailable => "unavailable",
            // The token is valid, and the response is 403.
            Rejected::Tenant => "forbidden",
            _ => "rejected",
        };
        self.access.metrics.count_auth(reason.method(), outcome);
        if reason != Rejected::KeysUnavailable {
            self.access.audit.rejected(reason, peer, request_id);
        }
    }

    /// Counts a request whose principal lacks a scope and logs it, at a bounded rate.
    pub(crate) fn record_forbidden(
        &self,
        principal: &Principal,
        scope: Scope,
        peer: &str,
        request_id: &str,
    ) {
        let method = principal.method.as_str();
        self.access.metrics.count_auth(method, "forbidden");
        let caller = &principal.caller;
        self.access.audit.forbidden(caller, scope, peer, request_id);
    }
}

/// The credential of a bearer header (RFC 6750, section 2.1). The scheme ignores case (RFC 9110, section 11.1).
pub(super) fn bearer(header: &[u8]) -> Result<&str, Rejected> {
    let text = std::str::from_utf8(header).map_err(|_| Rejected::Malformed)?;
    let (scheme, credential) = text.split_once(' ').unwrap_or((text, ""));
    if !scheme.eq_ignore_ascii_case("bearer") {
        return Err(Rejected::Scheme);
    }
    let credential = credential.trim_matches(' ');
    if credential.is_empty() || !credential.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Err(Rejected::Malformed);
    }
    Ok(credential)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bearer_header_has_one_visible_credential() {
        use Rejected::{Malformed, Scheme};
        for (header, credential) in [
            ("Bearer abc", Ok("abc")),
            ("bearer abc", Ok("abc")),
            ("BEARER  abc ", Ok("abc")),
            ("Bearer", Err(Malformed)),
            ("Bearer ", Err(Malformed)),
            ("Bearer a b", Err(Malformed)),
            ("Bearer a\tb", Err(Malformed)),
            ("Bearer é", Err(Malformed)),
            ("Basic abc", Err(Scheme)),
            ("Bearerabc", Err(Scheme)),
            ("", Err(Scheme)),
        ] {
            assert_eq!(bearer(header.as_bytes()), credential, "{header:?}");
        }
        assert_eq!(bearer(b"Bearer \xff"), Err(Malformed));
    }
}
