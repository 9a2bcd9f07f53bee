//! An order and its creation.

use std::collections::BTreeMap;

use chrono::{DateTime, SubsecRound as _, Utc};
use uuid::Uuid;

use super::{Currency, Items, ItemsDraft, Metadata, ShortText, Status, UnknownCurrency, Violation};

/// The maximum quantity of one line.
pub const MAX_QUANTITY: i32 = 1_000_000;

/// A number of pieces from 1 to [`MAX_QUANTITY`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Quantity(i32);

/// The number is not a quantity.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("must be from 1 to {MAX_QUANTITY}, is {0}")]
pub struct QuantityError(i64);

impl Quantity {
    /// Accepts a number in range.
    ///
    /// # Errors
    /// When it is out of range.
    pub fn parse(number: i64) -> Result<Self, QuantityError> {
        i32::try_from(number)
            .ok()
            .filter(|n| (1..=MAX_QUANTITY).contains(n))
            .map(Self)
            .ok_or(QuantityError(number))
    }

    /// The number of pieces.
    pub const fn get(self) -> i32 {
        self.0
    }
}

/// The order that a client requests, not validated yet.
#[derive(Clone, Debug, Default)]
pub struct Draft {
    /// The lines.
    pub items: ItemsDraft,
    /// The currency of the amounts of the lines.
    pub currency: Option<String>,
    /// The client's own reference.
    pub external_id: Option<String>,
    /// The customer, if known.
    pub customer_id: Option<String>,
    /// Key-value pairs for the client's own use.
    pub metadata: BTreeMap<String, String>,
}

/// A legal order that has not been created yet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewOrder {
    /// The lines. They have amounts exactly if there is a currency.
    pub items: Items,
    /// The currency of the amounts.
    pub currency: Option<Currency>,
    /// The client's own reference, unique in its tenant.
    pub external_id: Option<ShortText>,
    /// The customer, if known.
    pub customer_id: Option<ShortText>,
    /// Key-value pairs for the client's own use.
    pub metadata: Metadata,
}

impl NewOrder {
    /// Validates a draft.
    ///
    /// # Errors
    /// Every violation found, not only the first.
    pub fn parse(draft: Draft) -> Result<Self, Vec<Violation>> {
        Self::parse_with(draft, |code| {
            code.parse()
                .map_err(|error: UnknownCurrency| error.to_string())
        })
    }

    /// Validates a draft whose currency `parse_currency` validates.
    pub(super) fn parse_with(
        draft: Draft,
        parse_currency: impl Fn(&str) -> Result<Currency, String>,
    ) -> Result<Self, Vec<Violation>> {
        let mut violations = Vec::new();
        let items = Items::parse(draft.items).map_err(|found| violations.extend(found));
        let currency = draft.currency.map(|code| parse_currency(&code));
        let currency = currency
            .transpose()
            .map_err(|detail| violations.push(Violation::new("/currency", detail)));
        if let (Ok(items), Ok(currency)) = (&items, &currency) {
            match (items.total_amount(), currency) {
                (Some(_), None) => {
                    let detail = "must be given, because the lines have amounts";
                    violations.push(Violation::new("/currency", detail));
                }
                (None, Some(_)) => {
                    let detail = "must not be given, because the lines have no amounts";
                    violations.push(Violation::new("/currency", detail));
                }
                (Some(_), Some(_)) | (None, None) => {}
            }
        }
        let mut short_text = |pointer, text: Option<String>| {
            text.map(ShortText::parse)
                .transpose()
                .map_err(|detail| violations.push(Violation::new(pointer, detail)))
        };
        let external_id = short_text("/external_id", draft.external_id);
        let customer_id = short_text("/customer_id", draft.customer_id);
        let metadata = Metadata::parse(draft.metadata).map_err(|found| violations.extend(found));
        match (items, currency, external_id, customer_id, metadata) {
            (Ok(items), Ok(currency), Ok(external_id), Ok(customer_id), Ok(metadata))
                if violations.is_empty() =>
            {
                Ok(Self {
                    items,
                    currency,
                    external_id,
                    customer_id,
                    metadata,
                })
            }
            _ => Err(violations),
        }
    }

