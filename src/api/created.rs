//! The outcome of a request to create an order, alone or in a batch.

use super::errors::external_id_taken;
use crate::http::problem::Problem;
use crate::http::problem::kind::ProblemKind;
use crate::store::{CreateOutcome, Document, StoreError};

/// An order that the request has created, or an earlier one with the same key.
pub(super) struct Created {
    pub(super) document: Document,
    pub(super) replayed: bool,
}

impl Created {
    /// The order of an outcome.
    ///
    /// # Errors
    /// The problem that the client gets instead.
    pub(super) fn of(outcome: Result<CreateOutcome, StoreError>) -> Result<Self, Problem> {
        let (document, replayed) = match outcome? {
            CreateOutcome::New(document) => (document, false),
            CreateOutcome::Replay(document) => (document, true),
            CreateOutcome::KeyReused => return Err(ProblemKind::IdempotencyKeyReused.into()),
            CreateOutcome::ExternalIdTaken { order_id } => return Err(external_id_taken(order_id)),
        };
        Ok(Self { document, replayed })
    }
}
