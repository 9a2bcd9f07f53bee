//! Looks up the orders that conflict with rows that were not inserted.

use diesel::pg::Pg;
use diesel::query_builder::AstPass;
use diesel::sql_types::{Array, Binary, Integer, Nullable, SmallInt, Text, Uuid as SqlUuid};
use diesel::{QueryResult, Queryable};
use uuid::Uuid;

use super::plan::push_unknown;
use crate::store::create::{ExistingOrder, NewRow, Replay};
use crate::store::statement::Statement;

/// Finds idempotency keys, and orders by their id or their external id. Each has a number, which the row that is
/// found repeats.
#[derive(Clone, Default)]
pub(super) struct FindExisting {
    key_numbers: Vec<i32>,
    key_tenants: Vec<String>,
    keys: Vec<Vec<u8>>,
    id_numbers: Vec<i32>,
    id_tenants: Vec<String>,
    ids: Vec<Uuid>,
    external_id_numbers: Vec<i32>,
    external_id_tenants: Vec<String>,
    external_ids: Vec<String>,
}

impl FindExisting {
    pub(super) fn is_empty(&self) -> bool {
        self.keys.is_empty() && self.ids.is_empty()
    }

    /// Adds the key of a row, or its id if it has no key, and its external id. The row was written by an earlier
    /// attempt if one of them leads to its own id.
    pub(super) fn push(&mut self, number: usize, row: &NewRow) {
        let number = i32::try_from(number).unwrap_or(i32::MAX);
        let tenant = row.caller.tenant.to_string();
        if let Some(external_id) = row.external_id() {
            self.external_id_numbers.push(number);
            self.external_id_tenants.push(tenant.clone());
            self.external_ids.push(external_id.to_owned());
        }
        if let Some(key) = row.key() {
            self.key_numbers.push(number);
            self.key_tenants.push(tenant);
            self.keys.push(key.to_vec());
        } else {
            self.id_numbers.push(number);
            self.id_tenants.push(tenant);
            self.ids.push(row.order.id);
        }
    }
}

impl Statement for FindExisting {
    type Database = Pg;
    type Id = Self;
    type Columns = (
        Integer,
        SqlUuid,
        Nullable<Binary>,
        Nullable<SmallInt>,
        Nullable<Text>,
    );

    /// As in `GetOrders`, a subquery with OFFSET makes one look-up for each key.
    fn write<'b>(&'b self, out: &mut AstPass<'_, 'b, Pg>) -> QueryResult<()> {
        out.push_sql(
            "SELECT number, order_id, request_hash::bytea, hash_version, document::text FROM unnest(",
        );
        push_unknown::<Array<Integer>, _>(&self.key_numbers, out)?;
        out.push_sql(", ");
        push_unknown::<Array<Text>, _>(&self.key_tenants, out)?;
        out.push_sql(", ");
        push_unknown::<Array<Binary>, _>(&self.keys, out)?;
        out.push_sql(
            ") AS wanted (number, tenant, key_hash) CROSS JOIN LATERAL (SELECT * FROM idempotency_keys AS k
                WHERE k.tenant = wanted.tenant AND k.key_hash = wanted.key_hash OFFSET 0) AS found
            UNION ALL SELECT number, found.id, NULL, NULL, NULL FROM unnest(",
        );
        push_unknown::<Array<Integer>, _>(&self.id_numbers, out)?;
        out.push_sql(", ");
        push_unknown::<Array<Text>, _>(&self.id_tenants, out)?;
        out.push_sql(", ");
        push_unknown::<Array<SqlUuid>, _>(&self.ids, out)?;
        out.push_sql(
            ") AS wanted (number, tenant, id) CROSS JOIN LATERAL (SELECT id FROM orders
                WHERE orders.tenant = wanted.tenant AND orders.id = wanted.id OFFSET 0) AS found
            UNION ALL SELECT number, found.id, NULL, NULL, NULL FROM unnest(",
        );
        push_unknown::<Array<Integer>, _>(&self.external_id_numbers, out)?;
        out.push_sql(", ");
        push_unknown::<Array<Text>, _>(&self.external_id_tenants, out)?;
        out.push_sql(", ");
        push_unknown::<Array<Text>, _>(&self.external_ids, out)?;
        out.push_sql(
            ") AS wanted (number, tenant, external_id) CROSS JOIN LATERAL (SELECT id FROM orders
                WHERE orders.tenant = wanted.tenant AND orders.external_id = wanted.external_id OFFSET 0) AS found",
        );
        Ok(())
    }
}

/// A key with the data stored with it, or only the id of an order.
#[derive(Queryable)]
pub(super) struct ExistingRow {
    number: i32,
    order_id: Uuid,
    request_hash: Option<Vec<u8>>,
    hash_version: Option<i16>,
    document: Option<String>,
}

impl ExistingRow {
    /// The number of what was looked up, and the order.
    pub(super) fn into_existing(self) -> (usize, ExistingOrder) {
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
        (usize::try_from(self.number).unwrap_or(usize::MAX), existing)
    }
}
