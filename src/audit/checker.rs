//! Checks ranges of rows that are sorted by key.

use std::vec::IntoIter;

use super::cell::BadColumn;
use super::document::{Document, same_json};
use super::history::{Current, History, Surroundings};
use super::keys::{self, DatabaseKeys};
use super::kind::Kind;
use super::order;
use super::range::Range;
use super::report::{Checked, Report};
use super::rows::{
    ArchivedRow, ErasureRow, EventRow, FloorRow, IdempotencyRow, Key, LineRow, OrderRow, Stored,
    Table,
};
use crate::domain::{Status, Tenant};

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

/// All rows of one key, and its events so far.
struct Entity {
    key: Key,
    orders: Vec<Result<OrderRow, BadColumn>>,
    lines: Vec<Result<LineRow, BadColumn>>,
    idempotency: Vec<Result<IdempotencyRow, BadColumn>>,
    archived: Vec<Result<ArchivedRow, BadColumn>>,
    /// Whether older events still have personal data, which will be redacted.
    being_erased: bool,
    history: History,
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
            current.event(event.row, self.end_of_feed, floor, &mut self.report);
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
            being_erased: !self.erasures.take(&key).is_empty(),
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
        entity
    }
}

impl Entity {
    fn report_bad<T: Table>(&self, rows: &[Result<T, BadColumn>], report: &mut Report) {
        for bad in rows.iter().filter_map(|row| row.as_ref().err()) {
            self.add_bad::<T>(*bad, report);
        }
    }

    fn add_bad<T: Table>(&self, bad: BadColumn, report: &mut Report) {
        report.add(Kind::UnreadableValue, Some(&self.key), None, || {
            format!("{}.{} {}", T::NAME, bad.column, bad.reason)
        });
    }

    fn event(
        &mut self,
        row: Result<EventRow, BadColumn>,
        end_of_feed: Option<i64>,
        floor: Floor<'_>,
        report: &mut Report,
    ) {
        match row {
            Err(bad) => {
                self.add_bad::<EventRow>(bad, report);
                self.history.skip();
            }
            Ok(row) => {
                let around = Surroundings {
                    key: &self.key,
                    end_of_feed,
                    floor: floor.ok().flatten(),
                    being_erased: self.being_erased,
                    idempotency: self.idempotency.first().and_then(|row| row.as_ref().ok()),
                };
                self.history.add(row, &around, report);
            }
        }
    }

    /// Checks the rows together, once all events are known.
    fn check(self, floors: &[Stored<FloorRow>], report: &mut Report) {
        let key = &self.key;
        if Tenant::parse(&key.tenant).is_err() {
            report.add(Kind::UnreadableValue, Some(key), None, || {
                "the tenant is not the name of a tenant".to_owned()
            });
        }
        let floor = floor_of(floors, key);
        if self.orders.len() > 1 {
            report.add(Kind::DuplicateOrder, Some(key), None, || {
                format!("{} rows have this key", self.orders.len())
            });
        }
        match (self.orders.first(), self.archived.first()) {
            (Some(order), archived) => {
                if archived.is_some() || self.history.archived() == Some(true) {
                    report.add(Kind::ArchivedOrderPresent, Some(key), None, || {
                        "the order is archived, and was not removed".to_owned()
                    });
                }
                if let Ok(order) = order {
                    self.check_order(order, floor, report);
                }
            }
            (None, Some(archived)) => {
                if !self.lines.is_empty() {
                    self.add_orphan(Kind::LineWithoutOrder, "order_items", report);
                }
                if let Ok(archived) = archived {
                    self.check_archived(archived, floor, report);
                }
            }
            (None, None) => {
                if !self.lines.is_empty() {
                    self.add_orphan(Kind::LineWithoutOrder, "order_items", report);
                }
                if !self.idempotency.is_empty() {
                    let kind = Kind::IdempotencyKeyWithoutOrder;
                    self.add_orphan(kind, "idempotency_keys", report);
                }
                if !self.history.is_empty() {
                    self.add_orphan(Kind::EventWithoutOrder, "events", report);
                }
            }
        }
        if self.idempotency.len() > 1 {
            report.add(Kind::IdempotencyKeyDuplicate, Some(key), None, || {
                format!("{} idempotency keys name the order", self.idempotency.len())
            });
        }
        for row in self.idempotency.iter().flatten() {
            let order = self.orders.first().and_then(|order| order.as_ref().ok());
            self.check_idempotency(row, order, report);
        }
    }

