//! Generates the OpenAPI document from the route table and the annotations of the handlers.

use std::path::Path;

use utoipa::{Modify as _, OpenApi};

use super::DOCUMENT;
use super::components::SharedComponents;
use super::schemas::MetadataPatchSchema;
use crate::api::routes::Operations;
use crate::http::problem::ProblemBody;

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

#[test]
fn the_document_is_the_generated_one() {
    let mut document = Document::openapi().merge_from(Operations::openapi());
    SharedComponents.modify(&mut document);
    let mut generated = serde_json::to_string_pretty(&document).unwrap();
    generated.push('\n');
    if std::env::var_os("OPENAPI").is_some_and(|value| value == "write") {
        let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("openapi.json");
        std::fs::write(file, generated).unwrap();
    } else {
        assert!(
            DOCUMENT == generated,
            "openapi.json is outdated; run: make openapi"
        );
    }
}
