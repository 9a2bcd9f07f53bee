//! Who may call: credentials, principals, scopes.
//!
//! A credential is verified once and then found in a cache of its worker by its digest ([`Authenticator`]). What
//! is accepted stands in `AUTH_FILE` ([`policy`]); keys of issuers are fetched in the background ([`issuer`]).

mod api_key;
mod audit;
mod cache;
mod fetch;
mod issuer;
mod key_set;
mod policy;
mod principal;
mod reload;
mod scope;
#[cfg(test)]
mod testing;
mod token;

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime};

use parking_lot::RwLock;

use crate::telemetry::Metrics;
use api_key::{ApiKey, Digest};
use audit::Audit;
use cache::Cache;
use issuer::{Issuer, Running};
use key_set::Selection;
use policy::Policy;
use token::{Token, TokenError};

pub use api_key::{ApiKeyRequest, NewApiKey, NewApiKeyError};
pub use policy::PolicyError;
pub use principal::{Method, Principal};
pub use reload::FileError;
pub use scope::{Scope, Scopes};

/// What requests without credentials may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Anonymous {
    /// Everything, and credentials are ignored: a service on a loopback address that nobody has configured.
    Open,
    /// This. A credential that is present is verified all the same.
    Scopes(Scopes),
}

/// Why a credential is not accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// The `Authorization` header has another scheme, or is not text.
    #[error("the Authorization header is not a bearer credential")]
    NotBearer,
    /// The API key is unknown or wrong.
    #[error("the API key is unknown")]
    UnknownKey,
    /// The API key has expired.
    #[error("the API key has expired")]
    ExpiredKey,
    /// The token is not accepted.
    #[error("{0}")]
    Token(&'static str),
    /// The token is good, and names no tenant or a bad one.
    #[error("the token names no tenant, or a bad one")]
    Tenant,
    /// The keys of the token's issuer have not been fetched.
    #[error("the keys of the token's issuer are not available")]
    KeysUnavailable,
}

/// The state of access that all workers share.
pub struct Access {
    anonymous: Anonymous,
    directory: RwLock<Directory>,
    /// Grows with each change of keys or policy, so that caches are emptied.
    generation: Arc<AtomicU64>,
    audit: Audit,
    metrics: Arc<Metrics>,
}

#[derive(Default)]
struct Directory {
    issuers: Vec<Arc<Running>>,
    api_keys: HashMap<String, Vec<ApiKey>>,
}

/// What verification has to wait for.
enum Verified {
    Done(Result<Principal, Refused>),
    NeedsKeys(Arc<Running>),
}

impl Access {
    /// Reads `file` if there is one, and follows it from then on.
    ///
    /// # Errors
    /// [`FileError`] when the file is bad.
    pub async fn new(
        anonymous: Anonymous,
        file: Option<PathBuf>,
        metrics: Arc<Metrics>,
    ) -> Result<Arc<Self>, FileError> {
        let access = Arc::new(Self {
            anonymous,
            directory: RwLock::default(),
            generation: Arc::default(),
            audit: Audit::default(),
            metrics,
        });
        if let Some(path) = file {
            let text = reload::read(&path).await?;
            access.replace(reload::parse(&path, &text)?);
            tokio::spawn(reload::follow(Arc::downgrade(&access), path, text));
        }
        Ok(access)
    }

    /// What requests without credentials may do.
    pub fn anonymous(&self) -> Anonymous {
        self.anonymous
    }

    /// Puts a policy into force. Issuers that are in the old one as they are in the new one keep their keys.
    fn replace(&self, policy: Policy) {
        let mut directory = self.directory.write();
        let old = std::mem::take(&mut directory.issuers);
        directory.issuers = policy
            .issuers
            .into_iter()
            .map(|policy| {
                let same = old.iter().find(|running| running.issuer.policy == policy);
                same.cloned().unwrap_or_else(|| {
                    let generation = Arc::clone(&self.generation);
                    let changed = move || drop(generation.fetch_add(1, Ordering::AcqRel));
                    Arc::new(Issuer::start(policy, changed))
                })
            })
            .collect();
        directory.api_keys = policy.api_keys;
        drop(directory);
        self.generation.fetch_add(1, Ordering::AcqRel);
    }

