//! An order and its creation.

use std::collections::BTreeMap;

use chrono::{DateTime, SubsecRound as _, Utc};
use uuid::Uuid;

use super::{Metadata, ShortText, Status, Violation};

/// The maximum quantity of one order.
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
    /// The product.
    pub product_id: String,
    /// The number of pieces.
    pub quantity: i64,
    /// The customer, if known.
    pub customer_id: Option<String>,
    /// Key-value pairs for the client's own use.
    pub metadata: BTreeMap<String, String>,
}

/// A legal order that has not been created yet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewOrder {
    /// The product.
    pub product_id: ShortText,
    /// The number of pieces.
    pub quantity: Quantity,
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
        let mut violations = Vec::new();
        let product_id = ShortText::parse(draft.product_id)
            .map_err(|detail| violations.push(Violation::new("/product_id", detail)));
        let quantity = Quantity::parse(draft.quantity)
            .map_err(|detail| violations.push(Violation::new("/quantity", detail)));
        let customer_id = draft
            .customer_id
            .map(ShortText::parse)
            .transpose()
            .map_err(|detail| violations.push(Violation::new("/customer_id", detail)));
        let metadata = Metadata::parse(draft.metadata).map_err(|found| violations.extend(found));
        match (product_id, quantity, customer_id, metadata) {
            (Ok(product_id), Ok(quantity), Ok(customer_id), Ok(metadata)) => Ok(Self {
                product_id,
                quantity,
                customer_id,
                metadata,
            }),
            _ => Err(violations),
        }
    }

    /// Creates the order: pending, with version 1, at `now` truncated to whole microseconds, the resolution of
    /// PostgreSQL's `timestamptz`.
    pub fn create(self, id: Uuid, now: DateTime<Utc>) -> Order {
        let now = now.trunc_subsecs(6);
        Order {
            id,
            product_id: self.product_id.into_string(),
            quantity: self.quantity.get(),
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
    /// The product.
    pub product_id: String,
    /// The number of pieces.
    pub quantity: i32,
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

    fn draft() -> Draft {
        Draft {
            product_id: "sku-1".to_owned(),
            quantity: 3,
            ..Draft::default()
        }
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
            product_id: String::new(),
            quantity: 0,
            customer_id: Some("\0".to_owned()),
            metadata: BTreeMap::from([(String::new(), String::new())]),
        };
        let pointers: Vec<_> = NewOrder::parse(wrong)
            .unwrap_err()
            .into_iter()
            .map(|violation| violation.pointer)
            .collect();
        assert_eq!(
            pointers,
            ["/product_id", "/quantity", "/customer_id", "/metadata/"]
        );
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
