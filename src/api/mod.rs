//! The API: the route table, the handlers, and the OpenAPI document that describes them.

mod created;
mod erasures;
mod errors;
mod event_json;
mod event_stream;
mod events;
mod export;
mod health;
mod idempotency;
#[cfg_attr(
    not(test),
    expect(
        dead_code,
        reason = "the binary contains the document and not its parts"
    )
)]
mod openapi;
mod openapi_json;
mod order_batch;
mod order_body;
mod orders;
mod paths;
mod query;
mod reference_page;
mod routes;
mod service_info;
mod state;

pub(crate) use openapi::DOCUMENT;
pub(crate) use routes::{RESOURCES, configure};
pub(crate) use state::ApiState;
