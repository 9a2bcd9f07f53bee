//! The JSON forms of an order.
//!
//! The document is what clients read and what the event log stores and replays. It is written once for each version.
//! All responses and events with this version have the same bytes. A new order has a form of its own ([`new_order`]),
//! which requests and imports have in common.

pub(crate) mod integer;
pub(crate) mod members;
pub(crate) mod new_order;
pub(crate) mod schemas;

mod redaction;

use std::collections::BTreeMap;

use bytes::Bytes;
use chrono::{DateTime, SecondsFormat, Utc};
use serde::{Serialize, Serializer};
use sha2::{Digest as _, Sha256};
use utoipa::ToSchema;
use uuid::Uuid;

use crate::domain::{Currency, Line, MAX_LINES, Metadata, NewOrder, Order, ShortText};
pub(crate) use redaction::{customer_of, erased_version, redacted};

/// An order.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Order)]
pub(crate) struct OrderJson<'a> {
    /// A UUIDv7. Later orders have larger ids.
    #[schema(example = "0199a3c4-5d6e-7f80-9a1b-2c3d4e5f6071")]
    id: Uuid,
    /// The lines.
    #[schema(value_type = Vec<LineJson<'a>>, min_items = 1, max_items = 100)]
    items: Lines<'a>,
    /// The product of the only line. Null if there are several lines.
    #[schema(required = true, example = "sku-1")]
    product_id: Option<&'a str>,
    /// The quantity of the only line. Null if there are several lines.
    #[schema(required = true, example = 3)]
    quantity: Option<i32>,
    /// The currency of all amounts (ISO 4217). Null if the lines have no amounts.
    #[schema(required = true, example = "EUR")]
    currency: Option<&'a str>,
    /// The sum of quantity times unit amount, in the minor unit of the currency. Null without a currency.
    #[schema(
        required = true,
        example = 750,
        minimum = 0,
        maximum = 9_007_199_254_740_991_i64
    )]
    total_amount: Option<i64>,
    /// The client's own reference, or null.
    #[schema(required = true, example = "shop-1042")]
    external_id: Option<&'a str>,
    /// The status.
    #[schema(value_type = StatusSchema)]
    status: &'static str,
    /// The customer, if known.
    #[schema(required = true, example = "customer-7")]
    customer_id: Option<&'a str>,
    /// Notes of the client.
    #[schema(example = json!({"colour": "blue"}))]
    metadata: &'a BTreeMap<String, String>,
    /// 1 for a new order. Each change adds one.
    #[schema(example = 1)]
    version: i32,
    /// The time of creation, in UTC with microseconds.
    #[serde(serialize_with = "micros")]
    #[schema(example = "2026-11-22T06:19:00.123456Z")]
    created_at: DateTime<Utc>,
    /// The time of the last change, in UTC with microseconds.
    #[serde(serialize_with = "micros")]
    #[schema(example = "2026-11-22T06:19:00.123456Z")]
    updated_at: DateTime<Utc>,
}

/// A line of an order.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = OrderLine)]
pub(crate) struct LineJson<'a> {
    /// The product.
    #[schema(example = "sku-1")]
    product_id: &'a str,
    /// The number of pieces.
    #[schema(example = 3)]
    quantity: i32,
    /// The price of a piece in the minor unit of the currency. Null without a currency, negative for a discount.
    #[schema(required = true, example = 250)]
    unit_amount: Option<i64>,
}

/// The lines, written without an intermediate list.
#[derive(Debug)]
struct Lines<'a>(&'a [Line]);

impl Serialize for Lines<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(self.0.iter().map(|line| LineJson {
            product_id: &line.product_id,
            quantity: line.quantity,
            unit_amount: line.unit_amount,
        }))
    }
}

// `domain/` has the statuses and their transitions; it does not depend on the OpenAPI document.
/// The status of an order.
#[derive(ToSchema)]
#[schema(as = Status, rename_all = "lowercase", example = "pending")]
#[expect(
    dead_code,
    reason = "only its schema is used; a test compares it with the domain"
)]
pub(crate) enum StatusSchema {
    Pending,
    Confirmed,
    Shipped,
    Delivered,
    Cancelled,
}

