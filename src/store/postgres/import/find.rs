//! Finds what is stored of the orders of a chunk, and decides what to write.

use std::borrow::Cow;
use std::collections::{HashMap, HashSet};

use chrono::{DateTime, Utc};
use tokio_postgres::Row;
use uuid::Uuid;

use crate::domain::LastVersion;
use crate::store::StoreError;
use crate::store::error::StoreFault;
use crate::store::import::{ImportOutcome, ImportRow};

/// Each subquery is evaluated with one descent of an index.
pub(super) const FIND: &str = "SELECT
        (SELECT true FROM orders AS o WHERE o.tenant = $1 AND o.id = i.id) AS present,
        (SELECT o.id FROM orders AS o WHERE o.tenant = $1 AND o.external_id = i.external_id) AS taken_by,
        a.version AS archived, a.archived_at
    FROM unnest($2::uuid[], $3::text[]) WITH ORDINALITY AS i (id, external_id, number)
        LEFT JOIN LATERAL (SELECT a.version, a.archived_at FROM archived_orders AS a
            WHERE a.tenant = $1 AND a.order_id = i.id OFFSET 0) AS a ON true
    ORDER BY i.number";

/// The last events of orders that are not stored. Usually there are none.
pub(super) const FIND_EVENTS: &str =
    "SELECT DISTINCT ON (order_id) order_id, version, data->>'status' AS status,
        occurred_at
    FROM events WHERE tenant = $1 AND order_id = ANY($2) ORDER BY order_id, version DESC";

/// What is stored of the orders of a chunk.
pub(super) struct Found {
    orders: Vec<FoundOrder>,
    /// The last events of removed orders.
    events: HashMap<Uuid, LastVersion>,
}

/// What is stored of one order of a chunk.
struct FoundOrder {
    present: bool,
    /// The order that has the external id.
    taken_by: Option<Uuid>,
    /// The trace of the order in `archived_orders`.
    archived: Option<(i32, DateTime<Utc>)>,
}

impl Found {
    /// Reads the rows of [`FIND`].
    pub(super) fn new(rows: &[Row]) -> Result<Self, StoreError> {
        let orders = rows.iter().map(|row| {
            let archived: Option<i32> = row.try_get("archived")?;
            let archived_at: Option<DateTime<Utc>> = row.try_get("archived_at")?;
            Ok(FoundOrder {
                present: row.try_get::<_, Option<bool>>("present")?.unwrap_or(false),
                taken_by: row.try_get("taken_by")?,
                archived: archived.zip(archived_at),
            })
        });
        Ok(Self {
            orders: orders.collect::<Result<_, StoreError>>()?,
            events: HashMap::new(),
        })
    }

    /// The ids of the orders that are not stored.
    pub(super) fn absent(&self, ids: &[Uuid]) -> Vec<Uuid> {
        let ids = self.orders.iter().zip(ids);
        ids.filter(|(found, _)| !found.present)
            .map(|(_, id)| *id)
            .collect()
    }

    /// Reads the rows of [`FIND_EVENTS`].
    pub(super) fn add_events(&mut self, rows: &[Row]) -> Result<(), StoreError> {
        for row in rows {
            let status: Option<&str> = row.try_get("status")?;
            let status = status.map(str::parse).transpose();
            let last = LastVersion {
                version: row.try_get("version")?,
                status: status.map_err(|_| StoreFault::Corrupt("status"))?,
                at: row.try_get("occurred_at")?,
            };
            self.events.insert(row.try_get("order_id")?, last);
        }
        Ok(())
    }
}

/// What to do with the orders of a chunk.
pub(super) struct Plan<'a> {
    /// One for each order, in their order.
    pub(super) outcomes: Vec<ImportOutcome>,
    pub(super) writes: Vec<Write<'a>>,
}

/// An order to write.
pub(super) struct Write<'a> {
    pub(super) row: Cow<'a, ImportRow>,
    /// The version of its trace in `archived_orders`.
    archived: Option<i32>,
}

impl Write<'_> {
    /// The id and the version of its trace in `archived_orders`.
    pub(super) fn archived(&self) -> Option<(Uuid, i32)> {
        Some((self.row.order.id, self.archived?))
    }
}

impl<'a> Plan<'a> {
    /// Decides order by order, so that the first of several with the same id or external id is written.
    pub(super) fn new(
        rows: &'a [ImportRow],
        found: Found,
        now: DateTime<Utc>,
    ) -> Result<Self, StoreError> {
        if found.orders.len() != rows.len() {
            return Err(StoreFault::WrongCount {
                requests: rows.len(),
                responses: found.orders.len(),
            }
            .into());
        }
        let mut plan = Self {
            outcomes: Vec::with_capacity(rows.len()),
            writes: Vec::with_capacity(rows.len()),
        };
        let mut ids = HashSet::with_capacity(rows.len());
        let mut external_ids: HashMap<&str, Uuid> = HashMap::new();
        for (row, stored) in rows.iter().zip(&found.orders) {
            let order = &row.order;
            let external_id = order.external_id.as_deref();
            let of_chunk = external_id.and_then(|id| external_ids.get(id));
            let outcome = if stored.present || ids.contains(&order.id) {
                ImportOutcome::AlreadyPresent
            } else if let Some(order_id) = stored.taken_by.or(of_chunk.copied()) {
                ImportOutcome::ExternalIdTaken { order_id }
            } else {
                match stored.write(row, found.events.get(&order.id), now)? {
                    Err(outcome) => outcome,
                    Ok(write) => {
                        plan.writes.push(write);
                        ids.insert(order.id);
                        external_ids.extend(external_id.map(|external_id| (external_id, order.id)));
                        ImportOutcome::Imported
                    }
                }
            };
            plan.outcomes.push(outcome);
        }
        Ok(plan)
    }
}

impl FoundOrder {
    /// The order to write, which continues the versions of a removed one.
    fn write<'a>(
        &self,
        row: &'a ImportRow,
        event: Option<&LastVersion>,
        now: DateTime<Utc>,
    ) -> Result<Result<Write<'a>, ImportOutcome>, StoreError> {
        let archived = self.archived.map(|(version, _)| version);
        let trace = self.archived.map(|(version, at)| LastVersion {
            version,
            status: None,
            at,
        });
        let row = match LastVersion::later(event.copied(), trace) {
            None => Cow::Borrowed(row),
            Some(last) => match row.after(&last, now)? {
                Ok(row) => Cow::Owned(row),
                Err(outcome) => return Ok(Err(outcome)),
            },
        };
        Ok(Ok(Write { row, archived }))
    }
}
