//! The memory of request bodies that are being received, bounded for the whole process.
//!
//! A client may send a body up to its last byte and then nothing, until its time is over. Without a
//! bound, `MAX_CONNECTIONS` such clients keep as many bodies in memory.

use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Bodies up to so many bytes need no permit: small orders get through when slow senders hold the whole
/// budget. One connection has one body at a time, so `MAX_CONNECTIONS` bounds these.
pub(crate) const SMALL: usize = 4 * 1024;

/// For all bodies together, in bytes. As much as `RESPONSE_BUFFER_BYTES` is by default; a body stays here
/// only until it is parsed, which takes a fast client milliseconds.
const LIMIT: u32 = 32 * 1024 * 1024;

/// How many bytes of request bodies may be in memory.
#[derive(Clone, Debug)]
pub struct RequestBudget(Arc<Semaphore>);

impl Default for RequestBudget {
    fn default() -> Self {
        Self(Arc::new(Semaphore::new(
            usize::try_from(LIMIT).unwrap_or(Semaphore::MAX_PERMITS),
        )))
    }
}

impl RequestBudget {
    /// A share for one body, which is empty at first.
    pub(crate) fn share(&self) -> Share<'_> {
        Share {
            budget: self,
            permit: None,
        }
    }
}

/// What one body has of the budget, until it is dropped.
#[derive(Debug)]
pub(crate) struct Share<'a> {
    budget: &'a RequestBudget,
    permit: Option<OwnedSemaphorePermit>,
}

impl Share<'_> {
    /// Whether the body may take so many bytes in all. One that is larger than the whole budget needs
    /// the whole.
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
    fn a_share_grows_while_the_budget_lasts() {
        let budget = RequestBudget::default();
        let all = usize::try_from(LIMIT).unwrap();
        let (mut first, mut second) = (budget.share(), budget.share());
        assert!(first.grow_to(SMALL));
        assert!(second.grow_to(all), "a small one takes nothing");
        assert!(first.grow_to(SMALL) && !first.grow_to(SMALL + 1));
        drop(second);
        assert!(first.grow_to(all / 2) && first.grow_to(all * 2));
        assert!(!budget.share().grow_to(SMALL + 1));
        drop(first);
        assert!(budget.share().grow_to(usize::MAX));
    }
}