impl<'a> From<&'a Order> for OrderJson<'a> {
    fn from(order: &'a Order) -> Self {
        // No `..`, so that a new field that is missing here does not compile.
        let Order {
            id,
            items,
            currency,
            external_id,
            status,
            customer_id,
            metadata,
            version,
            created_at,
            updated_at,
        } = order;
        Self {
            id: *id,
            items: Lines(items.lines()),
            product_id: items.single().map(|line| line.product_id.as_str()),
            quantity: items.single().map(|line| line.quantity),
            currency: currency.as_ref().map(Currency::as_str),
            total_amount: items.total_amount(),
            external_id: external_id.as_deref(),
            status: status.as_str(),
            customer_id: customer_id.as_deref(),
            metadata: metadata.entries(),
            version: *version,
            created_at: *created_at,
            updated_at: *updated_at,
        }
    }
}

/// Formats a time as RFC 3339 in UTC with microseconds.
pub(crate) fn rfc3339(time: &DateTime<Utc>) -> String {
    time.to_rfc3339_opts(SecondsFormat::Micros, true)
}

fn micros<S: Serializer>(time: &DateTime<Utc>, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&rfc3339(time))
}

/// The maximum length in bytes of an order as JSON: every text has its maximum number of characters, of four bytes, or
/// of six where JSON escapes control characters (`\u0001`), which only the values of metadata may have.
pub(crate) const LONGEST_ORDER: usize = {
    let short_text = 4 * ShortText::MAX_CHARS;
    let line =
        r#"{"product_id":"","quantity":1000000,"unit_amount":-1000000000000},"#.len() + short_text;
    let entry = r#""":"","#.len() + 4 * Metadata::MAX_KEY_CHARS + 6 * Metadata::MAX_VALUE_CHARS;
    // The external id and the customer.
    let others = OTHER_MEMBERS + 2 * short_text;
    MAX_LINES * line + Metadata::MAX_ENTRIES * entry + others
};

/// The maximum length in bytes of the names of the members, and of the members without a text of the client.
const OTHER_MEMBERS: usize = 448;

/// The typical length in bytes of an order as JSON. With this capacity, most orders need a single allocation.
const TYPICAL_BYTES: usize = 448;

/// Formats an order as JSON.
///
/// # Errors
/// Never in practice: every value in an order can be written as JSON.
pub(crate) fn order(order: &Order) -> Result<String, serde_json::Error> {
    let mut json = Vec::with_capacity(TYPICAL_BYTES);
    serde_json::to_writer(&mut json, &OrderJson::from(order))?;
    String::from_utf8(json).map_err(serde::ser::Error::custom)
}

/// Formats a list of orders as a JSON array.
///
/// # Errors
/// Like [`order`].
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

/// Formats each order as a line of JSON, with a line feed after each (NDJSON). JSON as it is written here contains no
/// line feed.
///
/// # Errors
/// Like [`order`].
pub(crate) fn lines(orders: &[Order]) -> Result<Bytes, serde_json::Error> {
    let mut json = Vec::with_capacity(orders.len() * TYPICAL_BYTES);
    for order in orders {
        serde_json::to_writer(&mut json, &OrderJson::from(order))?;
        json.push(b'\n');
    }
    Ok(json.into())
}

/// Returns a hash of a request to create an order. White space, the order of keys, explicit defaults, and the form
/// of a single line do not change it, because a [`NewOrder`] no longer contains them.
///
/// # Errors
/// Like [`order`].
pub(crate) fn request_hash(new: &NewOrder) -> Result<[u8; 32], serde_json::Error> {
    // An array with a fixed order of members has a single form.
    let canonical = serde_json::to_vec(&(
        Lines(new.items.lines()),
        new.currency.as_ref().map(Currency::as_str),
        new.external_id.as_ref().map(ShortText::as_str),
        new.customer_id.as_ref().map(ShortText::as_str),
        new.metadata.entries(),
    ))?;
    Ok(Sha256::digest(canonical).into())
}

#[cfg(test)]
mod tests;
