//! A run: its report, its pauses and its progress.

use std::time::{Duration, Instant};

use tokio_util::sync::CancellationToken;

use super::report::{MaintainReport, Postponed};
use super::{Maintained, StoreError};

/// The minimum pause between two transactions.
const MIN_PAUSE: Duration = Duration::from_millis(10);
/// The maximum pause between two transactions.
const MAX_PAUSE: Duration = Duration::from_secs(1);
/// How often progress is logged.
const PROGRESS_INTERVAL: Duration = Duration::from_secs(5);

/// The state of a run.
pub(in crate::store) struct Run {
    pub(in crate::store) report: MaintainReport,
    stop: CancellationToken,
    /// When the last pause ended.
    resumed: Instant,
    logged: Instant,
}

impl Run {
    pub(in crate::store) fn new(stop: CancellationToken) -> Self {
        let now = Instant::now();
        Self {
            report: MaintainReport::default(),
            stop,
            resumed: now,
            logged: now,
        }
    }

    /// Pauses as long as the work since the last pause took, so that maintenance takes at most half of the time of a
    /// lock or of a disk. Returns false if the run must end.
    pub(in crate::store) async fn pause(&mut self) -> bool {
        let pause = self.resumed.elapsed().clamp(MIN_PAUSE, MAX_PAUSE);
        self.pause_for(pause).await
    }

    /// Pauses. Returns false if the run must end.
    pub(in crate::store) async fn pause_for(&mut self, pause: Duration) -> bool {
        let _ = tokio::time::timeout(pause, self.stop.cancelled()).await;
        self.resumed = Instant::now();
        !self.is_stopped()
    }

    /// Whether the run must end.
    pub(in crate::store) fn is_stopped(&mut self) -> bool {
        if self.stop.is_cancelled() && !self.report.interrupted {
            self.report.interrupted = true;
            log::info!("ending after the current transaction; the next run continues");
        }
        self.report.interrupted
    }

    /// Records that work on a partition has to wait for the next run.
    pub(in crate::store) fn postpone(&mut self, partition: &str, reason: &str) {
        log::warn!(partition, reason; "postponed to the next run");
        self.report.postponed.push(Postponed {
            partition: partition.to_owned(),
            reason: reason.to_owned(),
        });
    }

    /// Logs how far the run has come, every few seconds.
    pub(in crate::store) fn log_progress(&mut self, activity: &str, done: u64) {
        if self.logged.elapsed() >= PROGRESS_INTERVAL {
            self.logged = Instant::now();
            log::info!(done; "{activity}");
        }
    }

    pub(super) fn finish(self, result: Result<(), StoreError>) -> Maintained {
        Maintained {
            report: self.report,
            error: result.err(),
        }
    }
}
