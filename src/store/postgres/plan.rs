//! How statements are planned.

use diesel::QueryResult;
use diesel::pg::Pg;
use diesel::query_builder::AstPass;
use diesel::serialize::ToSql;
use diesel::sql_types::HasSqlType;

/// Adds a parameter whose value the planner does not see, because it does not look into a subquery.
///
/// PostgreSQL plans a prepared statement anew for the values of its parameters as long as it expects such plans to cost
/// less than the one for unknown values (PostgreSQL manual, `PREPARE`). It takes ten elements for an unknown array, and a
/// third of a table for a range from an unknown value, so it finds the plan for one element or the last rows much cheaper,
/// although it is the same plan. Planning took four fifths of the time of the server for a get.
pub(super) fn push_unknown<'b, T, U>(value: &'b U, out: &mut AstPass<'_, 'b, Pg>) -> QueryResult<()>
where
    Pg: HasSqlType<T>,
    U: ToSql<T, Pg>,
{
    out.push_sql("(SELECT ");
    out.push_bind_param::<T, U>(value)?;
    out.push_sql(")");
    Ok(())
}
