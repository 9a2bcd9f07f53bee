//! An order as a row of PostgreSQL.

use std::borrow::Cow;
use std::io::Write as _;

use chrono::{DateTime, Utc};
use diesel::deserialize::{self, FromSql, FromSqlRow};
use diesel::expression::AsExpression;
use diesel::pg::{Pg, PgValue};
use diesel::prelude::*;
use diesel::serialize::{self, IsNull, Output, ToSql};
use diesel::sql_types::Jsonb;
use uuid::Uuid;

use crate::domain::{Metadata, Order};
use crate::store::StoreError;
use crate::store::schema::orders;

#[derive(Insertable, Queryable, Selectable)]
#[diesel(table_name = orders, check_for_backend(Pg))]
pub(super) struct OrderRow<'a> {
    id: Uuid,
    product_id: Cow<'a, str>,
    quantity: i32,
    status: Cow<'a, str>,
    customer_id: Option<Cow<'a, str>>,
    metadata: MetadataJson<'a>,
    version: i32,
    created_at: DateTime<Utc>,
    updated_at: DateTime<Utc>,
}

impl<'a> From<&'a Order> for OrderRow<'a> {
    fn from(order: &'a Order) -> Self {
        Self {
            id: order.id,
            product_id: Cow::Borrowed(&order.product_id),
            quantity: order.quantity,
            status: Cow::Borrowed(order.status.as_str()),
            customer_id: order.customer_id.as_deref().map(Cow::Borrowed),
            metadata: MetadataJson(Cow::Borrowed(&order.metadata)),
            version: order.version,
            created_at: order.created_at,
            updated_at: order.updated_at,
        }
    }
}

impl TryFrom<OrderRow<'_>> for Order {
    type Error = StoreError;

    fn try_from(row: OrderRow<'_>) -> Result<Self, StoreError> {
        Ok(Self {
            id: row.id,
            product_id: row.product_id.into_owned(),
            quantity: row.quantity,
            status: row.status.parse().map_err(|_| {
                StoreError::Internal(format!("order {} has an unknown status", row.id))
            })?,
            customer_id: row.customer_id.map(Cow::into_owned),
            metadata: row.metadata.0.into_owned(),
            version: row.version,
            created_at: row.created_at,
            updated_at: row.updated_at,
        })
    }
}

/// Metadata as `jsonb`.
#[derive(Debug, AsExpression, FromSqlRow)]
#[diesel(sql_type = Jsonb)]
pub(super) struct MetadataJson<'a>(Cow<'a, Metadata>);

/// The binary form of `jsonb` is this byte, then the text (PostgreSQL source, `jsonb_send`).
const JSONB_VERSION: u8 = 1;

impl ToSql<Jsonb, Pg> for MetadataJson<'_> {
    fn to_sql<'b>(&'b self, out: &mut Output<'b, '_, Pg>) -> serialize::Result {
        out.write_all(&[JSONB_VERSION])?;
        serde_json::to_writer(out, self.0.entries())?;
        Ok(IsNull::No)
    }
}

impl FromSql<Jsonb, Pg> for MetadataJson<'_> {
    fn from_sql(value: PgValue<'_>) -> deserialize::Result<Self> {
        match value.as_bytes().split_first() {
            Some((&JSONB_VERSION, text)) => {
                let entries = serde_json::from_slice(text)?;
                Ok(Self(Cow::Owned(Metadata::trusted(entries))))
            }
            _ => Err("unknown version of jsonb".into()),
        }
    }
}
