//! The resource at `/openapi.json`.

use actix_web::HttpResponse;
use actix_web::http::header::CONTENT_TYPE;

use super::{openapi, paths};

/// Get the OpenAPI document.
///
/// The document that describes this API, in OpenAPI 3.1.
#[utoipa::path(
    get,
    path = paths::OPENAPI.template,
    operation_id = "getOpenApi",
    tag = "operations",
    responses((
        status = 200,
        description = "The document.",
        body = serde_json::Value,
        example = json!({"openapi": "3.1.0"}),
    ))
)]
pub(super) async fn openapi_json() -> HttpResponse {
    HttpResponse::Ok()
        .insert_header((CONTENT_TYPE, "application/json"))
        .body(openapi::DOCUMENT)
}
