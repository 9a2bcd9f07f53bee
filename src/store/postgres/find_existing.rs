//! Looks up the orders that conflict with rows that were not inserted.

use diesel::pg::Pg;
use diesel::query_builder::AstPass;
use diesel::sql_types::{Array, Binary, Nullable, SmallInt, Text, Uuid as SqlUuid};
use diesel::{QueryResult, Queryable};
use uuid::Uuid;

use crate::store::create::{ExistingOrder, Replay};
use crate::store::statement::Statement;

/// Finds idempotency keys, and orders by their id.
#[derive(Clone, Debug, Default)]
pub(super) struct FindExisting {
    pub(super) keys: Vec<String>,
    pub(super) ids: Vec<Uuid>,
}

impl FindExisting {
    pub(super) fn is_empty(&self) -> bool {
        self.keys.is_empty() && self.ids.is_empty()
    }
}

impl Statement for FindExisting {
    type Database = Pg;
    type Id = Self;
    type Columns = (
        Nullable<Text>,
        SqlUuid,
        Nullable<Binary>,
        Nullable<SmallInt>,
        Nullable<Text>,
    );

    fn write<'b>(&'b self, out: &mut AstPass<'_, 'b, Pg>) -> QueryResult<()> {
        out.push_sql(
            "SELECT key::text, order_id, request_hash::bytea, hash_version, document::text
            FROM idempotency_keys WHERE key = ANY (",
        );
        out.push_bind_param::<Array<Text>, _>(&self.keys)?;
        out.push_sql(") UNION ALL SELECT NULL, id, NULL, NULL, NULL FROM orders WHERE id = ANY (");
        out.push_bind_param::<Array<SqlUuid>, _>(&self.ids)?;
        out.push_sql(")");
        Ok(())
    }
}

/// A key with the data stored with it, or only the id of an order.
#[derive(Queryable)]
pub(super) struct ExistingRow {
    key: Option<String>,
    order_id: Uuid,
    request_hash: Option<Vec<u8>>,
    hash_version: Option<i16>,
    document: Option<String>,
}

impl ExistingRow {
    /// The key, if the row was found by one, and the order.
    pub(super) fn into_existing(self) -> (Option<String>, ExistingOrder) {
        let replay = match (self.request_hash, self.hash_version, self.document) {
            (Some(hash), Some(hash_version), Some(document)) => Some(Replay {
                hash,
                hash_version,
                json: document.into(),
            }),
            _ => None,
        };
        let existing = ExistingOrder {
            id: self.order_id,
            replay,
        };
        (self.key, existing)
    }
}
