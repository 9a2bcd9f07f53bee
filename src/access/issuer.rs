//! The keys of one issuer: fetched in the background, shared by all who wait for them.

use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::{Notify, watch};
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep_until};

use super::fetch::fetch;
use super::file::FileReader;
use super::key_set::KeySet;
use super::policy::IssuerPolicy;

/// How long a key set is used before it is fetched again, unless its server says less.
const REFRESH: Duration = Duration::from_secs(300);
/// The shortest time between two attempts, whatever asks for them. Tokens with random key ids must not turn this
/// service into a load generator for the issuer.
const MIN_INTERVAL: Duration = Duration::from_secs(30);
/// How long the last good set is used while attempts fail.
const MAX_AGE: Duration = Duration::from_secs(24 * 60 * 60);

/// An issuer and its keys.
pub(super) struct Issuer {
    pub(super) policy: IssuerPolicy,
    state: Mutex<State>,
    /// The number of attempts that have ended.
    ended: watch::Sender<u64>,
    /// Ends the pause between two attempts.
    wanted: Notify,
}

struct State {
    keys: Option<Arc<KeySet>>,
    fetched: Option<Instant>,
    /// When the last attempt began.
    attempted: Option<Instant>,
    running: bool,
}

impl State {
    /// Whether the last successful fetch is too long ago.
    fn is_outdated(&self) -> bool {
        self.fetched.is_none_or(|at| at.elapsed() >= MAX_AGE)
    }
}

/// An issuer whose keys are being kept up to date.
pub(super) struct Running {
    pub(super) issuer: Arc<Issuer>,
    task: JoinHandle<()>,
}

impl Drop for Running {
    fn drop(&mut self) {
        self.task.abort();
        // Requests that wait for the attempt would wait until their deadline.
        self.issuer.state.lock().running = false;
        self.issuer.ended.send_modify(|ended| *ended += 1);
    }
}

impl Issuer {
    /// Starts to fetch keys. `changed` is called when the set of keys changes.
    ///
    /// The keys of a `previous` entry from the same place are used until then. Otherwise the change of a grant would
    /// lock out every token of an issuer that cannot be reached.
    ///
    /// # Panics
    /// Outside a Tokio runtime.
    pub(super) fn start(
        policy: IssuerPolicy,
        previous: Option<&Running>,
        changed: impl Fn() + Send + Sync + 'static,
    ) -> Running {
        let previous = previous.filter(|running| running.issuer.policy.has_keys_of(&policy));
        let (keys, fetched) = previous.map_or_else(Default::default, |running| {
            let state = running.issuer.state.lock();
            (state.keys.clone(), state.fetched)
        });
        let issuer = Arc::new(Self {
            policy,
            state: Mutex::new(State {
                keys,
                fetched,
                attempted: None,
                running: true,
            }),
            ended: watch::Sender::new(0),
            wanted: Notify::new(),
        });
        let task = tokio::spawn(Arc::clone(&issuer).keep_current(changed));
        Running { issuer, task }
    }

    /// The keys, unless none was ever fetched or the last good set is too old.
    pub(super) fn keys(&self) -> Option<Arc<KeySet>> {
        let state = self.state.lock();
        state.keys.clone().filter(|_| !state.is_outdated())
    }

    /// How long ago the keys were fetched.
    pub(super) fn age(&self) -> Option<Duration> {
        self.state.lock().fetched.map(|at| at.elapsed())
    }

    /// Waits for an attempt that begins now or is under way. Returns at once when the last one began too
    /// recently.
    pub(super) async fn refresh(&self) {
        let mut ended = {
            let mut state = self.state.lock();
            // The end of the attempt is sent after the state has changed, so it is not missed.
            let ended = self.ended.subscribe();
            if !state.running {
                let recent = |at: Instant| at.elapsed() < MIN_INTERVAL;
                if state.attempted.is_some_and(recent) {
                    return;
                }
                state.running = true;
                self.wanted.notify_one();
            }
            ended
        };
        // The sender lives as long as `self`.
        let _ = ended.changed().await;
    }

