//! The rows that the audit reads.

use std::sync::Arc;

use uuid::Uuid;

use super::value::{BadColumn, Column, Columns, SqlValue, bytes, integer};
use crate::domain::{AuthType, EventType, Status, is_traceparent};

/// The tenant and the id of an order, in the order of the primary keys.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Key {
    pub(crate) tenant: Arc<str>,
    pub(crate) id: Uuid,
}

impl Key {
    pub(crate) fn new(tenant: &str, id: Uuid) -> Self {
        Self {
            tenant: tenant.into(),
            id,
        }
    }

    /// The smallest key after this one.
    pub(crate) fn next(&self) -> Self {
        match self.id.as_u128().checked_add(1) {
            Some(id) => Self {
                tenant: Arc::clone(&self.tenant),
                id: Uuid::from_u128(id),
            },
            // The smallest tenant after this one that PostgreSQL can store.
            None => Self::new(&format!("{}\u{1}", self.tenant), Uuid::nil()),
        }
    }
}

/// A row of a table, as far as it can be read.
#[derive(Debug)]
pub(crate) struct Stored<T> {
    pub(crate) key: Key,
    pub(crate) row: Result<T, BadColumn>,
}

/// A table that the audit reads. Its first columns are those of the key.
pub(crate) trait Table: Sized + 'static {
    const NAME: &'static str;
    /// The column that has the id of the order.
    const ID: &'static str = "order_id";
    const COLUMNS: &'static [Column];

    /// Reads the key.
    fn key(columns: &mut Columns<'_>) -> Result<Key, BadColumn> {
        let tenant = columns.text()?;
        Ok(Key {
            tenant: tenant.into(),
            id: columns.uuid()?,
        })
    }

    /// Reads the columns after the key.
    fn row(columns: &mut Columns<'_>) -> Result<Self, BadColumn>;

    /// The bytes of its texts in memory.
    fn bytes(&self) -> usize;
}

/// Reads a row. Fails if its key cannot be read.
pub(crate) fn read<'a, T: Table>(
    cell: &'a dyn Fn(usize) -> SqlValue<'a>,
) -> Result<Stored<T>, BadColumn> {
    let mut columns = Columns::new(T::COLUMNS, cell);
    let key = T::key(&mut columns)?;
    Ok(Stored {
        key,
        row: T::row(&mut columns),
    })
}

impl<T: Table> Stored<T> {
    /// The bytes that the row takes in memory.
    pub(crate) fn bytes(&self) -> usize {
        size_of::<Self>() + self.row.as_ref().map_or(0, Table::bytes)
    }
}

/// A row of `orders`. Times are microseconds since 1970.
#[derive(Debug)]
pub(crate) struct OrderRow {
    pub(crate) status: Status,
    pub(crate) customer_id: Option<String>,
    pub(crate) external_id: Option<String>,
    pub(crate) currency: Option<String>,
    pub(crate) total_amount: Option<i64>,
    pub(crate) metadata: String,
    pub(crate) version: i32,
    pub(crate) created_at: i64,
    pub(crate) updated_at: i64,
    pub(crate) json_bytes: i32,
}

impl Table for OrderRow {
    const NAME: &'static str = "orders";
    const ID: &'static str = "id";
    const COLUMNS: &'static [Column] = &[
        bytes("tenant"),
        bytes("id"),
        bytes("status"),
        bytes("customer_id"),
        bytes("external_id"),
        bytes("currency"),
        integer("total_amount"),
        bytes("metadata"),
        integer("version"),
        integer("created_at"),
        integer("updated_at"),
        integer("json_bytes"),
    ];

    fn row(columns: &mut Columns<'_>) -> Result<Self, BadColumn> {
        Ok(Self {
            status: columns.name()?,
            customer_id: columns.optional_text()?,
            external_id: columns.optional_text()?,
            currency: columns.optional_text()?,
            total_amount: columns.optional_integer()?,
            metadata: columns.text()?,
            version: columns.integer()?,
            created_at: columns.integer()?,
            updated_at: columns.integer()?,
            json_bytes: columns.integer()?,
        })
    }

    fn bytes(&self) -> usize {
        let short = [&self.customer_id, &self.external_id, &self.currency];
        let short = short.into_iter().flatten().map(String::len);
        short.sum::<usize>() + self.metadata.len()
    }
}

/// A row of `order_items`.
#[derive(Debug)]
pub(crate) struct LineRow {
    pub(crate) line: i32,
    pub(crate) product_id: String,
    pub(crate) quantity: i32,
    pub(crate) unit_amount: Option<i64>,
    pub(crate) status: Option<Status>,
}

impl Table for LineRow {
    const NAME: &'static str = "order_items";
    const COLUMNS: &'static [Column] = &[
        bytes("tenant"),
        bytes("order_id"),
        integer("line"),
        bytes("product_id"),
        integer("quantity"),
        integer("unit_amount"),
        bytes("status"),
    ];

    fn row(columns: &mut Columns<'_>) -> Result<Self, BadColumn> {
        Ok(Self {
            line: columns.integer()?,
            product_id: columns.text()?,
            quantity: columns.integer()?,
            unit_amount: columns.optional_integer()?,
            status: columns.optional_name()?,
        })
    }

    fn bytes(&self) -> usize {
        self.product_id.len()
    }
}

