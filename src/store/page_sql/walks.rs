//! The walks of a list along indexes, in the order of the list.
//!
//! Every combination of filters that the API accepts walks one index. A list of several statuses, or with a filter by
//! product or customer, is one walk for each status, so that one index serves it with any statuses.
//!
//! A planner with a choice prefers to walk along the primary key, or along the index of the status, and to filter.
//! That reads the whole table when all orders that match are at its other end, so the statement forces the index, in a
//! different way on each database:
//!
//! - PostgreSQL may not sort (the sessions of the service disable it), so it uses an index with the ordering of the
//!   walk: the status, then the id. Columns that equal a constant do not count towards the ordering, so the status is
//!   compared with bounds, and the primary key does not have the ordering. The index of the status is partial: it
//!   serves only a statement that repeats its condition.
//! - SQLite accepts the name of the index.

use diesel::QueryResult;
use diesel::query_builder::AstPass;
use diesel::serialize::ToSql;
use diesel::sql_types::{BigInt, HasSqlType, Text};

use super::{Dialect, PageDatabase, push_lookup};
use crate::domain::{Status, StatusSet};
use crate::store::list::{Direction, ListFilter, ListQuery};
use crate::store::order_id::IdRange;

/// The walks of one list.
pub(super) struct Walks<DB: PageDatabase> {
    filter: Option<ListFilter>,
    statuses: StatusSet,
    direction: Direction,
    /// Whether the list has bounds. The walks of statuses always have some, to keep the number of texts small.
    bounded: bool,
    from: DB::Id,
    before: DB::Id,
}

/// What a walk reads: columns of a table, the column of the ids, and the index by its name.
struct Path {
    columns: &'static str,
    table: &'static str,
    id: &'static str,
    index: &'static str,
}

impl<DB: PageDatabase> Walks<DB> {
    pub(super) fn new(list: &ListQuery) -> Self {
        let range = IdRange::of(list);
        Self {
            filter: list.filter.clone(),
            statuses: list.statuses,
            direction: list.direction,
            bounded: range != IdRange::ALL,
            from: DB::id(range.from),
            before: DB::id(range.before),
        }
    }

    pub(super) fn direction(&self) -> Direction {
        self.direction
    }

    fn path(&self) -> Path {
        let of_orders = |index| Path {
            columns: "*",
            table: "orders",
            id: "id",
            index,
        };
        match self.filter {
            // The lines of orders. One line of each order and product has the status.
            Some(ListFilter::Product(_)) => Path {
                columns: "order_id AS id",
                table: "order_items",
                id: "order_id",
                index: "order_items_product_id",
            },
            Some(ListFilter::Customer(_)) => of_orders("orders_customer_id"),
            Some(ListFilter::External(_)) => of_orders("orders_external_id"),
            None => of_orders("orders_status"),
        }
    }

    /// The statuses that have a walk: one, or all.
    fn walked_statuses(&self) -> impl Iterator<Item = Status> {
        let mut statuses = self.statuses.iter();
        let only = statuses.next().filter(|_| statuses.next().is_none());
        let all = Status::ALL.into_iter();
        all.filter(move |status| only.is_none_or(|only| only == *status))
    }
}

