//! The OpenAPI document, made from the annotations of the handlers.

use actix_web::HttpResponse;
use actix_web::http::header::CONTENT_TYPE;

use utoipa::OpenApi;
use utoipa::openapi::{HeaderBuilder, ObjectBuilder, RefOr, Type};

use super::problem::{Problem, ProblemBody};
use super::{events, health, orders, root};

#[derive(OpenApi)]
#[openapi(
    info(
        title = "order-service",
        description = "An orders API. Every error is a problem (RFC 9457); every answer has an `X-Request-Id`.",
        license(name = "Apache-2.0", identifier = "Apache-2.0"),
    ),
    servers((url = "/", description = "This server.")),
    paths(
        orders::create,
        orders::list,
        orders::get,
        orders::patch,
        events::of_order,
        events::feed,
        root::root,
        health::healthz,
        health::readyz,
        openapi_json,
    ),
    components(schemas(ProblemBody<'static>)),
    tags(
        (name = "orders", description = "Place, read and change orders."),
        (name = "events", description = "Learn what happened to orders."),
        (name = "operations", description = "For those who run the service."),
    )
)]
struct Document;

/// The whole document.
fn whole() -> utoipa::openapi::OpenApi {
    let mut document = Document::openapi();
    let id = HeaderBuilder::new()
        .schema(Some(ObjectBuilder::new().schema_type(Type::String).build()))
        .description(Some(
            "The id of the request: the client's own, or a new one.",
        ))
        .build();
    for item in document.paths.paths.values_mut() {
        for operation in [&mut item.get, &mut item.post, &mut item.patch]
            .into_iter()
            .flatten()
        {
            for response in operation.responses.responses.values_mut() {
                if let RefOr::T(response) = response {
                    response
                        .headers
                        .insert("X-Request-Id".to_owned(), RefOr::T(id.clone()));
                }
            }
        }
    }
    document
}

/// The OpenAPI 3.1 document as JSON.
///
/// # Errors
/// When it cannot be written as JSON.
pub fn document() -> Result<String, serde_json::Error> {
    whole().to_pretty_json()
}

/// This document.
#[utoipa::path(
    get,
    path = "/openapi.json",
    tag = "operations",
    responses((status = 200, description = "The OpenAPI 3.1 document.", body = serde_json::Value))
)]
pub(super) async fn openapi_json() -> Result<HttpResponse, Problem> {
    let json = document().map_err(Problem::internal)?;
    Ok(HttpResponse::Ok()
        .insert_header((CONTENT_TYPE, "application/json"))
        .body(json))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::TEMPLATES;
    use crate::domain::Status;

    #[test]
    fn the_document_has_every_route_and_no_other() {
        let mut documented: Vec<_> = whole().paths.paths.into_keys().collect();
        let mut routes = TEMPLATES.map(str::to_owned).to_vec();
        documented.sort();
        routes.sort();
        assert_eq!(documented, routes);
    }

    #[test]
    fn the_statuses_of_the_document_are_those_of_the_domain() {
        let document: serde_json::Value = serde_json::from_str(&document().unwrap()).unwrap();
        let text = document.to_string();
        let names: Vec<_> = Status::ALL.map(Status::as_str).to_vec();
        let list = serde_json::to_string(&names).unwrap();
        assert!(text.contains(&list), "{list}");
    }

    #[test]
    fn the_document_is_openapi_3_1() {
        let document: serde_json::Value = serde_json::from_str(&document().unwrap()).unwrap();
        assert!(document["openapi"].as_str().unwrap().starts_with("3.1"));
    }
}
