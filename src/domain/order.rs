//! An order, and how one comes into being.

use std::collections::BTreeMap;

use chrono::{DateTime, SubsecRound as _, Utc};
use uuid::Uuid;

use super::{Metadata, ShortText, Status, Violation};

/// The largest quantity of one order.
pub const MAX_QUANTITY: i32 = 1_000_000;

/// How many pieces: 1 to [`MAX_QUANTITY`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Quantity(i32);

impl Quantity {
    /// Accepts a number in range.
    ///
    /// # Errors
    /// A sentence for a person when it is out of range.
    pub fn parse(number: i64) -> Result<Self, String> {
        i32::try_from(number)
            .ok()
            .filter(|n| (1..=MAX_QUANTITY).contains(n))
            .map(Self)
            .ok_or_else(|| format!("must be from 1 to {MAX_QUANTITY}, is {number}"))
    }

    /// The number.
    pub const fn get(self) -> i32 {
        self.0
    }
}

/// What a client asks for, not yet checked.
#[derive(Clone, Debug, Default)]
pub struct Draft {
    /// The product.
    pub product_id: String,
    /// How many.
    pub quantity: i64,
    /// For whom, if known.
    pub customer_id: Option<String>,
    /// The client's own notes.
    pub metadata: BTreeMap<String, String>,
}

/// A legal order that is not placed yet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewOrder {
    /// The product.
    pub product_id: ShortText,
    /// How many.
    pub quantity: Quantity,
    /// For whom, if known.
    pub customer_id: Option<ShortText>,
    /// The client's own notes.
    pub metadata: Metadata,
}

impl NewOrder {
    /// Decides whether the draft is a legal order.
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

    /// The order as it is when placed: pending, version 1, at `now` cut to whole microseconds,
    /// which is as fine as PostgreSQL's `timestamptz` keeps it.
    pub fn place(self, id: Uuid, now: DateTime<Utc>) -> Order {
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

/// An order as it is stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Order {
    /// A UUIDv7 (RFC 9562): later orders have larger ids.
    pub id: Uuid,
    /// The product.
    pub product_id: String,
    /// How many.
    pub quantity: i32,
    /// Where it stands.
    pub status: Status,
    /// For whom, if known.
    pub customer_id: Option<String>,
    /// The client's own notes.
    pub metadata: Metadata,
    /// 1 at first, one more with every change.
    pub version: i32,
    /// When it was placed, in whole microseconds.
    pub created_at: DateTime<Utc>,
    /// When it changed last, in whole microseconds.
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
    fn a_placed_order_is_pending_version_one_in_whole_microseconds() {
        let now = DateTime::from_timestamp_nanos(1_000_000_123_456_789);
        let order = NewOrder::parse(draft()).unwrap().place(Uuid::nil(), now);
        assert_eq!((order.status, order.version), (Status::Pending, 1));
        assert_eq!(order.created_at.timestamp_subsec_nanos(), 123_456_000);
        assert_eq!(order.created_at, order.updated_at);
    }
}
