//! SQL written by hand, as a statement that each connection prepares once.
//!
//! Diesel prepares `diesel::sql_query` anew at each call, because it never caches it. A statement here has a query
//! id of its own, by which the statement cache of a connection finds it. So the text must be the same for every
//! value of the type. Anything that varies is a parameter, or makes another type.

use diesel::QueryResult;
use diesel::backend::{Backend, DieselReserveSpecialization};
use diesel::query_builder::{AstPass, Query, QueryFragment, QueryId};

/// A statement with its parameters.
pub(super) trait Statement {
    /// The database that runs it.
    type Database: Backend + DieselReserveSpecialization;

    /// Identifies the text: the type itself, without its lifetimes.
    type Id: 'static;

    /// The SQL types of the columns that it returns.
    type Columns;

    /// Writes the text and binds the parameters where they appear in it.
    fn write<'b>(&'b self, out: &mut AstPass<'_, 'b, Self::Database>) -> QueryResult<()>;
}

/// Runs a statement as a query of Diesel.
pub(super) struct Prepared<S>(pub(super) S);

impl<S: Statement> QueryFragment<S::Database> for Prepared<S> {
    fn walk_ast<'b>(&'b self, mut out: AstPass<'_, 'b, S::Database>) -> QueryResult<()> {
        self.0.write(&mut out)
    }
}

impl<S: Statement> QueryId for Prepared<S> {
    type QueryId = Prepared<S::Id>;
    const HAS_STATIC_QUERY_ID: bool = true;
}

impl<S: Statement> Query for Prepared<S> {
    type SqlType = S::Columns;
}

impl<S> diesel::RunQueryDsl<diesel::SqliteConnection> for Prepared<S> {}
