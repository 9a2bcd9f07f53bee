//! The statement for a page of orders.
//!
//! Every combination of filters that the API accepts is a walk along one index, newest first. A filter by
//! product or customer without a status is one walk for each status, so that one index serves both.
//!
//! A planner with a choice prefers to walk along the primary key and to filter. That reads the whole table when
//! all orders that match are old, so the statement forces the index, in a different way on each database.

use std::marker::PhantomData;

use diesel::QueryResult;
use diesel::backend::{Backend, DieselReserveSpecialization};
use diesel::query_builder::{AstPass, QueryFragment, QueryId};
use diesel::serialize::ToSql;
use diesel::sql_types::{BigInt, HasSqlType, Text};

use super::list::{ListFilter, ListQuery};
use crate::domain::Status;

/// The brackets and commas around the orders of a page.
const PUNCTUATION: usize = 102;

/// How a statement forces the index of a walk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Dialect {
    /// PostgreSQL uses the index with the ordering of the walk. Columns that equal a constant do not count
    /// towards the ordering, so no column is compared with one by equality.
    Postgres,
    /// SQLite accepts the name of the index.
    Sqlite,
}

/// A page of orders whose ids are bound as `Id` of the SQL type `IdType`.
pub(super) struct PageSql<Id, IdType> {
    dialect: Dialect,
    after: Option<Id>,
    status: Option<Status>,
    filter: Option<ListFilter>,
    limit: i64,
    id_type: PhantomData<IdType>,
}

impl<Id, IdType> PageSql<Id, IdType> {
    pub(super) fn new(
        dialect: Dialect,
        list: &ListQuery,
        id: impl FnOnce(uuid::Uuid) -> Id,
    ) -> Self {
        Self {
            dialect,
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
        let filter = self.filter.as_ref().map(ListFilter::column_and_value);
        // The columns of the index before the id.
        let columns = match (&filter, status) {
            (Some((column, _)), _) => format!("{column}, status"),
            (None, Some(_)) => "status".to_owned(),
            (None, None) => String::new(),
        };
        out.push_sql("SELECT * FROM (SELECT * FROM orders ");
        if self.dialect == Dialect::Sqlite {
            out.push_sql(match (&self.filter, status) {
                (Some(ListFilter::Product(_)), _) => "INDEXED BY orders_product_id ",
                (Some(ListFilter::Customer(_)), _) => "INDEXED BY orders_customer_id ",
                (None, Some(_)) => "INDEXED BY orders_status ",
                (None, None) => "",
            });
        }
        out.push_sql("WHERE true");
        if let Some(ListFilter::Customer(_)) = &self.filter {
            // The index has no other rows.
            out.push_sql(" AND customer_id IS NOT NULL");
        }
        match (self.dialect, &filter, status) {
            (Dialect::Postgres, Some((column, value)), Some(status)) => {
                return self.walk_of_group(column, value, status, out);
            }
            (Dialect::Postgres, None, Some(status)) => {
                let status = status.as_str();
                out.push_sql(&format!(" AND status >= '{status}'"));
                match &self.after {
                    Some(after) => {
                        out.push_sql(&format!(" AND (status, id) < ('{status}', "));
                        out.push_bind_param::<IdType, _>(after)?;
                        out.push_sql(")");
                    }
                    None => out.push_sql(&format!(" AND status <= '{status}'")),
                }
                out.push_sql(" ORDER BY status DESC, id DESC");
            }
            _ => {
                if !columns.is_empty() {
                    out.push_sql(&format!(" AND ({columns}) = ("));
                    push_values(&filter, status, out)?;
                    out.push_sql(")");
                }
                if let Some(after) = &self.after {
                    out.push_sql(" AND id < ");
                    out.push_bind_param::<IdType, _>(after)?;
                }
                out.push_sql(" ORDER BY id DESC");
            }
        }
        // The first limit is a literal: a plan for any limit reads a tenth of the table for it.
        out.push_sql(&format!(" LIMIT {}) AS walk LIMIT ", ListQuery::MAX_LIMIT));
        out.push_bind_param::<BigInt, _>(&self.limit)
    }

    /// The newest orders of a product or a customer with one status, in PostgreSQL.
    ///
    /// All comparisons determine where an index scan begins. Only comparisons up to the first column that is not
    /// compared by equality determine where it ends, and a row comparison counts as one of its first column. So
    /// the first column is compared by equality, as `= ANY` of one value, which keeps it in the ordering. With a
    /// row of both columns as the lower bound, the walk would continue through all orders of the customer with
    /// lesser statuses.
    ///
    /// The planner does not evaluate `(SELECT …)`. So it assumes few orders between the bounds of the status
    /// (`DEFAULT_RANGE_INEQ_SEL` in the source of PostgreSQL) and does not prefer the index of the status. It also
    /// assumes that the limit is a tenth of them, so a sort never appears to be cheaper.
    fn walk_of_group<'b, DB>(
        &'b self,
        column: &str,
        value: &'b String,
        status: Status,
        out: &mut AstPass<'_, 'b, DB>,
    ) -> QueryResult<()>
    where
        DB: Backend + HasSqlType<IdType>,
        Id: ToSql<IdType, DB>,
        String: ToSql<Text, DB>,
        i64: ToSql<BigInt, DB>,
    {
        let status = status.as_str();
        out.push_sql(&format!(" AND {column} = ANY (ARRAY["));
        out.push_bind_param::<Text, _>(value)?;
        out.push_sql(&format!(
            "]) AND status >= (SELECT '{status}'::text) AND status <= '{status}'"
        ));
        if let Some(after) = &self.after {
            out.push_sql(&format!(" AND (status, id) < ((SELECT '{status}'::text), "));
            out.push_bind_param::<IdType, _>(after)?;
            out.push_sql(")");
        }
        out.push_sql(&format!(
            " ORDER BY {column} DESC, status DESC, id DESC LIMIT (SELECT "
        ));
        out.push_bind_param::<BigInt, _>(&self.limit)?;
        out.push_sql(")) AS walk");
        Ok(())
    }
}

