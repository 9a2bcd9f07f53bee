//! The HTTP edge: the only place that knows what goes over the wire.

mod activity;
mod body;
mod budget;
mod cloud_event;
mod conditional;
mod context;
mod docs;
mod dto;
mod edge;
mod events;
mod finish;
mod head;
mod health;
mod idempotency;
mod negotiate;
mod openapi;
mod orders;
mod outgoing;
mod problem;
mod query;
mod received;
mod responses;
mod rest;
mod root;
mod routes;
mod schema;
mod slug;
mod stream;
mod trace;

use std::time::Duration;

use crate::shutdown::Drain;
use crate::store::Store;

pub use activity::{Activity, Busy, Missing, Refusal, SMALL_REST};
pub use budget::ResponseBudget;
pub use edge::Edge;
pub use head::{MAX_HEADER_BYTES, MAX_HEADERS, MAX_URI};
pub use openapi::document;
pub use problem::Problem;
pub use received::RequestBudget;
pub use routes::{TEMPLATES, configure, template_of};
pub use slug::Slug;

/// What the handlers share.
#[derive(Clone)]
pub struct Api {
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
