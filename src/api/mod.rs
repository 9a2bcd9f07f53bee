//! The routes of the service: what each request does and what its response says.

mod errors;
mod event_json;
mod event_stream;
mod events;
mod health;
mod idempotency;
mod openapi;
mod order_body;
mod orders;
mod query;
mod reference_page;
mod root;
pub(crate) mod routes;

use tokio_util::sync::CancellationToken;

use crate::store::Store;

pub(crate) use openapi::document;
pub(crate) use routes::{TEMPLATES, configure};

/// What the handlers share.
#[derive(Clone)]
pub(crate) struct ApiState {
    /// Where orders are kept.
    pub(crate) store: Store,
    /// Cancelled when the drain starts.
    pub(crate) drain: CancellationToken,
}