    /// The age of each issuer's keys, by issuer. None before the first success.
    pub fn key_set_ages(&self) -> Vec<(String, Option<Duration>)> {
        let directory = self.directory.read();
        let age = |running: &Arc<Running>| {
            let issuer = &running.issuer;
            (issuer.policy.issuer.clone(), issuer.age())
        };
        directory.issuers.iter().map(age).collect()
    }

    /// Whether some request could be authenticated: false only while nothing but issuers is configured and none of
    /// them has keys yet.
    pub fn is_ready(&self) -> bool {
        let directory = self.directory.read();
        directory.issuers.is_empty()
            || !directory.api_keys.is_empty()
            || self.anonymous != Anonymous::Scopes(Scopes::NONE)
            || directory
                .issuers
                .iter()
                .any(|running| running.issuer.age().is_some())
    }

    /// Whether a credential that was accepted still is: its key is in the file, or its issuer.
    pub fn still_accepts(&self, principal: &Principal) -> bool {
        if principal.is_expired(SystemTime::now()) {
            return false;
        }
        let directory = self.directory.read();
        match principal.method {
            Method::Anonymous => true,
            Method::ApiKey => directory
                .api_keys
                .get(&*principal.caller.id)
                .is_some_and(|keys| keys.iter().any(|key| key.principal() == *principal)),
            Method::Token => directory.issuers.iter().any(|running| {
                let rest = principal
                    .caller
                    .id
                    .strip_prefix(running.issuer.policy.issuer.as_str());
                rest.is_some_and(|rest| rest.starts_with('|'))
            }),
        }
    }

    /// Records a refusal under the target `order_service::audit`.
    pub fn refused(&self, reason: Refused, peer: &str, request_id: &str) {
        self.audit.refused(&reason, peer, request_id);
    }

    fn verify(&self, credential: &str, digest: &Digest) -> Verified {
        if credential.starts_with(api_key::PREFIX) {
            return Verified::Done(self.verify_key(credential, digest));
        }
        let refused = |error| Verified::Done(Err(Refused::from(error)));
        let token = match Token::parse(credential) {
            Ok(token) => token,
            Err(error) => return refused(error),
        };
        let running = {
            let directory = self.directory.read();
            let named = token.issuer().ok();
            let found = directory
                .issuers
                .iter()
                .find(|running| Some(running.issuer.policy.issuer.as_str()) == named);
            found.cloned()
        };
        let Some(running) = running else {
            return refused(TokenError::Issuer);
        };
        let Some(keys) = running.issuer.keys() else {
            return Verified::NeedsKeys(running);
        };
        match keys.select(token.key_id.as_deref(), token.algorithm) {
            Selection::Key(key) => {
                let verified = token.verify(key, &running.issuer.policy, SystemTime::now());
                Verified::Done(verified.map_err(Refused::from))
            }
            Selection::Unknown => Verified::NeedsKeys(running),
            Selection::Unsuitable => refused(TokenError::Key),
        }
    }

    fn verify_key(&self, credential: &str, digest: &Digest) -> Result<Principal, Refused> {
        let directory = self.directory.read();
        let keys = api_key::id_of(credential).and_then(|id| directory.api_keys.get(id));
        let found = keys.and_then(|keys| keys.iter().find(|key| key.matches(digest)));
        let principal = found.ok_or(Refused::UnknownKey)?.principal();
        if principal.is_expired(SystemTime::now()) {
            return Err(Refused::ExpiredKey);
        }
        Ok(principal)
    }

