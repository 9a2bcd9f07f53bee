//! What goes into the store and what comes out.

use std::sync::Arc;

use bytes::Bytes;
use bytestring::ByteString;
use chrono::Utc;
use tokio::time::Instant;
use uuid::Uuid;

use super::StoreError;
use crate::domain::{IfMatch, Metadata, MetadataPatch, NewOrder, Order, Patch, PatchError, Status};
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
            json: order_json::order(order).map_err(not_json)?.into(),
        })
    }
}

pub(super) fn not_json(error: serde_json::Error) -> StoreError {
    StoreError::Internal(format!("an order is not JSON: {error}"))
}

/// Metadata alone as JSON, as the database keeps it.
pub(super) fn metadata_json(metadata: &Metadata) -> Result<String, StoreError> {
    serde_json::to_string(metadata.entries()).map_err(not_json)
}

/// The length of a document as the database keeps it.
pub(super) fn json_bytes(json: &str) -> i32 {
    i32::try_from(json.len()).unwrap_or(i32::MAX)
}

/// A request to place an order.
#[derive(Clone, Debug)]
pub struct CreateOrder {
    /// What to place.
    pub new: NewOrder,
    /// How a retry of the request is known.
    pub idempotency: Option<Idempotency>,
    /// When the client gives up. The order may be placed later all the same, unless it would still wait
    /// for another transaction that uses its key.
    pub deadline: Instant,
    /// The trace it belongs to (W3C Trace Context).
    pub traceparent: Option<String>,
}

impl CreateOrder {
    /// How many bytes of metadata it brings; the rest is short.
    pub(super) fn bytes(&self) -> usize {
        self.new.metadata.bytes()
    }
}

/// How a retry of a request is known.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Idempotency {
    /// The client's key.
    pub key: String,
    /// A hash of what the request means.
    pub hash: [u8; 32],
}

impl Idempotency {
    /// How `hash` is computed. A change of the computation takes the next number: a hash of another
    /// version says nothing about the request.
    pub const HASH_VERSION: i16 = 1;
}

/// What became of a request to place an order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CreateOutcome {
    /// It is placed.
    New(Document),
    /// It had been placed before with the same key; the order as it was then.
    Replay(Document),
    /// The key had been used before for another request. Nothing was placed.
    KeyReused,
}

/// An order on its way into the database.
#[derive(Clone, Debug)]
pub(super) struct NewRow {
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
        let order = command.new.place(Uuid::now_v7(), Utc::now());
        Ok(Arc::new(Self {
            json: order_json::order(&order).map_err(not_json)?.into(),
            metadata: metadata_json(&order.metadata)?,
            order,
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

    /// The length of [`Self::json`] as the database keeps it.
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

    /// What a row that was found in the database means for this one, which was not inserted.
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

/// An order that is in the database already: under the key of a row, or under its id.
#[derive(Clone, Debug)]
pub(super) struct ExistingOrder {
    pub(super) id: Uuid,
    /// What was kept under the key.
    pub(super) replay: Option<Replay>,
}

/// What is kept under an idempotency key.
#[derive(Clone, Debug)]
pub(super) struct Replay {
    pub(super) hash: Vec<u8>,
    pub(super) hash_version: i16,
    /// The order as it was created.
    pub(super) json: Bytes,
}

/// A request to change an order.
#[derive(Clone, Debug)]
pub struct UpdateOrder {
    /// Which order.
    pub id: Uuid,
    /// What to change.
    pub patch: Patch,
    /// Which versions to change.
    pub if_match: IfMatch,
    /// Which versions not to change (`If-None-Match`, RFC 9110, section 13.1.2).
    pub if_none_match: Option<IfMatch>,
    /// When the client gives up. No attempt to change the order begins after it.
    pub deadline: Instant,
    /// The trace it belongs to (W3C Trace Context).
    pub traceparent: Option<String>,
}

impl UpdateOrder {
    /// How many bytes of metadata it brings; the rest is short.
    pub(super) fn bytes(&self) -> usize {
        let Some(MetadataPatch::Merge(entries)) = &self.patch.metadata else {
            return 0;
        };
        let length = |value: &Option<String>| value.as_ref().map_or(0, String::len);
        entries
            .iter()
            .map(|(key, value)| key.len() + length(value))
            .sum()
    }
}

/// What became of a request to change an order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum UpdateOutcome {
    /// The order as it is now, changed or, if the patch changed nothing, as it was.
    Now(Document),
    /// There is no such order.
    Missing,
    /// The order has another version than the client wants to change.
    Stale,
    /// The order does not take this change.
    Refused(PatchError),
}

/// A page of orders, newest first.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListQuery {
    /// The most orders of the page.
    pub limit: u32,
    /// The last order of the page before.
    pub starting_after: Option<Uuid>,
    /// Only orders that stand so.
    pub status: Option<Status>,
    /// Only orders of one product or customer.
    pub filter: Option<ListFilter>,
}

/// What the orders of a list have in common. Only one of them at a time: both together would be no walk
/// along an index, and take time in proportion to the table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ListFilter {
    /// Orders of this product.
    Product(String),
    /// Orders of this customer.
    Customer(String),
}

impl ListFilter {
    /// The column that it compares, and with what.
    pub(super) fn column_and_value(&self) -> (&'static str, &String) {
        match self {
            Self::Product(value) => ("product_id", value),
            Self::Customer(value) => ("customer_id", value),
        }
    }
}

impl ListQuery {
    /// The most orders of one page, and the number when the client does not say.
    pub const MAX_LIMIT: u32 = 100;

    /// The length in bytes at which a page ends, also before its limit. One order always fits.
    pub const MAX_BYTES: usize = 1024 * 1024;

    /// The page that everybody asks for first.
    pub const FIRST_PAGE: Self = Self {
        limit: Self::MAX_LIMIT,
        starting_after: None,
        status: None,
        filter: None,
    };
}

/// A page of orders, ready to be sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Page {
    /// The orders as a JSON array.
    pub json: Bytes,
    /// The id of the last order, when there may be more behind it.
    pub next: Option<Uuid>,
}

/// An order as JSON is never longer: 50 entries of metadata of 540 characters, each at most 6 bytes
/// (`\u0000`), and the rest.
const LONGEST_ORDER: usize = 50 * 540 * 6 + 4096;

impl Page {
    /// The page of a list that asked for `limit` orders.
    pub(super) fn new(orders: &[Order], limit: u32) -> Result<Self, StoreError> {
        let json = order_json::orders(orders).map_err(not_json)?;
        // No count and no extra row: a full page may have a successor, and so may one that the next
        // order might have made longer than a page may be.
        let full = u32::try_from(orders.len()) == Ok(limit)
            || json.len() + LONGEST_ORDER > ListQuery::MAX_BYTES;
        Ok(Self {
            json,
            next: orders.last().filter(|_| full).map(|order| order.id),
        })
    }
}
