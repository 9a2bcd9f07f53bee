//! Decides about a change of an order; the same on both databases.

use chrono::Utc;

use super::StoreError;
use super::create::{Document, UpdateOrder, UpdateOutcome, metadata_json, not_json};
use crate::domain::Order;
use crate::order_json;

/// What to do about a change.
pub(super) enum Decision {
    /// Nothing is to be written.
    Respond(UpdateOutcome),
    /// Write this over the version before it.
    Write(Next),
}

/// The next version of an order.
pub(super) struct Next {
    pub(super) order: Order,
    /// The order as JSON.
    pub(super) json: String,
    /// Its metadata alone as JSON.
    pub(super) metadata: String,
}

impl Next {
    /// What to respond once it is written.
    pub(super) fn written(self) -> Outcome {
        Outcome {
            changed: UpdateOutcome::Now(Document {
                id: self.order.id,
                version: self.order.version,
                json: self.json.into(),
            }),
            written: true,
        }
    }
}

/// What became of a change.
pub(super) struct Outcome {
    pub(super) changed: UpdateOutcome,
    /// Whether there is a new version.
    pub(super) written: bool,
}

impl From<UpdateOutcome> for Outcome {
    fn from(changed: UpdateOutcome) -> Self {
        Self {
            changed,
            written: false,
        }
    }
}

/// Decides by the order as it is now, if there is one.
pub(super) fn decide(order: Option<&Order>, command: &UpdateOrder) -> Result<Decision, StoreError> {
    let Some(order) = order else {
        return Ok(Decision::Respond(UpdateOutcome::Missing));
    };
    let unwanted = command.if_none_match.as_ref();
    if !command.if_match.allows(order.version)
        || unwanted.is_some_and(|versions| versions.allows(order.version))
    {
        return Ok(Decision::Respond(UpdateOutcome::Stale));
    }
    Ok(match order.patched(&command.patch, Utc::now()) {
        Ok(Some(next)) => Decision::Write(Next {
            json: order_json::order(&next).map_err(not_json)?,
            metadata: metadata_json(&next.metadata)?,
            order: next,
        }),
        Ok(None) => Decision::Respond(UpdateOutcome::Now(Document::try_from(order)?)),
        Err(refusal) => Decision::Respond(UpdateOutcome::Refused(refusal)),
    })
}
