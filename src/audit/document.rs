//! The JSON of an order, as events and idempotency keys store it.

use std::borrow::Cow;
use std::fmt;

use chrono::{DateTime, Utc};
use serde::de::{Deserialize, Deserializer, Error, Visitor};
use serde_json::value::RawValue;
use uuid::Uuid;

use crate::domain::Status;

/// A text that is copied only if JSON has escaped a part of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Text<'a>(pub(super) Cow<'a, str>);

impl<'de: 'a, 'a> Deserialize<'de> for Text<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Texts;
        impl<'de> Visitor<'de> for Texts {
            type Value = Text<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a string")
            }

            fn visit_borrowed_str<E: Error>(self, text: &'de str) -> Result<Self::Value, E> {
                Ok(Text(Cow::Borrowed(text)))
            }

            fn visit_str<E: Error>(self, text: &str) -> Result<Self::Value, E> {
                Ok(Text(Cow::Owned(text.to_owned())))
            }
        }
        deserializer.deserialize_str(Texts)
    }
}

/// The members of a document that the audit checks. Metadata and lines are parsed only where they are needed.
#[derive(Debug, serde::Deserialize)]
pub(super) struct Document<'a> {
    pub(super) id: Uuid,
    #[serde(borrow)]
    pub(super) items: &'a RawValue,
    #[serde(borrow)]
    pub(super) product_id: Option<Text<'a>>,
    pub(super) quantity: Option<i64>,
    #[serde(borrow)]
    pub(super) currency: Option<Text<'a>>,
    pub(super) total_amount: Option<i64>,
    #[serde(borrow)]
    pub(super) external_id: Option<Text<'a>>,
    #[serde(deserialize_with = "status")]
    pub(super) status: Status,
    #[serde(borrow)]
    pub(super) customer_id: Option<Text<'a>>,
    #[serde(borrow)]
    pub(super) metadata: &'a RawValue,
    pub(super) version: i32,
    /// Microseconds since 1970.
    #[serde(deserialize_with = "micros")]
    pub(super) created_at: i64,
    /// Microseconds since 1970.
    #[serde(deserialize_with = "micros")]
    pub(super) updated_at: i64,
}

fn status<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Status, D::Error> {
    let text = Text::deserialize(deserializer)?;
    text.0.parse().map_err(D::Error::custom)
}

fn micros<'de, D: Deserializer<'de>>(deserializer: D) -> Result<i64, D::Error> {
    let text = Text::deserialize(deserializer)?;
    let time: DateTime<Utc> = text.0.parse().map_err(|_| D::Error::custom("not a time"))?;
    Ok(time.timestamp_micros())
}

impl<'a> Document<'a> {
    /// Parses a document. The error says which member is wrong, and nothing of its value.
    pub(super) fn parse(json: &'a str) -> Result<Self, String> {
        let document: Self = serde_json::from_str(json).map_err(|error| {
            format!(
                "is not the JSON of an order (line {}, column {})",
                error.line(),
                error.column()
            )
        })?;
        if document.metadata.get().starts_with('{') {
            Ok(document)
        } else {
            Err("is not the JSON of an order: metadata is no object".to_owned())
        }
    }
}

#[derive(serde::Deserialize)]
struct LineDocument<'a> {
    #[serde(borrow)]
    product_id: Text<'a>,
    quantity: i64,
    unit_amount: Option<i64>,
}

/// What the lines of a document determine. The text of the lines is kept to recognise a change.
#[derive(Debug)]
pub(super) struct Lines {
    json: String,
    count: usize,
    /// The sum of quantity times unit amount; `None` if a line has no amount.
    pub(super) total: Option<i128>,
    /// Whether some lines have an amount and others have none.
    pub(super) mixed: bool,
    single: Option<(String, i64)>,
}

impl Lines {
    /// Parses the lines of a document.
    pub(super) fn parse(items: &RawValue) -> Option<Self> {
        let json = items.get();
        let lines: Vec<LineDocument<'_>> = serde_json::from_str(json).ok()?;
        // Saturates only for values that no line may have.
        let amounts = lines.iter().map(|line| {
            let amount = i128::from(line.unit_amount?);
            Some(amount.saturating_mul(i128::from(line.quantity)))
        });
        let total = amounts.into_iter().try_fold(0_i128, |total, amount| {
            amount.map(|amount| total.saturating_add(amount))
        });
        let with_amount = lines.iter().filter(|line| line.unit_amount.is_some());
        let with_amount = with_amount.count();
        Some(Self {
            json: json.to_owned(),
            count: lines.len(),
            total: total.filter(|_| !lines.is_empty()),
            mixed: with_amount > 0 && with_amount < lines.len(),
            single: match lines.as_slice() {
                [line] => Some((line.product_id.0.to_string(), line.quantity)),
                _ => None,
            },
        })
    }

    /// Whether the document has the same lines, in the same form.
    pub(super) fn has_text(&self, items: &RawValue) -> bool {
        self.json == items.get()
    }

    /// Whether the lines mean the same as others.
    pub(super) fn means(&self, others: &Self) -> bool {
        self.json == others.json || same_json(&self.json, &others.json)
    }

    /// Whether there is at least one line, and the document repeats the only one.
    pub(super) fn match_single(&self, document: &Document<'_>) -> bool {
        let product_id = document.product_id.as_ref().map(|text| text.0.as_ref());
        let single = self.single.as_ref();
        self.count > 0
            && product_id == single.map(|(product_id, _)| product_id.as_str())
            && document.quantity == single.map(|(_, quantity)| *quantity)
    }
}

/// Whether two texts are JSON with the same meaning.
pub(super) fn same_json(one: &str, other: &str) -> bool {
    if one == other {
        return true;
    }
    let value = |json| serde_json::from_str::<serde_json::Value>(json).ok();
    value(one).is_some_and(|one| Some(one) == value(other))
}