/// A row of `idempotency_keys`. The hashes themselves are not needed.
#[derive(Debug)]
pub(crate) struct IdempotencyRow {
    pub(crate) document: String,
    pub(crate) created_at: i64,
}

impl Table for IdempotencyRow {
    const NAME: &'static str = "idempotency_keys";
    const COLUMNS: &'static [Column] = &[
        bytes("tenant"),
        bytes("order_id"),
        bytes("key_hash"),
        bytes("request_hash"),
        integer("hash_version"),
        bytes("document"),
        integer("created_at"),
    ];

    fn row(columns: &mut Columns<'_>) -> Result<Self, BadColumn> {
        columns.hash()?;
        columns.hash()?;
        columns.integer::<i16>()?;
        Ok(Self {
            document: columns.text()?,
            created_at: columns.integer()?,
        })
    }

    fn bytes(&self) -> usize {
        self.document.len()
    }
}

/// A row of `archived_orders`.
#[derive(Debug)]
pub(crate) struct ArchivedRow {
    pub(crate) customer_id: Option<String>,
    pub(crate) version: i32,
}

impl Table for ArchivedRow {
    const NAME: &'static str = "archived_orders";
    const COLUMNS: &'static [Column] = &[
        bytes("tenant"),
        bytes("order_id"),
        bytes("customer_id"),
        integer("version"),
        integer("archived_at"),
    ];

    fn row(columns: &mut Columns<'_>) -> Result<Self, BadColumn> {
        let customer_id = columns.optional_text()?;
        let version = columns.integer()?;
        columns.integer::<i64>()?;
        Ok(Self {
            customer_id,
            version,
        })
    }

    fn bytes(&self) -> usize {
        self.customer_id.as_ref().map_or(0, String::len)
    }
}

/// A row of `erasure_orders`: older events of the order still have personal data.
#[derive(Debug)]
pub(crate) struct ErasureRow {
    /// Whether the erasure is not done, and will redact them.
    pub(crate) is_unfinished: bool,
}

impl Table for ErasureRow {
    const NAME: &'static str = "erasure_orders";
    const COLUMNS: &'static [Column] = &[
        bytes("tenant"),
        bytes("order_id"),
        integer("unfinished_erasures"),
    ];

    fn row(columns: &mut Columns<'_>) -> Result<Self, BadColumn> {
        Ok(Self {
            is_unfinished: columns.integer::<i64>()? > 0,
        })
    }

    fn bytes(&self) -> usize {
        0
    }
}

/// A row of `events`.
#[derive(Debug)]
pub(crate) struct EventRow {
    pub(crate) version: i32,
    /// Always 0 on SQLite.
    pub(crate) position: i64,
    pub(crate) seq: i64,
    pub(crate) event_type: EventType,
    pub(crate) occurred_at: i64,
    pub(crate) recorded_at: i64,
    pub(crate) data: String,
    pub(crate) data_bytes: i32,
}

impl Table for EventRow {
    const NAME: &'static str = "events";
    const COLUMNS: &'static [Column] = &[
        bytes("tenant"),
        bytes("order_id"),
        integer("version"),
        integer("position"),
        integer("seq"),
        bytes("event_type"),
        integer("occurred_at"),
        integer("recorded_at"),
        bytes("data"),
        integer("data_bytes"),
        bytes("authtype"),
        bytes("authid"),
        bytes("traceparent"),
    ];

    fn row(columns: &mut Columns<'_>) -> Result<Self, BadColumn> {
        let row = Self {
            version: columns.integer()?,
            position: columns.integer()?,
            seq: columns.integer()?,
            event_type: columns.name()?,
            occurred_at: columns.integer()?,
            recorded_at: columns.integer()?,
            data: columns.text()?,
            data_bytes: columns.integer()?,
        };
        columns.name::<AuthType>()?;
        columns.check_optional_text(|authid| !authid.is_empty())?;
        columns.check_optional_text(is_traceparent)?;
        Ok(row)
    }

    fn bytes(&self) -> usize {
        self.data.len()
    }
}

/// A row of `feed_floors`: the last event of a tenant that retention has removed.
#[derive(Debug)]
pub(crate) struct FloorRow {
    pub(crate) order_id: Uuid,
    pub(crate) version: i32,
    /// Always 0 on SQLite.
    pub(crate) position: i64,
    pub(crate) seq: i64,
    /// When the first event of the tenant after the floor was recorded.
    pub(crate) next_recorded_at: Option<i64>,
}

impl Table for FloorRow {
    const NAME: &'static str = "feed_floors";
    const COLUMNS: &'static [Column] = &[
        bytes("tenant"),
        bytes("order_id"),
        integer("version"),
        integer("position"),
        integer("seq"),
        integer("next_recorded_at"),
    ];

    /// A floor belongs to all orders of its tenant, so its key is at the end of the tenant.
    fn key(columns: &mut Columns<'_>) -> Result<Key, BadColumn> {
        let tenant = columns.text()?;
        Ok(Key {
            tenant: tenant.into(),
            id: Uuid::max(),
        })
    }

    fn row(columns: &mut Columns<'_>) -> Result<Self, BadColumn> {
        Ok(Self {
            order_id: columns.uuid()?,
            version: columns.integer()?,
            position: columns.integer()?,
            seq: columns.integer()?,
            next_recorded_at: columns.optional_integer()?,
        })
    }

    fn bytes(&self) -> usize {
        0
    }
}
