//! The time that a request spends in each stage of the store.
//!
//! A connection is acquired and a statement is run deep below the request that needs them. The time of both is summed up
//! in the task of the request: as a parameter it would pass through every use case of both databases.

use std::cell::Cell;
use std::future::Future;
use std::time::Duration;

use crate::concurrency::Instant;
use crate::telemetry::StoreTimes;

tokio::task_local! {
    /// What the work in [`measured`] has spent so far.
    static SPENT: SpentSoFar;
}

#[derive(Default)]
struct SpentSoFar(Cell<Spent>);

impl SpentSoFar {
    fn add(&self, more: Spent) {
        self.0.set(self.0.get().and(more));
    }
}

/// The time that a request has spent with the database.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Spent {
    /// Acquiring connections.
    pool: Duration,
    /// Running statements.
    database: Duration,
}

impl Spent {
    /// Adds the time of a further attempt.
    pub(super) fn and(self, more: Self) -> Self {
        Self {
            pool: self.pool + more.pool,
            database: self.database + more.database,
        }
    }

    /// The times of a request that was admitted at `since` and has its outcome `now`.
    pub(super) fn times(self, since: Instant, now: Instant) -> StoreTimes {
        let Self { pool, database } = self;
        StoreTimes {
            queue: now
                .saturating_duration_since(since)
                .saturating_sub(pool + database),
            pool,
            database,
        }
    }
}

/// Runs `work` and returns what it has spent in this task. Tasks that it spawns do not count.
pub(super) async fn measured<F: Future>(work: F) -> (F::Output, Spent) {
    let measured = async {
        let output = work.await;
        (output, SPENT.with(|spent| spent.0.get()))
    };
    SPENT.scope(SpentSoFar::default(), measured).await
}

/// Adds the time of an attempt to acquire a connection. Has no effect outside of [`measured`].
pub(super) fn spent_in_pool(pool: Duration) {
    let database = Duration::ZERO;
    let _ = SPENT.try_with(|spent| spent.add(Spent { pool, database }));
}

/// Adds the time of a statement. Has no effect outside of [`measured`].
pub(super) fn spent_in_database(database: Duration) {
    let pool = Duration::ZERO;
    let _ = SPENT.try_with(|spent| spent.add(Spent { pool, database }));
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[tokio::test]
    async fn the_times_of_all_attempts_are_summed_up_and_the_rest_is_the_queue() {
        let work = async {
            for _ in 0..2 {
                spent_in_pool(SECOND);
                tokio::task::yield_now().await;
                spent_in_database(2 * SECOND);
            }
            "done"
        };
        let (output, spent) = measured(work).await;
        assert_eq!(output, "done");
        let since = Instant::now();
        assert_eq!(
            spent.times(since, since + 10 * SECOND),
            StoreTimes {
                queue: 4 * SECOND,
                pool: 2 * SECOND,
                database: 4 * SECOND,
            }
        );
        // Clocks of different threads may differ.
        assert_eq!(spent.times(since, since).queue, Duration::ZERO);
    }

    #[tokio::test]
    async fn requests_in_one_task_are_measured_separately() {
        let spend = async |time| {
            tokio::task::yield_now().await;
            spent_in_database(time);
            tokio::task::yield_now().await;
        };
        let (one, two) = tokio::join!(measured(spend(SECOND)), measured(spend(3 * SECOND)));
        assert_eq!((one.1.database, two.1.database), (SECOND, 3 * SECOND));
        // Outside, nothing is measured, and nothing fails.
        spent_in_pool(SECOND);
    }
}