    /// Creates the order: pending, with version 1, at `now` truncated to whole microseconds, the resolution of
    /// PostgreSQL's `timestamptz`.
    pub fn create(self, id: Uuid, now: DateTime<Utc>) -> Order {
        let now = now.trunc_subsecs(6);
        Order {
            id,
            items: self.items,
            currency: self.currency,
            external_id: self.external_id.map(ShortText::into_string),
            status: Status::Pending,
            customer_id: self.customer_id.map(ShortText::into_string),
            metadata: self.metadata,
            version: 1,
            created_at: now,
            updated_at: now,
        }
    }
}

/// A version of an order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Order {
    /// A UUIDv7 (RFC 9562): later orders have larger ids.
    pub id: Uuid,
    /// The lines. They have amounts exactly if there is a currency.
    pub items: Items,
    /// The currency of the amounts.
    pub currency: Option<Currency>,
    /// The client's own reference, unique in its tenant.
    pub external_id: Option<String>,
    /// The current status.
    pub status: Status,
    /// The customer, if known.
    pub customer_id: Option<String>,
    /// Key-value pairs for the client's own use.
    pub metadata: Metadata,
    /// 1 for a new order, incremented by each update.
    pub version: i32,
    /// When it was created, in whole microseconds.
    pub created_at: DateTime<Utc>,
    /// When it was updated last, in whole microseconds.
    pub updated_at: DateTime<Utc>,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::LineDraft;

    fn draft() -> Draft {
        Draft {
            items: single(3, None),
            ..Draft::default()
        }
    }

    fn single(quantity: i64, unit_amount: Option<i64>) -> ItemsDraft {
        ItemsDraft::Single(LineDraft {
            product_id: "sku-1".to_owned(),
            quantity,
            unit_amount,
        })
    }

    fn pointers(draft: Draft) -> Vec<String> {
        let violations = NewOrder::parse(draft).unwrap_err().into_iter();
        violations.map(|violation| violation.pointer).collect()
    }

    #[test]
    fn quantity_has_inclusive_bounds() {
        for (number, legal) in [
            (0, false),
            (1, true),
            (1_000_000, true),
            (1_000_001, false),
            (-1, false),
            (i64::MAX, false),
        ] {
            assert_eq!(Quantity::parse(number).is_ok(), legal, "{number}");
        }
    }

    #[test]
    fn every_violation_is_reported() {
        let wrong = Draft {
            items: single(0, None),
            currency: Some("XYZ".to_owned()),
            external_id: Some(" ".to_owned()),
            customer_id: Some("\0".to_owned()),
            metadata: BTreeMap::from([(String::new(), String::new())]),
        };
        assert_eq!(
            pointers(wrong),
            [
                "/quantity",
                "/currency",
                "/external_id",
                "/customer_id",
                "/metadata/"
            ]
        );
    }

    #[test]
    fn an_order_has_a_currency_exactly_if_its_lines_have_amounts() {
        let with = |unit_amount, currency: Option<&str>| Draft {
            items: single(1, unit_amount),
            currency: currency.map(str::to_owned),
            ..Draft::default()
        };
        assert!(NewOrder::parse(with(None, None)).is_ok());
        assert!(NewOrder::parse(with(Some(5), Some("EUR"))).is_ok());
        assert_eq!(pointers(with(Some(5), None)), ["/currency"]);
        assert_eq!(pointers(with(None, Some("EUR"))), ["/currency"]);
    }

    #[test]
    fn a_new_order_is_pending_and_has_version_one_and_whole_microseconds() {
        let now = DateTime::from_timestamp_nanos(1_000_000_123_456_789);
        let order = NewOrder::parse(draft()).unwrap().create(Uuid::nil(), now);
        assert_eq!((order.status, order.version), (Status::Pending, 1));
        assert_eq!(order.created_at.timestamp_subsec_nanos(), 123_456_000);
        assert_eq!(order.created_at, order.updated_at);
    }
}
