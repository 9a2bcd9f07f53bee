//! Ranges of keys. Each is read in one transaction, so it is one snapshot; a transaction is short, so that it holds
//! back neither vacuum nor retention, and a range fits into memory.

use std::ops::ControlFlow;

use uuid::Uuid;

use super::clock::Clock;
use super::rows::{
    ArchivedRow, ErasureRow, FloorRow, IdempotencyRow, Key, LineRow, OrderRow, Stored, Table,
};
use crate::domain::Tenant;

/// The keys that an audit covers, from the first to the last inclusive.
#[derive(Clone, Debug)]
pub(crate) struct Scope {
    pub(crate) from: Key,
    pub(crate) through: Key,
}

impl Scope {
    /// The keys of one tenant, or of all, including those that no tenant may have.
    pub(crate) fn new(tenant: Option<&Tenant>) -> Self {
        let (first, last) = match tenant {
            Some(tenant) => (tenant.as_str(), tenant.as_str()),
            // Both databases compare tenants byte by byte, and no UTF-8 is larger.
            None => ("", "\u{10ffff}"),
        };
        Self {
            from: Key::new(first, Uuid::nil()),
            through: Key::new(last, Uuid::max()),
        }
    }
}

/// What a range may hold.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    pub(crate) orders: usize,
    /// Rows of any other table that is kept in memory.
    pub(crate) others: usize,
    /// Bytes of each table that is kept in memory.
    pub(crate) bytes: usize,
    pub(crate) events: usize,
    pub(crate) event_bytes: usize,
}

impl Limits {
    /// The limits of a range. With orders of 600 bytes and three events each, it takes 10 to 50 ms.
    pub(crate) const DEFAULT: Self = Self {
        orders: 1_000,
        others: 4_000,
        bytes: 4 << 20,
        events: 20_000,
        event_bytes: 16 << 20,
    };

    /// The limits for another attempt after a range took too long.
    pub(crate) fn smaller(self) -> Self {
        let smaller = |limit: usize| limit.div_ceil(4);
        Self {
            orders: smaller(self.orders),
            others: smaller(self.others),
            bytes: smaller(self.bytes),
            events: smaller(self.events),
            event_bytes: smaller(self.event_bytes),
        }
    }
}

/// The rows of a range, except its events, sorted by key.
#[derive(Debug)]
pub(crate) struct Range {
    /// The last key. A range ends early, between two keys, where a table has more rows than fit.
    pub(crate) through: Key,
    /// Events have positions before this one. `None` if the row of the feed is missing.
    pub(crate) end_of_feed: Option<i64>,
    /// When it is read.
    pub(crate) clock: Clock,
    pub(crate) orders: Vec<Stored<OrderRow>>,
    pub(crate) lines: Vec<Stored<LineRow>>,
    pub(crate) idempotency: Vec<Stored<IdempotencyRow>>,
    pub(crate) archived: Vec<Stored<ArchivedRow>>,
    pub(crate) erasures: Vec<Stored<ErasureRow>>,
    pub(crate) floors: Vec<Stored<FloorRow>>,
}

impl Range {
    pub(crate) fn new(through: Key, end_of_feed: Option<i64>, clock: Clock) -> Self {
        Self {
            through,
            end_of_feed,
            clock,
            orders: Vec::new(),
            lines: Vec::new(),
            idempotency: Vec::new(),
            archived: Vec::new(),
            erasures: Vec::new(),
            floors: Vec::new(),
        }
    }
}

/// Counts the rows of one table in a range, and ends the range before the first key that does not fit.
#[derive(Debug)]
pub(crate) struct Gauge {
    rows: usize,
    bytes: usize,
    max_rows: usize,
    max_bytes: usize,
    last: Option<Key>,
}

impl Gauge {
    pub(crate) fn new(max_rows: usize, max_bytes: usize) -> Self {
        Self {
            rows: 0,
            bytes: 0,
            max_rows,
            max_bytes,
            last: None,
        }
    }

