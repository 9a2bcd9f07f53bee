//! One order in the request body of a batch: the members of a new order, and its idempotency key.

use serde::de::MapAccess;

use crate::order_json::members::{OtherMembers, WithOthers, read_once};

/// The member that only orders of a batch have.
pub(super) const IDEMPOTENCY_KEY: &str = "idempotency_key";

/// An order as it is in the body, not validated yet.
pub(super) type Element = WithOthers<KeyMember>;

/// The idempotency key of an order in a batch. Null counts as missing.
#[derive(Default)]
pub(super) struct KeyMember(Option<Option<String>>);

impl KeyMember {
    pub(super) fn into_key(self) -> Option<String> {
        self.0.flatten()
    }
}

impl OtherMembers for KeyMember {
    const NAMES: &'static [&'static str] = &[IDEMPOTENCY_KEY];

    fn read<'de, A: MapAccess<'de>>(
        &mut self,
        name: &'static str,
        values: &mut A,
    ) -> Result<(), A::Error> {
        read_once(&mut self.0, name, values)
    }
}
