//! One order in the request body of a batch: the members of a new order, and its idempotency key.

use std::borrow::Cow;
use std::fmt;

use serde::de::value::MapAccessDeserializer;
use serde::de::{DeserializeSeed, Error as _, IntoDeserializer as _, MapAccess, Visitor};
use serde::{Deserialize, Deserializer};

use crate::api::order_body::NewOrderBody;

/// The member that only orders of a batch have.
pub(super) const IDEMPOTENCY_KEY: &str = "idempotency_key";

/// An order as it is in the body, not validated yet.
pub(super) struct Element {
    pub(super) idempotency_key: Option<String>,
    pub(super) order: NewOrderBody,
}

/// Not derived with `#[serde(flatten)]`, which would copy each member into a tree first, and cannot be combined with
/// `deny_unknown_fields`.
impl<'de> Deserialize<'de> for Element {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct ElementVisitor;
        impl<'de> Visitor<'de> for ElementVisitor {
            type Value = Element;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an order")
            }

            fn visit_map<A: MapAccess<'de>>(self, members: A) -> Result<Element, A::Error> {
                let mut key = None;
                let order = OrderMembers {
                    members,
                    key: &mut key,
                };
                Ok(Element {
                    order: NewOrderBody::deserialize(MapAccessDeserializer::new(order))?,
                    idempotency_key: key.flatten(),
                })
            }
        }
        deserializer.deserialize_map(ElementVisitor)
    }
}

/// The members of an object without the idempotency key, whose value goes to `key`.
struct OrderMembers<'k, A> {
    members: A,
    key: &'k mut Option<Option<String>>,
}

impl<'de, A: MapAccess<'de>> MapAccess<'de> for OrderMembers<'_, A> {
    type Error = A::Error;

    fn next_key_seed<K: DeserializeSeed<'de>>(
        &mut self,
        mut seed: K,
    ) -> Result<Option<K::Value>, A::Error> {
        loop {
            seed = match self.members.next_key_seed(NameSeed(seed))? {
                None => return Ok(None),
                Some(Name::OfOrder(value)) => return Ok(Some(value)),
                Some(Name::IdempotencyKey(seed)) => seed,
            };
            let key = self.members.next_value()?;
            if self.key.replace(key).is_some() {
                return Err(A::Error::duplicate_field(IDEMPOTENCY_KEY));
            }
        }
    }

    fn next_value_seed<V: DeserializeSeed<'de>>(&mut self, seed: V) -> Result<V::Value, A::Error> {
        self.members.next_value_seed(seed)
    }
}

/// Passes the name of a member to a seed, unless it is [`IDEMPOTENCY_KEY`]. Then the seed is returned for the next name.
struct NameSeed<K>(K);

enum Name<V, K> {
    OfOrder(V),
    IdempotencyKey(K),
}

impl<'de, K: DeserializeSeed<'de>> DeserializeSeed<'de> for NameSeed<K> {
    type Value = Name<K::Value, K>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        let name = deserializer.deserialize_identifier(NameVisitor)?;
        if name == IDEMPOTENCY_KEY {
            return Ok(Name::IdempotencyKey(self.0));
        }
        self.0
            .deserialize(name.into_deserializer())
            .map(Name::OfOrder)
    }
}

/// Returns the name, without a copy unless it has escapes.
struct NameVisitor;

impl<'de> Visitor<'de> for NameVisitor {
    type Value = Cow<'de, str>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the name of a member")
    }

    fn visit_borrowed_str<E>(self, name: &'de str) -> Result<Self::Value, E> {
        Ok(name.into())
    }

    fn visit_str<E>(self, name: &str) -> Result<Self::Value, E> {
        Ok(name.to_owned().into())
    }
}