    /// Breaks if the row is not in the range. All rows of a key are in the same range.
    pub(crate) fn admit<T: Table>(
        &mut self,
        row: &Stored<T>,
        through: &mut Key,
    ) -> ControlFlow<()> {
        if row.key > *through {
            return ControlFlow::Break(());
        }
        let full = self.rows >= self.max_rows || self.bytes >= self.max_bytes;
        let same = self.last.as_ref().is_some_and(|last| *last == row.key);
        if let Some(last) = self.last.as_ref().filter(|_| full && !same) {
            *through = last.clone();
            return ControlFlow::Break(());
        }
        if !same {
            self.last = Some(row.key.clone());
        }
        self.rows += 1;
        self.bytes += row.bytes();
        ControlFlow::Continue(())
    }
}

/// Adds a row to a range, unless the range ends before it.
pub(crate) fn keep<T: Table>(
    rows: &mut Vec<Stored<T>>,
    gauge: &mut Gauge,
    row: Stored<T>,
    through: &mut Key,
) -> ControlFlow<()> {
    gauge.admit(&row, through)?;
    rows.push(row);
    ControlFlow::Continue(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(id: u128, line: i32) -> Stored<LineRow> {
        Stored {
            key: Key::new("default", Uuid::from_u128(id)),
            row: Ok(LineRow {
                line,
                product_id: "a".to_owned(),
                quantity: 1,
                unit_amount: None,
                status: None,
            }),
        }
    }

    /// The ids that a range keeps, and its last id.
    fn kept(rows: usize, through: u128, ids: &[u128]) -> (Vec<u128>, u128) {
        let mut through = Key::new("default", Uuid::from_u128(through));
        let (mut lines, mut gauge) = (Vec::new(), Gauge::new(rows, usize::MAX));
        for (number, id) in ids.iter().enumerate() {
            let line = line(*id, i32::try_from(number).unwrap());
            if keep(&mut lines, &mut gauge, line, &mut through).is_break() {
                break;
            }
        }
        let ids = lines.iter().map(|line| line.key.id.as_u128());
        (ids.collect(), through.id.as_u128())
    }

    #[test]
    fn a_range_ends_between_two_keys() {
        assert_eq!(kept(2, 9, &[1, 2]), (vec![1, 2], 9));
        assert_eq!(kept(2, 9, &[1, 2, 3]), (vec![1, 2], 2));
        assert_eq!(kept(2, 9, &[1, 2, 2, 2, 3]), (vec![1, 2, 2, 2], 2));
        // A single key has more rows than fit.
        assert_eq!(kept(2, 9, &[1, 1, 1, 1]), (vec![1, 1, 1, 1], 9));
        // An earlier table has ended the range.
        assert_eq!(kept(2, 1, &[1, 2]), (vec![1], 1));
    }

    #[test]
    fn the_next_key_is_the_smallest_after_a_key() {
        let key = |tenant: &str, id| Key::new(tenant, Uuid::from_u128(id));
        assert_eq!(key("a", 7).next(), key("a", 8));
        assert_eq!(key("a", 0xff).next(), key("a", 0x100));
        let last = key("a", u128::MAX);
        assert!(last < last.next() && last.next() < key("a-", 0) && last.next() < key("a0", 0));
    }

    #[test]
    fn the_scope_of_all_tenants_has_every_key() {
        let all = Scope::new(None);
        for tenant in ["", "a", "~", "é", "\u{10fffe}"] {
            let key = Key::new(tenant, Uuid::nil());
            assert!(all.from <= key && key <= all.through);
        }
        let one = Scope::new(Tenant::parse("b").ok().as_ref());
        let outside = [Key::new("a", Uuid::max()), Key::new("b0", Uuid::nil())];
        assert!(
            outside
                .iter()
                .all(|key| *key < one.from || *key > one.through)
        );
    }
}
