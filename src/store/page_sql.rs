//! The statement for a page of orders of a tenant.
//!
//! Every combination of filters that the API accepts is a walk along one index, newest first. A filter by
//! product or customer without a status is one walk for each status, so that one index serves both.
//!
//! A planner with a choice prefers to walk along the primary key, or along the index of the status, and to filter.
//! That reads the whole table when all orders that match are old, so the statement forces the index, in a different
//! way on each database.

use std::marker::PhantomData;

use diesel::QueryResult;
use diesel::backend::{Backend, DieselReserveSpecialization};
use diesel::query_builder::{AstPass, QueryFragment, QueryId};
use diesel::serialize::ToSql;
use diesel::sql_types::{BigInt, HasSqlType, Text};

use super::list::{ListFilter, ListQuery};
use crate::domain::{Status, Tenant};

/// The brackets and commas around the orders of a page.
const PUNCTUATION: usize = 102;

/// The columns of a line of an order with those of the order, for a statement that joins `found`, which are orders with
/// a number, with `item`, which are their lines.
pub(super) const ORDER_LINE: &str = "found.number, found.id, item.product_id, item.quantity, item.unit_amount,
    found.currency, found.total_amount, found.external_id, found.status, found.customer_id, found.version,
    found.created_at, found.updated_at, found.json_bytes, item.line";

/// How a statement forces the index of a walk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Dialect {
    /// PostgreSQL may not sort (the sessions of the service disable it), so it uses an index with the ordering of
    /// the walk: the status, then the id. Columns that equal a constant do not count towards the ordering, so the
    /// status is compared with bounds, and the primary key does not have the ordering. The index of the status is
    /// partial: it serves only a statement that repeats its condition.
    Postgres,
    /// SQLite accepts the name of the index.
    Sqlite,
}

/// A page of orders whose ids are bound as `Id` of the SQL type `IdType`.
pub(super) struct PageSql<Id, IdType> {
    dialect: Dialect,
    tenant: String,
    after: Option<Id>,
    status: Option<Status>,
    filter: Option<ListFilter>,
    limit: i64,
    id_type: PhantomData<IdType>,
}

impl<Id, IdType> PageSql<Id, IdType> {
    pub(super) fn new(
        dialect: Dialect,
        tenant: &Tenant,
        list: &ListQuery,
        id: impl FnOnce(uuid::Uuid) -> Id,
    ) -> Self {
        Self {
            dialect,
            tenant: tenant.to_string(),
            after: list.starting_after.map(id),
            status: list.status,
            filter: list.filter.clone(),
            limit: i64::from(list.limit),
            id_type: PhantomData,
        }
    }

