//! Statements for whose lock readers and writers wait in turn.

use std::time::Duration;

use super::super::sqlstate::Remedy;
use super::session::Session;
use crate::store::StoreError;
use crate::store::maintain::Run;
use crate::store::pool::jitter;

/// `lock_timeout` of such a statement. Requests that arrive while it waits are late by at most this time.
const LOCK_TIMEOUT: &str = "75ms";
/// `lock_timeout` of the wait for autovacuum.
const VACUUM_TIMEOUT: &str = "3s";
/// How often it is tried. All attempts together take about 20 s.
const MAX_ATTEMPTS: u32 = 40;
/// The pause between two attempts, without jitter. Requests proceed in the pauses.
const ATTEMPT_PAUSE: Duration = Duration::from_millis(300);

/// The result of a statement that waits only briefly for its lock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum BriefLock {
    /// It was executed.
    Done,
    /// It did not get the lock, or the run must end.
    Timeout,
    /// It was rolled back because of a conflict with another transaction.
    Conflict,
}

impl BriefLock {
    pub(super) fn is_done(self) -> bool {
        self == Self::Done
    }
}

/// Runs statements in one transaction. Waits for a lock only briefly, with pauses between the attempts.
///
/// `tables` are those with rows that the statements lock. Autovacuum holds a lock for as long as it vacuums one, and ends
/// when a transaction has waited for it for `deadlock_timeout` (1 s). So the transaction first waits for a lock that
/// conflicts with that of a vacuum, and with none of readers and writers.
pub(super) async fn with_brief_lock(
    session: &mut Session,
    tables: &[&str],
    sql: &str,
    run: &mut Run,
) -> Result<BriefLock, StoreError> {
    let stop_vacuum = if tables.is_empty() {
        String::new()
    } else {
        format!(
            "SET LOCAL lock_timeout = '{VACUUM_TIMEOUT}'; LOCK TABLE {} IN SHARE UPDATE EXCLUSIVE MODE; ",
            tables.join(", ")
        )
    };
    let sql = format!("{stop_vacuum}SET LOCAL lock_timeout = '{LOCK_TIMEOUT}'; {sql}");
    let limit = session.response_timeout();
    for _ in 0..MAX_ATTEMPTS {
        match session.execute_within(&sql, limit).await {
            Ok(()) => return Ok(BriefLock::Done),
            Err((StoreError::LockTimeout, _)) => {}
            Err((_, Remedy::Retry)) => return Ok(BriefLock::Conflict),
            Err((error, _)) => return Err(error),
        }
        if !run.pause_for(ATTEMPT_PAUSE + jitter(ATTEMPT_PAUSE)).await {
            break;
        }
    }
    Ok(BriefLock::Timeout)
}
