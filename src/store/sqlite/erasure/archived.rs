//! Erases orders of a customer that were archived and removed, and of which events remain.

use std::sync::Arc;

use chrono::Utc;
use diesel::SqliteConnection;
use diesel::prelude::*;
use uuid::Uuid;

use super::{hold, log_erased, queue};
use crate::store::StoreError;
use crate::store::erasure::{BatchSize, Claim, ErasedArchived, Step};
use crate::store::sqlite::Sqlite;
use crate::store::sqlite::create::check_written;
use crate::store::sqlite::events::find_last_event;
use crate::store::sqlite::rows::uuid;
use crate::store::sqlite::schema::{archived_orders, erasures};
use crate::telemetry::QueryName;

impl Sqlite {
    pub(super) async fn erase_some_archived(
        &self,
        claim: Arc<Claim>,
        after: Option<Uuid>,
        size: BatchSize,
    ) -> Result<Option<Step<Uuid>>, StoreError> {
        self.write(QueryName::EraseOrders, move |connection| {
            if !hold(connection, &claim)? {
                return Ok(None);
            }
            let after = after.unwrap_or_default();
            let found: Vec<(Vec<u8>, i32)> = archived_orders::table
                .filter(archived_orders::tenant.eq(claim.tenant.as_str()))
                .filter(archived_orders::customer_id.eq(&claim.customer_id))
                .filter(archived_orders::order_id.gt(after.as_bytes().as_slice()))
                .order(archived_orders::order_id)
                .limit(size.orders.into())
                .select((archived_orders::order_id, archived_orders::version))
                .load(connection)?;
            let mut next = None;
            for (id, version) in found {
                let id = uuid(&id)?;
                erase(connection, &claim, id, version)?;
                next = Some(id);
            }
            Ok(Some(Step {
                changed: next.is_some(),
                next,
            }))
        })
        .await
    }
}

/// Replaces the customer of an archived order, and adds an event to it if it still has events. The time at which it was
/// archived becomes that of this event, because its row is needed as long as there are events.
fn erase(
    connection: &mut SqliteConnection,
    claim: &Claim,
    id: Uuid,
    version: i32,
) -> Result<(), StoreError> {
    let last = find_last_event(connection, claim.tenant.as_str(), &id)?;
    let erased = ErasedArchived::new(id, version, last, claim)?;
    let row = (claim.tenant.as_str(), id.as_bytes().as_slice());
    let written = diesel::update(archived_orders::table.find(row))
        .set(archived_orders::customer_id.eq(&claim.pseudonym))
        .execute(connection)?;
    check_written(written)?;
    if let Some(json) = &erased.json {
        let written = diesel::update(archived_orders::table.find(row))
            .set((
                archived_orders::version.eq(erased.version),
                archived_orders::archived_at.eq(Utc::now().timestamp_micros()),
            ))
            .execute(connection)?;
        check_written(written)?;
        log_erased(
            connection,
            claim,
            &id,
            erased.version,
            erased.occurred_at,
            json,
        )?;
    }
    queue(connection, claim, &id, erased.version)?;
    let key = (claim.tenant.as_str(), claim.id.as_bytes().as_slice());
    let counted = diesel::update(erasures::table.find(key))
        .set(erasures::archived_orders.eq(erasures::archived_orders + 1))
        .execute(connection)?;
    check_written(counted)
}
