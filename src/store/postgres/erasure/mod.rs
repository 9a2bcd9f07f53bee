//! Erasures: each step reads what it needs, then writes it in one statement.
//!
//! Only the statement that writes has locks and a position in the feed, so a process that is stopped between two
//! statements holds nothing. The statement checks what the reads have found.

mod archived;
mod orders;
mod redact;
mod requests;

use std::sync::Arc;

use diesel::QueryResult;
use diesel::pg::Pg;
use diesel::query_builder::AstPass;
use diesel::sql_types::{Nullable, Text, Uuid as SqlUuid};
use futures_util::FutureExt as _;
use uuid::Uuid;

use super::Postgres;
use super::position::POSITION;
use crate::domain::Tenant;
use crate::store::backend::StoreFuture;
use crate::store::erasure::{BatchSize, Claim, Erasure, Erasures, NewErasure, OrderCursor, Step};

/// SQL for the end of a lease that begins or is extended now ([`crate::store::erasure::LEASE`]).
const LEASE_END: &str = "clock_timestamp() + interval '10 seconds'";

/// Writes the beginning of a statement that executes a part of an erasure: the common table expression `held` has the
/// tenant and the id of the erasure, unless another process holds its lease. The timeout is set before anything is
/// locked.
fn push_held<'b>(claim: &'b Claim, out: &mut AstPass<'_, 'b, Pg>) -> QueryResult<()> {
    out.push_sql(
        "WITH wait AS MATERIALIZED (SELECT set_config('lock_timeout', '100ms', true)),
        held AS MATERIALIZED (SELECT tenant, id FROM wait, erasures",
    );
    push_leased(claim, out)?;
    out.push_sql(" AND finished_at IS NULL FOR UPDATE OF erasures), ");
    Ok(())
}

/// Writes the condition for the row of an erasure whose lease this process has, or had last.
fn push_leased<'b>(claim: &'b Claim, out: &mut AstPass<'_, 'b, Pg>) -> QueryResult<()> {
    out.push_sql(" WHERE tenant = ");
    out.push_bind_param::<Text, _>(claim.tenant.as_str())?;
    out.push_sql(" AND id = ");
    out.push_bind_param::<SqlUuid, _>(&claim.id)?;
    out.push_sql(" AND lease = ");
    out.push_bind_param::<SqlUuid, _>(&claim.lease)?;
    Ok(())
}

/// Writes the events of the rows of `changed`, and adds their orders to the worklist. A row without data has no event.
fn push_logged<'b>(claim: &'b Claim, out: &mut AstPass<'_, 'b, Pg>) -> QueryResult<()> {
    out.push_sql(
        "logged AS (INSERT INTO events (tenant, order_id, version, event_type, position, occurred_at, data,
                    data_bytes, authtype, authid)
                SELECT tenant, id, version, 'erased', ",
    );
    out.push_sql(POSITION);
    out.push_sql(", at, data, bytes, ");
    out.push_bind_param::<Text, _>(&claim.auth_type)?;
    out.push_sql(", ");
    out.push_bind_param::<Nullable<Text>, _>(&claim.auth_id)?;
    out.push_sql(
        " FROM changed WHERE data IS NOT NULL),
            queued AS (INSERT INTO erasure_orders (tenant, erasure_id, order_id, version)
                SELECT changed.tenant, held.id, changed.id, changed.version FROM held, changed
                ON CONFLICT (tenant, erasure_id, order_id) DO UPDATE SET version = excluded.version), ",
    );
    Ok(())
}

/// Writes the end of such a statement: extends the lease, and adds to the counts.
fn push_counted(counts: &'static str, changed: &'static str, out: &mut AstPass<'_, '_, Pg>) {
    out.push_sql("counted AS (UPDATE erasures SET leased_until = ");
    out.push_sql(LEASE_END);
    out.push_sql(", ");
    out.push_sql(counts);
    out.push_sql(
        " FROM held WHERE erasures.tenant = held.tenant AND erasures.id = held.id)
        SELECT (SELECT count(*) FROM ",
    );
    out.push_sql(changed);
    out.push_sql(") FROM held");
}

impl Erasures for Postgres {
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
