//! Redacts the events and the documents for replays of erased orders.

use std::sync::Arc;

use diesel::SqliteConnection;
use diesel::prelude::*;
use uuid::Uuid;

use super::hold;
use crate::store::StoreError;
use crate::store::erasure::{BatchSize, Claim, Pending, Redaction, Step};
use crate::store::sqlite::Sqlite;
use crate::store::sqlite::create::check_written;
use crate::store::sqlite::rows::uuid;
use crate::store::sqlite::schema::{erasure_orders, erasures, events, idempotency_keys};
use crate::telemetry::QueryName;

impl Sqlite {
    /// A step redacts one order after another, until it has read as much as it may.
    pub(super) async fn redact_some(
        &self,
        claim: Arc<Claim>,
        after: Option<Uuid>,
        size: BatchSize,
    ) -> Result<Option<Step<Uuid>>, StoreError> {
        self.write(QueryName::RedactEvents, move |connection| {
            if !hold(connection, &claim)? {
                return Ok(None);
            }
            let after = after.unwrap_or_default();
            let found: Vec<(Vec<u8>, i32, i32)> = erasure_orders::table
                .filter(erasure_orders::tenant.eq(claim.tenant.as_str()))
                .filter(erasure_orders::erasure_id.eq(claim.id.as_bytes().as_slice()))
                .filter(erasure_orders::order_id.gt(after.as_bytes().as_slice()))
                .order(erasure_orders::order_id)
                .limit(size.orders.into())
                .select((
                    erasure_orders::order_id,
                    erasure_orders::version,
                    erasure_orders::redacted,
                ))
                .load(connection)?;
            if found.is_empty() {
                return Ok(Some(Step::END));
            }
            let mut left = size;
            let mut last = after;
            for (order_id, version, redacted) in found {
                let order = Pending {
                    order_id: uuid(&order_id)?,
                    version,
                    redacted,
                };
                if !redact_order(connection, &claim, &order, &mut left)? {
                    break;
                }
                last = order.order_id;
            }
            Ok(Some(Step {
                changed: true,
                next: Some(last),
            }))
        })
        .await
    }
}

/// Redacts events of an order until nothing is `left` of the size of the step. Returns whether the order is complete.
fn redact_order(
    connection: &mut SqliteConnection,
    claim: &Claim,
    order: &Pending,
    left: &mut BatchSize,
) -> Result<bool, StoreError> {
    let mut redacted = order.redacted;
    loop {
        if left.events == 0 || left.bytes == 0 {
            advance(connection, claim, order, redacted)?;
            return Ok(false);
        }
        let next: Option<(i64, i32, String)> = events::table
            .filter(events::tenant.eq(claim.tenant.as_str()))
            .filter(events::order_id.eq(order.order_id.as_bytes().as_slice()))
            .filter(events::version.gt(redacted))
            .filter(events::version.lt(order.version))
            .order(events::version)
            .select((events::seq, events::version, events::data))
            .first(connection)
            .optional()?;
        let Some((seq, version, data)) = next else {
            break;
        };
        let new = Redaction::new(&data, claim)?;
        let written = diesel::update(events::table.find(seq))
            .set((
                events::data.eq(&new.json),
                events::data_bytes.eq(new.json_bytes()),
                events::traceparent.eq(None::<&str>),
                events::authid.eq(None::<&str>),
            ))
            .execute(connection)?;
        check_written(written)?;
        count(connection, claim, 1, 0)?;
        redacted = version;
        left.events -= 1;
        let bytes = u32::try_from(data.len()).unwrap_or(u32::MAX);
        left.bytes = left.bytes.saturating_sub(bytes);
    }
    redact_document(connection, claim, &order.order_id)?;
    let key = (
        claim.tenant.as_str(),
        claim.id.as_bytes().as_slice(),
        order.order_id.as_bytes().as_slice(),
    );
    let removed = diesel::delete(erasure_orders::table.find(key)).execute(connection)?;
    check_written(removed)?;
    Ok(true)
}

fn advance(
    connection: &mut SqliteConnection,
    claim: &Claim,
    order: &Pending,
    redacted: i32,
) -> Result<(), StoreError> {
    let key = (
        claim.tenant.as_str(),
        claim.id.as_bytes().as_slice(),
        order.order_id.as_bytes().as_slice(),
    );
    let written = diesel::update(erasure_orders::table.find(key))
        .set(erasure_orders::redacted.eq(redacted))
        .execute(connection)?;
    check_written(written)
}

fn redact_document(
    connection: &mut SqliteConnection,
    claim: &Claim,
    order_id: &Uuid,
) -> Result<(), StoreError> {
    let key = idempotency_keys::table
        .filter(idempotency_keys::tenant.eq(claim.tenant.as_str()))
        .filter(idempotency_keys::order_id.eq(order_id.as_bytes().as_slice()));
    let document: Option<String> = key
        .select(idempotency_keys::document)
        .first(connection)
        .optional()?;
    let Some(document) = document else {
        return Ok(());
    };
    let new = Redaction::new(&document, claim)?;
    let written = diesel::update(key)
        .set(idempotency_keys::document.eq(&new.json))
        .execute(connection)?;
    check_written(written)?;
    count(connection, claim, 0, 1)
}

/// Adds to the counts of the erasure.
fn count(
    connection: &mut SqliteConnection,
    claim: &Claim,
    events: i64,
    idempotency_keys: i64,
) -> Result<(), StoreError> {
    let key = (claim.tenant.as_str(), claim.id.as_bytes().as_slice());
    let counted = diesel::update(erasures::table.find(key))
        .set((
            erasures::events.eq(erasures::events + events),
            erasures::idempotency_keys.eq(erasures::idempotency_keys + idempotency_keys),
        ))
        .execute(connection)?;
    check_written(counted)
}
