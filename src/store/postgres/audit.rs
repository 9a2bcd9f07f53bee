//! Reads everything that is stored on PostgreSQL.
//!
//! Each range is read in one transaction, so it is one snapshot. Its statements are portals, from which rows are taken
//! in parts, because a range can end anywhere.

mod locks;
mod portal_rows;
mod statements;
mod values;

use std::ops::ControlFlow;
use std::time::Duration;

use tokio::time::sleep;
use tokio_postgres::types::ToSql;
use tokio_postgres::{Client, IsolationLevel, Portal, Transaction};
use uuid::Uuid;

use super::PgConnector;
use super::connection::CommandClient;
use super::sqlstate::missing_privilege;
use crate::audit::{
    Clock, Database, DatabaseKey, DatabaseKeys, EventRow, Gauge, Key, Limits, Range, Stored, Table,
    keep,
};
use crate::store::StoreError;
use crate::store::audit::{AuditSink, EventChunk, Message};
use portal_rows::PortalRows;
use statements::{Statements, Walk};
use values::read_row;

/// The number of rows that one message to the server asks for.
const FETCH: usize = 2_000;
/// How often in succession a range is read again after it failed, each time on a new connection.
const MAX_ATTEMPTS: u32 = 8;
/// The pause before a range is read again.
const PAUSE: Duration = Duration::from_millis(500);

/// The keys of all tables that have a tenant, also those of partitions.
const KEYS: &str = "SELECT t.relname::text, i.relname::text,
        array_to_string(ARRAY(SELECT a.attname::text FROM generate_series(1, x.indnkeyatts) AS n
            JOIN pg_attribute a ON a.attrelid = x.indexrelid AND a.attnum = n ORDER BY n), ','),
        x.indisvalid AND x.indisready
    FROM pg_index x JOIN pg_class t ON t.oid = x.indrelid JOIN pg_class i ON i.oid = x.indexrelid
    WHERE x.indisunique AND pg_table_is_visible(t.oid) AND t.relnamespace <> 'pg_catalog'::regnamespace
        AND EXISTS (SELECT 1 FROM pg_attribute a
            WHERE a.attrelid = t.oid AND a.attname = 'tenant' AND NOT a.attisdropped)
    ORDER BY 1, 2";

/// The statistics of the server, which cost nothing.
const EXPECTED_ORDERS: &str =
    "SELECT greatest(reltuples, 0)::bigint FROM pg_class WHERE oid = 'orders'::regclass";

/// Besides the settings of every connection. A generic plan would otherwise read the events of a tenant by position and
/// sort them, because it does not see how short a range is.
const PLANS: &str = "SET enable_incremental_sort = off";

/// A statement that waits for a lock fails before `statement_timeout` ends it, so that the error shows the cause.
const LOCK_TIMEOUT: &str =
    "SELECT set_config('lock_timeout', greatest(least(setting::integer / 2, 2000), 1)::text, false)
    FROM pg_settings WHERE name = 'statement_timeout'";

/// The position before which all events are that the snapshot has, and the time in microseconds.
const END_OF_FEED: &str =
    "SELECT (SELECT pg_snapshot_xmax(pg_current_snapshot())::text::bigint + xid_offset FROM feed),
        (extract(epoch FROM now()) * 1000000)::bigint";

/// Taken before the snapshot. Otherwise retention could drop a partition between the snapshot and the statement that
/// reads the events, and the events would be missing although the floor of the snapshot says that they are not removed.
const LOCK: &str = "LOCK TABLE events IN ACCESS SHARE MODE";

impl PgConnector {
    /// Reads everything that is stored.
    pub(super) async fn read_for_audit(&self, sink: AuditSink) -> Result<(), StoreError> {
        let mut progress = Progress {
            session: None,
            whole: false,
            from: sink.scope.from.clone(),
            limits: Limits::DEFAULT,
        };
        let mut attempts = 0;
        loop {
            match progress.read(self, &sink).await {
                Ok(through) if through >= sink.scope.through => return Ok(()),
                Ok(through) => {
                    progress.from = through.next();
                    progress.limits = Limits::DEFAULT;
                    attempts = 0;
                }
                Err(error) => {
                    attempts += 1;
                    // Frees its slot, which the next connection needs.
                    progress.session = None;
                    if attempts == MAX_ATTEMPTS || !may_retry(&error) {
                        return Err(locks::explain(self, error).await);
                    }
                    log::warn!(error:% = error; "a range is read again");
                    sink.send(Message::Abandon).await?;
                    sleep(PAUSE).await;
                    progress.limits = progress.limits.smaller();
                }
            }
        }
    }
}

