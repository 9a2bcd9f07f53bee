//! Erasure of the personal data of an order.

use chrono::{DateTime, SubsecRound as _, Utc};

use super::{Metadata, Order};

impl Order {
    /// Returns the next version of the order, without personal data: with a pseudonym as its customer, and without
    /// metadata and external id. Lines, amounts and status stay.
    pub fn erased(self, pseudonym: &str, now: DateTime<Utc>) -> Self {
        Self {
            customer_id: Some(pseudonym.to_owned()),
            external_id: None,
            metadata: Metadata::default(),
            version: self.version + 1,
            // As for an update, times must not go backwards.
            updated_at: now.trunc_subsecs(6).max(self.updated_at),
            ..self
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use uuid::Uuid;

    use super::*;
    use crate::domain::{Draft, ItemsDraft, NewOrder};

    #[test]
    fn an_erased_order_is_the_next_version_without_personal_data() {
        let draft = Draft {
            items: ItemsDraft::single("sku-1", 3),
            external_id: Some("shop-1".to_owned()),
            customer_id: Some("ann".to_owned()),
            metadata: BTreeMap::from([("phone".to_owned(), "123".to_owned())]),
            ..Draft::default()
        };
        let now = DateTime::from_timestamp_nanos(1_000_000_123_456_789);
        let order = NewOrder::parse(draft).unwrap().create(Uuid::nil(), now);
        let later = now + chrono::Duration::seconds(1);
        let expected = Order {
            customer_id: Some("erased-1".to_owned()),
            external_id: None,
            metadata: Metadata::default(),
            version: 2,
            updated_at: later.trunc_subsecs(6),
            ..order.clone()
        };
        assert_eq!(order.clone().erased("erased-1", later), expected);
        let earlier = now - chrono::Duration::seconds(1);
        let erased = order.clone().erased("erased-1", earlier);
        assert_eq!(erased.updated_at, order.updated_at);
    }
}
