//! Checks all rows of one key together.

use super::super::clock::Clock;
use super::super::document::{Document, same_json};
use super::super::history::{Current, History, Surroundings};
use super::super::kind::Kind;
use super::super::order;
use super::super::report::Report;
use super::super::rows::{
    ArchivedRow, ErasureRow, EventRow, FloorRow, IdempotencyRow, Key, LineRow, OrderRow, Stored,
    Table,
};
use super::super::value::BadColumn;
use crate::domain::{Status, Tenant};

/// All rows of one key, and its events so far.
pub(super) struct Entity {
    pub(super) key: Key,
    pub(super) orders: Vec<Result<OrderRow, BadColumn>>,
    pub(super) lines: Vec<Result<LineRow, BadColumn>>,
    pub(super) idempotency: Vec<Result<IdempotencyRow, BadColumn>>,
    pub(super) archived: Vec<Result<ArchivedRow, BadColumn>>,
    /// What the worklist of erasures has of the order.
    pub(super) erasures: Vec<Result<ErasureRow, BadColumn>>,
    pub(super) history: History,
}

impl Entity {
    pub(super) fn report_bad<T: Table>(&self, rows: &[Result<T, BadColumn>], report: &mut Report) {
        for bad in rows.iter().filter_map(|row| row.as_ref().err()) {
            self.add_bad::<T>(*bad, report);
        }
    }

    fn add_bad<T: Table>(&self, bad: BadColumn, report: &mut Report) {
        report.add(Kind::UnreadableValue, Some(&self.key), None, || {
            format!("{}.{} {}", T::NAME, bad.column, bad.reason)
        });
    }

    /// Whether older events still have personal data, which will be redacted.
    fn being_erased(&self) -> bool {
        let mut erasures = self.erasures.iter();
        erasures.any(|row| row.as_ref().is_ok_and(|row| row.is_unfinished))
    }

    /// Checks an event. `feed` is the position after all others, and the time.
    pub(super) fn event(
        &mut self,
        row: Result<EventRow, BadColumn>,
        (end_of_feed, clock): (Option<i64>, Clock),
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
                    clock,
                    floor: floor.ok().flatten(),
                    being_erased: self.being_erased(),
                    idempotency: self.idempotency.first().and_then(|row| row.as_ref().ok()),
                };
                self.history.add(row, &around, report);
            }
        }
    }

    /// Checks the rows together, once all events are known.
    pub(super) fn check(self, floors: &[Stored<FloorRow>], report: &mut Report) {
        let key = &self.key;
        if Tenant::parse(&key.tenant).is_err() {
            report.add(Kind::UnreadableValue, Some(key), None, || {
                "the tenant is not the name of a tenant".to_owned()
            });
        }
        let leftover = self.erasures.iter().flatten();
        if leftover.into_iter().any(|row| !row.is_unfinished) {
            report.add(Kind::ErasureLeftover, Some(key), None, || {
                "erasure_orders has the order, and no unfinished erasure will remove it".to_owned()
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
        let Some((version, data)) = self.history.last() else {
            return;
        };
        if let Ok(document) = Document::parse(data)
            && !self.being_erased()
            && document.customer_id.as_ref().map(|text| text.0.as_ref())
                != archived.customer_id.as_deref()
        {
            report.add(Kind::ArchivedOrderEvent, Some(key), Some(version), || {
                "archived_orders has another customer_id than the last event".to_owned()
            });
        }
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
        let Some(order) = order.filter(|_| !self.being_erased() && !self.history.may_be_imported())
        else {
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
pub(super) fn floor_of<'a>(floors: &'a [Stored<FloorRow>], key: &Key) -> Floor<'a> {
    let floor = floors.binary_search_by(|floor| floor.key.tenant.cmp(&key.tenant));
    match floor.ok().and_then(|index| floors.get(index)) {
        None => Ok(None),
        Some(floor) => floor.row.as_ref().map(Some).map_err(|_| UnreadableFloor),
    }
}

/// The floor of a tenant cannot be read, so everything may have been removed.
#[derive(Clone, Copy)]
pub(super) struct UnreadableFloor;

pub(super) type Floor<'a> = Result<Option<&'a FloorRow>, UnreadableFloor>;
