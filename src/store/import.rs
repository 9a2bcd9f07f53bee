//! Imports of orders, in chunks.

use std::sync::Arc;

use bytestring::ByteString;
use chrono::{DateTime, SubsecRound as _, Utc};
use uuid::Uuid;

use super::StoreError;
use super::backend::StoreFuture;
use super::document::{json_bytes, metadata_json};
use super::error::StoreFault;
use crate::domain::{LastVersion, Order, PatchError, Status};
use crate::order_json;

/// An order to import, in the forms in which it is written.
#[derive(Clone, Debug)]
pub struct ImportRow {
    pub(super) order: Order,
    /// The order as JSON.
    pub(super) json: ByteString,
    /// Its metadata alone as JSON.
    pub(super) metadata: String,
}

impl ImportRow {
    /// Writes the JSON of an order, which must be legal.
    ///
    /// # Errors
    /// Never in practice: every value in an order can be written as JSON.
    pub fn new(order: Order) -> Result<Self, StoreError> {
        Ok(Self {
            json: order_json::order(&order).map_err(StoreFault::Json)?.into(),
            metadata: metadata_json(&order.metadata)?,
            order,
        })
    }

    /// The bytes of its texts in memory.
    pub fn bytes(&self) -> usize {
        self.json.len()
            + self.metadata.len()
            + self.order.items.bytes()
            + self.order.metadata.bytes()
    }

    /// The number of its lines.
    pub fn lines(&self) -> usize {
        self.order.items.lines().len()
    }

    /// The length of the JSON as the database stores it.
    pub(super) fn json_bytes(&self) -> i32 {
        json_bytes(&self.json)
    }

    /// The order as the version after the last one of the same order, which was removed.
    pub(super) fn after(
        &self,
        last: &LastVersion,
        now: DateTime<Utc>,
    ) -> Result<Result<Self, ImportOutcome>, StoreError> {
        match self.order.clone().after(last, now) {
            Ok(order) => Self::new(order).map(Ok),
            Err(PatchError::IllegalTransition { from, .. }) => {
                Ok(Err(ImportOutcome::IllegalTransition { from }))
            }
            Err(PatchError::NotEditable { .. } | PatchError::Invalid(_)) => {
                Err(StoreFault::Corrupt("version").into())
            }
        }
    }
}

/// What became of an order to import.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ImportOutcome {
    /// It is stored now, with one event.
    Imported,
    /// An order with this id is stored already. Nothing was written.
    AlreadyPresent,
    /// Another order of the tenant has the external id. Nothing was written.
    ExternalIdTaken {
        /// The order that has it.
        order_id: Uuid,
    },
    /// The order was removed with a status that the imported one cannot follow. Nothing was written.
    IllegalTransition {
        /// The status of the last version.
        from: Status,
    },
}

/// Writes chunks of orders of one tenant, one after another.
pub trait OrderImport: Send {
    /// Writes a chunk in one transaction and returns the outcome of each order, in their order. A chunk may be written
    /// again: orders that are stored are skipped.
    ///
    /// # Errors
    /// [`StoreError`]; the chunk may have been written anyway, as a whole.
    fn import(&mut self, rows: Arc<[ImportRow]>) -> StoreFuture<'_, Vec<ImportOutcome>>;
}

/// The time of the import of a chunk, which its events have.
///
/// It is not the time of the last change of the order, although the event shows the order as it was then. Readers of
/// the feed learn about the order now, the lag of the feed is measured by these times, and an order that continues has
/// events of later times already.
pub(super) fn import_time() -> DateTime<Utc> {
    Utc::now().trunc_subsecs(6)
}

/// The time of the event of an order that is imported `now`. It is not before the last change of the order, whose time
/// another clock has measured.
pub(super) fn event_time(order: &Order, now: DateTime<Utc>) -> DateTime<Utc> {
    now.max(order.updated_at)
}
