//! Executes erasures in the background.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use tokio::runtime::Handle;
use tokio::sync::Notify;
use tokio::time::{Instant, sleep, timeout};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::{BatchSize, Claim, Step};
use crate::store::StoreError;
use crate::store::backend::Backend;
use crate::store::feed_signal::FeedSignal;
use crate::telemetry::Metrics;

/// How often to look for erasures that another process was requested to execute, or has not finished.
const POLL_INTERVAL: Duration = Duration::from_secs(5);
/// The pause after a step is as long as the step, within these bounds. So an erasure takes at most half of one
/// connection, and requests that wait for it are served in between.
const PAUSES: [Duration; 2] = [Duration::from_millis(1), Duration::from_millis(100)];
/// The pause before a retry of a step that could not lock what it needs.
const LOCKED_PAUSE: Duration = Duration::from_millis(100);

/// The task that executes erasures. Cheap to clone.
#[derive(Clone)]
pub(in crate::store) struct ErasureWorker {
    requested: Arc<Notify>,
    stop: CancellationToken,
    /// Cancelled when the task has ended.
    ended: CancellationToken,
}

impl ErasureWorker {
    /// Starts the task, and one that measures the age of the oldest erasure.
    pub(in crate::store) fn start(
        backend: &Arc<dyn Backend>,
        feed_signal: &FeedSignal,
        metrics: &Arc<Metrics>,
        runtime: &Handle,
    ) -> Self {
        let worker = Self {
            requested: Arc::default(),
            stop: CancellationToken::new(),
            ended: CancellationToken::new(),
        };
        let run = Run {
            backend: Arc::clone(backend),
            feed_signal: feed_signal.clone(),
            lease: Uuid::new_v4(),
            worker: worker.clone(),
        };
        let ended = worker.ended.clone().drop_guard();
        runtime.spawn(async move {
            run.run().await;
            drop(ended);
        });
        runtime.spawn(measure(Arc::clone(backend), Arc::clone(metrics)));
        worker
    }

    /// Wakes the task, because an erasure was requested.
    pub(in crate::store) fn wake(&self) {
        self.requested.notify_one();
    }

    /// Ends the task after its current step, and waits for that at most `timeout`. Another process can continue at once.
    pub(in crate::store) async fn stop(&self, limit: Duration) {
        self.stop.cancel();
        // Without the lease being released, another process continues when it has ended.
        let _ = timeout(limit, self.ended.cancelled()).await;
    }
}

/// Measures the age of the oldest erasure until the runtime ends. A measurement that fails sets the gauge to NaN,
/// because an older value would be wrong.
async fn measure(backend: Arc<dyn Backend>, metrics: Arc<Metrics>) {
    loop {
        let age = backend.oldest_erasure().await;
        metrics.erasure_oldest.set(age.unwrap_or(f64::NAN));
        sleep(POLL_INTERVAL).await;
    }
}

/// The state of the task.
struct Run {
    backend: Arc<dyn Backend>,
    feed_signal: FeedSignal,
    /// Identifies this process.
    lease: Uuid,
    worker: ErasureWorker,
}

/// Why an erasure is not executed any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    Done,
    /// Another process holds its lease.
    LeaseLost,
    /// This process ends.
    Stopped,
}

impl Run {
    async fn run(&self) {
        loop {
            match self.execute_next().await {
                Ok(Some(End::Stopped)) => return,
                Ok(Some(End::Done | End::LeaseLost)) => continue,
                Ok(None) => {}
                // The metric shows that erasures wait.
                Err(error) => log::debug!(error:%; "erasures wait for the database"),
            }
            tokio::select! {
                () = self.worker.stop.cancelled() => return,
                _ = timeout(POLL_INTERVAL, self.worker.requested.notified()) => {}
            }
        }
    }

