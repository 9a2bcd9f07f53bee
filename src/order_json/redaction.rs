//! Removes personal data from stored orders.

use std::borrow::Cow;
use std::fmt;

use chrono::{DateTime, Utc};
use serde::Deserialize;
use serde::de::{Deserializer as _, MapAccess, Visitor};
use serde_json::value::RawValue;

/// Replaces the personal data of a stored order: the customer by `pseudonym`, the external id by null, and the metadata
/// by an empty object. All other bytes stay the same, so the order may have the members of another build, in any order.
/// A member that is absent or null stays so.
///
/// # Errors
/// When the text is not a JSON object.
pub(crate) fn redacted(document: &str, pseudonym: &str) -> Result<String, serde_json::Error> {
    replace_members(document, |name| replacement(name, pseudonym))
}

/// Like [`redacted`], and makes the order that of another version.
///
/// # Errors
/// As [`redacted`].
pub(crate) fn erased_version(
    document: &str,
    pseudonym: &str,
    version: i32,
    updated_at: &DateTime<Utc>,
) -> Result<String, serde_json::Error> {
    replace_members(document, |name| {
        Ok(match name {
            "version" => Some(version.to_string().into()),
            "updated_at" => Some(serde_json::to_string(&super::rfc3339(updated_at))?.into()),
            _ => return replacement(name, pseudonym),
        })
    })
}

/// The customer of a stored order, if it has one.
///
/// # Errors
/// When the text is not a JSON object.
pub(crate) fn customer_of(document: &str) -> Result<Option<String>, serde_json::Error> {
    #[derive(Deserialize)]
    struct Customer {
        customer_id: Option<String>,
    }
    Ok(serde_json::from_str::<Customer>(document)?.customer_id)
}

type Replacement = Result<Option<Cow<'static, str>>, serde_json::Error>;

fn replacement(name: &str, pseudonym: &str) -> Replacement {
    Ok(match name {
        "customer_id" => Some(serde_json::to_string(pseudonym)?.into()),
        "external_id" => Some("null".into()),
        "metadata" => Some("{}".into()),
        _ => None,
    })
}

/// Replaces the values of those members of a JSON object that have a replacement, unless they are null.
fn replace_members(
    document: &str,
    replacement: impl Fn(&str) -> Replacement,
) -> Result<String, serde_json::Error> {
    let mut deserializer = serde_json::Deserializer::from_str(document);
    let members = deserializer.deserialize_map(Members)?;
    deserializer.end()?;
    let mut result = String::with_capacity(document.len());
    let mut copied = 0;
    for (name, value) in members {
        let value = value.get();
        let Some(new) = replacement(&name)?.filter(|_| value != "null") else {
            continue;
        };
        // The value is a part of the document.
        let start = value.as_ptr().addr() - document.as_ptr().addr();
        result.push_str(document.get(copied..start).unwrap_or_default());
        result.push_str(&new);
        copied = start + value.len();
    }
    result.push_str(document.get(copied..).unwrap_or_default());
    Ok(result)
}

/// Reads the names of the members of an object, and the texts of their values.
struct Members;

impl<'de> Visitor<'de> for Members {
    type Value = Vec<(String, &'de RawValue)>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut members = Vec::new();
        while let Some(member) = map.next_entry()? {
            members.push(member);
        }
        Ok(members)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::{Draft, ItemsDraft, LineDraft, NewOrder, Order};
    use crate::order_json::order;
    use arbtest::arbitrary::{Result, Unstructured};
    use arbtest::arbtest;
    use serde_json::{Value, json};
    use uuid::Uuid;

    const PSEUDONYM: &str = "erased-2f0c3d0e-6a3c-4f55-9d35-111111111111";

    fn text(u: &mut Unstructured<'_>, most: usize) -> Result<String> {
        let length = u.int_in_range(1..=most)?;
        let character = |u: &mut Unstructured<'_>| {
            u.choose(&['a', '"', '\\', '{', '}', 'é', '😀', ',', ':'])
                .copied()
        };
        (0..length).map(|_| character(u)).collect()
    }

    fn some_order(u: &mut Unstructured<'_>) -> Result<Order> {
        let maybe = |u: &mut Unstructured<'_>| {
            if u.arbitrary()? {
                text(u, 20).map(Some)
            } else {
                Ok(None)
            }
        };
        let line = |u: &mut Unstructured<'_>| {
            Ok(LineDraft {
                // A product may be called as a member.
                product_id: if u.arbitrary()? {
                    "metadata".to_owned()
                } else {
                    text(u, 20)?
                },
                quantity: u.int_in_range(1..=9)?,
                unit_amount: None,
            })
        };
        let lines = u.int_in_range(1..=3)?;
        let entries = u.int_in_range(0..=3)?;
        let draft = Draft {
            items: ItemsDraft::Listed((0..lines).map(|_| line(u)).collect::<Result<_>>()?),
            currency: None,
            external_id: maybe(u)?,
            customer_id: maybe(u)?,
            metadata: (0..entries)
                .map(|_| {
                    Ok((
                        if u.arbitrary()? {
                            "customer_id".to_owned()
                        } else {
                            text(u, 20)?
                        },
                        text(u, 20)?,
                    ))
                })
                .collect::<Result<_>>()?,
        };
        Ok(NewOrder::parse(draft)
            .unwrap()
            .create(Uuid::from_u128(u.arbitrary()?), DateTime::UNIX_EPOCH))
    }

    #[test]
    fn a_redacted_document_is_that_of_the_order_without_personal_data() {
        arbtest(|u| {
            let before = some_order(u)?;
            let document = order(&before).unwrap();
            let after = redacted(&document, PSEUDONYM).unwrap();
            let expected = Order {
                customer_id: before.customer_id.clone().map(|_| PSEUDONYM.to_owned()),
                external_id: None,
                metadata: crate::domain::Metadata::default(),
                ..before.clone()
            };
            assert_eq!(after, order(&expected).unwrap());
            assert_eq!(redacted(&after, PSEUDONYM).unwrap(), after);
            assert_eq!(customer_of(&document).unwrap(), before.customer_id);
            let next = before.clone().erased(PSEUDONYM, Utc::now());
            if before.customer_id.is_some() {
                let document =
                    erased_version(&document, PSEUDONYM, next.version, &next.updated_at).unwrap();
                assert_eq!(document, order(&next).unwrap());
            }
            Ok(())
        });
    }

    #[test]
    fn the_form_of_other_members_stays() {
        let document = concat!(
            "{ \"b\" : [1, {\"customer_id\": \"stays\"}],\n\t\"metadata\":{\"a\":{\"customer_id\":1}} ,",
            "\"customer\\u005fid\":\"x\",\"customer_id\": \"y\",\"number\":1.50, \"external_id\" :null }"
        );
        assert_eq!(
            redacted(document, "p\"").unwrap(),
            concat!(
                "{ \"b\" : [1, {\"customer_id\": \"stays\"}],\n\t\"metadata\":{} ,",
                "\"customer\\u005fid\":\"p\\\"\",\"customer_id\": \"p\\\"\",\"number\":1.50, \"external_id\" :null }"
            )
        );
        assert_eq!(redacted("{}", "p").unwrap(), "{}");
    }

    #[test]
    fn a_document_that_is_no_object_is_an_error() {
        for document in ["", "[]", "null", "{", "{} {}", "\"customer_id\""] {
            assert!(redacted(document, "p").is_err(), "{document}");
        }
        let value: Value =
            serde_json::from_str(&redacted(r#"{"metadata":{"a":"b"}}"#, "p").unwrap()).unwrap();
        assert_eq!(value, json!({"metadata": {}}));
    }
}
