//! Fair shares: how much of a bounded resource one principal may hold while others want some, too.
//!
//! A principal holds at most capacity / (n + 1) permits, where n counts the principals that hold a permit, or were
//! given or refused one within the last second. The share that is left over is for the next principal: without
//! it, one principal alone could hold everything, and another would wait until requests end.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::Instant;

/// How long a principal counts after its last request.
const ACTIVE: Duration = Duration::from_secs(1);
/// How often principals that are no longer active are removed.
const SWEEP: Duration = Duration::from_millis(100);

/// The shares of one resource. Cheap to clone.
#[derive(Clone, Debug)]
pub struct FairShares(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    capacity: usize,
    table: Mutex<Table>,
}

#[derive(Debug)]
struct Table {
    /// The active principals. Their number is bounded by the permits that are held and by the requests of one
    /// second.
    holders: HashMap<Arc<str>, Holder>,
    swept: Instant,
}

#[derive(Debug)]
struct Holder {
    held: usize,
    last: Instant,
}

/// Permits that one principal holds. They are given back when it is dropped.
#[derive(Debug)]
pub struct Share {
    inner: Arc<Inner>,
    principal: Arc<str>,
    amount: usize,
}

/// A principal holds its share already.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the caller uses its share of the service")]
pub struct ShareExceeded;

impl FairShares {
    /// Shares of `capacity` permits.
    pub fn new(capacity: usize) -> Self {
        Self(Arc::new(Inner {
            capacity,
            table: Mutex::new(Table {
                holders: HashMap::new(),
                swept: Instant::now(),
            }),
        }))
    }

    /// Takes `amount` permits for a principal. A principal that holds none may always take some: whether the
    /// resource itself has room is for its own bound to decide.
    ///
    /// # Errors
    /// [`ShareExceeded`].
    pub fn take(&self, principal: &Arc<str>, amount: usize) -> Result<Share, ShareExceeded> {
        self.take_at(principal, amount, Instant::now())
    }

    fn take_at(
        &self,
        principal: &Arc<str>,
        amount: usize,
        now: Instant,
    ) -> Result<Share, ShareExceeded> {
        let mut table = self.0.table.lock();
        if now.duration_since(table.swept) >= SWEEP {
            table.swept = now;
            table
                .holders
                .retain(|_, holder| holder.held > 0 || now.duration_since(holder.last) < ACTIVE);
        }
        if let Some(holder) = table.holders.get_mut(principal) {
            holder.last = now;
        } else {
            let holder = Holder { held: 0, last: now };
            table.holders.insert(Arc::clone(principal), holder);
        }
        let share = self.0.capacity / (table.holders.len() + 1);
        let Some(holder) = table.holders.get_mut(principal) else {
            return Err(ShareExceeded);
        };
        if holder.held > 0 && holder.held + amount > share {
            return Err(ShareExceeded);
        }
        holder.held += amount;
        Ok(Share {
            inner: Arc::clone(&self.0),
            principal: Arc::clone(principal),
            amount,
        })
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        let mut table = self.inner.table.lock();
        if let Some(holder) = table.holders.get_mut(&self.principal) {
            holder.held -= self.amount;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn principal(name: &str) -> Arc<str> {
        name.into()
    }

    #[test]
    fn one_principal_alone_leaves_half_for_the_next() {
        let shares = FairShares::new(100);
        let flood = principal("flood");
        let held: Vec<_> = (0..1000)
            .map_while(|_| shares.take(&flood, 1).ok())
            .collect();
        assert_eq!(held.len(), 50);
        assert!(shares.take(&principal("other"), 1).is_ok());
    }

    #[test]
    fn shares_shrink_with_the_number_of_active_principals_and_grow_back() {
        let shares = FairShares::new(100);
        let start = Instant::now();
        for other in 0..9 {
            drop(shares.take_at(&principal(&other.to_string()), 1, start));
        }
        let flood = principal("flood");
        let take = |at| {
            let held: Vec<_> = (0..1000)
                .map_while(|_| shares.take_at(&flood, 1, at).ok())
                .collect();
            held.len()
        };
        assert_eq!(take(start), 100 / 11);
        assert_eq!(take(start + ACTIVE), 100 / 2);
    }

    #[test]
    fn a_refused_principal_counts() {
        let shares = FairShares::new(4);
        let (a, b) = (principal("a"), principal("b"));
        let _held = [shares.take(&a, 1).unwrap(), shares.take(&a, 1).unwrap()];
        assert_eq!(shares.take(&a, 1).unwrap_err(), ShareExceeded);
        let _first = shares.take(&b, 1).unwrap();
        // Two principals: a third of four is one.
        assert_eq!(shares.take(&b, 1).unwrap_err(), ShareExceeded);
    }

    #[test]
    fn everything_is_given_back() {
        let shares = FairShares::new(10);
        let a = principal("a");
        for _ in 0..100 {
            let _held = [shares.take(&a, 2).unwrap(), shares.take(&a, 3).unwrap()];
            assert!(shares.take(&a, 1).is_err());
        }
    }

    #[test]
    fn principals_that_are_not_active_are_forgotten() {
        let shares = FairShares::new(10);
        let start = Instant::now();
        for number in 0..10_000 {
            drop(shares.take_at(&principal(&number.to_string()), 1, start));
        }
        drop(shares.take_at(&principal("last"), 1, start + ACTIVE));
        assert_eq!(shares.0.table.lock().holders.len(), 1);
    }
}
