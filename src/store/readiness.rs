//! Whether requests would be served: does the database respond, accept writes, and have the schema?

use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use tokio::sync::watch;
use tokio::time::timeout;

use super::StoreError;
use super::backend::Backend;
use super::error::StoreFault;

/// How long the result "ready" is cached, so that probes cost the database nothing.
const READY_CACHED_FOR: Duration = Duration::from_secs(1);
/// How long any other result is cached. It is shorter, because the cause may end at any time.
const NOT_READY_CACHED_FOR: Duration = Duration::from_millis(200);
/// How long a probe waits for a result: less than the timeout of a probe of Kubernetes, which is 1 s.
const RESPONSE_TIMEOUT: Duration = Duration::from_millis(800);
/// How long each step of a check may take: to open a connection, or to run the statements.
const STEP_TIMEOUT: Duration = Duration::from_secs(5);

/// The result of a readiness check.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Readiness {
    /// Requests are served.
    Ready,
    /// The database does not respond.
    DatabaseUnavailable,
    /// A migration is missing.
    SchemaBehind,
    /// An unreleased build of the service made the schema; it cannot be migrated.
    SchemaUnreleased,
    /// The database accepts no writes: it is a standby, or read-only.
    ReadOnly,
    /// The row of the table `feed` is missing, so events cannot get a position.
    FeedMissing,
    /// The database was restored from a dump and has not been migrated since: new events would come before those
    /// that readers have.
    FeedBehind,
    /// The encoding of the database, which this names, is not UTF-8.
    Encoding(String),
}

impl Readiness {
    /// How long the result is cached.
    fn cached_for(&self) -> Duration {
        if *self == Self::Ready {
            READY_CACHED_FOR
        } else {
            NOT_READY_CACHED_FOR
        }
    }
}

/// Checks readiness for many probes at once, and caches the result. Cheap to clone.
#[derive(Clone)]
pub(super) struct ReadinessProbe(Arc<Shared>);

struct Shared {
    backend: Arc<dyn Backend>,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    last: Option<(Instant, Readiness)>,
    running: Option<RunningCheck>,
}

#[derive(Clone)]
struct RunningCheck {
    began: Instant,
    /// Becomes true with the result. The check may then prepare the next one.
    done: watch::Receiver<bool>,
}

impl ReadinessProbe {
    pub(super) fn new(backend: Arc<dyn Backend>) -> Self {
        Self(Arc::new(Shared {
            backend,
            state: Mutex::default(),
        }))
    }

    /// Returns the result, at most [`READY_CACHED_FOR`] old (or [`NOT_READY_CACHED_FOR`]), within
    /// [`RESPONSE_TIMEOUT`]. Concurrent callers share one check. Must be called on the runtime of the store.
    pub(super) async fn check(&self) -> Readiness {
        let mut running = {
            let mut state = self.0.state.lock();
            if let Some((at, readiness)) = &state.last
                && at.elapsed() < readiness.cached_for()
            {
                return readiness.clone();
            }
            match &state.running {
                Some(running) => running.clone(),
                None => state.running.insert(self.start()).clone(),
            }
        };
        if timeout(RESPONSE_TIMEOUT, running.done.wait_for(|done| *done))
            .await
            .is_err()
        {
            self.0.publish_timeout(running.began);
        }
        let last = self.0.state.lock().last.clone();
        last.map_or(Readiness::DatabaseUnavailable, |(_, readiness)| readiness)
    }

    fn start(&self) -> RunningCheck {
        let (sender, done) = watch::channel(false);
        let shared = Arc::clone(&self.0);
        tokio::spawn(async move {
            let result = shared.backend.check_readiness().await;
            shared.publish(result);
            sender.send_replace(true);
            shared.backend.prepare_next_check().await;
            shared.state.lock().running = None;
        });
        RunningCheck {
            began: Instant::now(),
            done,
        }
    }
}

impl Shared {
    /// Publishes that a check has no result in time. If a request was served since the check began, only the
    /// connection of the check is known to be slow, and the last result is kept.
    fn publish_timeout(&self, began: Instant) {
        if self.backend.has_served_since(began) && self.state.lock().last.is_some() {
            return;
        }
        self.publish(Err(StoreFault::NoResponse(RESPONSE_TIMEOUT).into()));
    }

    /// Stores a result, and logs a change with its cause.
    fn publish(&self, result: Result<Readiness, StoreError>) {
        let readiness = match &result {
            Ok(readiness) => readiness.clone(),
            Err(_) => Readiness::DatabaseUnavailable,
        };
        let last = (Instant::now(), readiness.clone());
        let before = self.state.lock().last.replace(last);
        if before.is_some_and(|(_, before)| before == readiness) {
            return;
        }
        match result {
            Ok(Readiness::Ready) => log::info!("ready"),
            Ok(readiness) => log::warn!(reason:? = readiness; "not ready"),
            Err(error) => log::warn!(reason:? = readiness, error:%; "not ready"),
        }
    }
}

/// Runs one step of a check, for at most [`STEP_TIMEOUT`].
pub(super) async fn within_step<T>(
    step: impl Future<Output = Result<T, StoreError>>,
) -> Result<T, StoreError> {
    timeout(STEP_TIMEOUT, step)
        .await
        .unwrap_or_else(|_| Err(StoreFault::NoResponse(STEP_TIMEOUT).into()))
}