impl<DB> Walks<DB>
where
    DB: PageDatabase + HasSqlType<DB::IdType>,
    str: ToSql<Text, DB>,
    i64: ToSql<BigInt, DB>,
{
    /// Writes the first `limit` orders of the list, in any order.
    pub(super) fn write<'b>(
        &'b self,
        tenant: &'b str,
        limit: &'b i64,
        out: &mut AstPass<'_, 'b, DB>,
    ) -> QueryResult<()> {
        match &self.filter {
            Some(ListFilter::External(external_id)) => {
                self.look_up(tenant, external_id, limit, out)
            }
            None if self.statuses == StatusSet::ALL => self.walk_primary_key(tenant, limit, out),
            Some(ListFilter::Customer(_)) | None => self.merge(tenant, limit, out),
            // The index has ids, whose orders are looked up.
            Some(ListFilter::Product(_)) => {
                out.push_sql("SELECT orders.* FROM (SELECT id FROM (");
                self.merge(tenant, limit, out)?;
                out.push_sql(") AS walks ORDER BY id");
                out.push_sql(self.descending());
                out.push_sql(" LIMIT ");
                out.push_bind_param::<BigInt, _>(limit)?;
                out.push_sql(") AS wanted");
                push_lookup(tenant, out)
            }
        }
    }

    /// Writes one walk for each status. The limit of a status that does not belong to the list is 0, which ends its
    /// walk before it begins. Without its walk, each set of statuses would be another text.
    fn merge<'b>(
        &'b self,
        tenant: &'b str,
        limit: &'b i64,
        out: &mut AstPass<'_, 'b, DB>,
    ) -> QueryResult<()> {
        for (i, status) in self.walked_statuses().enumerate() {
            if i > 0 {
                out.push_sql(" UNION ALL ");
            }
            // A limit ends a statement on PostgreSQL unless it is in parentheses, which SQLite rejects.
            if DB::DIALECT == Dialect::Postgres {
                out.push_sql("(");
            }
            let belongs = self.statuses.contains(status);
            let limit = if belongs { limit } else { &0 };
            self.walk_status(status, tenant, limit, out)?;
            if DB::DIALECT == Dialect::Postgres {
                out.push_sql(")");
            }
        }
        Ok(())
    }

    /// Walks along the primary key.
    fn walk_primary_key<'b>(
        &'b self,
        tenant: &'b str,
        limit: &'b i64,
        out: &mut AstPass<'_, 'b, DB>,
    ) -> QueryResult<()> {
        out.push_sql("SELECT * FROM (SELECT * FROM orders WHERE tenant = ");
        out.push_bind_param::<Text, _>(tenant)?;
        if self.bounded {
            self.push_bounds("id", out)?;
        }
        out.push_sql(" ORDER BY id");
        out.push_sql(self.descending());
        // The first limit is a literal: a plan for any limit reads a tenth of the table for it.
        out.push_sql(&format!(" LIMIT {}) AS walk LIMIT ", ListQuery::MAX_LIMIT));
        out.push_bind_param::<BigInt, _>(limit)
    }

    /// Walks along an index whose last columns are the status and the id. The status is a literal: a plan for any
    /// status would ignore how many orders have this one.
    fn walk_status<'b>(
        &'b self,
        status: Status,
        tenant: &'b str,
        limit: &'b i64,
        out: &mut AstPass<'_, 'b, DB>,
    ) -> QueryResult<()> {
        self.push_start(tenant, out)?;
        match &self.filter {
            Some(ListFilter::Product(product)) => {
                // The index has no other rows.
                out.push_sql(" AND status IS NOT NULL AND product_id = ");
                out.push_bind_param::<Text, _>(product.as_str())?;
            }
            Some(ListFilter::Customer(customer)) => {
                out.push_sql(" AND customer_id IS NOT NULL AND customer_id = ");
                out.push_bind_param::<Text, _>(customer.as_str())?;
            }
            Some(ListFilter::External(_)) | None => {}
        }
        match DB::DIALECT {
            Dialect::Postgres => self.end_on_postgres(status.as_str(), limit, out),
            Dialect::Sqlite => {
                out.push_sql(&format!(" AND status = '{}'", status.as_str()));
                self.push_bounds(self.path().id, out)?;
                out.push_sql(" ORDER BY ");
                out.push_sql(self.path().id);
                out.push_sql(self.descending());
                out.push_sql(" LIMIT ");
                out.push_bind_param::<BigInt, _>(limit)?;
                out.push_sql(")");
                Ok(())
            }
        }
    }

    /// Writes the bounds, the ordering and the limit of a walk.
    ///
    /// PostgreSQL begins a walk at a bound of status and id, but does not end one there: it reads all later orders of
    /// the status (8 s for five million). So the bound at which the list ends is outside of the first limit. The walk may
    /// then read up to a page of orders behind the end of the list. They come last, so no order of the list is missing.
    fn end_on_postgres<'b>(
        &'b self,
        status: &str,
        limit: &'b i64,
        out: &mut AstPass<'_, 'b, DB>,
    ) -> QueryResult<()> {
        let ((begins, begin), (ends, end), last_status) = match self.direction {
            Direction::NewestFirst => (("<", &self.before), (">=", &self.from), ">="),
            Direction::OldestFirst => ((">=", &self.from), ("<", &self.before), "<="),
        };
        let (id, descending) = (self.path().id, self.descending());
        if self.filter.is_none() {
            // The condition of the index of the status.
            out.push_sql(" AND created_at > '-infinity'");
        }
        out.push_sql(&format!(
            " AND status {last_status} '{status}' AND (status, {id}) {begins} ('{status}', "
        ));
        out.push_bind_param::<DB::IdType, _>(begin)?;
        // The first limit is a literal, as that of the primary key.
        out.push_sql(&format!(
            ") ORDER BY status{descending}, {id}{descending} LIMIT {}) AS walk WHERE id {ends} ",
            ListQuery::MAX_LIMIT
        ));
        out.push_bind_param::<DB::IdType, _>(end)?;
        out.push_sql(" LIMIT ");
        out.push_bind_param::<BigInt, _>(limit)
    }

    /// Looks up the order with an external id, and returns it if it belongs to the list.
    fn look_up<'b>(
        &'b self,
        tenant: &'b str,
        external_id: &'b str,
        limit: &'b i64,
        out: &mut AstPass<'_, 'b, DB>,
    ) -> QueryResult<()> {
        self.push_start(tenant, out)?;
        // The index has no other rows.
        out.push_sql(" AND external_id IS NOT NULL AND external_id ");
        match DB::DIALECT {
            Dialect::Postgres => {
                // Bounds and an ordering, as those of a walk.
                out.push_sql(">= ");
                out.push_bind_param::<Text, _>(external_id)?;
                out.push_sql(" AND external_id <= ");
                out.push_bind_param::<Text, _>(external_id)?;
                out.push_sql(" ORDER BY external_id");
            }
            Dialect::Sqlite => {
                out.push_sql("= ");
                out.push_bind_param::<Text, _>(external_id)?;
            }
        }
        out.push_sql(" LIMIT 1) AS walk WHERE status IN (");
        // Five parameters for any set of statuses; some statuses are repeated.
        let first = self.statuses.iter().next();
        for (i, status) in Status::ALL.into_iter().enumerate() {
            let belongs = self.statuses.contains(status);
            let status = first.filter(|_| !belongs).unwrap_or(status);
            out.push_sql(if i > 0 { ", " } else { "" });
            out.push_bind_param::<Text, _>(status.as_str())?;
        }
        out.push_sql(")");
        self.push_bounds("id", out)?;
        out.push_sql(" LIMIT ");
        let limit = if first.is_some() { limit } else { &0 };
        out.push_bind_param::<BigInt, _>(limit)
    }

    /// Writes a walk up to its first condition.
    fn push_start<'b>(&'b self, tenant: &'b str, out: &mut AstPass<'_, 'b, DB>) -> QueryResult<()> {
        let Path {
            columns,
            table,
            index,
            ..
        } = self.path();
        out.push_sql(&format!("SELECT * FROM (SELECT {columns} FROM {table}"));
        if DB::DIALECT == Dialect::Sqlite {
            out.push_sql(&format!(" INDEXED BY {index}"));
        }
        out.push_sql(" WHERE tenant = ");
        out.push_bind_param::<Text, _>(tenant)
    }

    /// Writes both bounds of the ids.
    fn push_bounds<'b>(&'b self, id: &str, out: &mut AstPass<'_, 'b, DB>) -> QueryResult<()> {
        out.push_sql(&format!(" AND {id} >= "));
        out.push_bind_param::<DB::IdType, _>(&self.from)?;
        out.push_sql(&format!(" AND {id} < "));
        out.push_bind_param::<DB::IdType, _>(&self.before)
    }

    fn descending(&self) -> &'static str {
        match self.direction {
            Direction::NewestFirst => " DESC",
            Direction::OldestFirst => "",
        }
    }
}
