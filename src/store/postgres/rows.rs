//! An order as a row of PostgreSQL.

use std::io::Write as _;

use chrono::{DateTime, Utc};
use diesel::deserialize::{self, FromSql, FromSqlRow};
use diesel::pg::{Pg, PgValue};
use diesel::prelude::*;
use diesel::serialize::{self, IsNull, Output, ToSql};
use diesel::sql_types::{Json, Jsonb};
use uuid::Uuid;

use crate::domain::{Metadata, Order};
use crate::store::StoreError;
use crate::store::error::StoreFault;
use crate::store::schema::orders;

#[derive(Queryable, Selectable)]
#[diesel(table_name = orders, check_for_backend(Pg))]
pub(super) struct OrderRow {
    pub(super) id: Uuid,
    pub(super) product_id: String,
    pub(super) quantity: i32,
    pub(super) status: String,
    pub(super) customer_id: Option<String>,
    pub(super) metadata: MetadataJson,
    pub(super) version: i32,
    pub(super) created_at: DateTime<Utc>,
    pub(super) updated_at: DateTime<Utc>,
}

impl TryFrom<OrderRow> for Order {
    type Error = StoreError;

    fn try_from(row: OrderRow) -> Result<Self, StoreError> {
        Ok(Self {
            id: row.id,
            product_id: row.product_id,
            quantity: row.quantity,
            status: row
                .status
                .parse()
                .map_err(|_| StoreFault::Corrupt("status"))?,
            customer_id: row.customer_id,
            metadata: row.metadata.0,
            version: row.version,
            created_at: row.created_at,
            updated_at: row.updated_at,
        })
    }
}

/// Metadata as `jsonb`.
#[derive(Debug, FromSqlRow)]
pub(super) struct MetadataJson(Metadata);

/// The binary form of `jsonb` is this byte followed by the text (PostgreSQL source, `jsonb_send`).
const JSONB_VERSION: u8 = 1;

impl FromSql<Jsonb, Pg> for MetadataJson {
    fn from_sql(value: PgValue<'_>) -> deserialize::Result<Self> {
        match value.as_bytes().split_first() {
            Some((&JSONB_VERSION, text)) => {
                let entries = serde_json::from_slice(text)?;
                Ok(Self(Metadata::from_stored(entries)))
            }
            _ => Err("unknown version of jsonb".into()),
        }
    }
}

/// A JSON text as a parameter of type `json` or `jsonb`.
#[derive(Clone, Copy, Debug)]
pub(super) struct JsonText<'a>(pub(super) &'a str);

impl ToSql<Json, Pg> for JsonText<'_> {
    fn to_sql<'b>(&'b self, out: &mut Output<'b, '_, Pg>) -> serialize::Result {
        out.write_all(self.0.as_bytes())?;
        Ok(IsNull::No)
    }
}

impl ToSql<Jsonb, Pg> for JsonText<'_> {
    fn to_sql<'b>(&'b self, out: &mut Output<'b, '_, Pg>) -> serialize::Result {
        out.write_all(&[JSONB_VERSION])?;
        out.write_all(self.0.as_bytes())?;
        Ok(IsNull::No)
    }
}
