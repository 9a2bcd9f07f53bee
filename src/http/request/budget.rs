//! The memory budget for request bodies that are being received, for the whole process.
//!
//! A client may send all of a body except its last byte, until its request times out. Without a budget,
//! `MAX_CONNECTIONS` such clients keep as many bodies in memory.

use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Bodies of at most this many bytes need no permit, so small orders are accepted even when slow senders hold the
/// whole budget. A connection has one body at a time, so `MAX_CONNECTIONS` bounds these.
const SMALL: usize = 4 * 1024;

/// The budget of all bodies together, in bytes. It equals the default of `RESPONSE_BUFFER_BYTES`. The body of a
/// fast client needs its permit only for the milliseconds until it is parsed.
const LIMIT: u32 = 32 * 1024 * 1024;

/// The budget of bytes of request bodies in memory. Cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct RequestBudget(Arc<Semaphore>);

impl Default for RequestBudget {
    fn default() -> Self {
        Self(Arc::new(Semaphore::new(
            usize::try_from(LIMIT).unwrap_or(Semaphore::MAX_PERMITS),
        )))
    }
}

impl RequestBudget {
    /// Creates a permit for one body, initially for 0 bytes.
    pub(crate) fn permit(&self) -> BodyPermit<'_> {
        BodyPermit {
            budget: self,
            permit: None,
        }
    }
}

/// The bytes of the budget that one body holds, until it is dropped.
#[derive(Debug)]
pub(crate) struct BodyPermit<'a> {
    budget: &'a RequestBudget,
    permit: Option<OwnedSemaphorePermit>,
}

impl BodyPermit<'_> {
    /// Grows the permit to this many bytes in total, and returns whether the budget allows that. A body larger
    /// than the whole budget needs the whole budget.
    pub(crate) fn grow_to(&mut self, bytes: usize) -> bool {
        if bytes <= SMALL {
            return true;
        }
        let wanted = u32::try_from(bytes).unwrap_or(LIMIT).min(LIMIT);
        let held = self
            .permit
            .as_ref()
            .map_or(0, |permit| permit.num_permits());
        let missing = wanted.saturating_sub(u32::try_from(held).unwrap_or(LIMIT));
        if missing == 0 {
            return true;
        }
        let Ok(more) = Arc::clone(&self.budget.0).try_acquire_many_owned(missing) else {
            return false;
        };
        match &mut self.permit {
            Some(permit) => permit.merge(more),
            None => self.permit = Some(more),
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_permit_grows_while_the_budget_lasts() {
        let budget = RequestBudget::default();
        let all = usize::try_from(LIMIT).unwrap();
        let (mut first, mut second) = (budget.permit(), budget.permit());
        assert!(first.grow_to(SMALL));
        assert!(second.grow_to(all), "a small body needs no permit");
        assert!(first.grow_to(SMALL) && !first.grow_to(SMALL + 1));
        drop(second);
        assert!(first.grow_to(all / 2) && first.grow_to(all * 2));
        assert!(!budget.permit().grow_to(SMALL + 1));
        drop(first);
        assert!(budget.permit().grow_to(usize::MAX));
    }
}
