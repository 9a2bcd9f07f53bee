//! Gets orders by id. A batch of large orders is told apart before their metadata is read.

use diesel::pg::Pg;
use diesel::prelude::*;
use diesel::query_builder::{AstPass, Query, QueryFragment, QueryId};
use diesel::sql_types::{Array, Integer, Jsonb, Nullable, Text, Timestamptz, Uuid as SqlUuid};
use diesel_async::RunQueryDsl as _;
use futures_util::FutureExt as _;
use uuid::Uuid;

use super::Postgres;
use super::rows::{MetadataJson, OrderRow};
use crate::domain::Order;
use crate::store::StoreError;
use crate::store::create::ListQuery;
use crate::telemetry::QueryName;

/// The metadata of a longer order is left out at first. With the most orders of a batch this is some MiB.
const LARGE: &str = "16384";

/// Orders by id; with all their metadata, or only with that of short ones.
struct GetOrders<const WHOLE: bool> {
    ids: Vec<Uuid>,
}

impl<const WHOLE: bool> QueryFragment<Pg> for GetOrders<WHOLE> {
    fn walk_ast<'b>(&'b self, mut out: AstPass<'_, 'b, Pg>) -> QueryResult<()> {
        out.push_sql("SELECT id, product_id, quantity, status, customer_id, ");
        if WHOLE {
            out.push_sql("metadata");
        } else {
            out.push_sql("CASE WHEN json_bytes <= ");
            out.push_sql(LARGE);
            out.push_sql(" THEN metadata END");
        }
        out.push_sql(", version, created_at, updated_at, json_bytes FROM orders WHERE id = ANY (");
        out.push_bind_param::<Array<SqlUuid>, _>(&self.ids)?;
        out.push_sql(")");
        Ok(())
    }
}

impl<const WHOLE: bool> QueryId for GetOrders<WHOLE> {
    type QueryId = Self;
    const HAS_STATIC_QUERY_ID: bool = true;
}

impl<const WHOLE: bool> Query for GetOrders<WHOLE> {
    type SqlType = (
        SqlUuid,
        Text,
        Integer,
        Text,
        Nullable<Text>,
        Nullable<Jsonb>,
        Integer,
        Timestamptz,
        Timestamptz,
        Integer,
    );
}

/// An order whose metadata may be left out.
#[derive(Queryable)]
struct GotRow {
    id: Uuid,
    product_id: String,
    quantity: i32,
    status: String,
    customer_id: Option<String>,
    metadata: Option<MetadataJson>,
    version: i32,
    created_at: chrono::DateTime<chrono::Utc>,
    updated_at: chrono::DateTime<chrono::Utc>,
    json_bytes: i32,
}

impl GotRow {
    /// The order, or its id when the metadata was left out.
    fn order(self) -> Result<Result<Order, StoreError>, Uuid> {
        let Some(metadata) = self.metadata else {
            return Err(self.id);
        };
        Ok(Order::try_from(OrderRow {
            id: self.id,
            product_id: self.product_id,
            quantity: self.quantity,
            status: self.status,
            customer_id: self.customer_id,
            metadata,
            version: self.version,
            created_at: self.created_at,
            updated_at: self.updated_at,
        }))
    }
}

impl Postgres {
    /// The orders that have one of these ids, in any order.
    pub(super) async fn get(&self, ids: Vec<Uuid>) -> Result<Vec<Order>, StoreError> {
        let alone = ids.len() == 1;
        let rows = if alone {
            self.rows::<true>(ids).await?
        } else {
            self.rows::<false>(ids).await?
        };
        let bytes: usize = rows
            .iter()
            .map(|row| usize::try_from(row.json_bytes).unwrap_or_default())
            .sum();
        if bytes > ListQuery::MAX_BYTES && !alone {
            return Err(StoreError::BatchTooLarge);
        }
        let (mut orders, mut large) = (Vec::with_capacity(rows.len()), Vec::new());
        for row in rows {
            match row.order() {
                Ok(order) => orders.push(order?),
                Err(id) => large.push(id),
            }
        }
        if !large.is_empty() {
            for row in self.rows::<true>(large).await? {
                if let Ok(order) = row.order() {
                    orders.push(order?);
                }
            }
        }
        Ok(orders)
    }

    async fn rows<const WHOLE: bool>(&self, ids: Vec<Uuid>) -> Result<Vec<GotRow>, StoreError> {
        self.run(QueryName::GetOrders, move |connection| {
            let get = GetOrders::<WHOLE> { ids: ids.clone() };
            async move { get.load(connection).await }.boxed()
        })
        .await
    }
}
