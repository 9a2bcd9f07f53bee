//! Creating orders: the request of a client, the row that is written, and the outcome.

use std::sync::Arc;

use bytes::Bytes;
use bytestring::ByteString;
use chrono::{DateTime, Utc};
use tokio::time::Instant;
use uuid::Uuid;

use super::StoreError;
use super::document::{Document, json_bytes, metadata_json};
use super::error::StoreFault;
use crate::domain::{Caller, NewOrder, Order};
use crate::order_json;

/// A request to create an order.
#[derive(Clone, Debug)]
pub struct CreateOrder {
    /// Who creates it.
    pub caller: Arc<Caller>,
    /// The order to create.
    pub new: NewOrder,
    /// How a retry of the request is recognized.
    pub idempotency: Option<Idempotency>,
    /// The deadline of the client. The order may still be created after it, unless the request waits for
    /// another transaction that uses its key.
    pub deadline: Instant,
    /// The trace it belongs to (W3C Trace Context).
    pub traceparent: Option<String>,
}

impl CreateOrder {
    /// Bytes of metadata and lines; the other fields are short.
    pub(super) fn bytes(&self) -> usize {
        self.new.metadata.bytes() + self.new.items.bytes()
    }
}

/// How a retry of a request is recognized.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Idempotency {
    /// The client's key.
    pub key: String,
    /// A hash of the meaning of the request.
    pub hash: [u8; 32],
}

impl Idempotency {
    /// The version of the computation of `hash`. A changed computation gets the next number, because hashes of
    /// different versions cannot be compared.
    pub const HASH_VERSION: i16 = 1;
}

/// The outcome of a request to create an order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CreateOutcome {
    /// The order is created.
    New(Document),
    /// The order was created before with the same key. This is the order as it was then.
    Replay(Document),
    /// The key was used before for another request. Nothing was created.
    KeyReused,
}

/// A new id for an order that is created at this time: a UUIDv7 (RFC 9562, section 5.7) whose first 60 bits are the
/// time, to a quarter of a microsecond (section 6.2, method 3). Ids of one process increase like its clock.
///
/// The other bits are random. A counter, which would order ids of the same time, is common to all tenants, so the
/// difference between two ids of a tenant would show how many orders others have created meanwhile.
fn order_id(now: DateTime<Utc>) -> Uuid {
    let millis = u64::try_from(now.timestamp_millis()).unwrap_or_default();
    let fraction = now.timestamp_subsec_nanos() % 1_000_000 * 4_096 / 1_000_000;
    let [.., high, low] = fraction.to_be_bytes();
    let [_, _, _, _, _, _, _, _, random @ ..] = Uuid::new_v4().into_bytes();
    let [a, b, c, d, e, f, g, h] = random;
    uuid::Builder::from_unix_timestamp_millis(millis, &[high, low, a, b, c, d, e, f, g, h])
        .into_uuid()
}

/// An order to insert.
#[derive(Clone, Debug)]
pub(super) struct NewRow {
    pub(super) caller: Arc<Caller>,
    pub(super) order: Order,
    /// The order as JSON.
    pub(super) json: ByteString,
    /// Its metadata alone as JSON.
    pub(super) metadata: String,
    idempotency: Option<Idempotency>,
    pub(super) traceparent: Option<String>,
}

impl NewRow {
    pub(super) fn new(command: CreateOrder) -> Result<Arc<Self>, StoreError> {
        let now = Utc::now();
        let order = command.new.create(order_id(now), now);
        Ok(Arc::new(Self {
            json: order_json::order(&order).map_err(StoreFault::Json)?.into(),
            metadata: metadata_json(&order.metadata)?,
            order,
            caller: command.caller,
            idempotency: command.idempotency,
            traceparent: command.traceparent,
        }))
    }

    pub(super) fn key(&self) -> Option<&str> {
        self.idempotency.as_ref().map(|i| i.key.as_str())
    }

    pub(super) fn hash(&self) -> Option<&[u8]> {
        self.idempotency.as_ref().map(|i| i.hash.as_slice())
    }

    /// The length of [`Self::json`] as the database stores it.
    pub(super) fn json_bytes(&self) -> i32 {
        json_bytes(&self.json)
    }

    pub(super) fn document(&self) -> Document {
        Document {
            id: self.order.id,
            version: self.order.version,
            json: self.json.clone().into_bytes(),
        }
    }

    /// The outcome for this row, which was not inserted because it conflicts with `found`.
    pub(super) fn resolve_conflict(&self, found: &ExistingOrder) -> CreateOutcome {
        if found.id == self.order.id {
            // Written by an earlier attempt whose response was lost.
            return CreateOutcome::New(self.document());
        }
        match &found.replay {
            Some(replay)
                if replay.hash_version == Idempotency::HASH_VERSION
                    && self.hash() == Some(&replay.hash) =>
            {
                CreateOutcome::Replay(Document {
                    id: found.id,
                    version: 1,
                    json: replay.json.clone(),
                })
            }
            _ => CreateOutcome::KeyReused,
        }
    }
}

/// An order in the database that has the key or the id of a row to insert.
#[derive(Clone, Debug)]
pub(super) struct ExistingOrder {
    pub(super) id: Uuid,
    /// The data stored with the key.
    pub(super) replay: Option<Replay>,
}

/// The data stored with an idempotency key.
#[derive(Clone, Debug)]
pub(super) struct Replay {
    pub(super) hash: Vec<u8>,
    pub(super) hash_version: i16,
    /// The order as it was created.
    pub(super) json: Bytes,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_increase_with_the_time_and_do_not_count() {
        let at = |nanos| DateTime::from_timestamp(1_764_000_000, nanos).unwrap();
        let mut last = Uuid::nil();
        for nanos in [0, 250, 999_750, 999_999, 1_000_000, 1_000_245, 999_999_999] {
            let id = order_id(at(nanos));
            assert!(id > last, "{nanos}");
            assert_eq!(id.get_version_num(), 7);
            let (seconds, subsec) = id.get_timestamp().unwrap().to_unix();
            assert_eq!(
                (seconds, subsec),
                (1_764_000_000, nanos / 1_000_000 * 1_000_000)
            );
            last = id;
        }
        // Of the same time, an id says nothing about the next one.
        let random = |id: Uuid| id.as_u128() & ((1 << 62) - 1);
        let ids: Vec<_> = (0..100).map(|_| random(order_id(at(7)))).collect();
        let near = ids
            .windows(2)
            .filter(|pair| pair[0].abs_diff(pair[1]) < 1 << 40);
        assert_eq!(near.count(), 0);
    }
}
