//! An order as the JSON that is stored and sent.

use bytes::Bytes;
use uuid::Uuid;

use super::StoreError;
use super::error::StoreFault;
use crate::domain::{Currency, Metadata, Order};
use crate::order_json;

/// A version of an order, ready to be sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Document {
    /// The order's id.
    pub id: Uuid,
    /// Which version of it.
    pub version: i32,
    /// The order as JSON.
    pub json: Bytes,
}

impl TryFrom<&Order> for Document {
    type Error = StoreError;

    fn try_from(order: &Order) -> Result<Self, StoreError> {
        Ok(Self {
            id: order.id,
            version: order.version,
            json: order_json::order(order).map_err(StoreFault::Json)?.into(),
        })
    }
}

/// Metadata alone as JSON, as the database stores it.
pub(super) fn metadata_json(metadata: &Metadata) -> Result<String, StoreError> {
    Ok(serde_json::to_string(metadata.entries()).map_err(StoreFault::Json)?)
}

/// The currency of a stored order.
pub(super) fn stored_currency(code: Option<&str>) -> Result<Option<Currency>, StoreError> {
    let corrupt = || StoreFault::Corrupt("currency").into();
    code.map(|code| Currency::from_stored(code).ok_or_else(corrupt))
        .transpose()
}

/// The length of a document as the database stores it.
pub(super) fn json_bytes(json: &str) -> i32 {
    i32::try_from(json.len()).unwrap_or(i32::MAX)
}
