//! Reads everything that is stored on SQLite.
//!
//! Each range is read in one transaction, so it is one snapshot. SQLite computes rows one by one, so a statement that
//! is given up where a range ends has cost nothing for the rest.

use std::borrow::Cow;
use std::ops::ControlFlow;
use std::time::Duration;

use diesel::connection::DefaultLoadingMode;
use diesel::deserialize::{self, QueryableByName};
use diesel::row::{Field as _, NamedRow, Row};
use diesel::sql_types::{BigInt, Binary, Text};
use diesel::sqlite::{Sqlite, SqliteType};
use diesel::{Connection as _, RunQueryDsl as _, SqliteConnection};
use uuid::Uuid;

use super::SqliteConnector;
use super::handle::Handle;
use crate::audit::{
    BadColumn, Clock, Database, DatabaseKey, DatabaseKeys, EventRow, Gauge, Key, Limits, Range,
    SqlValue, Stored, Table, keep, read,
};
use crate::store::StoreError;
use crate::store::audit::{AuditSink, EventChunk, Message, select_list};
use crate::store::migrate::blocking;

/// A range takes far less, but a file system may hang.
const RANGE_TIMEOUT: Duration = Duration::from_secs(60);

/// The primary keys and unique indexes of all tables that have a tenant, one row for each column. The primary key of a
/// table with rows that have numbers of their own, as `events`, is no index, and is not listed.
const KEYS: &str =
    "SELECT t.name AS table_name, i.name AS index_name, ifnull(c.name, '') AS column_name
    FROM sqlite_master t JOIN pragma_index_list(t.name) i JOIN pragma_index_info(i.name) c
    WHERE t.type = 'table' AND i.\"unique\"
        AND EXISTS (SELECT 1 FROM pragma_table_info(t.name) WHERE name = 'tenant')
    ORDER BY t.name, i.name, c.seqno";

/// The number of rows of the feed, if new events come after all others and after those that retention has removed.
const FEED_IS_CURRENT: &str = "SELECT count(*) AS number FROM feed
    WHERE ifnull((SELECT seq FROM sqlite_sequence WHERE name = 'events'), 0)
        >= max(ifnull((SELECT max(seq) FROM events), 0), ifnull((SELECT max(seq) FROM feed_floors), 0))";

impl SqliteConnector {
    /// Reads everything that is stored.
    pub(super) async fn read_for_audit(&self, sink: AuditSink) -> Result<(), StoreError> {
        let mut connection = self.connect_blocking()?;
        blocking(move || {
            let handle = Handle::of(&mut connection)?;
            handle.run(RANGE_TIMEOUT, || read_whole(&mut connection, &sink))?;
            let mut from = sink.scope.from.clone();
            loop {
                let through = handle.run(RANGE_TIMEOUT, || {
                    connection.transaction(|connection| read_range(connection, &from, &sink))
                })?;
                if through >= sink.scope.through {
                    return Ok(());
                }
                from = through.next();
            }
        })
        .await
    }
}

#[derive(QueryableByName)]
struct Number {
    #[diesel(sql_type = BigInt)]
    number: i64,
}

#[derive(QueryableByName)]
struct KeyColumn {
    #[diesel(sql_type = Text)]
    table_name: String,
    #[diesel(sql_type = Text)]
    index_name: String,
    #[diesel(sql_type = Text)]
    column_name: String,
}

/// Reads what does not belong to a range.
fn read_whole(connection: &mut SqliteConnection, sink: &AuditSink) -> Result<(), StoreError> {
    // Walks an index.
    let count = "SELECT count(*) AS number FROM orders WHERE (tenant >= ?) AND (tenant <= ?)";
    let expected: Number = diesel::sql_query(count)
        .bind::<Text, _>(&*sink.scope.from.tenant)
        .bind::<Text, _>(&*sink.scope.through.tenant)
        .get_result(connection)?;
    sink.expect_orders(u64::try_from(expected.number).unwrap_or_default());
    let mut keys: Vec<DatabaseKey> = Vec::new();
    let columns: Vec<KeyColumn> = diesel::sql_query(KEYS).load(connection)?;
    for column in columns {
        match keys.last_mut().filter(|key| key.name == column.index_name) {
            Some(key) => key.columns.push(column.column_name),
            None => keys.push(DatabaseKey {
                table: column.table_name,
                name: column.index_name,
                columns: vec![column.column_name],
                is_valid: true,
            }),
        }
    }
    let database = Database::Sqlite;
    sink.send_blocking(Message::Keys(DatabaseKeys { database, keys }))?;
    let feed: Number = diesel::sql_query(FEED_IS_CURRENT).get_result(connection)?;
    if feed.number != 1 {
        sink.send_blocking(Message::FeedIsNotCurrent)?;
    }
    Ok(())
}

/// Reads the range that begins at a key. Returns its last key.
fn read_range(
    connection: &mut SqliteConnection,
    from: &Key,
    sink: &AuditSink,
) -> Result<Key, StoreError> {
    let limits = Limits::DEFAULT;
    // On SQLite all positions are 0, and only the sequence counts.
    let mut range = Range::new(sink.scope.through.clone(), None, Clock::sqlite());
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
    let mut reader = RangeReader {
        connection,
        sink,
        from,
        limits,
    };
    reader.keep(Order::Key, limits.orders, orders, through)?;
    reader.keep(Order::KeyThen("line"), limits.others, lines, through)?;
    reader.keep(Order::Key, limits.others, idempotency, through)?;
    reader.keep(Order::Key, limits.others, archived, through)?;
    reader.keep(Order::Key, limits.others, erasures, through)?;
    // A floor is at the end of its tenant, which may be after the end of the range.
    let mut last_tenant = Key::new(&through.tenant, Uuid::max());
    reader.keep(Order::Tenant, limits.others, floors, &mut last_tenant)?;
    *through = through.clone().min(last_tenant);
    let mut through = through.clone();
    sink.send_blocking(Message::Begin(Box::new(range)))?;
    reader.send_events(&mut through)?;
    sink.send_blocking(Message::End(through.clone()))?;
    Ok(through)
}

