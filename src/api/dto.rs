//! The forms on the wire.

use std::collections::BTreeMap;
use std::fmt;

use chrono::{DateTime, SecondsFormat, Utc};
use serde::de::{Error as _, MapAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use utoipa::ToSchema;
use uuid::Uuid;

use crate::domain::{Draft, Order};

/// An order to place.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = NewOrder, example = json!({"product_id": "sku-1", "quantity": 3}))]
pub(super) struct NewOrderBody {
    /// The product: not blank, no control characters.
    #[schema(min_length = 1, max_length = 128, example = "sku-1")]
    product_id: String,
    /// How many.
    #[schema(minimum = 1, maximum = 1_000_000, example = 3)]
    quantity: i64,
    /// For whom: not blank, no control characters.
    #[serde(default)]
    #[schema(min_length = 1, max_length = 128, example = "customer-7")]
    customer_id: Option<String>,
    /// Notes of your own: at most 50, keys to 40 characters, values to 500.
    #[serde(default, deserialize_with = "unique_entries")]
    #[schema(example = json!({"colour": "blue"}))]
    metadata: BTreeMap<String, String>,
}

impl From<NewOrderBody> for Draft {
    fn from(body: NewOrderBody) -> Self {
        Self {
            product_id: body.product_id,
            quantity: body.quantity,
            customer_id: body.customer_id,
            metadata: body.metadata,
        }
    }
}

/// An order.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Order)]
pub(super) struct OrderBody<'a> {
    /// A UUIDv7: later orders have larger ids.
    #[schema(example = "0199a3c4-5d6e-7f80-9a1b-2c3d4e5f6071")]
    id: Uuid,
    /// The product.
    #[schema(example = "sku-1")]
    product_id: &'a str,
    /// How many.
    #[schema(example = 3)]
    quantity: i32,
    /// Where it stands: pending, confirmed, shipped, delivered or cancelled.
    #[schema(example = "pending")]
    status: &'static str,
    /// For whom, if known.
    #[schema(required = true)]
    customer_id: Option<&'a str>,
    /// The client's notes.
    #[schema(example = json!({"colour": "blue"}))]
    metadata: &'a BTreeMap<String, String>,
    /// 1 at first, one more with every change.
    #[schema(example = 1)]
    version: i32,
    /// When it was placed: UTC, with microseconds.
    #[serde(serialize_with = "micros")]
    created_at: DateTime<Utc>,
    /// When it changed last: UTC, with microseconds.
    #[serde(serialize_with = "micros")]
    updated_at: DateTime<Utc>,
}

impl<'a> From<&'a Order> for OrderBody<'a> {
    fn from(order: &'a Order) -> Self {
        Self {
            id: order.id,
            product_id: &order.product_id,
            quantity: order.quantity,
            status: order.status.as_str(),
            customer_id: order.customer_id.as_deref(),
            metadata: order.metadata.entries(),
            version: order.version,
            created_at: order.created_at,
            updated_at: order.updated_at,
        }
    }
}

fn micros<S: Serializer>(time: &DateTime<Utc>, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&time.to_rfc3339_opts(SecondsFormat::Micros, true))
}

/// A map of texts. A key that comes twice is refused: one of its values would be lost.
fn unique_entries<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<BTreeMap<String, String>, D::Error> {
    struct Entries;
    impl<'de> Visitor<'de> for Entries {
        type Value = BTreeMap<String, String>;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("an object of strings")
        }

        fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
            let mut entries = BTreeMap::new();
            while let Some(key) = map.next_key::<String>()? {
                let value = map.next_value()?;
                if entries.insert(key, value).is_some() {
                    return Err(A::Error::custom("a key comes twice"));
                }
            }
            Ok(entries)
        }
    }
    deserializer.deserialize_map(Entries)
}