/// Writes the values of the index columns before the id. The status is a literal: a plan for any status would
/// ignore how many orders have this one.
fn push_values<'b, DB>(
    filter: &Option<(&'static str, &'b String)>,
    status: Option<Status>,
    out: &mut AstPass<'_, 'b, DB>,
) -> QueryResult<()>
where
    DB: Backend,
    String: ToSql<Text, DB>,
{
    if let Some((_, value)) = filter {
        out.push_bind_param::<Text, _>(*value)?;
        out.push_sql(", ");
    }
    if let Some(status) = status {
        out.push_sql(&format!("'{}'", status.as_str()));
    }
    Ok(())
}

impl<Id, IdType, DB> QueryFragment<DB> for PageSql<Id, IdType>
where
    DB: Backend + DieselReserveSpecialization + HasSqlType<IdType>,
    Id: ToSql<IdType, DB>,
    String: ToSql<Text, DB>,
    i64: ToSql<BigInt, DB>,
{
    fn walk_ast<'b>(&'b self, mut out: AstPass<'_, 'b, DB>) -> QueryResult<()> {
        out.push_sql(
            "SELECT id, product_id, quantity, status, customer_id, metadata, version, created_at, updated_at
            FROM (SELECT *, sum(json_bytes) OVER (ORDER BY id DESC ROWS UNBOUNDED PRECEDING) AS total
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
            ") AS walks) AS measured
            WHERE total <= {} OR total = json_bytes ORDER BY id DESC LIMIT ",
            ListQuery::MAX_BYTES - PUNCTUATION
        ));
        out.push_bind_param::<BigInt, _>(&self.limit)?;
        Ok(())
    }
}

/// Not static, because the text depends on the filters. Diesel then caches prepared statements by their text, and
/// there are few different texts.
impl<Id, IdType> QueryId for PageSql<Id, IdType> {
    type QueryId = ();
    const HAS_STATIC_QUERY_ID: bool = false;
}
