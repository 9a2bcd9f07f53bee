//! The memory budget for request bodies that are being received, for the whole process.
//!
//! A client may send all of a body except its last byte, until its request times out. Without a budget,
//! `MAX_CONNECTIONS` such clients keep as many bodies in memory. One principal may hold its share of the budget.

use std::sync::Arc;

use crate::shares::{FairShares, Share, Unavailable, Wanted};

/// Bodies of at most this many bytes need no permit, so small orders are accepted even when slow senders hold the
/// whole budget. A connection has one body at a time, so `MAX_CONNECTIONS` bounds these.
const SMALL: usize = 4 * 1024;

/// The budget of all bodies together, in bytes. It equals the default of `RESPONSE_BUFFER_BYTES`. The body of a
/// fast client needs its permit only for the milliseconds until it is parsed.
const LIMIT: usize = 32 * 1024 * 1024;

/// The budget of bytes of request bodies in memory. Cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct RequestBudget(FairShares);

impl Default for RequestBudget {
    fn default() -> Self {
        Self(FairShares::new(LIMIT))
    }
}

impl RequestBudget {
    /// Creates a permit for one body of a principal, initially for 0 bytes.
    pub(crate) fn permit<'a>(&'a self, principal: &'a Arc<str>) -> BodyPermit<'a> {
        BodyPermit {
            budget: self,
            principal,
            held: Vec::new(),
        }
    }
}

/// The bytes of the budget that one body holds, until it is dropped.
#[derive(Debug)]
pub(crate) struct BodyPermit<'a> {
    budget: &'a RequestBudget,
    principal: &'a Arc<str>,
    /// One for each time that it has grown.
    held: Vec<Share>,
}

impl BodyPermit<'_> {
    /// Grows the permit to this many bytes in total. A body larger than the whole budget needs the whole budget.
    ///
    /// # Errors
    /// [`Unavailable`] if the budget, or the share of the principal, does not allow that.
    pub(crate) fn grow_to(&mut self, bytes: usize) -> Result<(), Unavailable> {
        if bytes <= SMALL {
            return Ok(());
        }
        let held = self.held.iter().map(Share::amount).sum();
        let missing = bytes.min(LIMIT).saturating_sub(held);
        if missing > 0 {
            let wanted = Wanted {
                held_already: held,
                ..Wanted::of(missing)
            };
            self.held
                .push(self.budget.0.acquire(self.principal, wanted)?);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_permit_grows_while_the_budget_lasts() {
        let budget = RequestBudget::default();
        let (a, b): (Arc<str>, Arc<str>) = ("a".into(), "b".into());
        let (mut first, mut second) = (budget.permit(&a), budget.permit(&b));
        first.grow_to(SMALL).unwrap();
        second.grow_to(LIMIT).unwrap();
        first.grow_to(SMALL).unwrap();
        assert_eq!(first.grow_to(SMALL + 1), Err(Unavailable::Capacity));
        drop(second);
        first.grow_to(LIMIT / 2).unwrap();
        first.grow_to(LIMIT * 2).unwrap();
        let rejected = budget.permit(&b).grow_to(SMALL + 1);
        assert_eq!(rejected, Err(Unavailable::Capacity));
        drop(first);
        budget.permit(&b).grow_to(usize::MAX).unwrap();
    }

    #[test]
    fn the_bodies_of_one_principal_leave_some_of_the_budget_for_others() {
        let budget = RequestBudget::default();
        let (a, b): (Arc<str>, Arc<str>) = ("a".into(), "b".into());
        let mut bodies: Vec<_> = (0..5).map(|_| budget.permit(&a)).collect();
        for body in &mut bodies[..4] {
            body.grow_to(LIMIT / 8).unwrap();
        }
        assert_eq!(bodies[4].grow_to(SMALL + 1), Err(Unavailable::Share));
        bodies[4].grow_to(SMALL).unwrap();
        assert_eq!(bodies[0].grow_to(LIMIT / 4), Err(Unavailable::Share));
        budget.permit(&b).grow_to(LIMIT / 4).unwrap();
    }
}
