//! The memory budget for responses that are not sent yet, for the whole process.
//!
//! A client that requests a large page and does not read it keeps the page in memory. All clients together may
//! keep `RESPONSE_BUFFER_BYTES`, and one principal its share of that. Above that, further large responses are rejected.

use std::future::{Future, poll_fn};
use std::pin::pin;
use std::sync::Arc;
use std::task::ready;
use std::time::Duration;

use tokio::time::sleep;

use crate::domain::Caller;
use crate::http::problem::Problem;
use crate::http::problem::kind::ProblemKind;
use crate::shares::{FairShares, Share, Unavailable, Wanted};
use crate::telemetry::Metrics;

/// Responses of at most this many bytes need no permit, so probes and single small orders are sent even when slow
/// readers hold the whole budget. A connection has one response at a time, so `MAX_CONNECTIONS` bounds these.
pub(crate) const SMALL: usize = 8 * 1024;
/// How long a stream waits before it checks an exhausted budget again.
const POLL_INTERVAL: Duration = Duration::from_millis(50);

const NO_BUDGET: &str = "Too many large responses are waiting for their clients. Try again later.";
const NO_SHARE: &str =
    "The caller has not received earlier large responses yet. Read them, and try again later.";

/// The problem of a request whose response has no budget.
pub(crate) fn problem(caller: Option<&Caller>, error: Unavailable) -> Problem {
    match error {
        Unavailable::Share if caller.is_some() => Problem::new(ProblemKind::RateLimited, NO_SHARE),
        _ => Problem::new(ProblemKind::Overloaded, NO_BUDGET),
    }
}

/// The budget of bytes of responses that wait to be sent. Cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct ResponseBudget {
    shares: FairShares,
    /// Stands for requests without a caller, which are those of open routes.
    nobody: Arc<str>,
    metrics: Arc<Metrics>,
}

impl ResponseBudget {
    /// Creates a budget of `limit` bytes.
    pub(crate) fn new(limit: usize, metrics: Arc<Metrics>) -> Self {
        Self {
            shares: FairShares::new(limit),
            nobody: "".into(),
            metrics,
        }
    }

    /// Acquires a permit for this many bytes of a response to `caller`. A response larger than the share of its caller
    /// gets a permit when the caller holds no other, and one larger than the whole budget when no other response holds
    /// one, because it could never be sent otherwise.
    pub(crate) fn acquire(
        &self,
        caller: Option<&Caller>,
        bytes: usize,
    ) -> Result<Permit, Unavailable> {
        let share = self
            .shares
            .acquire(self.principal(caller), Wanted::of(bytes))?;
        Ok(self.permit(share))
    }

    /// Returns a permit for bytes that are in memory already, even if they exceed the budget.
    pub(crate) fn charge(&self, caller: Option<&Caller>, bytes: usize) -> Permit {
        self.permit(self.shares.charge(self.principal(caller), bytes))
    }

    /// Checks that the caller has not used up its share, and all callers together not the budget.
    ///
    /// # Errors
    /// [`Unavailable`].
    pub(crate) fn check(&self, caller: Option<&Caller>) -> Result<(), Unavailable> {
        self.shares.check(self.principal(caller))
    }

    /// Polls `work`, which produces the next part of a stream, only while the caller has not used up its share. The
    /// stream that awaits this can meanwhile end, or send what is small.
    pub(crate) async fn within_share<T>(
        &self,
        caller: &Caller,
        work: impl Future<Output = T>,
    ) -> T {
        let mut work = pin!(work);
        let mut wait = None;
        poll_fn(|cx| {
            while self.check(Some(caller)).is_err() {
                let sleeping = wait.get_or_insert_with(|| Box::pin(sleep(POLL_INTERVAL)));
                ready!(sleeping.as_mut().poll(cx));
                wait = None;
            }
            work.as_mut().poll(cx)
        })
        .await
    }

    /// Waits until the caller has not used up its share, and all callers together not the budget.
    pub(crate) async fn wait_for_share(&self, caller: &Caller) {
        while self.check(Some(caller)).is_err() {
            sleep(POLL_INTERVAL).await;
        }
    }

    fn principal<'a>(&'a self, caller: Option<&'a Caller>) -> &'a Arc<str> {
        caller.map_or(&self.nobody, |caller| &caller.id)
    }

    fn permit(&self, share: Share) -> Permit {
        self.metrics.response_buffer.add(signed(share.amount()));
        Permit {
            share,
            metrics: Arc::clone(&self.metrics),
        }
    }
}

/// Bytes of the budget, held until it is dropped.
#[derive(Debug)]
pub(crate) struct Permit {
    share: Share,
    metrics: Arc<Metrics>,
}

impl Drop for Permit {
    fn drop(&mut self) {
        self.metrics
            .response_buffer
            .sub(signed(self.share.amount()));
    }
}

fn signed(bytes: usize) -> i64 {
    i64::try_from(bytes).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn acquired_bytes_are_not_free_until_the_permit_is_dropped() {
        let metrics = Arc::new(Metrics::new().unwrap());
        let budget = ResponseBudget::new(100, Arc::clone(&metrics));
        let caller = |id: &str| Caller {
            id: id.into(),
            ..Caller::anonymous()
        };
        let (a, b) = (caller("a"), caller("b"));
        let first = budget.acquire(Some(&a), 60).unwrap();
        assert_eq!(
            budget.acquire(Some(&b), 41).unwrap_err(),
            Unavailable::Capacity,
            "and a failed attempt holds nothing"
        );
        assert_eq!(budget.acquire(Some(&a), 1).unwrap_err(), Unavailable::Share);
        let second = budget.acquire(Some(&b), 40).unwrap();
        assert!(budget.check(None).is_err() && budget.acquire(None, 1).is_err());
        assert_eq!(metrics.response_buffer.get(), 100);
        drop((first, second));
        assert!(budget.check(None).is_ok());
        let alone = budget.acquire(None, 1_000).unwrap();
        assert!(budget.acquire(Some(&a), 1).is_err());
        drop(alone);
        assert_eq!(metrics.response_buffer.get(), 0);
    }
}
