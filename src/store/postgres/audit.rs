//! Reads everything that is stored on PostgreSQL.
//!
//! Each range is read in one transaction, so it is one snapshot. Its statements are portals, from which rows are taken
//! in parts, because a range can end anywhere.

use std::borrow::Cow;
use std::ops::ControlFlow;
use std::time::Duration;

use futures_util::TryStreamExt as _;
use tokio::time::sleep;
use tokio_postgres::types::{FromSql, ToSql, Type};
use tokio_postgres::{Client, IsolationLevel, Portal, Row, Transaction};
use uuid::Uuid;

use super::PgConnector;
use super::connection::CommandClient;
use crate::audit::{
    ArchivedRow, Cell, Database, DatabaseKey, DatabaseKeys, ErasureRow, EventRow, Gauge,
    IdempotencyRow, Key, Limits, LineRow, OrderRow, Range, Stored, Table, keep, read,
};
use crate::store::StoreError;
use crate::store::audit::{AuditSink, EventChunk, Message, select_list};

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

/// The position before which all events are that the snapshot has.
const END_OF_FEED: &str =
    "SELECT pg_snapshot_xmax(pg_current_snapshot())::text::bigint + xid_offset FROM feed";

/// Taken before the snapshot. Otherwise retention could drop a partition between the snapshot and the statement that
/// reads the events, and the events would be missing although the floor of the snapshot says that they are not removed.
const LOCK: &str = "LOCK TABLE events IN ACCESS SHARE MODE";

impl PgConnector {
    /// Reads everything that is stored.
    pub(super) async fn read_for_audit(&self, sink: AuditSink) -> Result<(), StoreError> {
        let mut session = Session::open(self).await?;
        session.read_whole(&sink).await?;
        let mut limits = Limits::DEFAULT;
        let mut attempts = 0;
        let mut from = sink.scope.from.clone();
        loop {
            match session.read_range(from.clone(), limits, &sink).await {
                Ok(through) if through >= sink.scope.through => return Ok(()),
                Ok(through) => {
                    from = through.next();
                    attempts = 0;
                    limits = Limits::DEFAULT;
                }
                Err(error) => {
                    attempts += 1;
                    if attempts == MAX_ATTEMPTS || !may_retry(&error) {
                        return Err(error);
                    }
                    log::warn!(error:% = error; "a range is read again");
                    sink.send(Message::Abandon).await?;
                    sleep(PAUSE).await;
                    limits = limits.smaller();
                    session = Session::open(self).await?;
                }
            }
        }
    }
}

/// Whether a range that failed may succeed later, or with fewer rows.
fn may_retry(error: &StoreError) -> bool {
    matches!(
        error,
        StoreError::Unavailable(_) | StoreError::StatementTimeout | StoreError::LockTimeout
    )
}

/// A connection with its prepared statements.
struct Session {
    client: CommandClient,
    statements: Statements,
}

struct Statements {
    orders: tokio_postgres::Statement,
    lines: tokio_postgres::Statement,
    idempotency: tokio_postgres::Statement,
    archived: tokio_postgres::Statement,
    erasures: tokio_postgres::Statement,
    floors: tokio_postgres::Statement,
    events: tokio_postgres::Statement,
}

impl Session {
    async fn open(connector: &PgConnector) -> Result<Self, StoreError> {
        let client = connector.connect_for_command().await?;
        client.batch_execute(PLANS).await?;
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
        let database = Database::Postgres;
        sink.send(Message::Keys(DatabaseKeys { database, keys }))
            .await?;
        let current = format!("SELECT {} FROM feed", super::position::FEED_IS_CURRENT);
        let row = self.client.query_opt(&current, &[]).await?;
        let is_current = row
            .map(|row| row.try_get::<_, Option<bool>>(0))
            .transpose()?;
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
        let end_of_feed = transaction.query_opt(END_OF_FEED, &[]).await?;
        let end_of_feed = end_of_feed.map(|row| row.try_get(0)).transpose()?;
        let mut range = Range::new(sink.scope.through.clone(), end_of_feed);
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
        let portal = reader.bind(&statements.orders, &from, through).await?;
        reader.keep(&portal, limits.orders, orders, through).await?;
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
        drop((portal, line, key, archive, erasure, floor, event));
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
        statement: &tokio_postgres::Statement,
        from: &Key,
        through: &Key,
    ) -> Result<Portal, StoreError> {
        let (first, last) = (from.id.to_string(), through.id.to_string());
        let keys: [&(dyn ToSql + Sync); 4] = [&&*from.tenant, &first, &&*through.tenant, &last];
        Ok(self.transaction.bind(statement, &keys).await?)
    }

    async fn bind_tenants(
        &self,
        statement: &tokio_postgres::Statement,
        from: &Key,
        through: &Key,
    ) -> Result<Portal, StoreError> {
        let keys: [&(dyn ToSql + Sync); 2] = [&&*from.tenant, &&*through.tenant];
        Ok(self.transaction.bind(statement, &keys).await?)
    }

    /// Reads the rows of a table into memory.
    async fn keep<T: Table>(
        &self,
        portal: &Portal,
        max_rows: usize,
        rows: &mut Vec<Stored<T>>,
        through: &mut Key,
    ) -> Result<(), StoreError> {
        let mut gauge = Gauge::new(max_rows, self.limits.bytes);
        // One more, which shows where the range ends.
        let fetch = FETCH.min(max_rows + 1);
        loop {
            let mut fetched = 0;
            let stream = self
                .transaction
                .query_portal_raw(portal, rows_of(fetch))
                .await?;
            let mut stream = std::pin::pin!(stream);
            while let Some(row) = stream.try_next().await? {
                fetched += 1;
                match read_row(&row) {
                    Ok(row) => {
                        if keep(rows, &mut gauge, row, through).is_break() {
                            return Ok(());
                        }
                    }
                    Err(bad) => self.sink.send(Message::BadKey(T::NAME, bad)).await?,
                }
            }
            if fetched < fetch {
                return Ok(());
            }
        }
    }

