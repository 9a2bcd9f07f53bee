//! The OpenAPI document, generated from the annotations of the handlers.

mod components;
mod headers;
pub(crate) mod parameters;
pub(crate) mod responses;
pub(crate) mod schemas;

use std::cell::OnceCell;

use actix_web::http::header::CONTENT_TYPE;
use actix_web::{HttpResponse, web};
use bytes::Bytes;
use utoipa::OpenApi;

use super::{events, health, orders, reference_page, service_info};
use crate::http::problem::{Problem, ProblemBody};
use components::SharedComponents;
use schemas::MetadataPatchSchema;

#[derive(OpenApi)]
#[openapi(
    info(
        title = "order-service",
        description = "An API for orders. Every error is a problem (RFC 9457). Every response has an `X-Request-Id`. A method that a path does not support is rejected with 405 `method-not-allowed`.",
        license(name = "Apache-2.0", identifier = "Apache-2.0"),
    ),
    servers((url = "/", description = "This server.")),
    paths(
        orders::create,
        orders::list,
        orders::get,
        orders::update,
        events::list_of_order,
        events::feed,
        service_info::service_info,
        reference_page::page,
        reference_page::file,
        health::healthz,
        health::readyz,
        openapi_json,
    ),
    components(schemas(ProblemBody<'static>, MetadataPatchSchema)),
    modifiers(&SharedComponents),
    tags(
        (name = "orders", description = "Create, read and update orders."),
        (name = "events", description = "Read and follow the changes of orders."),
        (name = "operations", description = "Health of the service and documentation of the API."),
    )
)]
struct Document;

/// The OpenAPI 3.1 document as JSON.
///
/// # Errors
/// If a part of it cannot be written as JSON.
pub fn document() -> Result<String, serde_json::Error> {
    serde_json::to_string_pretty(&Document::openapi())
}

/// The document as one worker sends it. It never changes, and generating it takes longer than sending it.
pub(super) type CachedDocument = OnceCell<Bytes>;

/// Get the OpenAPI document.
///
/// The document that describes this API, in OpenAPI 3.1.
#[utoipa::path(
    get,
    path = "/openapi.json",
    operation_id = "getOpenApi",
    tag = "operations",
    responses((status = 200, description = "The document.", body = serde_json::Value, example = json!({"openapi": "3.1.0"})))
)]
pub(super) async fn openapi_json(
    cached: web::Data<CachedDocument>,
) -> Result<HttpResponse, Problem> {
    let json = match cached.get() {
        Some(json) => json.clone(),
        None => {
            let json = document().map_err(Problem::internal)?.into();
            cached.get_or_init(|| json).clone()
        }
    };
    Ok(HttpResponse::Ok()
        .insert_header((CONTENT_TYPE, "application/json"))
        .body(json))
}

#[cfg(test)]
mod tests;