    /// The newest orders along one index.
    fn walk<'b, DB>(
        &'b self,
        status: Option<Status>,
        out: &mut AstPass<'_, 'b, DB>,
    ) -> QueryResult<()>
    where
        DB: Backend + HasSqlType<IdType>,
        Id: ToSql<IdType, DB>,
        String: ToSql<Text, DB>,
        i64: ToSql<BigInt, DB>,
    {
        // The index of products has only the ids of the orders.
        let products = matches!(self.filter, Some(ListFilter::Product(_)));
        let id = if products { "order_id" } else { "id" };
        out.push_sql(if products {
            "SELECT orders.* FROM (SELECT * FROM (SELECT tenant, order_id FROM order_items "
        } else {
            "SELECT * FROM (SELECT * FROM orders "
        });
        if self.dialect == Dialect::Sqlite {
            out.push_sql(match (&self.filter, status) {
                (Some(ListFilter::Product(_)), _) => "INDEXED BY order_items_product_id ",
                (Some(ListFilter::Customer(_)), _) => "INDEXED BY orders_customer_id ",
                (None, Some(_)) => "INDEXED BY orders_status ",
                (None, None) => "",
            });
        }
        out.push_sql("WHERE tenant = ");
        out.push_bind_param::<Text, _>(&self.tenant)?;
        match &self.filter {
            Some(ListFilter::Product(product)) => {
                // The index has no other rows.
                out.push_sql(" AND status IS NOT NULL AND product_id = ");
                out.push_bind_param::<Text, _>(product)?;
            }
            Some(ListFilter::Customer(customer)) => {
                // The index has no other rows.
                out.push_sql(" AND customer_id IS NOT NULL AND customer_id = ");
                out.push_bind_param::<Text, _>(customer)?;
            }
            None => {}
        }
        match (self.dialect, status) {
            (Dialect::Postgres, Some(status)) => self.walk_of_status(status, id, out)?,
            (_, status) => {
                if let Some(status) = status {
                    out.push_sql(&format!(" AND status = '{}'", status.as_str()));
                }
                if let Some(after) = &self.after {
                    out.push_sql(&format!(" AND {id} < "));
                    out.push_bind_param::<IdType, _>(after)?;
                }
                out.push_sql(&format!(" ORDER BY {id} DESC"));
            }
        }
        // The first limit is a literal: a plan for any limit reads a tenth of the table for it.
        out.push_sql(&format!(" LIMIT {}) AS walk LIMIT ", ListQuery::MAX_LIMIT));
        out.push_bind_param::<BigInt, _>(&self.limit)?;
        if products {
            out.push_sql(match self.dialect {
                Dialect::Postgres => {
                    ") AS listed CROSS JOIN LATERAL (SELECT * FROM orders
                        WHERE orders.tenant = listed.tenant AND orders.id = listed.order_id OFFSET 0) AS orders"
                }
                Dialect::Sqlite => {
                    ") AS listed CROSS JOIN orders ON orders.tenant = listed.tenant AND orders.id = listed.order_id"
                }
            });
        }
        Ok(())
    }

    /// The bounds and the ordering of a walk along an index whose last columns are the status and the id. The status
    /// is a literal: a plan for any status would ignore how many orders have this one.
    fn walk_of_status<'b, DB>(
        &'b self,
        status: Status,
        id: &str,
        out: &mut AstPass<'_, 'b, DB>,
    ) -> QueryResult<()>
    where
        DB: Backend + HasSqlType<IdType>,
        Id: ToSql<IdType, DB>,
    {
        if self.filter.is_none() {
            // The condition of the index of the status.
            out.push_sql(" AND created_at > '-infinity'");
        }
        let status = status.as_str();
        out.push_sql(&format!(" AND status >= '{status}' AND "));
        match &self.after {
            Some(after) => {
                out.push_sql(&format!("(status, {id}) < ('{status}', "));
                out.push_bind_param::<IdType, _>(after)?;
                out.push_sql(")");
            }
            None => out.push_sql(&format!("status <= '{status}'")),
        }
        out.push_sql(&format!(" ORDER BY status DESC, {id} DESC"));
        Ok(())
    }
}

impl<Id, IdType, DB> QueryFragment<DB> for PageSql<Id, IdType>
where
    DB: Backend + DieselReserveSpecialization + HasSqlType<IdType>,
    Id: ToSql<IdType, DB>,
    String: ToSql<Text, DB>,
    i64: ToSql<BigInt, DB>,
{
    fn walk_ast<'b>(&'b self, mut out: AstPass<'_, 'b, DB>) -> QueryResult<()> {
        out.push_sql("SELECT ");
        out.push_sql(ORDER_LINE);
        out.push_sql(
            ", CASE WHEN item.line = 1 THEN found.metadata END
            FROM (SELECT * FROM (SELECT *, row_number() OVER walked AS number, sum(json_bytes) OVER walked AS total
                FROM (",
        );
        if self.filter.is_some() && self.status.is_none() {
            for (i, status) in Status::ALL.into_iter().enumerate() {
                out.push_sql(if i > 0 {
                    " UNION ALL SELECT * FROM ("
                } else {
                    "SELECT * FROM ("
                });
                self.walk(Some(status), &mut out)?;
                out.push_sql(&format!(") AS walk_{i}"));
            }
        } else {
            self.walk(self.status, &mut out)?;
        }
        out.push_sql(&format!(
            ") AS walks WINDOW walked AS (ORDER BY id DESC ROWS UNBOUNDED PRECEDING)) AS measured
            WHERE total <= {} OR total = json_bytes ORDER BY id DESC LIMIT ",
            ListQuery::MAX_BYTES - PUNCTUATION
        ));
        out.push_bind_param::<BigInt, _>(&self.limit)?;
        out.push_sql(") AS found ");
        out.push_sql(match self.dialect {
            Dialect::Postgres => "CROSS JOIN LATERAL (SELECT * FROM order_items WHERE order_items.tenant = found.tenant
                AND order_items.order_id = found.id OFFSET 0) AS item",
            Dialect::Sqlite => "CROSS JOIN order_items AS item ON item.tenant = found.tenant AND item.order_id = found.id",
        });
        Ok(())
    }
}

/// Not static, because the text depends on the filters. Diesel then caches prepared statements by their text, and
/// there are few different texts.
impl<Id, IdType> QueryId for PageSql<Id, IdType> {
    type QueryId = ();
    const HAS_STATIC_QUERY_ID: bool = false;
}
