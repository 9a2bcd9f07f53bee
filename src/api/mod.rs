//! The API: the route table, the handlers, and the OpenAPI document that describes them.

mod created;
mod erasures;
mod errors;
mod event_json;
mod event_stream;
mod events;
mod export;
#[cfg(any(test, fuzzing))]
pub(crate) mod fuzz;
mod health;
mod idempotency;
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

use actix_web::web::{Data, ServiceConfig};

use openapi_json::CachedDocument;

pub(crate) use openapi::document;
pub(crate) use routes::RESOURCES;
pub(crate) use state::ApiState;

/// Adds every route, and the data that the handlers need besides [`ApiState`], to an Actix application.
pub(crate) fn configure(app: &mut ServiceConfig) {
    app.app_data(Data::new(CachedDocument::new(openapi::compact_document)));
    routes::configure(app);
}