/// How far the audit is.
struct Progress {
    /// `None` before the first range and after an error.
    session: Option<Session>,
    /// Whether everything was read that does not belong to a range.
    whole: bool,
    /// Where the next range begins.
    from: Key,
    limits: Limits,
}

impl Progress {
    /// Reads the next range. Returns its last key.
    async fn read(&mut self, connector: &PgConnector, sink: &AuditSink) -> Result<Key, StoreError> {
        let session = match &mut self.session {
            Some(session) => session,
            none => none.insert(Session::open(connector).await?),
        };
        if !self.whole {
            session.read_whole(sink).await?;
            self.whole = true;
        }
        session
            .read_range(self.from.clone(), self.limits, sink)
            .await
    }
}

/// Whether a range that failed may succeed later, or with fewer rows.
fn may_retry(error: &StoreError) -> bool {
    let is_temporary = matches!(
        error,
        StoreError::Unavailable(_) | StoreError::StatementTimeout | StoreError::LockTimeout
    );
    is_temporary && missing_privilege(error).is_none()
}

/// A connection with its prepared statements.
struct Session {
    client: CommandClient,
    statements: Statements,
}

impl Session {
    async fn open(connector: &PgConnector) -> Result<Self, StoreError> {
        let client = connector.connect_for_command().await?;
        client.batch_execute(PLANS).await?;
        client.batch_execute(LOCK_TIMEOUT).await?;
        let statements = Statements::prepare(&client).await?;
        Ok(Self { client, statements })
    }

    /// Reads what does not belong to a range.
    async fn read_whole(&self, sink: &AuditSink) -> Result<(), StoreError> {
        if sink.tenant.is_none() {
            let row = self.client.query_one(EXPECTED_ORDERS, &[]).await?;
            let expected: i64 = row.try_get(0)?;
            sink.expect_orders(u64::try_from(expected).unwrap_or_default());
        }
        let mut keys = Vec::new();
        for row in self.client.query(KEYS, &[]).await? {
            let columns: String = row.try_get(2)?;
            keys.push(DatabaseKey {
                table: row.try_get(0)?,
                name: row.try_get(1)?,
                columns: columns.split(',').map(str::to_owned).collect(),
                is_valid: row.try_get(3)?,
            });
        }
        let current = format!("SELECT {} FROM feed", super::position::FEED_IS_CURRENT);
        let row = self.client.query_opt(&current, &[]).await?;
        let is_current = row
            .map(|row| row.try_get::<_, Option<bool>>(0))
            .transpose()?;
        // After the last statement, because all of it is repeated if one fails.
        let database = Database::Postgres;
        sink.send(Message::Keys(DatabaseKeys { database, keys }))
            .await?;
        if is_current.flatten() != Some(true) {
            sink.send(Message::FeedIsNotCurrent).await?;
        }
        Ok(())
    }

    /// Reads the range that begins at a key. Returns its last key.
    async fn read_range(
        &mut self,
        from: Key,
        limits: Limits,
        sink: &AuditSink,
    ) -> Result<Key, StoreError> {
        let statements = &self.statements;
        let client: &mut Client = &mut self.client;
        let transaction = client
            .build_transaction()
            .isolation_level(IsolationLevel::RepeatableRead)
            .read_only(true)
            .start()
            .await?;
        transaction.batch_execute(LOCK).await?;
        let reader = RangeReader {
            transaction: &transaction,
            sink,
            limits,
        };
        let feed = transaction.query_one(END_OF_FEED, &[]).await?;
        let (end_of_feed, now) = (feed.try_get(0)?, feed.try_get(1)?);
        let clock = Clock::postgres(now);
        let mut range = Range::new(sink.scope.through.clone(), end_of_feed, clock);
        let Range {
            through,
            orders,
            lines,
            idempotency,
            archived,
            erasures,
            floors,
            ..
        } = &mut range;
        let order = reader.bind(&statements.orders, &from, through).await?;
        reader.keep(&order, limits.orders, orders, through).await?;
        // All of them are sent at once. Each ends where one before it has ended the range.
        let end = through.clone();
        let (line, key, archive, erasure, floor, event) = tokio::try_join!(
            reader.bind(&statements.lines, &from, &end),
            reader.bind(&statements.idempotency, &from, &end),
            reader.bind(&statements.archived, &from, &end),
            reader.bind(&statements.erasures, &from, &end),
            reader.bind_tenants(&statements.floors, &from, &end),
            reader.bind(&statements.events, &from, &end),
        )?;
        reader.keep(&line, limits.others, lines, through).await?;
        reader
            .keep(&key, limits.others, idempotency, through)
            .await?;
        reader
            .keep(&archive, limits.others, archived, through)
            .await?;
        reader
            .keep(&erasure, limits.others, erasures, through)
            .await?;
        // A floor is at the end of its tenant, which may be after the end of the range.
        let mut last_tenant = Key::new(&through.tenant, Uuid::max());
        reader
            .keep(&floor, limits.others, floors, &mut last_tenant)
            .await?;
        *through = through.clone().min(last_tenant);
        let mut through = through.clone();
        sink.send(Message::Begin(Box::new(range))).await?;
        reader.send_events(&event, &mut through).await?;
        drop((order, line, key, archive, erasure, floor, event));
        transaction.commit().await?;
        sink.send(Message::End(through.clone())).await?;
        Ok(through)
    }
}

