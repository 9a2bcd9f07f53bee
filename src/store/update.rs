//! Updating orders: the request of a client, and the decision, which is the same on both databases.

use std::sync::Arc;
use std::time::Duration;

use chrono::Utc;
use tokio::time::{Instant, sleep, timeout};
use uuid::Uuid;

use super::document::{Document, metadata_json};
use super::error::StoreFault;
use super::order_key::OrderKey;
use super::{Inner, StoreError};
use crate::domain::{Caller, IfMatch, ItemsPatch, MetadataPatch, Order, Patch, PatchError};
use crate::order_json;

/// A request to update an order.
#[derive(Clone, Debug)]
pub struct UpdateOrder {
    /// Who updates it.
    pub caller: Arc<Caller>,
    /// The order.
    pub id: Uuid,
    /// The changes.
    pub patch: Patch,
    /// Update only these versions.
    pub if_match: IfMatch,
    /// Do not update these versions (`If-None-Match`, RFC 9110, section 13.1.2).
    pub if_none_match: Option<IfMatch>,
    /// The deadline of the client. No attempt to update the order begins after it.
    pub deadline: Instant,
    /// The trace it belongs to (W3C Trace Context).
    pub traceparent: Option<String>,
}

impl UpdateOrder {
    /// The key of the order.
    pub(super) fn key(&self) -> OrderKey {
        OrderKey::new(&self.caller.tenant, self.id)
    }

    /// Bytes of metadata and lines; the other fields are short.
    pub(super) fn bytes(&self) -> usize {
        let lines = match &self.patch.items {
            Some(ItemsPatch::Replace(items)) => items.bytes(),
            Some(ItemsPatch::Quantity(_)) | None => 0,
        };
        let Some(MetadataPatch::Merge(entries)) = &self.patch.metadata else {
            return lines;
        };
        let length = |value: &Option<String>| value.as_ref().map_or(0, String::len);
        let entries = entries.iter().map(|(key, value)| key.len() + length(value));
        lines + entries.sum::<usize>()
    }
}

/// The outcome of a request to update an order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum UpdateOutcome {
    /// The order as it is now: updated, or as it was if the patch changes nothing.
    Current(Document),
    /// No order has this id.
    Missing,
    /// A precondition does not hold for the version of the order.
    PreconditionFailed,
    /// The order does not permit this change.
    Rejected(PatchError),
}

/// What to do about an update.
pub(super) enum Decision {
    /// Respond without a write.
    Respond(UpdateOutcome),
    /// Write this version over the one before it.
    Write(NextVersion),
}

/// The next version of an order.
pub(super) struct NextVersion {
    pub(super) order: Order,
    /// The order as JSON.
    pub(super) json: String,
    /// Its metadata alone as JSON.
    pub(super) metadata: String,
    /// Whether the lines change, or the status, which they repeat.
    pub(super) writes_lines: bool,
}

impl NextVersion {
    /// The result once the version is written.
    pub(super) fn written(self) -> Updated {
        Updated {
            outcome: UpdateOutcome::Current(Document {
                id: self.order.id,
                version: self.order.version,
                json: self.json.into(),
            }),
            written: true,
        }
    }
}

/// The result of an attempt to update an order.
pub(super) struct Updated {
    pub(super) outcome: UpdateOutcome,
    /// Whether a new version was written.
    pub(super) written: bool,
}

impl From<UpdateOutcome> for Updated {
    fn from(outcome: UpdateOutcome) -> Self {
        Self {
            outcome,
            written: false,
        }
    }
}

/// Decides what to do about `command`, given the order as it is now, if it exists.
pub(super) fn decide(order: Option<&Order>, command: &UpdateOrder) -> Result<Decision, StoreError> {
    let Some(order) = order else {
        return Ok(Decision::Respond(UpdateOutcome::Missing));
    };
    let unwanted = command.if_none_match.as_ref();
    if !command.if_match.allows(order.version)
        || unwanted.is_some_and(|versions| versions.allows(order.version))
    {
        return Ok(Decision::Respond(UpdateOutcome::PreconditionFailed));
    }
    Ok(match order.patched(&command.patch, Utc::now()) {
        Ok(Some(next)) => Decision::Write(NextVersion {
            json: order_json::order(&next).map_err(StoreFault::Json)?,
            metadata: metadata_json(&next.metadata)?,
            writes_lines: next.items != order.items || next.status != order.status,
            order: next,
        }),
        Ok(None) => Decision::Respond(UpdateOutcome::Current(Document::try_from(order)?)),
        Err(error) => Decision::Respond(UpdateOutcome::Rejected(error)),
    })
}

/// The pause between two attempts to update an order that is locked outside this process.
const LOCKED_PAUSE: Duration = Duration::from_millis(100);

impl Inner {
    /// Updates an order. If the order is locked outside this process, retries until the deadline. Updates that
    /// wait for such a lock share one connection, and hold none during the pause.
    pub(super) async fn update(
        &self,
        command: Arc<UpdateOrder>,
    ) -> Result<UpdateOutcome, StoreError> {
        let _lock = self
            .order_locks
            .lock(command.key(), &command.caller.id, command.deadline)
            .await?;
        let mut permit = None;
        let updated = loop {
            let waiting = self.updates.acquire(&command.caller.id, 1);
            let slot = timeout(self.acquire_timeout, waiting).await;
            let slot = slot.map_err(|_| StoreFault::NoSlot(self.acquire_timeout))?;
            let updated = self.backend.update(&command, &self.queues.other).await;
            drop((slot, permit.take()));
            if !matches!(updated, Err(StoreError::LockTimeout))
                || Instant::now() >= command.deadline
            {
                break updated?;
            }
            sleep(LOCKED_PAUSE).await;
            permit = self.locked_updates.acquire().await.ok();
        };
        if updated.written {
            self.feed_signal.announce();
        }
        Ok(updated.outcome)
    }
}
