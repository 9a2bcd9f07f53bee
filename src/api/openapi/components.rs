//! Moves the parts that several operations share into the components of the document, and adds to each operation
//! the parts that apply to all operations.

use std::collections::BTreeMap;

use utoipa::openapi::extensions::Extensions;
use utoipa::openapi::header::Header;
use utoipa::openapi::path::{Operation, Parameter};
use utoipa::openapi::security::{HttpAuthScheme, HttpBuilder, SecurityRequirement, SecurityScheme};
use utoipa::openapi::{OpenApi, Ref, RefOr, Response};
use utoipa::{IntoParams, IntoResponses, Modify};

use super::parameters::{OrderId, PageSize, TraceHeaders};
use super::{headers, responses};
use crate::access::Requirement;
use crate::api::paths::{HEALTHZ, READYZ};
use crate::api::routes::RESOURCES;

/// The name of the security scheme.
const BEARER: &str = "bearer";

/// Replaces shared parameters and headers by references, and adds the parameters, responses and headers
/// that all operations have.
pub(super) struct SharedComponents;

impl Modify for SharedComponents {
    fn modify(&self, document: &mut OpenApi) {
        let parameters = shared_parameters();
        let headers = headers::all();
        for resource in &RESOURCES {
            let path = resource.path.template;
            let Some(item) = document.paths.paths.get_mut(path) else {
                continue;
            };
            for route in resource.routes {
                let operation = match route.method.as_str() {
                    "GET" => &mut item.get,
                    "POST" => &mut item.post,
                    "PATCH" => &mut item.patch,
                    "DELETE" => &mut item.delete,
                    _ => &mut None,
                };
                if let Some(operation) = operation {
                    require(route.requirement, operation);
                    complete_operation(path, operation, &parameters, &headers);
                }
            }
        }
        // A method that a path does not support is not an operation, so no operation has this response.
        let mut unsupported_method = responses::unsupported_method();
        complete_headers(&mut unsupported_method, &headers);
        document.extensions = Some(Extensions::from_iter([(
            "x-unsupported-method",
            serde_json::to_value(unsupported_method).unwrap_or_default(),
        )]));
        let components = document.components.get_or_insert_default();
        for (name, mut response) in responses::all() {
            complete_headers(&mut response, &headers);
            components.responses.insert(name, response.into());
        }
        for parameter in parameters {
            let name = component_name(&parameter);
            components.parameters.insert(name, parameter.into());
        }
        components.headers = headers;
        let bearer = HttpBuilder::new()
            .scheme(HttpAuthScheme::Bearer)
            .description(Some(
                "An API key (`osk_ID_SECRET`) or a JSON Web Token, with the scope that the operation names. \
                 The tenant of the credential owns what the operation reads and writes.",
            ));
        components.add_security_scheme(BEARER, SecurityScheme::Http(bearer.build()));
    }
}

/// Documents the scope that an operation needs, and the responses to requests without it.
fn require(requirement: Requirement, operation: &mut Operation) {
    let Requirement::Scope(scope) = requirement else {
        return;
    };
    // The names of scopes are for OAuth 2 and OpenID Connect schemes. Linters reject them elsewhere.
    let none: [&str; 0] = [];
    operation.security = Some(vec![SecurityRequirement::new(BEARER, none)]);
    if let Some(description) = &mut operation.description {
        description.push_str(&format!("\n\nNeeds the scope `{scope}`."));
    }
    let responses = &mut operation.responses.responses;
    responses.extend(responses::AnySecured::responses());
}

fn complete_operation(
    path: &str,
    operation: &mut Operation,
    shared: &[Parameter],
    headers: &Headers,
) {
    let parameters = operation.parameters.get_or_insert_default();
    parameters.extend(trace_headers().into_iter().map(RefOr::T));
    for parameter in parameters {
        if let RefOr::T(inline) = parameter
            && shared.contains(inline)
        {
            let name = component_name(inline);
            *parameter = RefOr::Ref(Ref::new(format!("#/components/parameters/{name}")));
        }
    }
    let common = if path == HEALTHZ.template {
        responses::AnyRequest::responses()
    } else if path == READYZ.template {
        responses::AnyButLiveness::responses()
    } else {
        responses::AnyButProbes::responses()
    };
    let responses = &mut operation.responses.responses;
    for (status, response) in common {
        responses.entry(status).or_insert(response);
    }
    for response in responses.values_mut() {
        if let RefOr::T(response) = response {
            complete_headers(response, headers);
        }
    }
}

type Headers = BTreeMap<String, RefOr<Header>>;

/// Adds the header that every response has, and makes the shared headers references.
fn complete_headers(response: &mut Response, shared: &Headers) {
    let request_id = headers::REQUEST_ID.to_owned();
    response
        .headers
        .insert(request_id, Header::default().into());
    for (name, header) in &mut response.headers {
        if shared.contains_key(name) {
            *header = RefOr::Ref(Ref::new(format!("#/components/headers/{name}")));
        }
    }
}

fn shared_parameters() -> Vec<Parameter> {
    let mut parameters = OrderId::into_params(|| None);
    parameters.extend(PageSize::into_params(|| None));
    parameters.extend(trace_headers());
    parameters
}

fn trace_headers() -> Vec<Parameter> {
    TraceHeaders::into_params(|| None)
}

fn component_name(parameter: &Parameter) -> String {
    match parameter.name.as_str() {
        "id" => "OrderId",
        "limit" => "Limit",
        "traceparent" => "TraceParent",
        name => name,
    }
    .to_owned()
}
