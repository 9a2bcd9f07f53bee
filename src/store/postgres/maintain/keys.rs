//! Removes idempotency keys, and the records of archived orders.

use chrono::{DateTime, Utc};
use diesel::dsl::sql;
use diesel::sql_types::{BigInt, Nullable, Text, Timestamptz, Uuid as SqlUuid};
use diesel::{QueryableByName, sql_query};
use uuid::Uuid;

use super::session::Session;
use crate::store::StoreError;
use crate::store::maintain::{RemovedKeys, Run, TenantTable};
use crate::store::order_id::IdRange;

/// The number of rows that one transaction removes.
const BATCH: i64 = 500;

/// The first tenant after `tenant`: one step along an index that begins with it.
pub(super) async fn tenant_after(
    session: &mut Session,
    table: TenantTable,
    tenant: &str,
) -> Result<Option<String>, StoreError> {
    let table = table.name();
    let tenant = session.row(|| {
        sql::<Text>(&format!("SELECT tenant FROM {table} WHERE tenant > "))
            .bind::<Text, _>(tenant.to_owned())
            .sql(" ORDER BY tenant LIMIT 1")
    });
    tenant.await
}

/// Removes the first keys of a tenant in a range of orders. The range of the next call begins after them, because the
/// index has the entries of removed keys until a vacuum.
pub(super) async fn remove_keys(
    session: &mut Session,
    tenant: &str,
    range: IdRange,
) -> Result<RemovedKeys, StoreError> {
    #[derive(QueryableByName)]
    struct Removed {
        #[diesel(sql_type = BigInt)]
        count: i64,
        #[diesel(sql_type = Nullable<SqlUuid>)]
        last: Option<Uuid>,
    }
    let query = format!(
        "WITH batch AS MATERIALIZED (SELECT order_id FROM idempotency_keys
            WHERE tenant = $1 AND order_id >= $2 AND order_id < $3 ORDER BY order_id LIMIT {BATCH}),
        removed AS (DELETE FROM idempotency_keys AS k USING batch
            WHERE k.tenant = $1 AND k.order_id = batch.order_id)
        SELECT count(*) AS count, (array_agg(order_id ORDER BY order_id DESC))[1] AS last FROM batch"
    );
    let removed = session.row(|| {
        sql_query(&query)
            .bind::<Text, _>(tenant.to_owned())
            .bind::<SqlUuid, _>(range.from)
            .bind::<SqlUuid, _>(range.before)
    });
    let removed: Option<Removed> = removed.await?;
    Ok(
        removed.map_or_else(RemovedKeys::default, |removed| RemovedKeys {
            count: u64::try_from(removed.count).unwrap_or_default(),
            last: removed.last,
        }),
    )
}

/// Removes the records of orders that were archived before this time and have neither events nor a key. An order that
/// was imported again has events.
pub(super) async fn forget_archived(
    session: &mut Session,
    before: DateTime<Utc>,
    run: &mut Run,
) -> Result<(), StoreError> {
    #[derive(QueryableByName)]
    struct Walked {
        #[diesel(sql_type = BigInt)]
        removed: i64,
        #[diesel(sql_type = Nullable<Timestamptz>)]
        archived_at: Option<DateTime<Utc>>,
        #[diesel(sql_type = Nullable<Text>)]
        tenant: Option<String>,
        #[diesel(sql_type = Nullable<SqlUuid>)]
        order_id: Option<Uuid>,
    }
    let query = format!(
        "WITH batch AS MATERIALIZED (SELECT tenant, order_id, archived_at FROM archived_orders
            WHERE (archived_at, tenant, order_id) > ($1, $2, $3) AND archived_at < $4
            ORDER BY archived_at, tenant, order_id LIMIT {BATCH}),
        forgotten AS MATERIALIZED (SELECT * FROM batch WHERE NOT EXISTS
                (SELECT FROM events AS e WHERE e.tenant = batch.tenant AND e.order_id = batch.order_id OFFSET 0)
            AND NOT EXISTS (SELECT FROM idempotency_keys AS k
                WHERE k.tenant = batch.tenant AND k.order_id = batch.order_id OFFSET 0)),
        removed AS (DELETE FROM archived_orders AS a USING forgotten AS f
            WHERE a.tenant = f.tenant AND a.order_id = f.order_id AND a.archived_at = f.archived_at
            RETURNING a.order_id)
        SELECT (SELECT count(*) FROM removed) AS removed, last.* FROM (VALUES (1)) AS one LEFT JOIN
            (SELECT archived_at, tenant, order_id FROM batch ORDER BY archived_at DESC, tenant DESC, order_id DESC
            LIMIT 1) AS last ON true"
    );
    let mut after = (DateTime::UNIX_EPOCH, String::new(), Uuid::nil());
    loop {
        let walked = session.row(|| {
            let (archived_at, tenant, order_id) = after.clone();
            sql_query(&query)
                .bind::<Timestamptz, _>(archived_at)
                .bind::<Text, _>(tenant)
                .bind::<SqlUuid, _>(order_id)
                .bind::<Timestamptz, _>(before)
        });
        let Some(Walked {
            removed,
            archived_at: Some(archived_at),
            tenant: Some(tenant),
            order_id: Some(order_id),
        }) = walked.await?
        else {
            return Ok(());
        };
        run.report.archived_orders_forgotten += u64::try_from(removed).unwrap_or_default();
        after = (archived_at, tenant, order_id);
        if !run.pause().await {
            return Ok(());
        }
    }
}