/// Reads the tables of one range.
struct RangeReader<'a> {
    connection: &'a mut SqliteConnection,
    sink: &'a AuditSink,
    from: &'a Key,
    limits: Limits,
}

impl RangeReader<'_> {
    /// Reads the rows of a table into memory.
    fn keep<T: Table>(
        &mut self,
        order: Order,
        max_rows: usize,
        rows: &mut Vec<Stored<T>>,
        through: &mut Key,
    ) -> Result<(), StoreError> {
        let mut gauge = Gauge::new(max_rows, self.limits.bytes);
        let end = through.clone();
        self.walk(order, &end, |row| Ok(keep(rows, &mut gauge, row, through)))
    }

    /// Reads the events of the range, and sends them.
    fn send_events(&mut self, through: &mut Key) -> Result<(), StoreError> {
        let mut chunk = EventChunk::new(self.limits);
        let (end, sink) = (through.clone(), self.sink);
        self.walk(
            Order::KeyThen("version"),
            &end,
            |event: Stored<EventRow>| match chunk.add(event, through) {
                ControlFlow::Continue(message) => {
                    if let Some(message) = message {
                        sink.send_blocking(message)?;
                    }
                    Ok(ControlFlow::Continue(()))
                }
                ControlFlow::Break(()) => Ok(ControlFlow::Break(())),
            },
        )?;
        sink.send_blocking(chunk.take())
    }

    /// Calls `take` for each row from the beginning of the range to `end`, until it breaks.
    fn walk<T: Table>(
        &mut self,
        order: Order,
        end: &Key,
        mut take: impl FnMut(Stored<T>) -> Result<ControlFlow<()>, StoreError>,
    ) -> Result<(), StoreError> {
        let mut query = diesel::sql_query(order.sql::<T>()).into_boxed::<Sqlite>();
        for key in [self.from, end] {
            query = query.bind::<Text, _>(&*key.tenant);
            if order != Order::Tenant {
                query = query.bind::<Binary, _>(key.id.as_bytes().as_slice());
            }
        }
        let rows = query.load_iter::<StoredRow<T>, DefaultLoadingMode>(self.connection)?;
        for row in rows {
            match row?.0 {
                Ok(row) => {
                    if take(row)?.is_break() {
                        break;
                    }
                }
                Err(bad) => self.sink.send_blocking(Message::BadKey(T::NAME, bad))?,
            }
        }
        Ok(())
    }
}

/// The order of the rows of a table.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Order {
    Tenant,
    /// The tenant and the id of the order.
    Key,
    /// The key, then another column.
    KeyThen(&'static str),
}

impl Order {
    /// SQL that walks the primary key of a table, or an index of the same order.
    fn sql<T: Table>(self) -> String {
        let list = select_list::<T>(column);
        let (table, id) = (T::NAME, T::ID);
        let (condition, order) = match self {
            Self::Tenant => {
                let condition = "tenant >= ? AND tenant <= ?".to_owned();
                (condition, "tenant".to_owned())
            }
            Self::Key | Self::KeyThen(_) => {
                let then = match self {
                    Self::KeyThen(column) => format!(", {column}"),
                    Self::Key | Self::Tenant => String::new(),
                };
                let condition = format!("(tenant, {id}) >= (?, ?) AND (tenant, {id}) <= (?, ?)");
                (condition, format!("tenant, {id}{then}"))
            }
        };
        format!("SELECT {list} FROM {table} WHERE {condition} ORDER BY {order}")
    }
}

/// SQL for a column. Texts are read as bytes, because Diesel replaces what is not UTF-8.
fn column(name: &'static str, is_integer: bool) -> String {
    match name {
        "position" => "0".to_owned(),
        "next_recorded_at" => {
            "(SELECT recorded_at FROM events WHERE events.tenant = feed_floors.tenant
                AND events.seq > feed_floors.seq ORDER BY events.seq LIMIT 1)"
                .to_owned()
        }
        name if is_integer => name.to_owned(),
        name => format!("CAST({name} AS BLOB)"),
    }
}

/// A row that Diesel reads.
struct StoredRow<T>(Result<Stored<T>, BadColumn>);

impl<T: Table> QueryableByName<Sqlite> for StoredRow<T> {
    fn build<'a>(row: &impl NamedRow<'a, Sqlite>) -> deserialize::Result<Self> {
        Ok(Self(read(&|index| {
            let Some(field) = Row::get(row, index) else {
                return SqlValue::Other;
            };
            let Some(mut value) = field.value() else {
                return SqlValue::Null;
            };
            match value.value_type() {
                Some(SqliteType::Binary) => SqlValue::Bytes(Cow::Owned(value.read_blob().to_vec())),
                Some(SqliteType::Long) => SqlValue::Integer(value.read_long()),
                _ => SqlValue::Other,
            }
        })))
    }
}
