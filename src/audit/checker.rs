//! Checks ranges of rows that are sorted by key.

mod entity;

use std::vec::IntoIter;

use super::clock::Clock;
use super::history::History;
use super::keys::{self, DatabaseKeys};
use super::kind::Kind;
use super::range::Range;
use super::report::{Checked, Report};
use super::rows::{
    ArchivedRow, ErasureRow, EventRow, FloorRow, IdempotencyRow, Key, LineRow, OrderRow, Stored,
};
use super::value::BadColumn;
use entity::{Entity, floor_of};

/// Checks rows. For each range: [`Self::begin`], [`Self::event`] for each event, and [`Self::end`], or
/// [`Self::abandon`] if the range could not be read to its end.
#[derive(Default)]
pub(crate) struct Checker {
    report: Report,
    /// The report at the beginning of the range.
    saved: Report,
    rows: Rows,
    /// The order whose events are being read.
    current: Option<Entity>,
    end_of_feed: Option<i64>,
    clock: Clock,
}

/// The rows of the range that are not checked yet.
#[derive(Default)]
struct Rows {
    orders: Sorted<OrderRow>,
    lines: Sorted<LineRow>,
    idempotency: Sorted<IdempotencyRow>,
    archived: Sorted<ArchivedRow>,
    erasures: Sorted<ErasureRow>,
    floors: Vec<Stored<FloorRow>>,
}

/// Rows of one table, sorted by key.
struct Sorted<T> {
    next: Option<Stored<T>>,
    rest: IntoIter<Stored<T>>,
}

impl<T> Default for Sorted<T> {
    fn default() -> Self {
        Vec::new().into()
    }
}

impl<T> From<Vec<Stored<T>>> for Sorted<T> {
    fn from(rows: Vec<Stored<T>>) -> Self {
        let mut rest = rows.into_iter();
        Self {
            next: rest.next(),
            rest,
        }
    }
}

impl<T> Sorted<T> {
    fn key(&self) -> Option<&Key> {
        self.next.as_ref().map(|row| &row.key)
    }

    /// Removes the rows of a key.
    fn take(&mut self, key: &Key) -> Vec<Result<T, BadColumn>> {
        let mut rows = Vec::new();
        while let Some(row) = self.next.take_if(|row| row.key == *key) {
            rows.push(row.row);
            self.next = self.rest.next();
        }
        rows
    }
}

impl Checker {
    /// What was checked so far.
    pub(crate) fn checked(&self) -> Checked {
        self.report.checked
    }

    /// Checks the primary keys and unique indexes.
    pub(crate) fn keys(&mut self, keys: &DatabaseKeys) {
        keys::check(keys, &mut self.report);
    }

    /// Reports that new events would come before existing ones, or that no event can be written.
    pub(crate) fn feed_is_not_current(&mut self) {
        self.report.add(Kind::FeedNotCurrent, None, None, || {
            "the row of the feed is missing, or its offset is too small".to_owned()
        });
    }

    /// Reports a row whose key cannot be read.
    pub(crate) fn bad_key(&mut self, table: &'static str, bad: BadColumn) {
        self.report.add(Kind::UnreadableValue, None, None, || {
            format!("{table}.{} {}", bad.column, bad.reason)
        });
    }

    /// Begins a range.
    pub(crate) fn begin(&mut self, range: Range) {
        self.saved = self.report.clone();
        self.end_of_feed = range.end_of_feed;
        self.clock = range.clock;
        self.rows = Rows {
            orders: range.orders.into(),
            lines: range.lines.into(),
            idempotency: range.idempotency.into(),
            archived: range.archived.into(),
            erasures: range.erasures.into(),
            floors: range.floors,
        };
    }

    /// Checks an event of the range. Events come sorted by key, then by version.
    pub(crate) fn event(&mut self, event: Stored<EventRow>) {
        if self
            .current
            .as_ref()
            .is_none_or(|current| current.key != event.key)
        {
            self.finish_current();
            self.check_before(&event.key);
            self.current = Some(self.rows.take(event.key.clone(), &mut self.report));
        }
        if let Some(current) = &mut self.current {
            self.report.checked.events += 1;
            let floor = floor_of(&self.rows.floors, &event.key);
            let feed = (self.end_of_feed, self.clock);
            current.event(event.row, feed, floor, &mut self.report);
        }
    }

    /// Ends the range at this key. Rows after it belong to the next range.
    pub(crate) fn end(&mut self, through: &Key) {
        self.finish_current();
        self.check_before(&through.next());
        self.rows = Rows::default();
    }

    /// Reverts everything since the beginning of the range.
    pub(crate) fn abandon(&mut self) {
        self.current = None;
        self.rows = Rows::default();
        self.report = self.saved.clone();
    }

    /// The report.
    pub(crate) fn finish(self) -> Report {
        self.report
    }

    /// Checks the rows before a key, which have no events.
    fn check_before(&mut self, end: &Key) {
        while let Some(key) = self.rows.first_key().filter(|key| *key < end).cloned() {
            let entity = self.rows.take(key, &mut self.report);
            entity.check(&self.rows.floors, &mut self.report);
        }
    }

    fn finish_current(&mut self) {
        if let Some(current) = self.current.take() {
            current.check(&self.rows.floors, &mut self.report);
        }
    }
}

impl Rows {
    fn first_key(&self) -> Option<&Key> {
        let keys = [
            self.orders.key(),
            self.lines.key(),
            self.idempotency.key(),
            self.archived.key(),
            self.erasures.key(),
        ];
        keys.into_iter().flatten().min()
    }

    /// Removes all rows of a key, and reports those that cannot be read.
    fn take(&mut self, key: Key, report: &mut Report) -> Entity {
        let entity = Entity {
            orders: self.orders.take(&key),
            lines: self.lines.take(&key),
            idempotency: self.idempotency.take(&key),
            archived: self.archived.take(&key),
            erasures: self.erasures.take(&key),
            history: History::default(),
            key,
        };
        let count = |rows: usize| u64::try_from(rows).unwrap_or(u64::MAX);
        let checked = &mut report.checked;
        checked.orders += count(entity.orders.len());
        checked.order_items += count(entity.lines.len());
        checked.idempotency_keys += count(entity.idempotency.len());
        checked.archived_orders += count(entity.archived.len());
        entity.report_bad(&entity.orders, report);
        entity.report_bad(&entity.lines, report);
        entity.report_bad(&entity.idempotency, report);
        entity.report_bad(&entity.archived, report);
        entity.report_bad(&entity.erasures, report);
        entity
    }
}

#[cfg(test)]
mod tests;
