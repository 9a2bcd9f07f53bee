//! The documents that an erasure writes.

use chrono::{DateTime, SubsecRound as _, Utc};
use uuid::Uuid;

use super::Claim;
use crate::domain::Order;
use crate::order_json;
use crate::store::StoreError;
use crate::store::document::json_bytes;
use crate::store::error::StoreFault;
use crate::store::event::LastEvent;

/// The erased version of an order.
pub(in crate::store) struct ErasedOrder {
    pub(in crate::store) order: Order,
    /// The order as JSON.
    pub(in crate::store) json: String,
}

impl ErasedOrder {
    pub(in crate::store) fn new(order: Order, claim: &Claim) -> Result<Self, StoreError> {
        let order = order.erased(&claim.pseudonym, Utc::now());
        let json = order_json::order(&order).map_err(StoreFault::Json)?;
        Ok(Self { order, json })
    }

    pub(in crate::store) fn json_bytes(&self) -> i32 {
        json_bytes(&self.json)
    }
}

/// The next event of an order that was archived and removed.
pub(in crate::store) struct ErasedArchived {
    pub(in crate::store) order_id: Uuid,
    /// The version of the event.
    pub(in crate::store) version: i32,
    pub(in crate::store) occurred_at: DateTime<Utc>,
    /// The order as JSON. `None` if retention has removed its events, and it gets no further one.
    pub(in crate::store) json: Option<String>,
}

impl ErasedArchived {
    /// `version` is that of the last event as the table of archived orders has it.
    pub(in crate::store) fn new(
        order_id: Uuid,
        version: i32,
        last: Option<LastEvent>,
        claim: &Claim,
    ) -> Result<Self, StoreError> {
        let next = version + 1;
        let now = Utc::now().trunc_subsecs(6);
        let Some(last) = last.filter(|last| last.version == version) else {
            return Ok(Self {
                order_id,
                version: next,
                occurred_at: now,
                json: None,
            });
        };
        let at = now.max(last.occurred_at);
        let json = order_json::erased_version(&last.data, &claim.pseudonym, next, &at);
        Ok(Self {
            order_id,
            version: next,
            occurred_at: at,
            json: Some(json.map_err(|_| not_an_order())?),
        })
    }

    pub(in crate::store) fn json_bytes(&self) -> i32 {
        self.json.as_deref().map_or(0, json_bytes)
    }
}

/// An event before the erasure of its order.
#[derive(Clone, Debug)]
pub(in crate::store) struct StoredEvent {
    pub(in crate::store) order_id: Uuid,
    pub(in crate::store) version: i32,
    /// The partition of the event depends on it.
    pub(in crate::store) recorded_at: DateTime<Utc>,
    pub(in crate::store) data: String,
}

impl StoredEvent {
    #[cfg(test)]
    pub(super) fn of_test(order_id: Uuid, version: i32) -> Self {
        Self {
            order_id,
            version,
            recorded_at: DateTime::UNIX_EPOCH,
            data: String::new(),
        }
    }
}

/// The new data of an event, or the new document of a replay.
pub(in crate::store) struct Redaction {
    pub(in crate::store) json: String,
}

impl Redaction {
    pub(in crate::store) fn new(document: &str, claim: &Claim) -> Result<Self, StoreError> {
        let json = order_json::redacted(document, &claim.pseudonym);
        Ok(Self {
            json: json.map_err(|_| not_an_order())?,
        })
    }

    pub(in crate::store) fn json_bytes(&self) -> i32 {
        json_bytes(&self.json)
    }
}

/// The error of the parser is not reported, because it may quote the document.
fn not_an_order() -> StoreError {
    StoreFault::Corrupt("document").into()
}
