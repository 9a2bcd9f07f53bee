//! Places a batch of orders in one statement: orders, idempotency and events together, so in one
//! transaction and one commit.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use chrono::{DateTime, Utc};
use diesel::pg::Pg;
use diesel::query_builder::{AstPass, Query, QueryFragment, QueryId};
use diesel::sql_types::{Array, Binary, Integer, Nullable, Text, Timestamptz, Uuid as SqlUuid};
use diesel::{QueryResult, QueryableByName};
use diesel_async::{AsyncPgConnection, RunQueryDsl as _};
use futures_util::FutureExt as _;
use uuid::Uuid;

use super::Postgres;
use crate::store::StoreError;
use crate::store::coalesce::Batch;
use crate::store::model::{Found, NewRow, Placed};
use crate::telemetry::QueryName;

/// Places orders.
pub(in crate::store) struct Create(pub(in crate::store) Postgres);

impl Batch for Create {
    type Item = Arc<NewRow>;
    type Answer = Placed;

    /// The order is placed even if its client is gone: it was accepted.
    const SERVE_ABANDONED: bool = true;

    async fn serve(&self, rows: Arc<[Arc<NewRow>]>) -> Result<Vec<Placed>, StoreError> {
        let batch = Arc::clone(&rows);
        let inserted: HashSet<Uuid> = self
            .0
            .run(QueryName::CreateOrders, move |connection| {
                let rows = Arc::clone(&batch);
                async move { Insert::new(&rows).load(connection).await }.boxed()
            })
            .await?
            .into_iter()
            .collect();
        let conflicts: Vec<String> = rows
            .iter()
            .filter(|row| !inserted.contains(&row.order.id))
            .filter_map(|row| row.key().map(str::to_owned))
            .collect();
        let found = if conflicts.is_empty() {
            HashMap::new()
        } else {
            self.placed_before(conflicts).await?
        };
        let answer = |row: &Arc<NewRow>| match row.key().and_then(|key| found.get(key)) {
            Some(found) if !inserted.contains(&row.order.id) => row.against(found),
            // Not inserted and yet no other order has its key: it conflicts with itself. An
            // earlier attempt was committed, and its answer lost with the connection.
            _ => Placed::New(row.document()),
        };
        Ok(rows.iter().map(answer).collect())
    }
}

impl Create {
    /// The orders that were placed before with these keys, by key. A statement of its own, as the
    /// snapshot of the first may be older than the commit that it waited for.
    async fn placed_before(&self, keys: Vec<String>) -> Result<HashMap<String, Found>, StoreError> {
        let rows: Vec<FoundRow> = self
            .0
            .run(QueryName::FindIdempotencyKeys, move |connection| {
                let keys = keys.clone();
                async move { find(connection, &keys).await }.boxed()
            })
            .await?;
        let found = |row: FoundRow| {
            let found = Found {
                id: row.id,
                hash: row.request_hash,
                json: row.data.into(),
            };
            (row.idempotency_key, found)
        };
        Ok(rows.into_iter().map(found).collect())
    }
}

#[derive(QueryableByName)]
struct FoundRow {
    #[diesel(sql_type = Text)]
    idempotency_key: String,
    #[diesel(sql_type = Binary)]
    request_hash: Vec<u8>,
    #[diesel(sql_type = SqlUuid)]
    id: Uuid,
    #[diesel(sql_type = Text)]
    data: String,
}

async fn find(connection: &mut AsyncPgConnection, keys: &[String]) -> QueryResult<Vec<FoundRow>> {
    diesel::sql_query(
        "SELECT o.idempotency_key, o.request_hash, o.id, e.data::text AS data
         FROM orders o JOIN events e ON e.order_id = o.id AND e.version = 1
         WHERE o.idempotency_key = ANY($1)",
    )
    .bind::<Array<Text>, _>(keys)
    .load(connection)
    .await
}

/// The columns of a batch. One array each, so that batches of all sizes are one prepared
/// statement.
struct Insert<'a> {
    ids: Vec<Uuid>,
    product_ids: Vec<&'a str>,
    quantities: Vec<i32>,
    customer_ids: Vec<Option<&'a str>>,
    metadata: Vec<&'a str>,
    times: Vec<DateTime<Utc>>,
    keys: Vec<Option<&'a str>>,
    hashes: Vec<Option<&'a [u8]>>,
    documents: Vec<&'a str>,
    traceparents: Vec<Option<&'a str>>,
}

