//! The statement for a page of orders of a tenant: of a list, or with given ids.
//!
//! A page of a list walks one index for each status that it needs (`walks`). A page of given ids looks up each of
//! them by the primary key. Both end at the length of a page.

mod walks;

use diesel::QueryResult;
use diesel::backend::{Backend, DieselReserveSpecialization};
use diesel::query_builder::{AstPass, QueryFragment, QueryId};
use diesel::serialize::ToSql;
use diesel::sql_types::{BigInt, HasSqlType, Text};
use uuid::Uuid;

use super::list::{Direction, ListQuery};
use crate::domain::Tenant;
use walks::Walks;

/// The brackets and commas around the orders of a page.
const PUNCTUATION: usize = 102;

/// The columns of a line of an order with those of the order, for a statement that joins `found`, which are orders with
/// a number, with `item`, which are their lines.
pub(super) const ORDER_LINE: &str = "found.number, found.id, item.product_id, item.quantity, item.unit_amount,
    found.currency, found.total_amount, found.external_id, found.status, found.customer_id, found.version,
    found.created_at, found.updated_at, found.json_bytes, item.line";

/// The SQL that differs between the databases.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Dialect {
    Postgres,
    Sqlite,
}

/// A database that runs [`PageSql`], and how it binds ids.
pub(super) trait PageDatabase: Backend + DieselReserveSpecialization {
    const DIALECT: Dialect;

    /// An id as a parameter, and its SQL type.
    type Id: ToSql<Self::IdType, Self>;
    type IdType;

    /// Several ids as one parameter, and its SQL type.
    type Ids: ToSql<Self::IdsType, Self>;
    type IdsType;

    fn id(id: Uuid) -> Self::Id;
    fn ids(ids: &[Uuid]) -> Self::Ids;
}

/// A page of orders.
pub(super) struct PageSql<DB: PageDatabase> {
    tenant: String,
    source: Source<DB>,
    limit: i64,
}

enum Source<DB: PageDatabase> {
    List(Walks<DB>),
    /// These orders, in the order of the ids.
    Ids(DB::Ids),
}

impl<DB: PageDatabase> PageSql<DB> {
    pub(super) fn list(tenant: &Tenant, list: &ListQuery) -> Self {
        Self {
            tenant: tenant.to_string(),
            source: Source::List(Walks::new(list)),
            limit: i64::from(list.limit),
        }
    }

    /// The orders with these ids, which are unique.
    pub(super) fn ids(tenant: &Tenant, ids: &[Uuid]) -> Self {
        Self {
            tenant: tenant.to_string(),
            source: Source::Ids(DB::ids(ids)),
            limit: i64::try_from(ids.len()).unwrap_or(i64::MAX),
        }
    }

    /// The key by which the page is sorted.
    fn sort_key(&self) -> &'static str {
        match &self.source {
            Source::List(walks) => match walks.direction() {
                Direction::NewestFirst => "id DESC",
                Direction::OldestFirst => "id",
            },
            Source::Ids(_) => "place",
        }
    }
}

impl<DB> PageSql<DB>
where
    DB: PageDatabase + HasSqlType<DB::IdType> + HasSqlType<DB::IdsType>,
    str: ToSql<Text, DB>,
    i64: ToSql<BigInt, DB>,
{
    /// The wanted ids, each with its place among them.
    fn wanted<'b>(&'b self, ids: &'b DB::Ids, out: &mut AstPass<'_, 'b, DB>) -> QueryResult<()> {
        out.push_sql("SELECT orders.*, place FROM ");
        match DB::DIALECT {
            Dialect::Postgres => {
                out.push_sql("unnest(");
                out.push_bind_param::<DB::IdsType, _>(ids)?;
                out.push_sql(") WITH ORDINALITY AS wanted (id, place)");
            }
            Dialect::Sqlite => {
                // One blob of 16 bytes for each id: a parameter for each would be another text for each number of ids.
                out.push_sql(
                    "(WITH RECURSIVE places (place) AS
                        (SELECT 1 UNION ALL SELECT place + 1 FROM places WHERE place < ",
                );
                out.push_bind_param::<BigInt, _>(&self.limit)?;
                out.push_sql(") SELECT place, substr(");
                out.push_bind_param::<DB::IdsType, _>(ids)?;
                out.push_sql(", 16 * place - 15, 16) AS id FROM places) AS wanted");
            }
        }
        push_lookup(&self.tenant, out)
    }
}

/// Joins the rows `wanted`, which have an `id`, with their orders, as `orders`. The join makes one look-up for each
/// row, and never reads more of the table.
fn push_lookup<'b, DB>(tenant: &'b str, out: &mut AstPass<'_, 'b, DB>) -> QueryResult<()>
where
    DB: PageDatabase,
    str: ToSql<Text, DB>,
{
    // PostgreSQL plans a subquery with OFFSET on its own, and SQLite does not reorder a CROSS JOIN.
    out.push_sql(match DB::DIALECT {
        Dialect::Postgres => " CROSS JOIN LATERAL (SELECT * FROM orders WHERE orders.tenant = ",
        Dialect::Sqlite => " CROSS JOIN orders ON orders.tenant = ",
    });
    out.push_bind_param::<Text, _>(tenant)?;
    out.push_sql(match DB::DIALECT {
        Dialect::Postgres => " AND orders.id = wanted.id OFFSET 0) AS orders",
        Dialect::Sqlite => " AND orders.id = wanted.id",
    });
    Ok(())
}

impl<DB> QueryFragment<DB> for PageSql<DB>
where
    DB: PageDatabase + HasSqlType<DB::IdType> + HasSqlType<DB::IdsType>,
    str: ToSql<Text, DB>,
    i64: ToSql<BigInt, DB>,
{
    fn walk_ast<'b>(&'b self, mut out: AstPass<'_, 'b, DB>) -> QueryResult<()> {
        let sort_key = self.sort_key();
        out.push_sql("SELECT ");
        out.push_sql(ORDER_LINE);
        out.push_sql(
            ", CASE WHEN item.line = 1 THEN found.metadata END
            FROM (SELECT * FROM (SELECT *, row_number() OVER sorted AS number, sum(json_bytes) OVER sorted AS total
                FROM (",
        );
        match &self.source {
            Source::List(walks) => walks.write(&self.tenant, &self.limit, &mut out)?,
            Source::Ids(ids) => self.wanted(ids, &mut out)?,
        }
        out.push_sql(&format!(
            ") AS page WINDOW sorted AS (ORDER BY {sort_key} ROWS UNBOUNDED PRECEDING)) AS measured
            WHERE total <= {} OR total = json_bytes ORDER BY {sort_key} LIMIT ",
            ListQuery::MAX_BYTES - PUNCTUATION
        ));
        out.push_bind_param::<BigInt, _>(&self.limit)?;
        out.push_sql(") AS found ");
        out.push_sql(match DB::DIALECT {
            Dialect::Postgres => {
                "CROSS JOIN LATERAL (SELECT * FROM order_items WHERE order_items.tenant = found.tenant
                    AND order_items.order_id = found.id OFFSET 0) AS item"
            }
            Dialect::Sqlite => {
                "CROSS JOIN order_items AS item ON item.tenant = found.tenant AND item.order_id = found.id"
            }
        });
        Ok(())
    }
}

/// Not static, because the text depends on the filter. Diesel then caches prepared statements by their text, and there
/// are 43 different texts: neither the range nor a set of statuses changes it.
impl<DB: PageDatabase> QueryId for PageSql<DB> {
    type QueryId = ();
    const HAS_STATIC_QUERY_ID: bool = false;
}

#[cfg(test)]
mod tests;
