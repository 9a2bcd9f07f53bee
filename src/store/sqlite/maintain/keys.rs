//! Removes idempotency keys, and the records of archived orders.

use chrono::{DateTime, Utc};
use diesel::prelude::*;
use diesel::sql_query;
use diesel::sql_types::{BigInt, Binary, Text};

use super::super::rows::uuid;
use super::super::schema::idempotency_keys;
use super::BATCH;
use crate::store::StoreError;
use crate::store::maintain::{RemovedKeys, TenantTable};
use crate::store::order_id::IdRange;

/// The first tenant after `tenant`.
pub(super) fn tenant_after(
    connection: &mut SqliteConnection,
    table: TenantTable,
    tenant: &str,
) -> Result<Option<String>, StoreError> {
    #[derive(QueryableByName)]
    struct Row {
        #[diesel(sql_type = Text)]
        tenant: String,
    }
    let table = table.name();
    let row: Option<Row> = sql_query(format!(
        "SELECT tenant FROM {table} WHERE tenant > ? ORDER BY tenant LIMIT 1"
    ))
    .bind::<Text, _>(tenant)
    .get_result(connection)
    .optional()?;
    Ok(row.map(|row| row.tenant))
}

/// Removes the first keys of a tenant in a range of orders.
pub(super) fn remove(
    connection: &mut SqliteConnection,
    tenant: &str,
    range: IdRange,
) -> Result<RemovedKeys, StoreError> {
    let keys = idempotency_keys::table.filter(idempotency_keys::tenant.eq(tenant));
    let from = range.from.as_bytes().as_slice();
    let first: Vec<Vec<u8>> = keys
        .filter(idempotency_keys::order_id.ge(from))
        .filter(idempotency_keys::order_id.lt(range.before.as_bytes().as_slice()))
        .select(idempotency_keys::order_id)
        .order(idempotency_keys::order_id)
        .limit(BATCH)
        .load(connection)?;
    let Some(last) = first.last() else {
        return Ok(RemovedKeys::default());
    };
    let removed = keys
        .filter(idempotency_keys::order_id.ge(from))
        .filter(idempotency_keys::order_id.le(last));
    let removed = diesel::delete(removed).execute(connection)?;
    Ok(RemovedKeys {
        count: u64::try_from(removed).unwrap_or_default(),
        last: Some(uuid(last)?),
    })
}

/// The key by which the records of archived orders are walked.
#[derive(Clone, Debug, Default, QueryableByName)]
pub(super) struct ArchivedKey {
    #[diesel(sql_type = BigInt)]
    archived_at: i64,
    #[diesel(sql_type = Text)]
    tenant: String,
    #[diesel(sql_type = Binary)]
    order_id: Vec<u8>,
}

/// The records that one transaction has visited.
pub(super) struct Walked {
    pub(super) removed: u64,
    /// `None` if no record is left.
    pub(super) last: Option<ArchivedKey>,
}

/// Removes the next records of orders that were archived before this time and have neither events nor a key.
pub(super) fn forget_archived(
    connection: &mut SqliteConnection,
    after: &ArchivedKey,
    before: DateTime<Utc>,
) -> Result<Walked, StoreError> {
    let mut batch: Vec<ArchivedKey> = sql_query(
        "SELECT archived_at, tenant, order_id FROM archived_orders
        WHERE (archived_at, tenant, order_id) > (?, ?, ?) AND archived_at < ?
        ORDER BY archived_at, tenant, order_id LIMIT ?",
    )
    .bind::<BigInt, _>(after.archived_at)
    .bind::<Text, _>(&after.tenant)
    .bind::<Binary, _>(&after.order_id)
    .bind::<BigInt, _>(before.timestamp_micros())
    .bind::<BigInt, _>(BATCH)
    .load(connection)?;
    let mut removed = 0;
    for key in &batch {
        removed += sql_query(
            "DELETE FROM archived_orders WHERE tenant = ? AND order_id = ?
                AND NOT EXISTS (SELECT 1 FROM events AS e
                    WHERE e.tenant = archived_orders.tenant AND e.order_id = archived_orders.order_id)
                AND NOT EXISTS (SELECT 1 FROM idempotency_keys AS k
                    WHERE k.tenant = archived_orders.tenant AND k.order_id = archived_orders.order_id)",
        )
        .bind::<Text, _>(&key.tenant)
        .bind::<Binary, _>(&key.order_id)
        .execute(connection)?;
    }
    Ok(Walked {
        removed: u64::try_from(removed).unwrap_or_default(),
        last: batch.pop(),
    })
}
