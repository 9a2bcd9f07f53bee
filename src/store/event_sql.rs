//! SQL for pages of events that is the same on both databases.

use diesel::QueryResult;
use diesel::backend::Backend;
use diesel::query_builder::AstPass;
use diesel::serialize::ToSql;
use diesel::sql_types::{BigInt, HasSqlType};

use super::event::PageSize;

/// The size of a page, as parameters of a statement.
#[derive(Clone, Copy)]
pub(super) struct PageLimits {
    events: i64,
    bytes: i64,
}

impl From<PageSize> for PageLimits {
    fn from(size: PageSize) -> Self {
        Self {
            events: size.events.into(),
            bytes: size.bytes.into(),
        }
    }
}

impl PageLimits {
    /// SQL for whether a row with the columns `number` and `bytes` fits into the page.
    pub(super) fn push_fits<'b, DB>(&'b self, out: &mut AstPass<'_, 'b, DB>) -> QueryResult<()>
    where
        DB: Backend + HasSqlType<BigInt>,
        i64: ToSql<BigInt, DB>,
    {
        out.push_sql("number <= ");
        out.push_bind_param::<BigInt, _>(&self.events)?;
        out.push_sql(" AND (number = 1 OR bytes <= ");
        out.push_bind_param::<BigInt, _>(&self.bytes)?;
        out.push_sql(")");
        Ok(())
    }
}
