//! Changes an order: reads it, decides, and writes the next version with its event in one statement.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use chrono::{DateTime, Utc};
use diesel::pg::Pg;
use diesel::query_builder::{AstPass, Query, QueryFragment, QueryId};
use diesel::sql_types::{Integer, Nullable, Text, Timestamptz, Uuid as SqlUuid};
use diesel::{OptionalExtension as _, QueryDsl as _, QueryResult, SelectableHelper as _};
use diesel_async::{AsyncPgConnection, RunQueryDsl as _};
use futures_util::FutureExt as _;
use tokio::time::Instant;
use uuid::Uuid;

use super::Postgres;
use super::rows::OrderRow;
use crate::domain::Order;
use crate::store::StoreError;
use crate::store::admission::{Admission, Charge};
use crate::store::create::{UpdateOrder, json_bytes};
use crate::store::schema::orders;
use crate::store::update::{Decision, Next, Outcome, decide};
use crate::telemetry::QueryName;

/// `lock_timeout` of a change that waits for the order's row. Several times what a commit takes; a change
/// that waits longer gives its connection to others and tries again (`store/change.rs`).
const LOCK_WAIT: &str = "100ms";

impl Postgres {
    /// Changes an order on one connection. Until a version is being written, it may begin anew on another
    /// connection; after that nobody knows what became of the write when the connection breaks.
    pub(in crate::store) async fn update(
        &self,
        command: &Arc<UpdateOrder>,
        admission: &Admission,
    ) -> Result<Outcome, StoreError> {
        let writing = Arc::new(AtomicBool::new(false));
        self.run_until_written(QueryName::UpdateOrder, &writing, |connection| {
            let change = Change {
                command: Arc::clone(command),
                admission: admission.clone(),
                writing: Arc::clone(&writing),
            };
            change.run(connection).boxed()
        })
        .await?
    }
}

struct Change {
    command: Arc<UpdateOrder>,
    admission: Admission,
    /// Whether a write has begun whose outcome is not known yet.
    writing: Arc<AtomicBool>,
}

impl Change {
    /// Reads, decides, and writes if the version is still the same; else from the beginning. Another
    /// process made that version, so with every round some change is done.
    async fn run(
        self,
        connection: &mut AsyncPgConnection,
    ) -> QueryResult<Result<Outcome, StoreError>> {
        // An earlier attempt may have been undone by the server.
        self.writing.store(false, Ordering::Relaxed);
        while Instant::now() < self.command.deadline {
            let row: Option<OrderRow> = orders::table
                .find(self.command.id)
                .select(OrderRow::as_select())
                .first(connection)
                .await
                .optional()?;
            let (next, _charge) = match self.decide(row) {
                Ok((Decision::Write(next), charge)) => (next, charge),
                Ok((Decision::Respond(changed), _)) => return Ok(Ok(changed.into())),
                Err(error) => return Ok(Err(error)),
            };
            let update = Update::new(&next, self.command.traceparent.as_deref());
            self.writing.store(true, Ordering::Relaxed);
            let written: Vec<Uuid> = update.load(connection).await?;
            self.writing.store(false, Ordering::Relaxed);
            if !written.is_empty() {
                return Ok(Ok(next.written()));
            }
        }
        Ok(Err(StoreError::LockTimeout))
    }

    /// The decision, and room in the store for what was read and is to be written.
    fn decide(&self, row: Option<OrderRow>) -> Result<(Decision, Option<Charge>), StoreError> {
        let order = row.map(Order::try_from).transpose()?;
        let charge = order.as_ref().map(|order| self.admission.charge(order));
        let decision = decide(order.as_ref(), &self.command)?;
        Ok((decision, charge.transpose()?))
    }
}

struct Update<'a> {
    id: Uuid,
    version: i32,
    quantity: i32,
    status: &'static str,
    metadata: &'a str,
    at: DateTime<Utc>,
    data: &'a str,
    bytes: i32,
    traceparent: Option<&'a str>,
}

impl<'a> Update<'a> {
    fn new(next: &'a Next, traceparent: Option<&'a str>) -> Self {
        let Next {
            order,
            json,
            metadata,
        } = next;
        Self {
            id: order.id,
            version: order.version,
            quantity: order.quantity,
            status: order.status.as_str(),
            metadata,
            at: order.updated_at,
            data: json,
            bytes: json_bytes(json),
            traceparent,
        }
    }
}

impl QueryFragment<Pg> for Update<'_> {
    fn walk_ast<'b>(&'b self, mut out: AstPass<'_, 'b, Pg>) -> QueryResult<()> {
        // Joined, so that it is done before the row is locked.
        out.push_sql("WITH wait AS MATERIALIZED (SELECT set_config('lock_timeout', '");
        out.push_sql(LOCK_WAIT);
        out.push_sql("', true)), changed AS (UPDATE orders SET quantity = ");
        out.push_bind_param::<Integer, _>(&self.quantity)?;
        out.push_sql(", status = ");
        out.push_bind_param::<Text, _>(&self.status)?;
        out.push_sql(", metadata = ");
        out.push_bind_param::<Text, _>(&self.metadata)?;
        out.push_sql("::jsonb, version = version + 1, updated_at = ");
        out.push_bind_param::<Timestamptz, _>(&self.at)?;
        out.push_sql(", json_bytes = ");
        out.push_bind_param::<Integer, _>(&self.bytes)?;
        out.push_sql(" FROM wait WHERE id = ");
        out.push_bind_param::<SqlUuid, _>(&self.id)?;
        out.push_sql(" AND version + 1 = ");
        out.push_bind_param::<Integer, _>(&self.version)?;
        out.push_sql(
            " RETURNING id, version, updated_at, json_bytes),
            logged AS (INSERT INTO events
                (order_id, version, position, occurred_at, data, data_bytes, traceparent)
            SELECT id, version, ",
        );
        super::push_position(&mut out);
        out.push_sql(", updated_at, ");
        out.push_bind_param::<Text, _>(&self.data)?;
        out.push_sql("::json, json_bytes, ");
        out.push_bind_param::<Nullable<Text>, _>(&self.traceparent)?;
        out.push_sql(" FROM changed) SELECT id FROM changed");
        Ok(())
    }
}

impl QueryId for Update<'_> {
    type QueryId = Update<'static>;
    const HAS_STATIC_QUERY_ID: bool = true;
}

impl Query for Update<'_> {
    type SqlType = SqlUuid;
}
