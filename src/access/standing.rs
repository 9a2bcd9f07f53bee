//! Whether the credential of a long response is still accepted.

use std::future::pending;
use std::sync::Arc;
use std::time::SystemTime;

use tokio::sync::watch;
use tokio::time::sleep;

use super::authenticator::bearer;
use super::principal::Principal;
use super::state::{Access, Verified};
use super::{Anonymous, Scope};

/// Follows whether the credential of a long response is still accepted.
///
/// It costs nothing until keys or policy change. Then the credential is verified again, because a change may
/// concern the key, the issuer, a grant, the scopes or the tenant.
pub(crate) struct Standing {
    access: Arc<Access>,
    changes: watch::Receiver<()>,
    /// `None` without credentials, or where they are ignored. These requests stay accepted.
    credential: Option<Box<str>>,
    principal: Arc<Principal>,
    scope: Scope,
}

impl Standing {
    /// Follows the credential in `authorization`, which was accepted as `principal`. The response needs `scope`.
    pub(crate) fn new(
        access: &Arc<Access>,
        authorization: Option<&[u8]>,
        principal: &Arc<Principal>,
        scope: Scope,
    ) -> Self {
        let credential = match access.anonymous() {
            Anonymous::Open => None,
            Anonymous::Scopes(_) => authorization.and_then(|header| bearer(header).ok()),
        };
        let mut changes = access.changes();
        // A change between the authentication and now must not be missed.
        changes.mark_changed();
        Self {
            access: Arc::clone(access),
            changes,
            credential: credential.map(Box::from),
            principal: Arc::clone(principal),
            scope,
        }
    }

    /// Waits until the credential has expired or is no longer accepted. Cancel safe.
    pub(crate) async fn ended(&mut self) {
        if self.credential.is_none() {
            return pending().await;
        }
        loop {
            tokio::select! {
                biased;
                // The sender lives as long as `self.access`.
                Ok(()) = self.changes.changed() => if !self.is_accepted() {
                    return;
                },
                () = expiry(&self.principal) => return,
            }
        }
    }

    /// Verifies the credential with the current keys and policy.
    fn is_accepted(&mut self) -> bool {
        let Some(credential) = &self.credential else {
            return true;
        };
        match self.access.verify(credential) {
            Verified::Done(Ok(principal)) => {
                let same = principal.caller == self.principal.caller && principal.may(self.scope);
                self.principal = Arc::new(principal);
                same
            }
            Verified::Done(Err(_)) => false,
            // The issuer has no keys at the moment, which is no reason to end the response. Without the key of
            // the token among its keys, it has withdrawn that key.
            Verified::NeedsKeys(running) => running.issuer.keys().is_none(),
        }
    }
}

/// Waits until the credential of a principal has expired.
async fn expiry(principal: &Principal) {
    match principal.expires {
        None => pending().await,
        Some(at) => sleep(at.duration_since(SystemTime::now()).unwrap_or_default()).await,
    }
}
