//! The problems of each handler, for the OpenAPI document: grouped, with an example for each kind,
//! all from the one table of kinds.

use std::collections::BTreeMap;

use serde_json::json;
use utoipa::IntoResponses;
use utoipa::openapi::example::ExampleBuilder;
use utoipa::openapi::{
    ContentBuilder, HeaderBuilder, ObjectBuilder, Ref, RefOr, Response, ResponseBuilder, Type,
};

use crate::http::problem::kind::ProblemKind;

/// The problems of these kinds, as one response for each status.
fn problems(slugs: &[ProblemKind]) -> BTreeMap<String, RefOr<Response>> {
    let mut by_status: BTreeMap<u16, Vec<ProblemKind>> = BTreeMap::new();
    for slug in slugs {
        by_status
            .entry(slug.status().as_u16())
            .or_default()
            .push(*slug);
    }
    by_status
        .into_iter()
        .map(|(status, slugs)| (status.to_string(), RefOr::T(response(status, &slugs))))
        .collect()
}

fn response(status: u16, slugs: &[ProblemKind]) -> Response {
    let titles: Vec<_> = slugs
        .iter()
        .map(|slug| format!("`{}`", slug.as_str()))
        .collect();
    let examples = slugs.iter().map(|slug| {
        let example = ExampleBuilder::new()
            .summary(slug.title())
            .value(Some(example(*slug)));
        (slug.as_str(), example.build())
    });
    let content = ContentBuilder::new()
        .schema(Some(Ref::from_schema_name("Problem")))
        .examples_from_iter(examples)
        .build();
    let mut response = ResponseBuilder::new()
        .description(titles.join(" or "))
        .content("application/problem+json", content);
    if status == 503 {
        let seconds = ObjectBuilder::new().schema_type(Type::Integer).build();
        let header = HeaderBuilder::new()
            .schema(Some(seconds))
            .description(Some("Seconds after which to try again."))
            .build();
        response = response.header("Retry-After", header);
    }
    response.build()
}

/// A problem of this kind as a client might see it.
fn example(slug: ProblemKind) -> serde_json::Value {
    let mut problem = json!({
        "type": format!("urn:problem:order-service:{}", slug.as_str()),
        "title": slug.title(),
        "status": slug.status().as_u16(),
        "detail": slug.detail(),
        "instance": "/api/v1/orders",
        "request_id": "0199a3c4-5d6e-7f80-9a1b-2c3d4e5f6072",
    });
    let more = match slug {
        ProblemKind::ValidationFailed => Some((
            "errors",
            json!([{"pointer": "/quantity", "detail": "must be from 1 to 1000000, is 0"}]),
        )),
        ProblemKind::IllegalTransition => Some(("allowed", json!(["confirmed", "cancelled"]))),
        ProblemKind::CursorExpired => Some(("oldest", json!("AA"))),
        _ => None,
    };
    if let (Some((member, value)), Some(object)) = (more, problem.as_object_mut()) {
        object.insert(member.to_owned(), value);
    }
    problem
}

/// Declares groups of problems.
macro_rules! groups {
    ($($(#[$doc:meta])* $name:ident: [$($slug:ident),* $(,)?];)*) => {
        $(
            $(#[$doc])*
            pub(crate) struct $name;

            impl IntoResponses for $name {
                fn responses() -> BTreeMap<String, RefOr<Response>> {
                    problems(&[$(ProblemKind::$slug),*])
                }
            }
        )*
    };
}

groups! {
    /// What may be wrong with a request to place an order.
    BadOrder: [
        MalformedRequest, RequestTimeout, PayloadTooLarge, UnsupportedMediaType,
        ValidationFailed, IdempotencyKeyReused,
    ];
    /// What may be wrong with a request to change an order.
    BadPatch: [
        MalformedRequest, NotFound, RequestTimeout, IllegalTransition, OrderNotEditable,
        PreconditionFailed, PayloadTooLarge, UnsupportedMediaType, ValidationFailed,
    ];
    /// What may be wrong with the query of a list.
    BadQuery: [ValidationFailed];
    /// What may be wrong with a place in the feed.
    BadCursor: [CursorExpired, ValidationFailed];
    /// What may be wrong with a request for one order.
    BadGet: [MalformedRequest, NotFound, PreconditionFailed];
    /// What may be wrong with a request for something that belongs to an order.
    BadOrderQuery: [NotFound, ValidationFailed];
    /// Why the service may not answer although the request is fine.
    ServerErrors: [Internal, Overloaded, Unavailable, Timeout];
    /// What may be wrong with any request.
    AnyRequest: [MalformedRequest];
    /// Why any request may be refused that is no probe of the process.
    AnyButHealthz: [MalformedRequest, Overloaded];
    /// What is answered to a method that a path does not take.
    WrongMethod: [MethodNotAllowed];
    /// What may be missing.
    MissingFile: [NotFound];
    /// A fault of this service.
    Fault: [Internal];
    /// Why the service is not ready.
    NotReady: [Unavailable];
}