    /// Executes the next erasure, if there is one.
    async fn execute_next(&self) -> Result<Option<End>, StoreError> {
        let Some(claim) = self.backend.claim_erasure(self.lease).await? else {
            return Ok(None);
        };
        let claim = Arc::new(claim);
        let mut execution = Execution {
            run: self,
            claim: Arc::clone(&claim),
            size: BatchSize::LARGEST,
        };
        let result = execution.execute().await;
        match &result {
            Ok(End::Stopped) => self.backend.release_erasure(claim).await?,
            Ok(End::Done) => log::info!(erasure_id:% = claim.id; "an erasure is done"),
            Ok(End::LeaseLost) => {}
            // The lease ends soon, and the erasure is then continued. Until then, others are executed.
            Err(error) => {
                log::warn!(erasure_id:% = claim.id, error:%; "an erasure is interrupted");
            }
        }
        result.map(Some)
    }
}

/// An erasure in progress.
struct Execution<'a> {
    run: &'a Run,
    claim: Arc<Claim>,
    size: BatchSize,
}

/// A walk was ended before its end.
enum Interrupted {
    End(End),
    Error(StoreError),
}

impl From<StoreError> for Interrupted {
    fn from(error: StoreError) -> Self {
        Self::Error(error)
    }
}

/// What a walk has found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Found {
    Nothing,
    /// Only what is locked by others.
    Locked,
    Something,
}

impl Execution<'_> {
    async fn execute(&mut self) -> Result<End, StoreError> {
        match self.walk_until_done().await {
            Ok(()) => Ok(End::Done),
            Err(Interrupted::End(end)) => Ok(end),
            Err(Interrupted::Error(error)) => Err(error),
        }
    }

    /// Walks along the orders, the archived orders and the worklist, until a walk along each of them finds nothing.
    ///
    /// A walk that finds nothing is a single look-up, so no order can escape it by a change of its status. Orders are
    /// looked up before archived orders, because an order that is archived moves from the former to the latter.
    async fn walk_until_done(&mut self) -> Result<(), Interrupted> {
        let backend = Arc::clone(&self.run.backend);
        loop {
            let orders = self
                .walk(|claim, after, size| backend.erase_orders(claim, after, size))
                .await?;
            let archived = self
                .walk(|claim, after, size| backend.erase_archived(claim, after, size))
                .await?;
            let redacted = self
                .walk(|claim, after, size| backend.redact(claim, after, size))
                .await?;
            let all = [orders, archived, redacted];
            if all.contains(&Found::Something) {
                continue;
            }
            if all.contains(&Found::Locked) {
                sleep(LOCKED_PAUSE).await;
                continue;
            }
            if backend.finish_erasure(Arc::clone(&self.claim)).await? {
                return Ok(());
            }
            // Another process holds the lease, or has added to the worklist before it lost the lease.
            return Err(Interrupted::End(End::LeaseLost));
        }
    }

    /// Repeats a step from the beginning of its walk to the end.
    async fn walk<C: Clone, F>(
        &mut self,
        step: impl Fn(Arc<Claim>, Option<C>, BatchSize) -> F,
    ) -> Result<Found, Interrupted>
    where
        F: Future<Output = Result<Option<Step<C>>, StoreError>>,
    {
        let (mut after, mut found) = (None, Found::Nothing);
        loop {
            if self.run.worker.stop.is_cancelled() {
                return Err(Interrupted::End(End::Stopped));
            }
            let start = Instant::now();
            let result = step(Arc::clone(&self.claim), after.clone(), self.size).await;
            let done = match result {
                Ok(done) => done.ok_or(Interrupted::End(End::LeaseLost))?,
                Err(StoreError::LockTimeout) => {
                    sleep(LOCKED_PAUSE).await;
                    continue;
                }
                // A smaller step may be fast enough.
                Err(StoreError::StatementTimeout) if self.size != self.size.halved() => {
                    self.size = self.size.halved();
                    continue;
                }
                Err(error) => return Err(error.into()),
            };
            if done.changed {
                found = Found::Something;
                self.run.feed_signal.announce();
            } else if done.next.is_some() && found == Found::Nothing {
                found = Found::Locked;
            }
            let Some(next) = done.next else {
                return Ok(found);
            };
            after = Some(next);
            let [shortest, longest] = PAUSES;
            sleep(start.elapsed().clamp(shortest, longest)).await;
        }
    }
}
