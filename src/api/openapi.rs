//! The OpenAPI document, generated from the route table and the annotations of the handlers.

mod components;
mod headers;
pub(crate) mod parameters;
pub(crate) mod responses;
pub(crate) mod schemas;

use utoipa::{Modify as _, OpenApi};

use super::routes::Operations;
use crate::http::problem::ProblemBody;
use components::SharedComponents;
use schemas::MetadataPatchSchema;

#[derive(OpenApi)]
#[openapi(
    info(
        title = "order-service",
        description = "An API for orders. Every error is a problem (RFC 9457). Every response has an `X-Request-Id`, `X-Content-Type-Options: nosniff` and `Cache-Control`, which is `no-store` except for the files of the reference page. A method that a path does not support is rejected with 405 `method-not-allowed`.",
        license(name = "Apache-2.0", identifier = "Apache-2.0"),
    ),
    servers((url = "/", description = "This server.")),
    components(schemas(ProblemBody<'static>, MetadataPatchSchema)),
    tags(
        (name = "orders", description = "Create, read and update orders."),
        (name = "events", description = "Read and follow the changes of orders."),
        (name = "customers", description = "Erase the personal data of customers."),
        (name = "operations", description = "Health of the service and documentation of the API."),
    )
)]
struct Document;

/// Returns the OpenAPI 3.1 document as indented JSON.
///
/// # Errors
/// If a part of it cannot be written as JSON.
pub(crate) fn document() -> Result<String, serde_json::Error> {
    serde_json::to_string_pretty(&build())
}

/// Returns the same document as [`document`] without white space, as clients get it.
pub(super) fn compact_document() -> Result<String, serde_json::Error> {
    serde_json::to_string(&build())
}

fn build() -> utoipa::openapi::OpenApi {
    let mut document = Document::openapi().merge_from(Operations::openapi());
    SharedComponents.modify(&mut document);
    document
}

#[cfg(test)]
mod tests;
