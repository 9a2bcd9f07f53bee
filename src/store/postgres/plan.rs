//! How statements are planned.

use diesel::QueryResult;
use diesel::pg::Pg;
use diesel::query_builder::AstPass;
use diesel::serialize::ToSql;
use diesel::sql_types::HasSqlType;

/// Adds a parameter whose value the planner does not see, because it does not look into a subquery.
///
/// PostgreSQL plans a prepared statement anew for the values of its parameters as long as it expects such plans to cost
/// less than the one for unknown values (PostgreSQL manual, `PREPARE`). For an unknown array it assumes ten elements, and
/// for a range from an unknown value a third of the table. So the plan for one element, or for the last rows, seems
/// cheaper, although both plans are the same. Planning took four fifths of the time of the server for a get.
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
