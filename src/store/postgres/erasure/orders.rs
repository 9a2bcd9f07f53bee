//! Erases orders of a customer.

use std::sync::Arc;

use chrono::{DateTime, Utc};
use diesel::pg::Pg;
use diesel::query_builder::AstPass;
use diesel::sql_types::{Array, BigInt, Integer, Json, Text, Timestamptz, Uuid as SqlUuid};
use diesel::{OptionalExtension as _, QueryResult};
use diesel_async::{AsyncPgConnection, RunQueryDsl as _};
use futures_util::FutureExt as _;
use uuid::Uuid;

use super::{push_counted, push_held, push_logged};
use crate::store::StoreError;
use crate::store::erasure::{BatchSize, Claim, ErasedOrder, OrderCursor, Step};
use crate::store::order_key::OrderKey;
use crate::store::order_lines;
use crate::store::postgres::Postgres;
use crate::store::postgres::get::GetOrders;
use crate::store::postgres::rows::{JsonText, OrderLine};
use crate::store::statement::{Prepared, Statement};
use crate::telemetry::QueryName;

impl Postgres {
    pub(super) async fn erase_some_orders(
        &self,
        claim: Arc<Claim>,
        after: Option<OrderCursor>,
        size: BatchSize,
    ) -> Result<Option<Step<OrderCursor>>, StoreError> {
        self.run(QueryName::EraseOrders, move |connection| {
            let (claim, after) = (Arc::clone(&claim), after.clone());
            async move { erase(connection, &claim, after, size).await }.boxed()
        })
        .await?
    }
}

async fn erase(
    connection: &mut AsyncPgConnection,
    claim: &Claim,
    after: Option<OrderCursor>,
    size: BatchSize,
) -> QueryResult<Result<Option<Step<OrderCursor>>, StoreError>> {
    let find = FindOrders {
        claim,
        after: after.unwrap_or(OrderCursor::BEGINNING),
    };
    let mut found: Vec<(Uuid, String, i32)> = Prepared(find).load(connection).await?;
    found.truncate(size.fitting(found.iter().map(|(_, _, bytes)| *bytes)));
    let Some((id, status, _)) = found.last().cloned() else {
        return Ok(Ok(Some(Step::END)));
    };
    let keys: Vec<_> = found
        .iter()
        .map(|(id, ..)| OrderKey::new(&claim.tenant, *id))
        .collect();
    let lines = Prepared(GetOrders::<true>::new(&keys))
        .load(connection)
        .await?;
    let erased = match erased_orders(lines, claim) {
        Ok(erased) => erased,
        Err(error) => return Ok(Err(error)),
    };
    let erase = EraseOrders::new(claim, &erased);
    let changed: Option<i64> = Prepared(erase).get_result(connection).await.optional()?;
    Ok(Ok(changed.map(|changed| Step {
        changed: changed > 0,
        next: Some(OrderCursor { status, id }),
    })))
}

fn erased_orders(lines: Vec<OrderLine>, claim: &Claim) -> Result<Vec<ErasedOrder>, StoreError> {
    let found = order_lines::orders(lines)?;
    found
        .into_iter()
        .filter_map(|found| found.order)
        // The order may have been erased since it was found.
        .filter(|order| order.customer_id.as_deref() == Some(&claim.customer_id))
        .map(|order| ErasedOrder::new(order, claim))
        .collect()
}

/// Walks along the orders of the customer, in the order of the index.
struct FindOrders<'a> {
    claim: &'a Claim,
    after: OrderCursor,
}

impl Statement for FindOrders<'_> {
    type Database = Pg;
    type Id = FindOrders<'static>;
    type Columns = (SqlUuid, Text, Integer);

    fn write<'b>(&'b self, out: &mut AstPass<'_, 'b, Pg>) -> QueryResult<()> {
        out.push_sql("SELECT id, status, json_bytes FROM orders WHERE tenant = ");
        out.push_bind_param::<Text, _>(self.claim.tenant.as_str())?;
        out.push_sql(" AND customer_id = ");
        out.push_bind_param::<Text, _>(&self.claim.customer_id)?;
        out.push_sql(" AND (status, id) > (");
        out.push_bind_param::<Text, _>(&self.after.status)?;
        out.push_sql(", ");
        out.push_bind_param::<SqlUuid, _>(&self.after.id)?;
        out.push_sql(") ORDER BY status, id LIMIT ");
        out.push_sql(&BatchSize::MAX_ORDERS.to_string());
        Ok(())
    }
}

/// Writes the erased versions of orders, with their events and with rows of the worklist. Orders that have another
/// version now, or that another transaction has locked, are skipped.
struct EraseOrders<'a> {
    claim: &'a Claim,
    ids: Vec<Uuid>,
    versions: Vec<i32>,
    times: Vec<DateTime<Utc>>,
    documents: Vec<JsonText<'a>>,
    lengths: Vec<i32>,
}

impl<'a> EraseOrders<'a> {
    fn new(claim: &'a Claim, erased: &'a [ErasedOrder]) -> Self {
        Self {
            claim,
            ids: erased.iter().map(|erased| erased.order.id).collect(),
            versions: erased.iter().map(|erased| erased.order.version).collect(),
            times: erased
                .iter()
                .map(|erased| erased.order.updated_at)
                .collect(),
            documents: erased.iter().map(|erased| JsonText(&erased.json)).collect(),
            lengths: erased.iter().map(ErasedOrder::json_bytes).collect(),
        }
    }
}

impl Statement for EraseOrders<'_> {
    type Database = Pg;
    type Id = EraseOrders<'static>;
    type Columns = BigInt;

    fn write<'b>(&'b self, out: &mut AstPass<'_, 'b, Pg>) -> QueryResult<()> {
        let claim = self.claim;
        push_held(claim, out)?;
        out.push_sql("input AS MATERIALIZED (SELECT t.* FROM held, unnest(");
        out.push_bind_param::<Array<SqlUuid>, _>(&self.ids)?;
        out.push_sql(", ");
        out.push_bind_param::<Array<Integer>, _>(&self.versions)?;
        out.push_sql(", ");
        out.push_bind_param::<Array<Timestamptz>, _>(&self.times)?;
        out.push_sql(", ");
        out.push_bind_param::<Array<Json>, _>(&self.documents)?;
        out.push_sql(", ");
        out.push_bind_param::<Array<Integer>, _>(&self.lengths)?;
        // The subquery locks one row after another. It waits for none.
        out.push_sql(
            ") AS t (id, version, at, data, bytes)),
            free AS MATERIALIZED (SELECT input.* FROM input CROSS JOIN LATERAL (SELECT FROM orders
                WHERE orders.tenant = ",
        );
        out.push_bind_param::<Text, _>(claim.tenant.as_str())?;
        out.push_sql(
            " AND orders.id = input.id AND orders.version + 1 = input.version
                FOR UPDATE SKIP LOCKED) AS locked),
            changed AS (UPDATE orders SET customer_id = ",
        );
        out.push_bind_param::<Text, _>(&claim.pseudonym)?;
        out.push_sql(
            ", external_id = NULL, metadata = '{}', version = free.version, updated_at = free.at,
                json_bytes = free.bytes FROM free WHERE orders.tenant = ",
        );
        out.push_bind_param::<Text, _>(claim.tenant.as_str())?;
        out.push_sql(
            " AND orders.id = free.id
                RETURNING orders.tenant, free.id, free.version, free.at, free.data, free.bytes), ",
        );
        push_logged(claim, out)?;
        push_counted(
            "orders = orders + (SELECT count(*) FROM changed)",
            "changed",
            out,
        );
        Ok(())
    }
}
