use std::path::Path;

use serde_json::Value;
use utoipa::{Modify as _, OpenApi};

use super::components::SharedComponents;
use super::schemas::MetadataPatchSchema;
use super::*;
use crate::access::Requirement;
use crate::api::routes::{Operations, RESOURCES};
use crate::domain::Status;
use crate::http::problem::ProblemBody;
use crate::http::route::Route;

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

fn parsed() -> Value {
    serde_json::from_str(DOCUMENT).unwrap()
}

/// The components of a document, to resolve references.
struct References<'a>(&'a Value);

impl<'a> References<'a> {
    fn resolve(&self, value: &'a Value) -> &'a Value {
        match value.get("$ref") {
            None => value,
            Some(reference) => {
                let pointer = reference.as_str().unwrap().strip_prefix('#').unwrap();
                let target = self.0.pointer(pointer);
                target.unwrap_or_else(|| panic!("{reference} leads nowhere"))
            }
        }
    }

    /// Whether the schema has an example, or each of its properties has one.
    fn exemplified(&self, schema: &'a Value) -> bool {
        let schema = self.resolve(schema);
        if schema.get("example").or(schema.get("examples")).is_some() {
            return true;
        }
        if let Some(items) = schema.get("items") {
            return self.exemplified(items);
        }
        let properties = schema.get("properties").and_then(Value::as_object);
        properties.is_some_and(|properties| properties.values().all(|each| self.exemplified(each)))
    }
}

/// Each operation with its method and path.
fn operations(document: &Value) -> impl Iterator<Item = (String, &Value)> {
    let paths = document["paths"].as_object().unwrap();
    paths.iter().flat_map(|(path, item)| {
        let item = item.as_object().unwrap();
        item.iter()
            .map(move |(method, operation)| (format!("{method} {path}"), operation))
    })
}

/// Each route with its method and path.
fn routes() -> impl Iterator<Item = (String, &'static Route)> {
    RESOURCES.iter().flat_map(|resource| {
        resource.routes.iter().map(|route| {
            let method = route.method.as_str().to_lowercase();
            (format!("{method} {}", resource.path.template), route)
        })
    })
}

#[test]
fn the_document_has_every_route_and_no_other() {
    let document = parsed();
    let mut documented: Vec<_> = operations(&document).map(|(name, _)| name).collect();
    let mut routes: Vec<_> = routes().map(|(name, _)| name).collect();
    documented.sort();
    routes.sort();
    assert_eq!(documented, routes);
}

#[test]
fn every_operation_that_needs_a_scope_names_it_and_has_401_403_and_429() {
    let document = parsed();
    let operations: std::collections::HashMap<_, _> = operations(&document).collect();
    for (name, route) in routes() {
        let operation = operations[&name];
        let rejections = ["401", "429"].map(|status| operation["responses"].get(status).is_some());
        match route.requirement {
            Requirement::Open => {
                assert_eq!(operation.get("security"), None, "{name}");
                assert_eq!(rejections, [false, false], "{name}");
            }
            Requirement::Scope(scope) => {
                let security = serde_json::json!([{"bearer": []}]);
                assert_eq!(operation["security"], security, "{name}");
                let description = operation["description"].as_str().unwrap();
                assert!(description.contains(&format!("`{scope}`")), "{name}");
                assert_eq!(rejections, [true, true], "{name}");
                assert!(operation["responses"].get("403").is_some(), "{name}");
            }
        }
    }
    let scheme = &document["components"]["securitySchemes"]["bearer"];
    assert_eq!(
        (&scheme["type"], &scheme["scheme"]),
        (&"http".into(), &"bearer".into())
    );
}

#[test]
fn the_statuses_of_the_document_are_those_of_the_domain() {
    let names: Vec<_> = Status::ALL.map(Status::as_str).to_vec();
    assert_eq!(
        parsed()["components"]["schemas"]["Status"]["enum"],
        serde_json::json!(names)
    );
}

#[test]
fn the_document_is_openapi_3_1() {
    assert!(parsed()["openapi"].as_str().unwrap().starts_with("3.1"));
}

#[test]
fn every_operation_has_an_id_a_summary_and_a_description() {
    for (name, operation) in operations(&parsed()) {
        for member in ["operationId", "summary", "description"] {
            let text = operation[member].as_str().unwrap_or_default();
            assert!(!text.is_empty(), "{name} has no {member}");
        }
    }
}

#[test]
fn every_parameter_header_and_json_body_has_an_example() {
    let document = parsed();
    let references = References(&document);
    let mut missing = Vec::new();
    for (name, operation) in operations(&document) {
        for parameter in operation["parameters"].as_array().unwrap() {
            let parameter = references.resolve(parameter);
            if parameter.get("example").is_none() {
                missing.push(format!("{name} {}", parameter["name"]));
            }
        }
        let mut bodies = vec![("request".to_owned(), &operation["requestBody"])];
        for (status, response) in operation["responses"].as_object().unwrap() {
            let response = references.resolve(response);
            for (header, value) in response["headers"].as_object().unwrap() {
                if references.resolve(value).get("example").is_none() {
                    missing.push(format!("{name} {status} {header}"));
                }
            }
            bodies.push((status.clone(), response));
        }
        for (body, contents) in bodies {
            for (kind, content) in contents["content"].as_object().into_iter().flatten() {
                let given = content.get("example").or(content.get("examples")).is_some();
                if kind.ends_with("json") && !given && !references.exemplified(&content["schema"]) {
                    missing.push(format!("{name} {body} {kind}"));
                }
            }
        }
    }
    assert_eq!(missing, Vec::<String>::new());
}

#[test]
fn every_response_has_a_request_id() {
    let document = parsed();
    let references = References(&document);
    for (name, operation) in operations(&document) {
        for (status, response) in operation["responses"].as_object().unwrap() {
            let header = &references.resolve(response)["headers"]["X-Request-Id"];
            assert_eq!(
                references.resolve(header)["required"],
                true,
                "{name} {status}"
            );
        }
    }
}

#[test]
fn every_component_is_used() {
    let document = parsed();
    let text = document.to_string();
    let components = document["components"].as_object().unwrap();
    // Operations name security schemes without a reference.
    for (kind, components) in components
        .iter()
        .filter(|(kind, _)| *kind != "securitySchemes")
    {
        for name in components.as_object().unwrap().keys() {
            let reference = format!("\"#/components/{kind}/{name}\"");
            assert!(text.contains(&reference), "{reference} is not used");
        }
    }
}

#[test]
fn the_document_is_small() {
    assert!(parsed().to_string().len() < 52_000);
}
