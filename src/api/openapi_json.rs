//! The resource at `/openapi.json`.

use std::cell::OnceCell;

use actix_web::http::header::CONTENT_TYPE;
use actix_web::{HttpResponse, web};
use bytes::Bytes;

use super::paths;
use crate::http::problem::Problem;

/// The document, cached for one worker. It never changes, and generating it takes longer than sending it.
pub(super) struct CachedDocument {
    generate: fn() -> Result<String, serde_json::Error>,
    json: OnceCell<Bytes>,
}

impl CachedDocument {
    /// Creates a document that is generated for the first request.
    pub(super) fn new(generate: fn() -> Result<String, serde_json::Error>) -> Self {
        Self {
            generate,
            json: OnceCell::new(),
        }
    }

    fn get(&self) -> Result<Bytes, serde_json::Error> {
        if let Some(json) = self.json.get() {
            return Ok(json.clone());
        }
        let json = Bytes::from((self.generate)()?);
        Ok(self.json.get_or_init(|| json).clone())
    }
}

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
pub(super) async fn openapi_json(
    document: web::Data<CachedDocument>,
) -> Result<HttpResponse, Problem> {
    Ok(HttpResponse::Ok()
        .insert_header((CONTENT_TYPE, "application/json"))
        .body(document.get().map_err(Problem::internal)?))
}
