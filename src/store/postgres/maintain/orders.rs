//! Removes archived orders.

use diesel::QueryResult;
use diesel::pg::Pg;
use diesel::query_builder::AstPass;
use diesel::sql_types::{Array, Integer, Text, Uuid as SqlUuid};
use uuid::Uuid;

use super::super::position::POSITION;
use super::super::rows::OrderLine;
use super::session::Session;
use crate::domain::{AuthType, EventType, Order, Tenant};
use crate::store::StoreError;
use crate::store::document::json_bytes;
use crate::store::maintain::ArchivedOrder;
use crate::store::order_lines;
use crate::store::page_sql::PageSql;
use crate::store::statement::{Prepared, Statement};

/// A page of orders.
pub(super) async fn read(
    session: &mut Session,
    page: impl Fn() -> PageSql<Pg> + Send + Sync,
) -> Result<Vec<Order>, StoreError> {
    let lines = session.rows(page).await?;
    let found = order_lines::orders::<OrderLine>(lines)?;
    Ok(found.into_iter().filter_map(|found| found.order).collect())
}

/// Removes archived orders, and returns the ids of those that it removed.
pub(super) async fn remove(
    session: &mut Session,
    tenant: &Tenant,
    orders: &[ArchivedOrder],
    with_keys: bool,
) -> Result<Vec<Uuid>, StoreError> {
    session.check_feed().await?;
    let batch = Batch::new(tenant, orders);
    if with_keys {
        session
            .rows(|| Prepared(RemoveOrders::<true>(batch.clone())))
            .await
    } else {
        session
            .rows(|| Prepared(RemoveOrders::<false>(batch.clone())))
            .await
    }
}

/// The orders of one statement, column by column.
#[derive(Clone)]
struct Batch {
    tenant: Tenant,
    ids: Vec<Uuid>,
    /// The versions that the database must have.
    versions: Vec<i32>,
    documents: Vec<String>,
    bytes: Vec<i32>,
}

impl Batch {
    fn new(tenant: &Tenant, orders: &[ArchivedOrder]) -> Self {
        let column = orders.iter();
        Self {
            tenant: tenant.clone(),
            ids: column.clone().map(|archived| archived.order.id).collect(),
            versions: column.clone().map(|a| a.order.version - 1).collect(),
            documents: column
                .clone()
                .map(|archived| archived.json.clone())
                .collect(),
            bytes: column.map(|archived| json_bytes(&archived.json)).collect(),
        }
    }
}

/// Removes orders with their lines, and with their keys if `WITH_KEYS` is set; writes their events, and records that
/// they were archived.
struct RemoveOrders<const WITH_KEYS: bool>(Batch);

impl<const WITH_KEYS: bool> Statement for RemoveOrders<WITH_KEYS> {
    type Database = Pg;
    type Id = Self;
    type Columns = SqlUuid;

    fn write<'b>(&'b self, out: &mut AstPass<'_, 'b, Pg>) -> QueryResult<()> {
        let Batch {
            tenant,
            ids,
            versions,
            documents,
            bytes,
        } = &self.0;
        let push_tenant =
            |out: &mut AstPass<'_, 'b, Pg>| out.push_bind_param::<Text, _>(tenant.as_str());
        out.push_sql("WITH wanted AS MATERIALIZED (SELECT * FROM unnest(");
        out.push_bind_param::<Array<SqlUuid>, _>(ids)?;
        out.push_sql(", ");
        out.push_bind_param::<Array<Integer>, _>(versions)?;
        out.push_sql(", ");
        out.push_bind_param::<Array<Text>, _>(documents)?;
        out.push_sql(", ");
        out.push_bind_param::<Array<Integer>, _>(bytes)?;
        // An order that another transaction has locked is about to change. Not to wait for it rules out deadlocks.
        out.push_sql(
            ") AS w (id, version, document, bytes)), locked AS MATERIALIZED (
                SELECT found.id FROM wanted CROSS JOIN LATERAL (SELECT id FROM orders WHERE orders.tenant = ",
        );
        push_tenant(out)?;
        out.push_sql(
            " AND orders.id = wanted.id AND orders.version = wanted.version FOR UPDATE SKIP LOCKED) AS found),
            removed AS (DELETE FROM orders USING locked WHERE orders.tenant = ",
        );
        push_tenant(out)?;
        out.push_sql(
            " AND orders.id = locked.id RETURNING orders.id, orders.customer_id, orders.version, orders.updated_at),
            lines AS (DELETE FROM order_items USING removed WHERE order_items.tenant = ",
        );
        push_tenant(out)?;
        out.push_sql(" AND order_items.order_id = removed.id), ");
        if WITH_KEYS {
            out.push_sql(
                "keys AS (DELETE FROM idempotency_keys USING removed WHERE idempotency_keys.tenant = ",
            );
            push_tenant(out)?;
            out.push_sql(" AND idempotency_keys.order_id = removed.id), ");
        }
        out.push_sql(
            "recorded AS (INSERT INTO archived_orders (tenant, order_id, customer_id, version, archived_at) SELECT ",
        );
        push_tenant(out)?;
        // The order may have been archived before, and imported again.
        out.push_sql(
            ", id, customer_id, version + 1, now() FROM removed ON CONFLICT (tenant, order_id) DO UPDATE
                SET customer_id = excluded.customer_id, version = excluded.version, archived_at = excluded.archived_at),
            logged AS (INSERT INTO events (tenant, order_id, version, event_type, position, occurred_at, data,
                data_bytes, authtype) SELECT ",
        );
        push_tenant(out)?;
        out.push_sql(", removed.id, removed.version + 1, '");
        out.push_sql(EventType::Archived.as_str());
        out.push_sql("', ");
        out.push_sql(POSITION);
        out.push_sql(", greatest(now(), removed.updated_at), document::json, bytes, '");
        out.push_sql(AuthType::System.as_str());
        out.push_sql("' FROM removed JOIN wanted USING (id)) SELECT id FROM removed");
        Ok(())
    }
}
