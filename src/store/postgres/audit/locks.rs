//! Explains why a statement has waited in vain.

use super::super::PgConnector;
use crate::store::StoreError;
use crate::store::error::StoreFault;

/// A session that holds a lock for which every reader waits.
const EXCLUSIVE_LOCKS: &str =
    "SELECT c.relname::text, l.pid FROM pg_locks l JOIN pg_class c ON c.oid = l.relation
    WHERE l.locktype = 'relation' AND l.mode = 'AccessExclusiveLock' AND l.granted
        AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database())
        AND c.relkind IN ('r', 'p') AND c.relpersistence = 'p' AND pg_table_is_visible(c.oid)
        AND c.relnamespace <> 'pg_catalog'::regnamespace
    ORDER BY 1 LIMIT 1";

/// An error that names the lock, if one is the cause of an error.
pub(super) async fn explain(connector: &PgConnector, error: StoreError) -> StoreError {
    let waited = matches!(
        error,
        StoreError::LockTimeout | StoreError::StatementTimeout
    );
    if !waited {
        return error;
    }
    match find(connector).await {
        Ok(Some(locked)) => locked.into(),
        Ok(None) | Err(_) => error,
    }
}

async fn find(connector: &PgConnector) -> Result<Option<StoreFault>, StoreError> {
    let client = connector.connect_for_command().await?;
    let found = client.query_opt(EXCLUSIVE_LOCKS, &[]).await?;
    let locked = found.map(|row| {
        Ok::<_, tokio_postgres::Error>(StoreFault::TableLocked {
            table: row.try_get(0)?,
            pid: row.try_get(1)?,
        })
    });
    Ok(locked.transpose()?)
}
