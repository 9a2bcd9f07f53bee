//! The OpenAPI document, made from the annotations of the handlers.

mod finish;
pub(crate) mod responses;
pub(crate) mod schemas;

use std::cell::OnceCell;

use actix_web::http::header::CONTENT_TYPE;
use actix_web::{HttpResponse, web};
use bytes::Bytes;
use utoipa::OpenApi;

use super::{events, health, orders, reference_page, service_info};
use crate::http::problem::{Problem, ProblemBody};
use finish::finish;
use schemas::{EntityTags, LabelText, Limit};

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
        service_info::root,
        reference_page::page,
        reference_page::file,
        health::healthz,
        health::readyz,
        openapi_json,
    ),
    components(schemas(ProblemBody<'static>, EntityTags, LabelText, Limit)),
    tags(
        (name = "orders", description = "Place, read and change orders."),
        (name = "events", description = "Learn what happened to orders."),
        (name = "operations", description = "For those who run the service."),
    )
)]
struct Document;

/// The OpenAPI 3.1 document as JSON.
///
/// # Errors
/// When it cannot be written as JSON.
pub fn document() -> Result<String, serde_json::Error> {
    let mut document = serde_json::to_value(Document::openapi())?;
    finish(&mut document)?;
    serde_json::to_string_pretty(&document)
}

/// The document as one worker sends it: it never changes, and takes longer to make than to send.
pub(super) type CachedDocument = OnceCell<Bytes>;

/// This document.
#[utoipa::path(
    get,
    path = "/openapi.json",
    tag = "operations",
    responses((status = 200, description = "The OpenAPI 3.1 document.", body = serde_json::Value, example = json!({"openapi": "3.1.0"})))
)]
pub(super) async fn openapi_json(made: web::Data<CachedDocument>) -> Result<HttpResponse, Problem> {
    let json = match made.get() {
        Some(json) => json.clone(),
        None => {
            let json = document().map_err(Problem::internal)?.into();
            made.get_or_init(|| json).clone()
        }
    };
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
        let mut documented: Vec<_> = Document::openapi().paths.paths.into_keys().collect();
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

    #[test]
    fn every_parameter_header_and_json_body_has_an_example() {
        let document: serde_json::Value = serde_json::from_str(&document().unwrap()).unwrap();
        let mut missing = Vec::new();
        for (path, item) in document["paths"].as_object().unwrap() {
            for operation in item.as_object().unwrap().values() {
                for parameter in operation["parameters"].as_array().unwrap() {
                    if parameter.get("example").is_none() {
                        missing.push(format!("{path} {}", parameter["name"]));
                    }
                }
                for (status, response) in operation["responses"].as_object().unwrap() {
                    for (name, header) in response["headers"].as_object().unwrap() {
                        if header.get("example").is_none() {
                            missing.push(format!("{path} {status} {name}"));
                        }
                    }
                    for (kind, content) in response["content"].as_object().into_iter().flatten() {
                        let given = content.get("example").or(content.get("examples"));
                        if kind.ends_with("json") && given.is_none() {
                            missing.push(format!("{path} {status} {kind}"));
                        }
                    }
                }
            }
        }
        assert_eq!(missing, Vec::<String>::new());
    }
}
