//! An order as a row of PostgreSQL.

use std::error::Error;
use std::io::Write as _;

use bytes::BytesMut;
use chrono::{DateTime, Utc};
use diesel::deserialize::{self, FromSql, FromSqlRow};
use diesel::pg::{Pg, PgValue};
use diesel::prelude::*;
use diesel::serialize::{self, IsNull, Output, ToSql};
use diesel::sql_types::{
    BigInt, Integer, Json, Jsonb, Nullable, SmallInt, Text, Timestamptz, Uuid as SqlUuid,
};
use tokio_postgres::types::Type;
use uuid::Uuid;

use crate::domain::{Items, Line, Metadata, Order};
use crate::store::StoreError;
use crate::store::document::stored_currency;
use crate::store::error::StoreFault;
use crate::store::order_lines;

/// The SQL types of [`OrderLine`].
pub(super) type OrderLineColumns = (
    BigInt,
    SqlUuid,
    Text,
    Integer,
    Nullable<BigInt>,
    Nullable<Text>,
    Nullable<BigInt>,
    Nullable<Text>,
    Text,
    Nullable<Text>,
    Integer,
    Timestamptz,
    Timestamptz,
    Integer,
    SmallInt,
    Nullable<Jsonb>,
);

/// A line of an order with the columns of the order. So one statement reads orders with all their lines.
#[derive(Queryable)]
pub(super) struct OrderLine {
    /// The place of the order in the response of the statement.
    number: i64,
    id: Uuid,
    product_id: String,
    quantity: i32,
    unit_amount: Option<i64>,
    currency: Option<String>,
    total_amount: Option<i64>,
    external_id: Option<String>,
    status: String,
    customer_id: Option<String>,
    version: i32,
    created_at: DateTime<Utc>,
    updated_at: DateTime<Utc>,
    json_bytes: i32,
    line: i16,
    /// Only in the first line of an order.
    metadata: Option<MetadataJson>,
}

/// An order that a statement returned.
pub(super) struct FoundOrder {
    /// The place of the order in the response of the statement, from 1 on.
    number: i64,
    /// The length of the order as JSON.
    pub(super) json_bytes: usize,
    /// The order, unless its metadata was not read.
    pub(super) order: Option<Order>,
}

impl FoundOrder {
    /// The index of what was looked up.
    pub(super) fn index(&self) -> usize {
        usize::try_from(self.number - 1).unwrap_or(usize::MAX)
    }
}

impl order_lines::OrderLine for OrderLine {
    type Found = FoundOrder;

    fn number(&self) -> i64 {
        self.number
    }

    fn place(&self) -> i32 {
        self.line.into()
    }

    fn take_line(&mut self) -> Line {
        Line {
            product_id: std::mem::take(&mut self.product_id),
            quantity: self.quantity,
            unit_amount: self.unit_amount,
        }
    }

    fn into_order(self, lines: Vec<Line>) -> Result<FoundOrder, StoreError> {
        let corrupt = |column| StoreError::from(StoreFault::Corrupt(column));
        let order = match self.metadata {
            None => None,
            Some(metadata) => Some(Order {
                id: self.id,
                items: Items::from_stored(lines, self.total_amount),
                currency: stored_currency(self.currency.as_deref())?,
                external_id: self.external_id,
                status: self.status.parse().map_err(|_| corrupt("status"))?,
                customer_id: self.customer_id,
                metadata: metadata.0,
                version: self.version,
                created_at: self.created_at,
                updated_at: self.updated_at,
            }),
        };
        Ok(FoundOrder {
            number: self.number,
            json_bytes: usize::try_from(self.json_bytes).unwrap_or_default(),
            order,
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

/// For the binary format of `COPY`.
impl tokio_postgres::types::ToSql for JsonText<'_> {
    fn to_sql(
        &self,
        column: &Type,
        out: &mut BytesMut,
    ) -> Result<tokio_postgres::types::IsNull, Box<dyn Error + Sync + Send>> {
        if *column == Type::JSONB {
            out.extend_from_slice(&[JSONB_VERSION]);
        }
        out.extend_from_slice(self.0.as_bytes());
        Ok(tokio_postgres::types::IsNull::No)
    }

    fn accepts(column: &Type) -> bool {
        matches!(*column, Type::JSON | Type::JSONB)
    }

    tokio_postgres::types::to_sql_checked!();
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
