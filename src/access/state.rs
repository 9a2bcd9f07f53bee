//! The state of access that all workers share.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, SystemTime};

use parking_lot::RwLock;
use tokio::sync::watch;

use super::api_key::{self, ApiKey, Digest};
use super::audit::Audit;
use super::file::FileReader;
use super::issuer::{Issuer, Running};
use super::key_set::Selection;
use super::policy::Policy;
use super::principal::Principal;
use super::reload::{self, FileError};
use super::token::{Token, TokenError};
use super::{Anonymous, Rejected, Scopes};
use crate::telemetry::Metrics;

/// The state of access that all workers share.
pub(crate) struct Access {
    anonymous: Anonymous,
    directory: RwLock<Directory>,
    /// Whether [`Self::is_ready`] was true once.
    was_ready: AtomicBool,
    generation: Arc<Generation>,
    pub(super) audit: Audit,
    pub(super) metrics: Arc<Metrics>,
}

/// Counts the changes of keys and policy. What was verified in one generation may be rejected in the next.
#[derive(Debug)]
pub(super) struct Generation {
    /// Read by every request, so it is not behind the lock of the channel.
    number: AtomicU64,
    changed: watch::Sender<()>,
}

impl Generation {
    fn advance(&self) {
        self.number.fetch_add(1, Ordering::AcqRel);
        self.changed.send_replace(());
    }
}

#[derive(Default)]
struct Directory {
    issuers: Vec<Arc<Running>>,
    api_keys: HashMap<String, Vec<ApiKey>>,
}

impl Directory {
    /// Whether some credential can be verified now. Without issuers there are no keys to wait for.
    fn may_authenticate(&self, now: SystemTime) -> bool {
        let is_valid = |key: &ApiKey| key.expires.is_none_or(|at| at > now);
        let has_keys = |running: &Arc<Running>| running.issuer.age().is_some();
        self.issuers.is_empty()
            || self.api_keys.values().flatten().any(is_valid)
            || self.issuers.iter().any(has_keys)
    }
}

/// The result of a verification.
pub(super) enum Verified {
    /// The credential is accepted or rejected.
    Done(Result<Principal, Rejected>),
    /// The keys of the issuer are needed first.
    NeedsKeys(Arc<Running>),
}

impl Access {
    /// Reads `file` if there is one, and follows its changes.
    ///
    /// # Errors
    /// [`FileError`].
    pub(crate) async fn new(
        anonymous: Anonymous,
        file: Option<PathBuf>,
        metrics: Arc<Metrics>,
    ) -> Result<Arc<Self>, FileError> {
        metrics.expect_auth();
        let access = Arc::new(Self {
            anonymous,
            directory: RwLock::default(),
            was_ready: AtomicBool::default(),
            generation: Arc::new(Generation {
                number: AtomicU64::default(),
                changed: watch::Sender::default(),
            }),
            audit: Audit::default(),
            metrics,
        });
        if let Some(path) = file {
            let text = reload::read(&FileReader::default(), &path).await?;
            access.replace(reload::parse(&path, &text)?);
            tokio::spawn(reload::follow(Arc::downgrade(&access), path, text));
        }
        Ok(access)
    }

    /// What requests without credentials may do.
    pub(crate) fn anonymous(&self) -> Anonymous {
        self.anonymous
    }

    /// The current generation of keys and policy.
    pub(super) fn generation(&self) -> u64 {
        self.generation.number.load(Ordering::Acquire)
    }

    /// Receives a message after each change of keys or policy.
    pub(super) fn changes(&self) -> watch::Receiver<()> {
        self.generation.changed.subscribe()
    }

    /// Puts a policy into force. An issuer whose entry has not changed keeps its keys.
    pub(super) fn replace(&self, policy: Policy) {
        let mut directory = self.directory.write();
        let old = std::mem::take(&mut directory.issuers);
        directory.issuers = policy
            .issuers
            .into_iter()
            .map(|policy| {
                let same = old.iter().find(|running| running.issuer.policy == policy);
                same.cloned().unwrap_or_else(|| {
                    let has_keys = |old: &&Arc<Running>| old.issuer.policy.has_keys_of(&policy);
                    let previous = old.iter().find(has_keys).map(Arc::as_ref);
                    let generation = Arc::clone(&self.generation);
                    let changed = move || generation.advance();
                    Arc::new(Issuer::start(policy, previous, changed))
                })
            })
            .collect();
        directory.api_keys = policy.api_keys;
        drop(directory);
        self.generation.advance();
    }

    /// The age of the keys of each issuer, by the issuer's name. `None` before the first successful fetch.
    pub(crate) fn key_set_ages(&self) -> Vec<(String, Option<Duration>)> {
        let directory = self.directory.read();
        let age = |running: &Arc<Running>| {
            let issuer = &running.issuer;
            (issuer.policy.issuer.clone(), issuer.age())
        };
        directory.issuers.iter().map(age).collect()
    }

