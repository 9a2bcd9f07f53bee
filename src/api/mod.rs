//! The routes of the service: what each request does and what its response says.

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
pub(crate) mod routes;
mod service_info;

use std::time::Duration;

use crate::http::{RequestBudget, ResponseBudget};
use crate::shutdown::Drain;
use crate::store::Store;

pub use openapi::document;
pub use routes::{TEMPLATES, configure, template_of};

/// What the handlers share.
#[derive(Clone)]
pub struct ApiState {
    /// Where orders are kept.
    pub store: Store,
    /// Whether the service is about to end.
    pub drain: Drain,
    /// How long a whole request may take.
    pub request_timeout: Duration,
    /// The largest request body, in bytes.
    pub max_body_bytes: usize,
    /// The memory for responses that are not sent yet.
    pub responses: ResponseBudget,
    /// The memory for request bodies that are being received.
    pub bodies: RequestBudget,
}
