//! Updates an order: reads it, decides, and writes the next version with its event in one statement.

use std::borrow::Cow;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use chrono::{DateTime, Utc};
use diesel::QueryResult;
use diesel::pg::Pg;
use diesel::query_builder::AstPass;
use diesel::sql_types::{BigInt, Integer, Nullable, SmallInt, Text, Timestamptz, Uuid as SqlUuid};
use diesel_async::{AsyncPgConnection, RunQueryDsl as _};
use futures_util::FutureExt as _;
use tokio::time::Instant;
use uuid::Uuid;

use super::Postgres;
use super::get::GetOrders;
use super::lines::Lines;
use super::position::POSITION;
use super::rows::OrderLine;
use crate::store::StoreError;
use crate::store::admission::{Admission, OrderPermit};
use crate::store::auth_context::auth_id;
use crate::store::document::json_bytes;
use crate::store::order_lines;
use crate::store::statement::{Prepared, Statement};
use crate::store::update::{Decision, NextVersion, UpdateOrder, Updated, decide};
use crate::telemetry::QueryName;

/// `lock_timeout` of an update that waits for the order's row. It is several times the duration of a commit. An
/// update that waits longer releases its connection and retries (`store/update.rs`).
const LOCK_WAIT: &str = "100ms";

impl Postgres {
    /// Updates an order on one connection. If the connection breaks before the write begins, the update starts
    /// again on another one. After that, the outcome of the write is unknown.
    pub(super) async fn update_order(
        &self,
        command: &Arc<UpdateOrder>,
        admission: &Admission,
    ) -> Result<Updated, StoreError> {
        let writing = Arc::new(AtomicBool::new(false));
        self.run_until_written(QueryName::UpdateOrder, &writing, |connection| {
            let attempt = Attempt {
                command: Arc::clone(command),
                admission: admission.clone(),
                writing: Arc::clone(&writing),
            };
            attempt.run(connection).boxed()
        })
        .await?
    }
}

struct Attempt {
    command: Arc<UpdateOrder>,
    admission: Admission,
    /// Whether a write has begun whose outcome is unknown yet.
    writing: Arc<AtomicBool>,
}

impl Attempt {
    /// Reads, decides, and writes if the version is still the same; otherwise reads again. Each round means that
    /// another process has written a version, so at least one update always makes progress.
    async fn run(
        self,
        connection: &mut AsyncPgConnection,
    ) -> QueryResult<Result<Updated, StoreError>> {
        // The server may have rolled back an earlier attempt.
        self.writing.store(false, Ordering::Relaxed);
        while Instant::now() < self.command.deadline {
            let key = [self.command.key()];
            let lines = Prepared(GetOrders::<true>::new(&key))
                .load(connection)
                .await?;
            let (next, _permit) = match self.decide(lines) {
                Ok((Decision::Write(next), permit)) => (next, permit),
                Ok((Decision::Respond(outcome), _)) => return Ok(Ok(outcome.into())),
                Err(error) => return Ok(Err(error)),
            };
            self.writing.store(true, Ordering::Relaxed);
            let written: Vec<Uuid> = if next.writes_lines {
                let update = Update::<true>::new(&next, &self.command);
                Prepared(update).load(connection).await?
            } else {
                let update = Update::<false>::new(&next, &self.command);
                Prepared(update).load(connection).await?
            };
            self.writing.store(false, Ordering::Relaxed);
            if !written.is_empty() {
                return Ok(Ok(next.written()));
            }
        }
        Ok(Err(StoreError::LockTimeout))
    }

    /// Returns the decision, with a permit for the order that was read.
    fn decide(&self, lines: Vec<OrderLine>) -> Result<(Decision, Option<OrderPermit>), StoreError> {
        let order = order_lines::orders(lines)?
            .pop()
            .and_then(|found| found.order);
        let permit = order
            .as_ref()
            .map(|order| self.admission.acquire_for_order(&self.command, order));
        let decision = decide(order.as_ref(), &self.command)?;
        Ok((decision, permit.transpose()?))
    }
}