    /// Whether some request can be served: false only until the first issuer has keys, and only if neither an API
    /// key that has not expired nor a request without credentials is accepted.
    ///
    /// Once true, it stays true: a new `AUTH_FILE` with an issuer that cannot be reached would otherwise take every
    /// pod out of service at the same time.
    pub(crate) fn is_ready(&self) -> bool {
        if self.was_ready.load(Ordering::Relaxed) {
            return true;
        }
        let now = SystemTime::now();
        let ready = self.anonymous != Anonymous::Scopes(Scopes::NONE)
            || self.directory.read().may_authenticate(now);
        if ready {
            self.was_ready.store(true, Ordering::Relaxed);
        }
        ready
    }

    pub(super) fn verify(&self, credential: &str) -> Verified {
        if credential.starts_with(api_key::PREFIX) {
            return Verified::Done(self.verify_key(credential));
        }
        let rejected = |error: TokenError| Verified::Done(Err(error.into()));
        let token = match Token::parse(credential) {
            Ok(token) => token,
            Err(error) => return rejected(error),
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
            return rejected(TokenError::Issuer);
        };
        let policy = &running.issuer.policy;
        let keys = running.issuer.keys();
        let selection = keys.as_ref().map_or(Selection::Unknown, |keys| {
            keys.select(token.key_id.as_deref(), token.algorithm)
        });
        match selection {
            Selection::Key(key) => {
                let verified = token.verify(key, policy, SystemTime::now());
                Verified::Done(verified.map_err(Rejected::from))
            }
            // A token that is rejected with any key neither waits for keys nor has them fetched.
            Selection::Unknown => match token.check(policy, SystemTime::now()) {
                Ok(_) => Verified::NeedsKeys(running),
                Err(error) => rejected(error),
            },
            Selection::Unsuitable => rejected(TokenError::Key),
        }
    }

    fn verify_key(&self, credential: &str) -> Result<Principal, Rejected> {
        let digest = Digest::of(credential.as_bytes());
        let directory = self.directory.read();
        let keys = api_key::id_of(credential).and_then(|id| directory.api_keys.get(id));
        let found = keys.and_then(|keys| keys.iter().find(|key| key.matches(&digest)));
        let principal = found.ok_or(Rejected::UnknownKey)?.principal();
        if principal.is_expired(SystemTime::now()) {
            return Err(Rejected::ExpiredKey);
        }
        Ok(principal)
    }

    /// Verifies a credential again after the keys of its issuer were refreshed.
    pub(super) async fn verify_with_fresh_keys(
        &self,
        running: Arc<Running>,
        credential: &str,
    ) -> Result<Principal, Rejected> {
        running.issuer.refresh().await;
        match self.verify(credential) {
            Verified::Done(result) => result,
            Verified::NeedsKeys(running) if running.issuer.keys().is_some() => {
                Err(TokenError::Key.into())
            }
            Verified::NeedsKeys(_) => Err(Rejected::KeysUnavailable),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::access::testing::TestIssuer;

    const KEY: &str = "[[api_key]]\nid = \"a\"\nscopes = [\"admin\"]\n\
        sha256 = \"9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08\"\n";

    fn issuer(jwks: &std::path::Path) -> String {
        format!("[[issuer]]\nissuer = \"i\"\naudiences = [\"a\"]\njwks_file = {jwks:?}\n")
    }

    async fn access(text: &str) -> Arc<Access> {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(&file, text).unwrap();
        let none = Anonymous::Scopes(Scopes::NONE);
        let metrics = Arc::new(Metrics::new().unwrap());
        let path = Some(file.path().to_owned());
        Access::new(none, path, metrics).await.unwrap()
    }

    #[tokio::test]
    async fn only_an_api_key_that_has_not_expired_makes_a_service_ready_without_the_keys_of_an_issuer()
     {
        let missing = issuer(std::path::Path::new("/no/such/jwks.json"));
        for (keys, ready) in [
            (String::new(), false),
            (format!("{KEY}expires = 2020-01-01T00:00:00Z\n"), false),
            (format!("{KEY}expires = 9999-01-01T00:00:00Z\n"), true),
            (KEY.to_owned(), true),
        ] {
            let access = access(&format!("{missing}{keys}")).await;
            assert_eq!(access.is_ready(), ready, "{keys}");
        }
    }

    #[tokio::test]
    async fn a_service_that_was_ready_stays_ready_without_keys() {
        let folder = tempfile::tempdir().unwrap();
        let jwks = folder.path().join("jwks.json");
        std::fs::write(&jwks, TestIssuer::new().jwks().to_string()).unwrap();
        let access = access(&issuer(&jwks)).await;
        let mut changes = access.changes();
        while !access.is_ready() {
            changes.changed().await.unwrap();
        }
        let elsewhere = issuer(std::path::Path::new("/no/such/jwks.json"));
        access.replace(Policy::parse(&elsewhere).unwrap());
        assert_eq!(access.key_set_ages(), [("i".to_owned(), None)]);
        assert!(access.is_ready());
    }
}
