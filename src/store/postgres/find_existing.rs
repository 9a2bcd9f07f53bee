//! Looks up what rows conflict with that an insert passed over.

use diesel::pg::Pg;
use diesel::query_builder::{AstPass, Query, QueryFragment, QueryId};
use diesel::sql_types::{Array, Binary, Nullable, SmallInt, Text, Uuid as SqlUuid};
use diesel::{QueryResult, Queryable};
use uuid::Uuid;

use crate::store::create::{ExistingOrder, Replay};

/// Finds idempotency keys, and orders by their id.
#[derive(Clone, Debug, Default)]
pub(super) struct FindPlaced {
    pub(super) keys: Vec<String>,
    pub(super) ids: Vec<Uuid>,
}

impl FindPlaced {
    pub(super) fn is_empty(&self) -> bool {
        self.keys.is_empty() && self.ids.is_empty()
    }
}

impl QueryFragment<Pg> for FindPlaced {
    fn walk_ast<'b>(&'b self, mut out: AstPass<'_, 'b, Pg>) -> QueryResult<()> {
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

impl QueryId for FindPlaced {
    type QueryId = Self;
    const HAS_STATIC_QUERY_ID: bool = true;
}

impl Query for FindPlaced {
    type SqlType = (
        Nullable<Text>,
        SqlUuid,
        Nullable<Binary>,
        Nullable<SmallInt>,
        Nullable<Text>,
    );
}

/// A key with what is kept under it, or an order's id alone.
#[derive(Queryable)]
pub(super) struct FoundRow {
    key: Option<String>,
    order_id: Uuid,
    request_hash: Option<Vec<u8>>,
    hash_version: Option<i16>,
    document: Option<String>,
}

impl FoundRow {
    /// The key, if it was found by one, and what was found.
    pub(super) fn into_found(self) -> (Option<String>, ExistingOrder) {
        let replay = match (self.request_hash, self.hash_version, self.document) {
            (Some(hash), Some(hash_version), Some(document)) => Some(Replay {
                hash,
                hash_version,
                json: document.into(),
            }),
            _ => None,
        };
        let found = ExistingOrder {
            id: self.order_id,
            replay,
        };
        (self.key, found)
    }
}
