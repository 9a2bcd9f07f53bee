//! The type of an event in a column.

use diesel::backend::Backend;
use diesel::deserialize::{self, FromSql, FromSqlRow};
use diesel::sql_types::Text;

use crate::domain::EventType;

/// The type of an event, as a column of text.
#[derive(Clone, Copy, Debug, FromSqlRow)]
pub(super) struct StoredEventType(pub(super) EventType);

impl<DB: Backend> FromSql<Text, DB> for StoredEventType
where
    String: FromSql<Text, DB>,
{
    fn from_sql(bytes: DB::RawValue<'_>) -> deserialize::Result<Self> {
        Ok(Self(String::from_sql(bytes)?.parse()?))
    }
}
