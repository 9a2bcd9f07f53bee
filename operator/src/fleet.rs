//! Limits the rollouts that no change of a spec requested.
//!
//! A new version of the operator may build another pod template, and a lost key of the digests changes the digest of
//! every secret. Without a limit, both would roll every OrderService at the same moment. Therefore such a rollout, with
//! its migration, needs a permit:
//!
//! - At most [`Limits::concurrent`] of them run at the same time, in the order in which they were requested.
//! - The first one that another pod template causes is a canary: the others start after it has completed. After a
//!   failure, the next one is a canary again.
//! - After [`Limits::failures`] failures of the same version of the operator, no further one starts.
//!
//! A change of a spec needs no permit and does not wait: it affects one OrderService, and its author decided when. A
//! changed secret is limited only by the number: a bad secret of one OrderService is no reason to stop the others. An
//! OrderService that waits with its template can get a permit for its secret meanwhile.
//!
//! The permits are in memory. A new leader restores them from the statuses before its first reconcile.

mod limits;
mod permit;

use std::collections::{HashMap, HashSet, VecDeque};

use parking_lot::Mutex;
use tokio::sync::mpsc::UnboundedSender;

pub use limits::Limits;
pub(crate) use limits::{Cause, Wait};
use permit::Permit;

/// The version that the status names as the cause of a failure.
pub(crate) const VERSION: &str = env!("CARGO_PKG_VERSION");

/// The namespace and the name of an OrderService.
pub(crate) type Name = (String, String);

/// The rollouts that no change of a spec requested, of all OrderServices.
#[derive(Debug, Default)]
pub struct Fleet(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    limits: Limits,
    /// The permits, by UID.
    running: HashMap<String, Permit>,
    waiting: VecDeque<Waiting>,
    /// UIDs whose rollout by this version of the operator failed.
    failed: HashSet<String>,
    /// Whether a rollout of another pod template has completed since the last failure.
    is_proven: bool,
    /// Receives the OrderServices that got a permit while they waited.
    wake: Option<UnboundedSender<Name>>,
}

#[derive(Debug)]
struct Waiting {
    uid: String,
    name: Name,
    cause: Cause,
}

/// The number of rollouts by state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Counts {
    pub running: usize,
    pub waiting: usize,
    pub failed: usize,
    /// Whether the failures stop further rollouts.
    pub is_held: bool,
}

impl Fleet {
    /// Sets the limits.
    pub fn limit(&self, limits: Limits) {
        self.0.lock().limits = limits;
    }

    /// Sends the OrderServices that get a permit while they wait.
    pub(crate) fn wake(&self, sender: UnboundedSender<Name>) {
        self.0.lock().wake = Some(sender);
    }

    /// Requests a permit. Without one, the OrderService is queued.
    ///
    /// # Errors
    /// Why there is no permit yet.
    pub(crate) fn request(&self, uid: &str, name: Name, cause: Cause) -> Result<(), Wait> {
        let mut state = self.0.lock();
        if state.has_permit(uid, cause) {
            return Ok(());
        }
        let permitted = state.permits(uid, cause);
        if permitted.is_ok() {
            state.start(uid, cause);
        } else if !state.waiting.iter().any(|waiting| waiting.is(uid, cause)) {
            let uid = uid.to_owned();
            state.waiting.push_back(Waiting { uid, name, cause });
        }
        permitted
    }

    /// Records a rollout that has already started. A permit that it has is kept.
    pub(crate) fn resume(&self, uid: &str, cause: Cause) {
        let mut state = self.0.lock();
        if !state.has_permit(uid, cause) {
            state.start(uid, cause);
        }
        state.remove_waiting(uid, cause);
    }

    /// Releases the permit of a changed secret that has rolled out. The OrderService stays in the queue with its
    /// template.
    pub(crate) fn finish_url(&self, uid: &str) {
        let mut state = self.0.lock();
        let permit = state.running.get(uid);
        if permit.is_some_and(|permit| permit.cause == Cause::Secret) {
            state.running.remove(uid);
            state.start_waiting();
        }
    }

