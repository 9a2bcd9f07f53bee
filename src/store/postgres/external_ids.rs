//! Creates a batch of orders of which some have an external id.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use diesel::QueryResult;
use diesel::pg::Pg;
use diesel::query_builder::AstPass;
use diesel::sql_types::{Array, Binary, Text, Uuid as SqlUuid};
use diesel_async::{AsyncConnection as _, AsyncPgConnection, RunQueryDsl as _};
use futures_util::FutureExt as _;
use uuid::Uuid;

use super::Postgres;
use super::create::Insert;
use crate::store::StoreError;
use crate::store::coalesce::LockWait;
use crate::store::create::NewRow;
use crate::store::statement::{Prepared, Statement};
use crate::telemetry::QueryName;

impl Postgres {
    /// Inserts the rows and returns the ids of the new ones. A row whose external id is taken writes nothing.
    ///
    /// Almost always, the statement sees that an external id is taken, and skips the row. If another transaction has
    /// taken it since the statement began, the statement fails as a whole. It is then repeated in a way that cannot
    /// fail for this reason, but takes more round trips.
    pub(super) async fn insert_with_external_ids(
        &self,
        rows: &Arc<[Arc<NewRow>]>,
        wait: LockWait,
    ) -> Result<HashSet<Uuid>, StoreError> {
        if !compete_for_external_id(rows)
            && let Some(inserted) = self.insert::<false, true>(rows, wait).await?
        {
            return Ok(inserted);
        }
        let batch = Arc::clone(rows);
        let inserted = self
            .run(QueryName::CreateOrders, move |connection| {
                let rows = Arc::clone(&batch);
                async move { insert_and_release_keys(connection, &rows, wait).await }.boxed()
            })
            .await?;
        Ok(inserted.into_iter().collect())
    }
}

/// Whether at most one of several rows can be inserted because they have the same external id. Rows with the same key
/// do not count, because the key decides first.
fn compete_for_external_id(rows: &[Arc<NewRow>]) -> bool {
    let mut keys = HashMap::new();
    rows.iter().any(|row| {
        let Some(external_id) = row.external_id() else {
            return false;
        };
        let other = keys.insert((&row.caller.tenant, external_id), row.key());
        other.is_some_and(|key| key.is_none() || key != row.key())
    })
}

/// Inserts the rows and skips orders whose external id is taken. The statement has then written the key of such a row,
/// but no order. A second statement of the same transaction removes the key, so that no other transaction ever sees
/// it.
async fn insert_and_release_keys(
    connection: &mut AsyncPgConnection,
    rows: &[Arc<NewRow>],
    wait: LockWait,
) -> QueryResult<Vec<Uuid>> {
    connection
        .transaction(async |connection| {
            let insert = Insert::<true, true>::new(rows, wait);
            let inserted: Vec<Uuid> = Prepared(insert).load(connection).await?;
            let release = ReleaseKeys::of_skipped(rows, &inserted);
            if !release.keys.is_empty() {
                Prepared(release).execute(connection).await?;
            }
            Ok(inserted)
        })
        .await
}

/// Removes the keys of orders that do not exist.
struct ReleaseKeys<'a> {
    tenants: Vec<&'a str>,
    keys: Vec<&'a [u8]>,
    order_ids: Vec<Uuid>,
}

impl<'a> ReleaseKeys<'a> {
    fn of_skipped(rows: &'a [Arc<NewRow>], inserted: &[Uuid]) -> Self {
        let inserted: HashSet<_> = inserted.iter().collect();
        let mut release = Self {
            tenants: Vec::new(),
            keys: Vec::new(),
            order_ids: Vec::new(),
        };
        for row in rows {
            if let Some(key) = row.key()
                && row.external_id().is_some()
                && !inserted.contains(&row.order.id)
            {
                release.tenants.push(row.caller.tenant.as_str());
                release.keys.push(key);
                release.order_ids.push(row.order.id);
            }
        }
        release
    }
}

/// The order of a key exists if an earlier attempt of the same request has written both, and its response was lost.
///
/// The rows to delete are named by their location (`ctid`), which no other transaction can change: only this one has
/// written them, or they are not deleted. For a join, PostgreSQL might read the whole table.
impl Statement for ReleaseKeys<'_> {
    type Database = Pg;
    type Id = ReleaseKeys<'static>;
    type Columns = ();

    fn write<'b>(&'b self, out: &mut AstPass<'_, 'b, Pg>) -> QueryResult<()> {
        out.push_sql(
            "DELETE FROM idempotency_keys WHERE ctid = ANY (ARRAY(SELECT found.ctid FROM unnest(",
        );
        out.push_bind_param::<Array<Text>, _>(&self.tenants)?;
        out.push_sql(", ");
        out.push_bind_param::<Array<Binary>, _>(&self.keys)?;
        out.push_sql(", ");
        out.push_bind_param::<Array<SqlUuid>, _>(&self.order_ids)?;
        out.push_sql(
            ") AS skipped (tenant, key_hash, order_id) CROSS JOIN LATERAL (SELECT k.ctid FROM idempotency_keys AS k
                WHERE k.tenant = skipped.tenant AND k.key_hash = skipped.key_hash AND k.order_id = skipped.order_id
                    AND (SELECT orders.id FROM orders
                        WHERE orders.tenant = k.tenant AND orders.id = k.order_id) IS NULL
                OFFSET 0) AS found))",
        );
        Ok(())
    }
}