/// Reads the tables of one range.
struct RangeReader<'a> {
    transaction: &'a Transaction<'a>,
    sink: &'a AuditSink,
    limits: Limits,
}

impl RangeReader<'_> {
    async fn bind(
        &self,
        walk: &Walk,
        from: &Key,
        through: &Key,
    ) -> Result<Vec<Portal>, StoreError> {
        let of_tenant = async |tenant: &str, first: Uuid, last: Uuid| {
            let (first, last) = (first.to_string(), last.to_string());
            let keys: [&(dyn ToSql + Sync); 3] = [&tenant, &first, &last];
            self.transaction.bind(&walk.of_tenant, &keys).await
        };
        if from.tenant == through.tenant {
            return Ok(vec![of_tenant(&from.tenant, from.id, through.id).await?]);
        }
        let tenants: [&(dyn ToSql + Sync); 2] = [&&*from.tenant, &&*through.tenant];
        let (first, between, last) = tokio::try_join!(
            of_tenant(&from.tenant, from.id, Uuid::max()),
            self.transaction.bind(&walk.between_tenants, &tenants),
            of_tenant(&through.tenant, Uuid::nil(), through.id),
        )?;
        Ok(vec![first, between, last])
    }

    async fn bind_tenants(
        &self,
        statement: &tokio_postgres::Statement,
        from: &Key,
        through: &Key,
    ) -> Result<Vec<Portal>, StoreError> {
        let keys: [&(dyn ToSql + Sync); 2] = [&&*from.tenant, &&*through.tenant];
        Ok(vec![self.transaction.bind(statement, &keys).await?])
    }

    /// Reads the rows of a table into memory.
    async fn keep<T: Table>(
        &self,
        portals: &[Portal],
        max_rows: usize,
        rows: &mut Vec<Stored<T>>,
        through: &mut Key,
    ) -> Result<(), StoreError> {
        let mut gauge = Gauge::new(max_rows, self.limits.bytes);
        // One more, which shows where the range ends.
        let mut found = PortalRows::new(self.transaction, portals, FETCH.min(max_rows + 1));
        while let Some(row) = found.next().await? {
            match read_row(&row) {
                Ok(row) => {
                    if keep(rows, &mut gauge, row, through).is_break() {
                        break;
                    }
                }
                Err(bad) => self.sink.send(Message::BadKey(T::NAME, bad)).await?,
            }
        }
        Ok(())
    }

    /// Reads the events of the range, and sends them.
    async fn send_events(&self, portals: &[Portal], through: &mut Key) -> Result<(), StoreError> {
        let mut chunk = EventChunk::new(self.limits);
        let mut found = PortalRows::new(self.transaction, portals, FETCH);
        while let Some(row) = found.next().await? {
            match read_row(&row) {
                Ok(event) => match chunk.add(event, through) {
                    ControlFlow::Continue(None) => {}
                    ControlFlow::Continue(Some(message)) => self.sink.send(message).await?,
                    ControlFlow::Break(()) => break,
                },
                Err(bad) => self.sink.send(Message::BadKey(EventRow::NAME, bad)).await?,
            }
        }
        self.sink.send(chunk.take()).await
    }
}