impl<'a> Insert<'a> {
    fn new(rows: &'a [Arc<NewRow>]) -> Self {
        let mut rows: Vec<&NewRow> = rows.iter().map(|row| &**row).collect();
        // Batches of other connections may hold the same keys. In one order for all, they wait
        // for each other; in different ones, they would deadlock.
        rows.sort_by_key(|row| row.key());
        Self {
            ids: rows.iter().map(|row| row.order.id).collect(),
            product_ids: rows
                .iter()
                .map(|row| row.order.product_id.as_str())
                .collect(),
            quantities: rows.iter().map(|row| row.order.quantity).collect(),
            customer_ids: rows
                .iter()
                .map(|row| row.order.customer_id.as_deref())
                .collect(),
            metadata: rows.iter().map(|row| row.metadata.as_str()).collect(),
            times: rows.iter().map(|row| row.order.created_at).collect(),
            keys: rows.iter().map(|row| row.key()).collect(),
            hashes: rows.iter().map(|row| row.hash()).collect(),
            documents: rows.iter().map(|row| &*row.json).collect(),
            traceparents: rows.iter().map(|row| row.traceparent.as_deref()).collect(),
        }
    }
}

/// Rows come in the order of the arrays. `ON CONFLICT DO NOTHING` covers the key, also when it comes
/// twice in the batch or is being inserted by another transaction, for which it waits; and the id,
/// when the statement is repeated after its connection broke.
impl QueryFragment<Pg> for Insert<'_> {
    fn walk_ast<'b>(&'b self, mut out: AstPass<'_, 'b, Pg>) -> QueryResult<()> {
        out.push_sql("WITH input AS (SELECT * FROM unnest(");
        out.push_bind_param::<Array<SqlUuid>, _>(&self.ids)?;
        out.push_sql(", ");
        out.push_bind_param::<Array<Text>, _>(&self.product_ids)?;
        out.push_sql(", ");
        out.push_bind_param::<Array<Integer>, _>(&self.quantities)?;
        out.push_sql(", ");
        out.push_bind_param::<Array<Nullable<Text>>, _>(&self.customer_ids)?;
        out.push_sql(", ");
        out.push_bind_param::<Array<Text>, _>(&self.metadata)?;
        out.push_sql(", ");
        out.push_bind_param::<Array<Timestamptz>, _>(&self.times)?;
        out.push_sql(", ");
        out.push_bind_param::<Array<Nullable<Text>>, _>(&self.keys)?;
        out.push_sql(", ");
        out.push_bind_param::<Array<Nullable<Binary>>, _>(&self.hashes)?;
        out.push_sql(", ");
        out.push_bind_param::<Array<Text>, _>(&self.documents)?;
        out.push_sql(", ");
        out.push_bind_param::<Array<Nullable<Text>>, _>(&self.traceparents)?;
        out.push_sql(
            ") AS t (id, product_id, quantity, customer_id, metadata, at, key, hash, data, trace)
            ), placed AS (
                INSERT INTO orders (id, product_id, quantity, status, customer_id, metadata, version,
                    created_at, updated_at, idempotency_key, request_hash)
                SELECT id, product_id, quantity, 'pending', customer_id, metadata::jsonb, 1,
                    at, at, key, hash
                FROM input
                ON CONFLICT DO NOTHING
                RETURNING id
            ), logged AS (
                INSERT INTO events (order_id, version, position, occurred_at, data, traceparent)
                SELECT id, 1, here.position, at, data::json, trace
                FROM input JOIN placed USING (id), ",
        );
        out.push_sql(super::POSITION);
        out.push_sql(") SELECT id FROM placed");
        Ok(())
    }
}

impl QueryId for Insert<'_> {
    type QueryId = Insert<'static>;
    const HAS_STATIC_QUERY_ID: bool = true;
}

impl Query for Insert<'_> {
    type SqlType = SqlUuid;
}