    /// Reads the events of the range, and sends them.
    async fn send_events(&self, portal: &Portal, through: &mut Key) -> Result<(), StoreError> {
        let mut chunk = EventChunk::new(self.limits);
        'parts: loop {
            let mut fetched = 0;
            let stream = self
                .transaction
                .query_portal_raw(portal, rows_of(FETCH))
                .await?;
            let mut stream = std::pin::pin!(stream);
            while let Some(row) = stream.try_next().await? {
                fetched += 1;
                match read_row(&row) {
                    Ok(event) => match chunk.add(event, through) {
                        ControlFlow::Continue(None) => {}
                        ControlFlow::Continue(Some(message)) => self.sink.send(message).await?,
                        ControlFlow::Break(()) => break 'parts,
                    },
                    Err(bad) => {
                        self.sink.send(Message::BadKey(EventRow::NAME, bad)).await?;
                    }
                }
            }
            if fetched < FETCH {
                break;
            }
        }
        self.sink.send(chunk.take()).await
    }
}

fn rows_of(rows: usize) -> i32 {
    i32::try_from(rows).unwrap_or(i32::MAX)
}

/// SQL that walks the primary key of a table, or an index of the same order.
fn walk<T: Table>(order: &str) -> String {
    let list = select_list::<T>(|name, _| name.to_owned());
    let (table, id) = (T::NAME, T::ID);
    format!(
        "SELECT {list} FROM {table}
        WHERE (tenant, {id}) >= ($1, $2::text::uuid) AND (tenant, {id}) <= ($3, $4::text::uuid)
        ORDER BY {order}"
    )
}

impl Statements {
    async fn prepare(client: &Client) -> Result<Self, StoreError> {
        let floors =
            "SELECT tenant, order_id, version, position, seq, (SELECT recorded_at FROM events
                WHERE events.tenant = feed_floors.tenant
                    AND (events.position, events.seq) > (feed_floors.position, feed_floors.seq)
                ORDER BY events.position, events.seq LIMIT 1)
            FROM feed_floors WHERE tenant >= $1 AND tenant <= $2 ORDER BY tenant";
        let prepare = async |sql: String| client.prepare(&sql).await;
        Ok(Self {
            orders: prepare(walk::<OrderRow>("tenant, id")).await?,
            lines: prepare(walk::<LineRow>("tenant, order_id, line")).await?,
            idempotency: prepare(walk::<IdempotencyRow>("tenant, order_id")).await?,
            archived: prepare(walk::<ArchivedRow>("tenant, order_id")).await?,
            erasures: prepare(walk::<ErasureRow>("tenant, order_id")).await?,
            floors: prepare(floors.to_owned()).await?,
            events: prepare(walk::<EventRow>("tenant, order_id, version, recorded_at")).await?,
        })
    }
}

fn read_row<T: Table>(row: &Row) -> Result<Stored<T>, crate::audit::BadColumn> {
    read(&|index| cell(row, index))
}

/// The bytes of a value, whatever its type.
struct Raw<'a>(&'a [u8]);

impl<'a> FromSql<'a> for Raw<'a> {
    fn from_sql(_: &Type, raw: &'a [u8]) -> Result<Self, Box<dyn std::error::Error + Sync + Send>> {
        Ok(Self(raw))
    }

    fn accepts(_: &Type) -> bool {
        true
    }
}

/// Microseconds from 1970 to 2000, where PostgreSQL begins to count.
const POSTGRES_EPOCH: i64 = 946_684_800_000_000;
/// The binary form of `jsonb` is this byte followed by the text (PostgreSQL source, `jsonb_send`).
const JSONB_VERSION: u8 = 1;

/// A value in binary form. tokio-postgres itself fails for a text that is not UTF-8.
fn cell(row: &Row, index: usize) -> Cell<'_> {
    let raw = match row.try_get::<_, Option<Raw<'_>>>(index) {
        Ok(Some(Raw(raw))) => raw,
        Ok(None) => return Cell::Null,
        Err(_) => return Cell::Other,
    };
    let Some(column) = row.columns().get(index) else {
        return Cell::Other;
    };
    let number = |raw: &[u8]| match *raw {
        [a, b] => Some(i64::from(i16::from_be_bytes([a, b]))),
        [a, b, c, d] => Some(i64::from(i32::from_be_bytes([a, b, c, d]))),
        [a, b, c, d, e, f, g, h] => Some(i64::from_be_bytes([a, b, c, d, e, f, g, h])),
        _ => None,
    };
    match *column.type_() {
        Type::INT2 | Type::INT4 | Type::INT8 => number(raw).map(Cell::Integer),
        // Infinity is the largest or the smallest number.
        Type::TIMESTAMPTZ => number(raw)
            .filter(|micros| !matches!(*micros, i64::MIN | i64::MAX))
            .and_then(|micros| micros.checked_add(POSTGRES_EPOCH))
            .map(Cell::Integer),
        Type::JSONB => raw
            .strip_prefix(&[JSONB_VERSION])
            .map(|text| Cell::Bytes(Cow::Borrowed(text))),
        Type::TEXT | Type::UUID | Type::JSON | Type::BYTEA => Some(Cell::Bytes(Cow::Borrowed(raw))),
        _ => None,
    }
    .unwrap_or(Cell::Other)
}
