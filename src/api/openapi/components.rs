//! Moves what several operations share into the components of the document, and adds to each operation
//! what applies to all of them.

use utoipa::openapi::extensions::Extensions;
use utoipa::openapi::header::Header;
use utoipa::openapi::path::{Operation, Parameter, PathItem};
use utoipa::openapi::{OpenApi, Ref, RefOr, Response};
use utoipa::{IntoParams, IntoResponses, Modify};

use super::parameters::{OrderId, PageSize, TraceHeaders};
use super::{headers, responses};

/// Replaces shared parameters and headers by references, and adds the parameters, responses and headers
/// that all operations have.
pub(super) struct SharedComponents;

impl Modify for SharedComponents {
    fn modify(&self, document: &mut OpenApi) {
        let shared = shared_parameters();
        for (path, item) in &mut document.paths.paths {
            for operation in operations(item) {
                complete_operation(path, operation, &shared);
            }
        }
        let mut problems: Vec<_> = responses::all().collect();
        for (_, response) in &mut problems {
            complete_headers(response);
        }
        let components = document.components.get_or_insert_default();
        components.responses.extend(problems);
        components.headers.extend(headers::all());
        components.parameters.extend(
            shared
                .into_iter()
                .map(|parameter| (component_name(&parameter), parameter.into())),
        );
        // A method that a path does not support is not an operation, so no operation refers to this
        // response.
        document.extensions = Some(Extensions::from_iter([(
            "x-unsupported-method",
            serde_json::json!({"$ref": "#/components/responses/MethodNotAllowed"}),
        )]));
    }
}

fn operations(item: &mut PathItem) -> impl Iterator<Item = &mut Operation> {
    [&mut item.get, &mut item.post, &mut item.patch]
        .into_iter()
        .flatten()
}

fn complete_operation(path: &str, operation: &mut Operation, shared: &[Parameter]) {
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
    let common = if path == "/healthz" {
        responses::AnyRequest::responses()
    } else {
        responses::AnyButLiveness::responses()
    };
    for (status, response) in common {
        operation
            .responses
            .responses
            .entry(status)
            .or_insert(response);
    }
    operation
        .responses
        .responses
        .values_mut()
        .for_each(complete_headers);
}

/// Adds the common headers, and makes every header a reference.
fn complete_headers(response: &mut RefOr<Response>) {
    let RefOr::T(response) = response else {
        return;
    };
    for name in headers::COMMON {
        response
            .headers
            .entry(name.to_owned())
            .or_insert_with(|| Header::default().into());
    }
    for (name, header) in &mut response.headers {
        *header = RefOr::Ref(Ref::new(format!("#/components/headers/{name}")));
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
