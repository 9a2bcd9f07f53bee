//! The JSON form of an order, which clients read and the event log stores. Each version is serialized once,
//! and every later response has the same bytes.

use std::collections::BTreeMap;

use bytes::Bytes;
use chrono::{DateTime, SecondsFormat, Utc};
use serde::{Serialize, Serializer};
use sha2::{Digest as _, Sha256};
use utoipa::ToSchema;
use uuid::Uuid;

use crate::domain::{NewOrder, Order};

/// An order.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Order)]
pub(crate) struct OrderJson<'a> {
    /// A UUIDv7: later orders have larger ids.
    #[schema(example = "0199a3c4-5d6e-7f80-9a1b-2c3d4e5f6071")]
    id: Uuid,
    /// The product.
    #[schema(example = "sku-1")]
    product_id: &'a str,
    /// The number of pieces.
    #[schema(example = 3)]
    quantity: i32,
    /// The status: pending, confirmed, shipped, delivered or cancelled.
    #[schema(example = "pending")]
    status: &'static str,
    /// The customer, if known.
    #[schema(required = true)]
    customer_id: Option<&'a str>,
    /// The client's own key-value pairs.
    #[schema(example = json!({"colour": "blue"}))]
    metadata: &'a BTreeMap<String, String>,
    /// 1 for a new order, and one more after each update.
    #[schema(example = 1)]
    version: i32,
    /// When it was created: UTC, with microseconds.
    #[serde(serialize_with = "micros")]
    created_at: DateTime<Utc>,
    /// When it was updated last: UTC, with microseconds.
    #[serde(serialize_with = "micros")]
    updated_at: DateTime<Utc>,
}

impl<'a> From<&'a Order> for OrderJson<'a> {
    fn from(order: &'a Order) -> Self {
        // No `..`: a new field that is missing here does not compile.
        let Order {
            id,
            product_id,
            quantity,
            status,
            customer_id,
            metadata,
            version,
            created_at,
            updated_at,
        } = order;
        Self {
            id: *id,
            product_id,
            quantity: *quantity,
            status: status.as_str(),
            customer_id: customer_id.as_deref(),
            metadata: metadata.entries(),
            version: *version,
            created_at: *created_at,
            updated_at: *updated_at,
        }
    }
}

/// A time as RFC 3339 in UTC with microseconds.
pub(crate) fn rfc3339(time: &DateTime<Utc>) -> String {
    time.to_rfc3339_opts(SecondsFormat::Micros, true)
}

fn micros<S: Serializer>(time: &DateTime<Utc>, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&rfc3339(time))
}

/// The typical length of an order as JSON in bytes, so that one allocation suffices.
const TYPICAL_BYTES: usize = 288;

/// An order as JSON.
///
/// # Errors
/// Never in practice: every value of an order can be serialized.
pub(crate) fn order(order: &Order) -> Result<String, serde_json::Error> {
    let mut json = Vec::with_capacity(TYPICAL_BYTES);
    serde_json::to_writer(&mut json, &OrderJson::from(order))?;
    String::from_utf8(json).map_err(serde::ser::Error::custom)
}

/// A list of orders as a JSON array.
///
/// # Errors
/// As [`order`].
pub(crate) fn orders(orders: &[Order]) -> Result<Bytes, serde_json::Error> {
    let mut json = Vec::with_capacity(2 + orders.len() * TYPICAL_BYTES);
    json.push(b'[');
    for (i, order) in orders.iter().enumerate() {
        if i > 0 {
            json.push(b',');
        }
        serde_json::to_writer(&mut json, &OrderJson::from(order))?;
    }
    json.push(b']');
    Ok(json.into())
}

/// A hash of the meaning of a request to create an order. White space, the order of keys and explicit
/// defaults do not count, as a [`NewOrder`] does not contain them.
///
/// # Errors
/// As [`order`].
pub(crate) fn request_hash(new: &NewOrder) -> Result<[u8; 32], serde_json::Error> {
    // An array with a fixed order of members has one form only.
    let canonical = serde_json::to_vec(&(
        new.product_id.as_str(),
        new.quantity.get(),
        new.customer_id.as_ref().map(|id| id.as_str()),
        new.metadata.entries(),
    ))?;
    Ok(Sha256::digest(canonical).into())
}