    /// Releases the permit of a rollout that completed.
    pub(crate) fn complete(&self, uid: &str) {
        let mut state = self.0.lock();
        let permit = state.running.get(uid);
        if permit.is_some_and(|permit| permit.cause == Cause::Template) {
            state.is_proven = true;
        }
        state.release(uid);
    }

    /// Releases the permit of a rollout that does not continue, and removes the OrderService from the queue.
    pub(crate) fn release(&self, uid: &str) {
        self.0.lock().release(uid);
    }

    /// Records whether the last rollout by this version of the operator failed.
    pub(crate) fn record(&self, uid: &str, is_failed: bool) {
        let mut state = self.0.lock();
        if is_failed {
            if state.failed.insert(uid.to_owned()) {
                state.is_proven = false;
            }
        } else if state.failed.remove(uid) {
            state.start_waiting();
        }
    }

    /// Removes an OrderService that was deleted.
    pub(crate) fn forget(&self, uid: &str) {
        self.record(uid, false);
        self.release(uid);
    }

    /// Counts the rollouts by state.
    pub(crate) fn counts(&self) -> Counts {
        let state = self.0.lock();
        Counts {
            running: state.running.len(),
            waiting: state
                .waiting
                .iter()
                .map(|waiting| waiting.uid.as_str())
                .collect::<HashSet<_>>()
                .len(),
            failed: state.failed.len(),
            is_held: state.failed.len() >= state.limits.failures,
        }
    }
}

impl Waiting {
    fn is(&self, uid: &str, cause: Cause) -> bool {
        self.uid == uid && self.cause == cause
    }
}

impl State {
    /// Whether the rollout has a permit. That of a template includes the secret.
    fn has_permit(&self, uid: &str, cause: Cause) -> bool {
        let permit = self.running.get(uid);
        permit.is_some_and(|permit| permit.cause == cause || permit.cause == Cause::Template)
    }

    fn start(&mut self, uid: &str, cause: Cause) {
        self.running.insert(uid.to_owned(), Permit::new(cause));
        self.remove_waiting(uid, cause);
    }

    fn remove_waiting(&mut self, uid: &str, cause: Cause) {
        self.waiting.retain(|waiting| {
            waiting.uid != uid || (cause == Cause::Secret && waiting.cause == Cause::Template)
        });
    }

    fn permits(&self, uid: &str, cause: Cause) -> Result<(), Wait> {
        // A retry of one of the failed rollouts does not count its own failure.
        let failures = self.failed.iter().filter(|failed| *failed != uid).count();
        let is_template = cause == Cause::Template;
        if is_template && failures >= self.limits.failures {
            return Err(Wait::Held);
        }
        let mut running = self.running.values().filter(|permit| permit.counts());
        let count = running.clone().count();
        let is_canary_running = running.any(|permit| permit.cause == Cause::Template);
        let waits_for_canary = is_template && !self.is_proven && is_canary_running;
        if count >= self.limits.concurrent || waits_for_canary {
            return Err(Wait::Queued);
        }
        Ok(())
    }

    fn release(&mut self, uid: &str) {
        self.running.remove(uid);
        self.waiting.retain(|waiting| waiting.uid != uid);
        self.start_waiting();
    }

    /// Gives the free permits to those that wait, the longest wait first.
    fn start_waiting(&mut self) {
        let waiting = std::mem::take(&mut self.waiting);
        for next in waiting {
            if self.has_permit(&next.uid, next.cause) {
                continue;
            }
            if self.permits(&next.uid, next.cause).is_err() {
                self.waiting.push_back(next);
                continue;
            }
            self.running.insert(next.uid, Permit::new(next.cause));
            if let Some(wake) = &self.wake {
                // The receiver is gone only at shutdown.
                let _ = wake.send(next.name);
            }
        }
    }
}

#[cfg(test)]
mod tests;
