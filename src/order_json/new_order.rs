//! The JSON of a new order, as clients send it.

use std::collections::BTreeMap;
use std::fmt;
use std::marker::PhantomData;

use serde::de::value::MapAccessDeserializer;
use serde::de::{Error as _, MapAccess, Visitor};
use serde::{Deserialize, Deserializer};
use serde_json::json;
use utoipa::ToSchema;

use super::integer::{integer, optional_integer, present_integer};
use super::schemas;
use crate::domain::{Draft, ItemsDraft, LineDraft, NewOrder, Violation};

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

impl NewOrderBody {
    /// Adds the product and the quantity of the only line, which documents of orders have besides `items`. Null counts
    /// as missing.
    ///
    /// # Errors
    /// When the body has `items` and they are not those of its only line.
    pub(crate) fn add_only_line(
        &mut self,
        product_id: Option<String>,
        quantity: Option<i64>,
    ) -> Result<(), Vec<Violation>> {
        let Some(lines) = &self.items else {
            self.product_id = product_id;
            self.quantity = quantity;
            return Ok(());
        };
        let only = match lines.as_slice() {
            [Object(line)] => Some(line),
            _ => None,
        };
        let same_product = product_id
            .is_none_or(|product_id| only.is_some_and(|line| line.product_id == product_id));
        let same_quantity =
            quantity.is_none_or(|quantity| only.is_some_and(|line| line.quantity == quantity));
        let checked = [("/product_id", same_product), ("/quantity", same_quantity)];
        let violations: Vec<_> = checked
            .into_iter()
            .filter(|(_, same)| !same)
            .map(|(pointer, _)| {
                Violation::new(
                    pointer,
                    "must be that of the only line, or null if there are several",
                )
            })
            .collect();
        if violations.is_empty() {
            Ok(())
        } else {
            Err(violations)
        }
    }

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

impl TryFrom<NewOrderBody> for Draft {
    type Error = Vec<Violation>;

    fn try_from(mut body: NewOrderBody) -> Result<Self, Vec<Violation>> {
        Ok(Self {
            items: body.items()?,
            currency: body.currency,
            external_id: body.external_id,
            customer_id: body.customer_id,
            metadata: body.metadata,
        })
    }
}

impl TryFrom<NewOrderBody> for NewOrder {
    type Error = Vec<Violation>;

    fn try_from(body: NewOrderBody) -> Result<Self, Vec<Violation>> {
        Self::parse(body.try_into()?)
    }
}

/// Reads a member that is present. Null is an error, and differs from a missing member.
pub(crate) fn present<'de, T: Deserialize<'de>, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<T>, D::Error> {
    T::deserialize(deserializer).map(Some)
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
pub(crate) struct UniqueEntries<V>(pub(crate) BTreeMap<String, V>);

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
