//! Request bodies.

use std::collections::BTreeMap;
use std::fmt;
use std::marker::PhantomData;

use serde::de::{Error as _, MapAccess, Visitor};
use serde::{Deserialize, Deserializer};
use utoipa::ToSchema;

use super::openapi::schemas;
use crate::domain::{Draft, MetadataPatch, Patch, Quantity, UnknownStatus, Violation};
use crate::http::problem::Problem;
use crate::http::request::body::{self, Body};
use crate::order_json::StatusSchema;

/// A new order.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = NewOrder, example = json!({"product_id": "sku-1", "quantity": 3}))]
pub(crate) struct NewOrderBody {
    #[schema(schema_with = schemas::product_id)]
    product_id: String,
    /// The number of pieces.
    #[schema(minimum = 1, maximum = 1_000_000, example = 3)]
    #[serde(deserialize_with = "integer")]
    quantity: i64,
    #[serde(default)]
    #[schema(schema_with = schemas::customer_id, required = false)]
    customer_id: Option<String>,
    #[serde(default, deserialize_with = "unique_entries")]
    #[schema(schema_with = schemas::metadata, required = false)]
    metadata: BTreeMap<String, String>,
}

impl Body for NewOrderBody {
    const MEDIA_TYPES: &'static [&'static str] = &["application/json"];

    fn parse(json: &[u8]) -> Result<Self, Problem> {
        body::parse("body", json)
    }
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

/// A change of an order (JSON Merge Patch, RFC 7396). Members that are left out stay unchanged.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = OrderPatch, example = json!({"status": "confirmed"}))]
pub(crate) struct OrderPatchBody {
    /// The new status.
    #[serde(default, deserialize_with = "present")]
    #[schema(value_type = StatusSchema, required = false)]
    status: Option<String>,
    /// The new quantity; only while the order is pending.
    #[serde(default, deserialize_with = "present_integer")]
    #[schema(value_type = i64, required = false, minimum = 1, maximum = 1_000_000, example = 5)]
    quantity: Option<i64>,
    #[serde(default, deserialize_with = "present_entries")]
    #[schema(schema_with = schemas::optional_metadata_patch, required = false)]
    metadata: Option<MetadataPatch>,
}

impl Body for OrderPatchBody {
    const MEDIA_TYPES: &'static [&'static str] =
        &["application/merge-patch+json", "application/json"];
    /// The response is as large as the order.
    const LARGE_RESPONSE: bool = true;

    fn parse(json: &[u8]) -> Result<Self, Problem> {
        body::parse("body", json)
    }
}

impl TryFrom<OrderPatchBody> for Patch {
    type Error = Vec<Violation>;

    fn try_from(body: OrderPatchBody) -> Result<Self, Vec<Violation>> {
        let mut violations = Vec::new();
        let status = body.status.map(|status| {
            status
                .parse()
                .map_err(|error: UnknownStatus| {
                    violations.push(Violation::new("/status", error.to_string()));
                })
                .ok()
        });
        let quantity = body.quantity.map(|quantity| {
            Quantity::parse(quantity)
                .map_err(|detail| violations.push(Violation::new("/quantity", detail)))
                .ok()
        });
        if let Some(Err(found)) = body.metadata.as_ref().map(MetadataPatch::check) {
            violations.extend(found);
        }
        if !violations.is_empty() {
            return Err(violations);
        }
        Ok(Self {
            status: status.flatten(),
            quantity: quantity.flatten(),
            metadata: body.metadata,
        })
    }
}

/// Reads a member that is present. Null is an error, and differs from a missing member.
fn present<'de, T: Deserialize<'de>, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<T>, D::Error> {
    T::deserialize(deserializer).map(Some)
}

/// Reads an integer. `3.0` is an integer: JSON Schema (section 6.1.1) accepts any number with a zero fraction, and
/// RFC 8259 has a single number type.
fn integer<'de, D: Deserializer<'de>>(deserializer: D) -> Result<i64, D::Error> {
    struct IntegerVisitor;
    impl Visitor<'_> for IntegerVisitor {
        type Value = i64;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("an integer")
        }

        fn visit_i64<E: serde::de::Error>(self, number: i64) -> Result<i64, E> {
            Ok(number)
        }

        fn visit_u64<E: serde::de::Error>(self, number: u64) -> Result<i64, E> {
            // The number is out of range in any case, and the domain reports that.
            Ok(i64::try_from(number).unwrap_or(i64::MAX))
        }

        fn visit_f64<E: serde::de::Error>(self, number: f64) -> Result<i64, E> {
            // Integers are exact up to 2^53, far above the maximum quantity.
            if number.fract() == 0.0 && number.abs() < 9e15 {
                format!("{number:.0}").parse().map_err(E::custom)
            } else {
                Err(E::invalid_type(serde::de::Unexpected::Float(number), &self))
            }
        }
    }
    deserializer.deserialize_any(IntegerVisitor)
}

fn present_integer<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<i64>, D::Error> {
    integer(deserializer).map(Some)
}

fn present_entries<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<MetadataPatch>, D::Error> {
    let entries = Option::<UniqueEntries<Option<String>>>::deserialize(deserializer)?;
    Ok(Some(match entries {
        None => MetadataPatch::Clear,
        Some(UniqueEntries(entries)) => MetadataPatch::Merge(entries),
    }))
}

fn unique_entries<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<BTreeMap<String, String>, D::Error> {
    UniqueEntries::deserialize(deserializer).map(|entries| entries.0)
}

/// An object without duplicate keys. A duplicate is rejected because one of its values would be lost.
struct UniqueEntries<V>(BTreeMap<String, V>);

impl<'de, V: Deserialize<'de>> Deserialize<'de> for UniqueEntries<V> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Entries<V>(PhantomData<V>);
        impl<'de, V: Deserialize<'de>> Visitor<'de> for Entries<V> {
            type Value = BTreeMap<String, V>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object with string values")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut entries = BTreeMap::new();
                while let Some(key) = map.next_key::<String>()? {
                    let value = map.next_value()?;
                    if entries.insert(key, value).is_some() {
                        return Err(A::Error::custom("duplicate key"));
                    }
                }
                Ok(entries)
            }
        }
        deserializer.deserialize_map(Entries(PhantomData)).map(Self)
    }
}
