//! Gets orders by id. The length of a batch is known before the metadata of large orders is read.

use diesel::pg::Pg;
use diesel::query_builder::AstPass;
use diesel::sql_types::{Array, Integer, Jsonb, Nullable, Text, Timestamptz, Uuid as SqlUuid};
use diesel::{QueryResult, Queryable};
use diesel_async::RunQueryDsl as _;
use futures_util::FutureExt as _;
use uuid::Uuid;

use super::Postgres;
use super::rows::{MetadataJson, OrderRow};
use crate::domain::Order;
use crate::store::StoreError;
use crate::store::list::ListQuery;
use crate::store::statement::{Prepared, Statement};
use crate::telemetry::QueryName;

/// The metadata of an order longer than this is not read at first. For the maximum number of orders in a batch,
/// this is a few MiB.
const LARGE: &str = "16384";

/// Reads orders by id: with all metadata, or without that of large orders.
struct GetOrders<const WITH_ALL_METADATA: bool> {
    ids: Vec<Uuid>,
}

impl<const WITH_ALL_METADATA: bool> Statement for GetOrders<WITH_ALL_METADATA> {
    type Database = Pg;
    type Id = Self;
    type Columns = (
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

    fn write<'b>(&'b self, out: &mut AstPass<'_, 'b, Pg>) -> QueryResult<()> {
        out.push_sql("SELECT id, product_id, quantity, status, customer_id, ");
        if WITH_ALL_METADATA {
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

/// An order, perhaps without its metadata.
#[derive(Queryable)]
struct PartialRow {
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

impl PartialRow {
    /// The order, or its id if the metadata was not read.
    fn into_order(self) -> Result<Result<Order, StoreError>, Uuid> {
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
    /// Returns the orders with these ids, in any order.
    pub(super) async fn get_orders(&self, ids: Vec<Uuid>) -> Result<Vec<Order>, StoreError> {
        let single = ids.len() == 1;
        let rows = if single {
            self.rows::<true>(ids).await?
        } else {
            self.rows::<false>(ids).await?
        };
        let bytes: usize = rows
            .iter()
            .map(|row| usize::try_from(row.json_bytes).unwrap_or_default())
            .sum();
        if bytes > ListQuery::MAX_BYTES && !single {
            return Err(StoreError::BatchTooLarge);
        }
        let (mut orders, mut large) = (Vec::with_capacity(rows.len()), Vec::new());
        for row in rows {
            match row.into_order() {
                Ok(order) => orders.push(order?),
                Err(id) => large.push(id),
            }
        }
        if !large.is_empty() {
            for row in self.rows::<true>(large).await? {
                if let Ok(order) = row.into_order() {
                    orders.push(order?);
                }
            }
        }
        Ok(orders)
    }

    async fn rows<const WITH_ALL_METADATA: bool>(
        &self,
        ids: Vec<Uuid>,
    ) -> Result<Vec<PartialRow>, StoreError> {
        self.run(QueryName::GetOrders, move |connection| {
            let get = Prepared(GetOrders::<WITH_ALL_METADATA> { ids: ids.clone() });
            async move { get.load(connection).await }.boxed()
        })
        .await
    }
}
