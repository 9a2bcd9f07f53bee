//! Request bodies.

mod integer;

use std::collections::BTreeMap;
use std::fmt;
use std::marker::PhantomData;

use serde::de::value::MapAccessDeserializer;
use serde::de::{Error as _, MapAccess, Visitor};
use serde::{Deserialize, Deserializer};
use serde_json::json;
use utoipa::ToSchema;

use self::integer::{integer, optional_integer, present_integer};
use super::openapi::schemas;
use crate::domain::{
    Draft, Items, ItemsDraft, ItemsPatch, LineDraft, MetadataPatch, NewOrder, Patch, Quantity,
    UnknownStatus, Violation,
};
use crate::http::problem::Problem;
use crate::http::request::body::{self, Body};
use crate::order_json::StatusSchema;

/// A new order. It has either `items`, or `product_id` and `quantity` (and perhaps `unit_amount`), which mean one line.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = NewOrder, example = json!(basket()))]
pub(crate) struct NewOrderBody {
    /// The lines. Their total is from 0 to 9007199254740991.
    #[serde(default, deserialize_with = "present")]
    #[schema(value_type = Vec<LineBody>, required = false, min_items = 1, max_items = 100)]
    items: Option<Vec<Object<LineBody>>>,
    #[serde(default, deserialize_with = "present")]
    #[schema(schema_with = schemas::product_id, required = false)]
    product_id: Option<String>,
    /// The number of pieces.
    #[serde(default, deserialize_with = "present_integer")]
    #[schema(value_type = i64, required = false, minimum = 1, maximum = 1_000_000, example = 3)]
    quantity: Option<i64>,
    #[serde(default, deserialize_with = "optional_integer")]
    #[schema(schema_with = schemas::unit_amount, required = false)]
    unit_amount: Option<i64>,
    #[serde(default)]
    #[schema(schema_with = schemas::currency, required = false)]
    currency: Option<String>,
    #[serde(default)]
    #[schema(schema_with = schemas::external_id, required = false)]
    external_id: Option<String>,
    #[serde(default)]
    #[schema(schema_with = schemas::customer_id, required = false)]
    customer_id: Option<String>,
    #[serde(default, deserialize_with = "unique_entries")]
    #[schema(schema_with = schemas::metadata, required = false)]
    metadata: BTreeMap<String, String>,
}

/// The example of a new order: two products and a discount.
pub(crate) fn basket() -> serde_json::Value {
    json!({
        "items": [
            {"product_id": "sku-1", "quantity": 2, "unit_amount": 1499},
            {"product_id": "sku-2", "quantity": 1, "unit_amount": 2500},
            {"product_id": "discount", "quantity": 1, "unit_amount": -550},
        ],
        "currency": "EUR",
        "customer_id": "customer-7",
    })
}

/// A line of a new order.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = NewOrderLine)]
pub(crate) struct LineBody {
    #[schema(schema_with = schemas::product_id)]
    product_id: String,
    /// The number of pieces.
    #[schema(minimum = 1, maximum = 1_000_000, example = 3)]
    #[serde(deserialize_with = "integer")]
    quantity: i64,
    #[serde(default, deserialize_with = "optional_integer")]
    #[schema(schema_with = schemas::unit_amount, required = false)]
    unit_amount: Option<i64>,
}

impl From<Object<LineBody>> for LineDraft {
    fn from(Object(line): Object<LineBody>) -> Self {
        Self {
            product_id: line.product_id,
            quantity: line.quantity,
            unit_amount: line.unit_amount,
        }
    }
}

impl Body for NewOrderBody {
    const MEDIA_TYPES: &'static [&'static str] = &["application/json"];

    fn parse(json: &[u8]) -> Result<Self, Problem> {
        body::parse("body", json)
    }
}

impl NewOrderBody {
    /// The lines, from `items` or from the members of a single line.
    fn items(&mut self) -> Result<ItemsDraft, Vec<Violation>> {
        let single = [
            ("/product_id", self.product_id.is_some()),
            ("/quantity", self.quantity.is_some()),
            ("/unit_amount", self.unit_amount.is_some()),
        ];
        if let Some(lines) = self.items.take() {
            let given = single.iter().filter(|(_, given)| *given);
            let detail = "must not be given together with items";
            let violations: Vec<_> = given
                .map(|(pointer, _)| Violation::new(*pointer, detail))
                .collect();
            if violations.is_empty() {
                let lines = lines.into_iter().map(LineDraft::from);
                return Ok(ItemsDraft::Listed(lines.collect()));
            }
            return Err(violations);
        }
        match (self.product_id.take(), self.quantity) {
            (Some(product_id), Some(quantity)) => Ok(ItemsDraft::Single(LineDraft {
                product_id,
                quantity,
                unit_amount: self.unit_amount,
            })),
            (None, None) => Err(missing("items, or product_id and quantity")),
            (None, _) => Err(missing("product_id")),
            (_, None) => Err(missing("quantity")),
        }
    }
}

/// A member is missing. The pointer is that of the object, as for other missing members.
fn missing(member: &str) -> Vec<Violation> {
    vec![Violation::new("", format!("must have {member}"))]
}

impl TryFrom<NewOrderBody> for NewOrder {
    type Error = Vec<Violation>;

    fn try_from(mut body: NewOrderBody) -> Result<Self, Vec<Violation>> {
        Self::parse(Draft {
            items: body.items()?,
            currency: body.currency,
            external_id: body.external_id,
            customer_id: body.customer_id,
            metadata: body.metadata,
        })
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
    /// New lines that replace all lines; only while the order is pending. They have amounts exactly if the order has a
    /// currency.
    #[serde(default, deserialize_with = "present")]
    #[schema(value_type = Vec<LineBody>, required = false, min_items = 1, max_items = 100)]
    items: Option<Vec<Object<LineBody>>>,
    /// The new quantity of the only line; only while the order is pending, and not together with `items`.
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
        let items = body.items.map(|lines| {
            let lines = lines.into_iter().map(LineDraft::from).collect();
            Items::parse(ItemsDraft::Listed(lines))
                .map_err(|found| violations.extend(found))
                .ok()
        });
        if items.is_some() && quantity.is_some() {
            let detail = "must not be given together with items";
            violations.push(Violation::new("/quantity", detail));
        }
        if let Some(Err(found)) = body.metadata.as_ref().map(MetadataPatch::check) {
            violations.extend(found);
        }
        if !violations.is_empty() {
            return Err(violations);
        }
        Ok(Self {
            status: status.flatten(),
            items: items
                .flatten()
                .map(ItemsPatch::Replace)
                .or_else(|| quantity.flatten().map(ItemsPatch::Quantity)),
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

/// A JSON object inside of a body. serde also accepts an array for a struct, member by member. A client that sends one
/// has made a mistake.
#[derive(Debug)]
pub(crate) struct Object<T>(pub(crate) T);

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Object<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct ObjectVisitor<T>(PhantomData<T>);
        impl<'de, T: Deserialize<'de>> Visitor<'de> for ObjectVisitor<T> {
            type Value = T;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<T, A::Error> {
                T::deserialize(MapAccessDeserializer::new(map))
            }
        }
        deserializer
            .deserialize_map(ObjectVisitor(PhantomData))
            .map(Self)
    }
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