    fn add_orphan(&self, kind: Kind, table: &str, report: &mut Report) {
        report.add(kind, Some(&self.key), None, || {
            format!("{table} has rows of an order that the tenant does not have")
        });
    }

    fn check_order(&self, order: &OrderRow, floor: Floor<'_>, report: &mut Report) {
        let key = &self.key;
        let lines: Result<Vec<_>, _> = self.lines.iter().map(Result::as_ref).collect();
        let document = match lines {
            Ok(lines) => order::check(key, order, &lines, report),
            // The line is reported already, and without it the order cannot be derived.
            Err(_) => None,
        };
        let current = Current {
            version: order.version,
            created_at: order.created_at,
            updated_at: order.updated_at,
        };
        if let Ok(floor) = floor {
            self.history.check_beginning(key, current, floor, report);
        }
        let Some((version, data)) = self.history.last() else {
            return;
        };
        if version < order.version {
            let may_be_removed = match floor {
                Ok(Some(floor)) => self.history.may_end_below(key, current, floor),
                Ok(None) => false,
                Err(UnreadableFloor) => true,
            };
            if !may_be_removed {
                report.add(Kind::EventGap, Some(key), Some(order.version), || {
                    format!("the last event has version {version}")
                });
            }
        } else if version > order.version {
            report.add(Kind::OrderMismatch, Some(key), Some(order.version), || {
                format!("an event has version {version}")
            });
        } else if document.is_some_and(|document| !same_json(&document, data)) {
            report.add(Kind::OrderMismatch, Some(key), Some(version), || {
                "the event of this version is not the order as stored".to_owned()
            });
        }
    }

    fn check_archived(&self, archived: &ArchivedRow, floor: Floor<'_>, report: &mut Report) {
        let key = &self.key;
        if let Ok(floor) = floor {
            // The row does not have the times of the order.
            let current = Current {
                version: archived.version,
                created_at: 0,
                updated_at: 0,
            };
            self.history.check_beginning(key, current, floor, report);
        }
        let Some((version, _)) = self.history.last() else {
            return;
        };
        let ends = self.history.archived() != Some(false) && version == archived.version;
        if !ends {
            report.add(Kind::ArchivedOrderEvent, Some(key), Some(version), || {
                format!("the order was archived with version {}", archived.version)
            });
        }
    }

    /// Checks the document of an idempotency key by itself, and against the order. What cannot change since the first
    /// version is the same in both.
    fn check_idempotency(
        &self,
        row: &IdempotencyRow,
        order: Option<&OrderRow>,
        report: &mut Report,
    ) {
        let mut mismatch = |what: &str| {
            report.add(Kind::IdempotencyDocument, Some(&self.key), Some(1), || {
                format!("the document of the idempotency key {what}")
            });
        };
        let document = match Document::parse(&row.document) {
            Ok(document) => document,
            Err(error) => return mismatch(&error),
        };
        if document.id != self.key.id {
            mismatch("has another id");
        }
        if document.version != 1 || document.status != Status::INITIAL {
            mismatch("is not a first version");
        }
        let created_at = [document.updated_at, row.created_at];
        let order_created_at = order.map(|order| order.created_at);
        let mut times = created_at.into_iter().chain(order_created_at);
        if times.any(|time| time != document.created_at) {
            mismatch("has another created_at");
        }
        let Some(order) = order.filter(|_| !self.being_erased) else {
            return;
        };
        for (what, one, other) in [
            (
                "has another customer_id",
                &document.customer_id,
                &order.customer_id,
            ),
            (
                "has another external_id",
                &document.external_id,
                &order.external_id,
            ),
            ("has another currency", &document.currency, &order.currency),
        ] {
            if one.as_ref().map(|text| text.0.as_ref()) != other.as_deref() {
                mismatch(what);
            }
        }
    }
}

/// The floor of the tenant of a key.
fn floor_of<'a>(floors: &'a [Stored<FloorRow>], key: &Key) -> Floor<'a> {
    let floor = floors.binary_search_by(|floor| floor.key.tenant.cmp(&key.tenant));
    match floor.ok().and_then(|index| floors.get(index)) {
        None => Ok(None),
        Some(floor) => floor.row.as_ref().map(Some).map_err(|_| UnreadableFloor),
    }
}

/// The floor of a tenant cannot be read, so everything may have been removed.
#[derive(Clone, Copy)]
struct UnreadableFloor;

type Floor<'a> = Result<Option<&'a FloorRow>, UnreadableFloor>;

#[cfg(test)]
mod tests;
