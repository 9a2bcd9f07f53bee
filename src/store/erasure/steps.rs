//! The steps of an erasure: how large they are, and what they return.

use std::collections::HashMap;
use std::time::Duration;

use uuid::Uuid;

use super::StoredEvent;

/// How long a lease lasts. Each step extends it. A step that takes longer is not affected unless another process
/// continues the erasure meanwhile, and then it changes nothing. The SQL of PostgreSQL repeats the value.
pub(in crate::store) const LEASE: Duration = Duration::from_secs(10);

/// The maximum size of a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::store) struct BatchSize {
    /// The maximum number of orders, at most [`Self::MAX_ORDERS`].
    pub(in crate::store) orders: u32,
    /// The maximum number of events, at most [`Self::MAX_EVENTS`].
    pub(in crate::store) events: u32,
    /// The maximum number of bytes of JSON of orders or events. The first one is always included.
    pub(in crate::store) bytes: u32,
}

impl BatchSize {
    /// The statements contain it as a literal: with a parameter, PostgreSQL would plan for a tenth of the table. Each
    /// order may have a document for replays, so a step reads at most 16 of them.
    pub(in crate::store) const MAX_ORDERS: u32 = 16;
    /// The events of an order that a statement reads, as a literal for the same reason.
    pub(in crate::store) const MAX_EVENTS: u32 = 64;

    /// The size of the first step.
    pub(super) const LARGEST: Self = Self {
        orders: Self::MAX_ORDERS,
        events: Self::MAX_EVENTS,
        bytes: 256 * 1024,
    };

    /// Half of it, for a database on which a step takes too long.
    pub(super) fn halved(self) -> Self {
        Self {
            orders: (self.orders / 2).max(1),
            events: (self.events / 2).max(1),
            bytes: (self.bytes / 2).max(1),
        }
    }

    /// How many of the first items with these lengths fit into a step.
    pub(in crate::store) fn fitting(self, lengths: impl Iterator<Item = i32>) -> usize {
        let mut bytes: u64 = 0;
        let fit = lengths
            .enumerate()
            .take(usize::try_from(self.orders).unwrap_or(usize::MAX))
            .take_while(|(index, length)| {
                bytes += u64::from(length.unsigned_abs());
                *index == 0 || bytes <= self.bytes.into()
            });
        fit.count()
    }
}

/// The place of an order in the walk along the orders of a customer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::store) struct OrderCursor {
    pub(in crate::store) status: String,
    pub(in crate::store) id: Uuid,
}

impl OrderCursor {
    /// The beginning of the walk.
    pub(in crate::store) const BEGINNING: Self = Self {
        status: String::new(),
        id: Uuid::nil(),
    };
}

/// The result of a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::store) struct Step<C> {
    /// Whether something was changed. Otherwise, everything that was found is locked.
    pub(in crate::store) changed: bool,
    /// Where the walk continues. `None` at its end.
    pub(in crate::store) next: Option<C>,
}

impl<C> Step<C> {
    /// There is nothing after the place of the walk.
    pub(in crate::store) const END: Self = Self {
        changed: false,
        next: None,
    };
}

/// An order of the worklist.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::store) struct Pending {
    pub(in crate::store) order_id: Uuid,
    /// The version of its event `order.erased`.
    pub(in crate::store) version: i32,
    /// The last version that is redacted.
    pub(in crate::store) redacted: i32,
}

/// What a step does with the orders of the worklist.
#[derive(Debug, Default)]
pub(in crate::store) struct Advance {
    /// Orders of which events are left, with the last version that is redacted then.
    pub(in crate::store) advanced: Vec<(Uuid, i32)>,
    /// Orders of which no events are left.
    pub(in crate::store) complete: Vec<Uuid>,
}

impl Advance {
    /// Decides for `pending`, of which `events` are redacted, in the order of `pending` and then of the version. The
    /// step may have left events out: then, `all` is false.
    pub(in crate::store) fn of(pending: &[Pending], events: &[StoredEvent], all: bool) -> Self {
        let last: HashMap<Uuid, i32> = events
            .iter()
            .map(|event| (event.order_id, event.version))
            .collect();
        let mut advance = Self::default();
        for order in pending {
            match last.get(&order.order_id) {
                // Events have no gap, so the one before `order.erased` is the last.
                Some(version) if version + 1 >= order.version => {
                    advance.complete.push(order.order_id);
                }
                Some(version) => advance.advanced.push((order.order_id, *version)),
                // Retention has removed the events, or this step has none of them.
                None if all => advance.complete.push(order.order_id),
                None => {}
            }
        }
        advance
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_step_has_at_least_one_item_and_otherwise_ends_at_its_bytes() {
        let size = BatchSize {
            orders: 3,
            events: 1,
            bytes: 10,
        };
        for (lengths, fitting) in [
            (vec![], 0),
            (vec![11, 1], 1),
            (vec![5, 5, 1], 2),
            (vec![1, 1, 1, 1], 3),
        ] {
            assert_eq!(
                size.fitting(lengths.iter().copied()),
                fitting,
                "{lengths:?}"
            );
        }
        let mut size = BatchSize::LARGEST;
        for _ in 0..100 {
            size = size.halved();
        }
        assert_eq!((size.orders, size.events, size.bytes), (1, 1, 1));
    }

    #[test]
    fn an_order_is_complete_when_the_event_before_its_erasure_is_redacted() {
        let [a, b, c] = [1, 2, 3].map(Uuid::from_u128);
        let pending = |order_id, version| Pending {
            order_id,
            version,
            redacted: 0,
        };
        let event = |order_id, version| StoredEvent::of_test(order_id, version);
        let orders = [pending(a, 3), pending(b, 3), pending(c, 3)];
        let events = [event(a, 1), event(a, 2), event(b, 1)];
        let advance = Advance::of(&orders, &events, false);
        assert_eq!(advance.complete, [a]);
        assert_eq!(advance.advanced, [(b, 1)]);
        let advance = Advance::of(&orders, &events, true);
        assert_eq!(advance.complete, [a, c]);
    }
}