    async fn keep_current(self: Arc<Self>, changed: impl Fn()) {
        let files = FileReader::default();
        let mut failing = false;
        loop {
            let started = Instant::now();
            {
                let mut state = self.state.lock();
                state.running = true;
                state.attempted = Some(started);
            }
            let result = fetch(&self.policy, &files).await;
            let issuer = self.policy.issuer.as_str();
            let pause = match &result {
                Ok(fetched) => fetched
                    .max_age
                    .unwrap_or(REFRESH)
                    .clamp(MIN_INTERVAL, REFRESH),
                Err(_) => MIN_INTERVAL,
            };
            match &result {
                Ok(_) if failing => log::info!(issuer; "the keys of the issuer are fetched again"),
                Err(error) if !failing => {
                    log::warn!(issuer, error:% = error.chain(); "the keys of the issuer cannot be fetched");
                }
                _ => {}
            }
            failing = result.is_err();
            let replaced = {
                let mut state = self.state.lock();
                state.running = false;
                match result {
                    Ok(fetched) => {
                        let same = state
                            .keys
                            .as_ref()
                            .is_some_and(|keys| **keys == fetched.keys);
                        state.fetched = Some(Instant::now());
                        if !same {
                            state.keys = Some(Arc::new(fetched.keys));
                        }
                        !same
                    }
                    // A cached token must not outlive the keys that have verified it.
                    Err(_) if state.is_outdated() => state.keys.take().is_some(),
                    Err(_) => false,
                }
            };
            if replaced {
                changed();
            }
            self.ended.send_modify(|ended| *ended += 1);
            tokio::select! {
                () = sleep_until(started + pause) => {}
                () = self.wanted.notified() => {}
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;
    use crate::access::policy::Policy;
    use crate::access::testing::TestIssuer;

    fn policy(file: &std::path::Path, more: &str) -> IssuerPolicy {
        let issuer = "https://login.example.com/";
        let text = format!(
            "[[issuer]]\nissuer = \"{issuer}\"\naudiences = [\"a\"]\njwks_file = {file:?}\n{more}"
        );
        Policy::parse(&text).unwrap().issuers.remove(0)
    }

    #[tokio::test]
    async fn the_keys_of_an_issuer_outlive_a_change_of_its_entry_and_not_of_their_place() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("jwks.json");
        std::fs::write(&file, TestIssuer::new().jwks().to_string()).unwrap();
        let first = Issuer::start(policy(&file, ""), None, || {});
        first.issuer.refresh().await;
        assert!(first.issuer.keys().is_some());

        std::fs::remove_file(&file).unwrap();
        let other_types = policy(&file, "token_types = [\"JWT\"]");
        let second = Issuer::start(other_types, Some(&first), || {});
        second.issuer.refresh().await;
        assert!(second.issuer.keys().is_some());

        let elsewhere = policy(&folder.path().join("other.json"), "");
        let third = Issuer::start(elsewhere, Some(&first), || {});
        third.issuer.refresh().await;
        assert!(third.issuer.keys().is_none());
    }

    #[tokio::test]
    async fn the_last_good_set_is_used_for_a_day() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("jwks.json");
        std::fs::write(&file, TestIssuer::new().jwks().to_string()).unwrap();
        let changes = Arc::new(AtomicUsize::new(0));
        let counted = Arc::clone(&changes);
        let changed = move || {
            counted.fetch_add(1, Ordering::Relaxed);
        };
        let running = Issuer::start(policy(&file, ""), None, changed);
        running.issuer.refresh().await;
        assert_eq!(changes.load(Ordering::Relaxed), 1);

        std::fs::remove_file(&file).unwrap();
        // Not earlier: a paused clock would pass the timeout of the read while its thread runs.
        tokio::time::pause();
        tokio::time::sleep(MAX_AGE - Duration::from_secs(60)).await;
        assert!(running.issuer.keys().is_some());
        tokio::time::sleep(Duration::from_secs(120)).await;
        assert!(running.issuer.keys().is_none());
        assert_eq!(changes.load(Ordering::Relaxed), 2);
    }
}
