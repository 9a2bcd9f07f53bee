//! Erasures: each step is one transaction, which may write from its beginning.

mod archived;
mod orders;
mod redact;
mod requests;

use std::sync::Arc;

use chrono::{DateTime, Utc};
use diesel::SqliteConnection;
use diesel::prelude::*;
use futures_util::FutureExt as _;
use uuid::Uuid;

use super::Sqlite;
use super::create::{NewEvent, check_written};
use super::schema::{erasure_orders, erasures};
use crate::domain::{EventType, Tenant};
use crate::store::StoreError;
use crate::store::backend::StoreFuture;
use crate::store::erasure::{
    BatchSize, Claim, Erasure, Erasures, LEASE, NewErasure, OrderCursor, Step,
};

/// The end of a lease that begins or is extended now.
fn lease_end() -> i64 {
    (Utc::now() + LEASE).timestamp_micros()
}

/// Extends the lease. Returns false if another process holds it.
fn hold(connection: &mut SqliteConnection, claim: &Claim) -> QueryResult<bool> {
    let held = diesel::update(
        erasures::table.find((claim.tenant.as_str(), claim.id.as_bytes().as_slice())),
    )
    .filter(erasures::lease.eq(claim.lease.as_bytes().as_slice()))
    .filter(erasures::finished_at.is_null())
    .set(erasures::leased_until.eq(lease_end()))
    .execute(connection)?;
    Ok(held == 1)
}

/// Writes the event `order.erased` of an order.
fn log_erased(
    connection: &mut SqliteConnection,
    claim: &Claim,
    order_id: &Uuid,
    version: i32,
    at: DateTime<Utc>,
    data: &str,
) -> Result<(), StoreError> {
    let event = NewEvent {
        tenant: claim.tenant.as_str(),
        order_id,
        version,
        event_type: EventType::Erased,
        at,
        data,
        traceparent: None,
        auth_type: &claim.auth_type,
        auth_id: claim.auth_id.as_deref(),
    };
    event.insert(connection)
}

/// Adds an order to the worklist.
fn queue(
    connection: &mut SqliteConnection,
    claim: &Claim,
    order_id: &Uuid,
    version: i32,
) -> Result<(), StoreError> {
    let written = diesel::insert_into(erasure_orders::table)
        .values((
            erasure_orders::tenant.eq(claim.tenant.as_str()),
            erasure_orders::erasure_id.eq(claim.id.as_bytes().as_slice()),
            erasure_orders::order_id.eq(order_id.as_bytes().as_slice()),
            erasure_orders::version.eq(version),
        ))
        .on_conflict((
            erasure_orders::tenant,
            erasure_orders::erasure_id,
            erasure_orders::order_id,
        ))
        .do_update()
        .set(erasure_orders::version.eq(version))
        .execute(connection)?;
    check_written(written)
}

impl Erasures for Sqlite {
    fn request_erasure(&self, new: Arc<NewErasure>) -> StoreFuture<'_, Erasure> {
        self.store_erasure(new).boxed()
    }

    fn find_erasure(&self, tenant: Tenant, id: Uuid) -> StoreFuture<'_, Option<Erasure>> {
        self.read_erasure(tenant, id).boxed()
    }

    fn oldest_erasure(&self) -> StoreFuture<'_, f64> {
        self.oldest_erasure_age().boxed()
    }

    fn claim_erasure(&self, lease: Uuid) -> StoreFuture<'_, Option<Claim>> {
        self.lease_next_erasure(lease).boxed()
    }

    fn erase_orders(
        &self,
        claim: Arc<Claim>,
        after: Option<OrderCursor>,
        size: BatchSize,
    ) -> StoreFuture<'_, Option<Step<OrderCursor>>> {
        self.erase_some_orders(claim, after, size).boxed()
    }

    fn erase_archived(
        &self,
        claim: Arc<Claim>,
        after: Option<Uuid>,
        size: BatchSize,
    ) -> StoreFuture<'_, Option<Step<Uuid>>> {
        self.erase_some_archived(claim, after, size).boxed()
    }

    fn redact(
        &self,
        claim: Arc<Claim>,
        after: Option<Uuid>,
        size: BatchSize,
    ) -> StoreFuture<'_, Option<Step<Uuid>>> {
        self.redact_some(claim, after, size).boxed()
    }

    fn finish_erasure(&self, claim: Arc<Claim>) -> StoreFuture<'_, bool> {
        self.finish_leased_erasure(claim).boxed()
    }

    fn release_erasure(&self, claim: Arc<Claim>) -> StoreFuture<'_, ()> {
        self.release_leased_erasure(claim).boxed()
    }
}
