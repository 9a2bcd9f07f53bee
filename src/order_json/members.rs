//! An object with the members of a new order and others.
//!
//! Not derived with `#[serde(flatten)]`, which would copy each member into a tree first, and cannot be combined with
//! `deny_unknown_fields`.

use std::borrow::Cow;
use std::fmt;
use std::marker::PhantomData;

use serde::de::value::MapAccessDeserializer;
use serde::de::{DeserializeSeed, IntoDeserializer as _, MapAccess, Visitor};
use serde::{Deserialize, Deserializer};

use super::new_order::NewOrderBody;

/// The members of an object besides those of a new order.
pub(crate) trait OtherMembers: Default {
    /// Their names. A name that a new order also has is read here.
    const NAMES: &'static [&'static str];

    /// Reads the value of the member with this name.
    ///
    /// # Errors
    /// When the value has another type, or the object has the member twice.
    fn read<'de, A: MapAccess<'de>>(
        &mut self,
        name: &'static str,
        values: &mut A,
    ) -> Result<(), A::Error>;
}

/// Reads the value of a member, which must not have been read yet.
///
/// # Errors
/// As [`OtherMembers::read`].
pub(crate) fn read_once<'de, T: Deserialize<'de>, A: MapAccess<'de>>(
    member: &mut Option<T>,
    name: &'static str,
    values: &mut A,
) -> Result<(), A::Error> {
    let value = values.next_value()?;
    if member.replace(value).is_some() {
        return Err(serde::de::Error::duplicate_field(name));
    }
    Ok(())
}

/// A new order with other members, not validated yet.
pub(crate) struct WithOthers<O> {
    pub(crate) order: NewOrderBody,
    pub(crate) others: O,
}

impl<'de, O: OtherMembers> Deserialize<'de> for WithOthers<O> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct ObjectVisitor<O>(PhantomData<O>);
        impl<'de, O: OtherMembers> Visitor<'de> for ObjectVisitor<O> {
            type Value = WithOthers<O>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an order")
            }

            fn visit_map<A: MapAccess<'de>>(self, members: A) -> Result<Self::Value, A::Error> {
                let mut others = O::default();
                let order = OrderMembers {
                    members,
                    others: &mut others,
                };
                Ok(WithOthers {
                    order: NewOrderBody::deserialize(MapAccessDeserializer::new(order))?,
                    others,
                })
            }
        }
        deserializer.deserialize_map(ObjectVisitor(PhantomData))
    }
}

/// The members of an object without those that `others` reads.
struct OrderMembers<'o, A, O> {
    members: A,
    others: &'o mut O,
}

impl<'de, A: MapAccess<'de>, O: OtherMembers> MapAccess<'de> for OrderMembers<'_, A, O> {
    type Error = A::Error;

    fn next_key_seed<K: DeserializeSeed<'de>>(
        &mut self,
        mut seed: K,
    ) -> Result<Option<K::Value>, A::Error> {
        loop {
            let names = NameSeed {
                of_order: seed,
                others: O::NAMES,
            };
            let (name, unused) = match self.members.next_key_seed(names)? {
                None => return Ok(None),
                Some(Name::OfOrder(value)) => return Ok(Some(value)),
                Some(Name::Other(name, unused)) => (name, unused),
            };
            self.others.read(name, &mut self.members)?;
            seed = unused;
        }
    }

    fn next_value_seed<V: DeserializeSeed<'de>>(&mut self, seed: V) -> Result<V::Value, A::Error> {
        self.members.next_value_seed(seed)
    }
}

/// Passes the name of a member to the seed `of_order`, unless it is one of the others. Then the seed is returned for the
/// next name.
struct NameSeed<K> {
    of_order: K,
    others: &'static [&'static str],
}

enum Name<V, K> {
    OfOrder(V),
    Other(&'static str, K),
}

impl<'de, K: DeserializeSeed<'de>> DeserializeSeed<'de> for NameSeed<K> {
    type Value = Name<K::Value, K>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        let name = deserializer.deserialize_identifier(NameVisitor)?;
        if let Some(other) = self.others.iter().find(|other| **other == name) {
            return Ok(Name::Other(other, self.of_order));
        }
        self.of_order
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