/// Writes the next version of an order, with its lines if they or the status change.
struct Update<'a, const WRITES_LINES: bool> {
    tenant: &'a str,
    id: Uuid,
    version: i32,
    status: &'static str,
    total_amount: Option<i64>,
    lines: Lines<'a>,
    last_line: i16,
    metadata: &'a str,
    at: DateTime<Utc>,
    data: &'a str,
    bytes: i32,
    traceparent: Option<&'a str>,
    auth_type: &'static str,
    auth_id: Option<Cow<'a, str>>,
}

impl<'a, const WRITES_LINES: bool> Update<'a, WRITES_LINES> {
    fn new(next: &'a NextVersion, command: &'a UpdateOrder) -> Self {
        let NextVersion {
            order,
            json,
            metadata,
            writes_lines: _,
        } = next;
        let caller = &command.caller;
        let lines = Lines::of([order]);
        Self {
            tenant: caller.tenant.as_str(),
            id: order.id,
            version: order.version,
            status: order.status.as_str(),
            total_amount: order.items.total_amount(),
            last_line: lines.last_number(),
            lines,
            metadata,
            at: order.updated_at,
            data: json,
            bytes: json_bytes(json),
            traceparent: command.traceparent.as_deref(),
            auth_type: caller.auth_type.as_str(),
            auth_id: auth_id(caller),
        }
    }
}

impl<const WRITES_LINES: bool> Statement for Update<'_, WRITES_LINES> {
    type Database = Pg;
    type Id = Update<'static, WRITES_LINES>;
    type Columns = SqlUuid;

    fn write<'b>(&'b self, out: &mut AstPass<'_, 'b, Pg>) -> QueryResult<()> {
        // Joined, so that the timeout is set before the row is locked.
        out.push_sql("WITH wait AS MATERIALIZED (SELECT set_config('lock_timeout', '");
        out.push_sql(LOCK_WAIT);
        out.push_sql("', true)), changed AS (UPDATE orders SET status = ");
        out.push_bind_param::<Text, _>(&self.status)?;
        out.push_sql(", total_amount = ");
        out.push_bind_param::<Nullable<BigInt>, _>(&self.total_amount)?;
        out.push_sql(", metadata = ");
        out.push_bind_param::<Text, _>(&self.metadata)?;
        out.push_sql("::jsonb, version = version + 1, updated_at = ");
        out.push_bind_param::<Timestamptz, _>(&self.at)?;
        out.push_sql(", json_bytes = ");
        out.push_bind_param::<Integer, _>(&self.bytes)?;
        out.push_sql(" FROM wait WHERE tenant = ");
        out.push_bind_param::<Text, _>(self.tenant)?;
        out.push_sql(" AND id = ");
        out.push_bind_param::<SqlUuid, _>(&self.id)?;
        out.push_sql(" AND version + 1 = ");
        out.push_bind_param::<Integer, _>(&self.version)?;
        out.push_sql(" RETURNING tenant, id, version, updated_at, json_bytes), ");
        if WRITES_LINES {
            out.push_sql("listed AS (");
            self.lines.write_insert("changed", out)?;
            out.push_sql(
                " ON CONFLICT (tenant, order_id, line) DO UPDATE SET product_id = excluded.product_id,
                    quantity = excluded.quantity, unit_amount = excluded.unit_amount, status = excluded.status
                ), removed AS (DELETE FROM order_items USING changed WHERE order_items.tenant = ",
            );
            out.push_bind_param::<Text, _>(self.tenant)?;
            out.push_sql(
                " AND order_items.tenant = changed.tenant AND order_items.order_id = changed.id AND line > ",
            );
            out.push_bind_param::<SmallInt, _>(&self.last_line)?;
            out.push_sql("), ");
        }
        out.push_sql(
            "logged AS (INSERT INTO events (tenant, order_id, version, event_type, position, occurred_at, data,
                data_bytes, traceparent, authtype, authid)
            SELECT tenant, id, version, 'updated', ",
        );
        out.push_sql(POSITION);
        out.push_sql(", updated_at, ");
        out.push_bind_param::<Text, _>(&self.data)?;
        out.push_sql("::json, json_bytes, ");
        out.push_bind_param::<Nullable<Text>, _>(&self.traceparent)?;
        out.push_sql(", ");
        out.push_bind_param::<Text, _>(self.auth_type)?;
        out.push_sql(", ");
        out.push_bind_param::<Nullable<Text>, _>(&self.auth_id)?;
        out.push_sql(" FROM changed) SELECT id FROM changed");
        Ok(())
    }
}
