//! The values of a row, whatever they are.

use std::borrow::Cow;

use tokio_postgres::Row;
use tokio_postgres::types::{FromSql, Type};

use crate::audit::{BadColumn, SqlValue, Stored, Table, read};

/// Reads a row of a table.
pub(super) fn read_row<T: Table>(row: &Row) -> Result<Stored<T>, BadColumn> {
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
fn cell(row: &Row, index: usize) -> SqlValue<'_> {
    let raw = match row.try_get::<_, Option<Raw<'_>>>(index) {
        Ok(Some(Raw(raw))) => raw,
        Ok(None) => return SqlValue::Null,
        Err(_) => return SqlValue::Other,
    };
    let Some(column) = row.columns().get(index) else {
        return SqlValue::Other;
    };
    let number = |raw: &[u8]| match *raw {
        [a, b] => Some(i64::from(i16::from_be_bytes([a, b]))),
        [a, b, c, d] => Some(i64::from(i32::from_be_bytes([a, b, c, d]))),
        [a, b, c, d, e, f, g, h] => Some(i64::from_be_bytes([a, b, c, d, e, f, g, h])),
        _ => None,
    };
    match *column.type_() {
        Type::INT2 | Type::INT4 | Type::INT8 => number(raw).map(SqlValue::Integer),
        // Infinity is the largest or the smallest number.
        Type::TIMESTAMPTZ => number(raw)
            .filter(|micros| !matches!(*micros, i64::MIN | i64::MAX))
            .and_then(|micros| micros.checked_add(POSTGRES_EPOCH))
            .map(SqlValue::Integer),
        Type::JSONB => raw
            .strip_prefix(&[JSONB_VERSION])
            .map(|text| SqlValue::Bytes(Cow::Borrowed(text))),
        Type::TEXT | Type::UUID | Type::JSON | Type::BYTEA => {
            Some(SqlValue::Bytes(Cow::Borrowed(raw)))
        }
        _ => None,
    }
    .unwrap_or(SqlValue::Other)
}