    /// Verifies again after the keys of the issuer were refreshed.
    async fn verify_with_fresh_keys(
        &self,
        running: Arc<Running>,
        credential: &str,
        digest: &Digest,
    ) -> Result<Principal, Refused> {
        running.issuer.refresh().await;
        match self.verify(credential, digest) {
            Verified::Done(result) => result,
            Verified::NeedsKeys(running) if running.issuer.keys().is_some() => {
                Err(TokenError::Key.into())
            }
            Verified::NeedsKeys(_) => Err(Refused::KeysUnavailable),
        }
    }
}

impl From<TokenError> for Refused {
    fn from(error: TokenError) -> Self {
        match error {
            TokenError::Tenant => Self::Tenant,
            other => Self::Token(other.reason()),
        }
    }
}

/// Authenticates the requests of one worker.
pub struct Authenticator {
    access: Arc<Access>,
    cache: Cache,
    anonymous: Arc<Principal>,
}

/// The result of [`Authenticator::authenticate`].
pub enum Authentication {
    /// It is known who calls, or that the credential is not accepted.
    Done(Result<Arc<Principal>, Refused>),
    /// The keys of an issuer are needed first.
    Waiting(Pending),
}

/// A credential that waits for the keys of its issuer.
pub struct Pending {
    access: Arc<Access>,
    running: Arc<Running>,
    credential: String,
    digest: Digest,
}

impl Pending {
    /// Waits for the keys and verifies the credential. The caller bounds the wait by the request's deadline;
    /// past it the keys are unavailable.
    ///
    /// # Errors
    /// [`Refused`].
    pub async fn verify(self) -> Result<Arc<Principal>, Refused> {
        self.access
            .verify_with_fresh_keys(self.running, &self.credential, &self.digest)
            .await
            .map(Arc::new)
    }
}

impl Authenticator {
    /// An authenticator for one worker.
    pub fn new(access: Arc<Access>) -> Self {
        let scopes = match access.anonymous {
            Anonymous::Open => Scopes::ALL,
            Anonymous::Scopes(scopes) => scopes,
        };
        Self {
            access,
            cache: Cache::default(),
            anonymous: Arc::new(Principal::anonymous(scopes)),
        }
    }

    /// The state that all workers share.
    pub fn access(&self) -> &Arc<Access> {
        &self.access
    }

    /// Who makes a request with this `Authorization` header.
    pub fn authenticate(&mut self, authorization: Option<&[u8]>) -> Authentication {
        let header = match authorization {
            Some(header) if self.access.anonymous != Anonymous::Open => header,
            _ => return Authentication::Done(Ok(Arc::clone(&self.anonymous))),
        };
        let Some(credential) = bearer(header) else {
            return Authentication::Done(Err(Refused::NotBearer));
        };
        let digest = Digest::of(credential.as_bytes());
        let generation = self.access.generation.load(Ordering::Acquire);
        if let Some(principal) = self.cache.get(&digest, generation, SystemTime::now) {
            return Authentication::Done(Ok(principal));
        }
        match self.access.verify(credential, &digest) {
            Verified::Done(result) => Authentication::Done(result.map(|principal| {
                let principal = Arc::new(principal);
                self.cache
                    .insert(digest, Arc::clone(&principal), generation);
                principal
            })),
            Verified::NeedsKeys(running) => Authentication::Waiting(Pending {
                access: Arc::clone(&self.access),
                running,
                credential: credential.to_owned(),
                digest,
            }),
        }
    }
}

/// The credential of a bearer header (RFC 6750, section 2.1). The scheme ignores case (RFC 9110, section 11.1).
fn bearer(header: &[u8]) -> Option<&str> {
    let text = std::str::from_utf8(header).ok()?;
    let (scheme, credential) = text.split_once(' ')?;
    let credential = credential.trim_matches(' ');
    let is_token = |byte: u8| byte.is_ascii_graphic();
    (scheme.eq_ignore_ascii_case("bearer")
        && !credential.is_empty()
        && credential.bytes().all(is_token))
    .then_some(credential)
}

#[cfg(test)]
mod tests;
