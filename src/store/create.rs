//! Creating orders: the request of a client, the row that is written, and the outcome.

use std::sync::Arc;

use bytes::Bytes;
use bytestring::ByteString;
use chrono::Utc;
use sha2::{Digest as _, Sha256};
use tokio::time::Instant;
use uuid::Uuid;

use super::StoreError;
use super::document::{Document, json_bytes, metadata_json};
use super::error::StoreFault;
use super::order_id::new_order_id;
use crate::domain::{Caller, NewOrder, Order};
use crate::faults::TestPanics;
use crate::order_json;
use crate::telemetry::QueryName;

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
    /// another transaction that uses its key or its external id.
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
    /// The SHA-256 of the client's key. Keys may refer to persons, so they are not stored.
    key_hash: [u8; 32],
    /// A hash of the meaning of the request.
    request_hash: [u8; 32],
}

impl Idempotency {
    /// A retry has the same key and the same meaning.
    pub fn new(key: &str, request_hash: [u8; 32]) -> Self {
        Self {
            key_hash: Sha256::digest(key).into(),
            request_hash,
        }
    }

    /// The version of the computation of `request_hash`. A changed computation gets the next number, because hashes of
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
    /// Another order of the tenant has the external id. Nothing was created, and the key is not used.
    ExternalIdTaken {
        /// The order that has it.
        order_id: Uuid,
    },
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
        let order = command.new.create(new_order_id(now), now);
        Ok(Arc::new(Self {
            json: order_json::order(&order).map_err(StoreFault::Json)?.into(),
            metadata: metadata_json(&order.metadata)?,
            order,
            caller: command.caller,
            idempotency: command.idempotency,
            traceparent: command.traceparent,
        }))
    }

    /// The hash of its idempotency key.
    pub(super) fn key(&self) -> Option<&[u8]> {
        self.idempotency.as_ref().map(|i| i.key_hash.as_slice())
    }

    pub(super) fn hash(&self) -> Option<&[u8]> {
        self.idempotency.as_ref().map(|i| i.request_hash.as_slice())
    }

    pub(super) fn external_id(&self) -> Option<&str> {
        self.order.external_id.as_deref()
    }

    /// Panics if a test wants it for this order.
    pub(super) fn panic_in_test(&self, panics: &TestPanics) {
        let place = QueryName::CreateOrders.as_str();
        panics.panic_at_order_of(place, self.order.customer_id.as_deref());
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

    /// The outcome for this row, which was not inserted because it conflicts with the orders `found`. A retry may
    /// conflict by its id, by its key and by its external id at once; they count in this order. Returns `None` if no
    /// order was found.
    pub(super) fn resolve_conflicts(&self, found: &[ExistingOrder]) -> Option<CreateOutcome> {
        if found.iter().any(|order| order.id == self.order.id) {
            // Written by an earlier attempt whose response was lost.
            return Some(CreateOutcome::New(self.document()));
        }
        let by_key = |order: &ExistingOrder| Some((order.id, order.replay.clone()?));
        if let Some((id, replay)) = found.iter().find_map(by_key) {
            let same_request = replay.hash_version == Idempotency::HASH_VERSION
                && self.hash() == Some(&replay.hash);
            return Some(if same_request {
                CreateOutcome::Replay(Document {
                    id,
                    version: 1,
                    json: replay.json,
                })
            } else {
                CreateOutcome::KeyReused
            });
        }
        let by_external_id = found.first()?;
        Some(CreateOutcome::ExternalIdTaken {
            order_id: by_external_id.id,
        })
    }
}

/// An order in the database that has the id, the key or the external id of a row to insert.
#[derive(Clone, Debug)]
pub(super) struct ExistingOrder {
    pub(super) id: Uuid,
    /// The data stored with the key, if the order was found by it.
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
