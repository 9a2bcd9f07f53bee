//! The headers of the responses. An operation names them; [`super::components`] turns each name into a
//! reference to the component described here.

use std::collections::BTreeMap;

use serde_json::{Value, json};
use utoipa::openapi::extensions::Extensions;
use utoipa::openapi::header::{Header, HeaderBuilder};
use utoipa::openapi::{ObjectBuilder, RefOr, Type};

/// The header that every response has with a different value. The description of the API names the headers with a
/// fixed value.
pub(super) const REQUEST_ID: &str = "X-Request-Id";

/// The headers that several responses have, by name.
pub(super) fn all() -> BTreeMap<String, RefOr<Header>> {
    [
        always(
            REQUEST_ID,
            "The id of the request: the one that the client sent, or a new one.",
            Type::String,
            json!("checkout-7f3a"),
        ),
        always(
            "Retry-After",
            "The number of seconds after which the client may retry.",
            Type::Integer,
            json!(1),
        ),
        always(
            "WWW-Authenticate",
            "How to authenticate (RFC 6750). `error=\"invalid_token\"` if the request had credentials.",
            Type::String,
            json!("Bearer realm=\"order-service\""),
        ),
        always(
            "Location",
            "The path of the order or of the erasure.",
            Type::String,
            json!("/api/v1/orders/0199a3c4-5d6e-7f80-9a1b-2c3d4e5f6071"),
        ),
        always(
            "ETag",
            "The version of the order, in quotes.",
            Type::String,
            json!("\"1\""),
        ),
        sometimes(
            "RateLimit",
            "What is left of the caller's rate, if the service limits rates. Successful responses have it, too.",
            json!("\"default\";r=42;t=1"),
        ),
        sometimes(
            "RateLimit-Policy",
            "The caller's rate, if the service limits rates. Successful responses have it, too.",
            json!("\"default\";q=100;w=2"),
        ),
        sometimes(
            "Idempotency-Replayed",
            "`true` if an earlier request with the same key created the order. The body is the order as \
             it was then.",
            json!("true"),
        ),
        sometimes(
            "Link",
            "The next page, with `rel=\"next\"` (RFC 8288). A list has it while there may be more \
             entries, a page of the feed always, a stream never.",
            json!("</api/v1/orders?limit=100&starting_after=0199a3c4-5d6e-7f80-9a1b-2c3d4e5f6071>; rel=\"next\""),
        ),
    ]
    .into()
}

/// The header of a response to a method that the path does not support.
pub(super) fn allow() -> Header {
    header(
        "The methods that the path supports.",
        Type::String,
        json!("GET, HEAD, POST"),
        true,
    )
}

type Entry = (String, RefOr<Header>);

fn always(name: &str, description: &str, kind: Type, example: Value) -> Entry {
    (
        name.to_owned(),
        header(description, kind, example, true).into(),
    )
}

fn sometimes(name: &str, description: &str, example: Value) -> Entry {
    (
        name.to_owned(),
        header(description, Type::String, example, false).into(),
    )
}

fn header(description: &str, kind: Type, example: Value, required: bool) -> Header {
    HeaderBuilder::new()
        .description(Some(description))
        .schema(Some(ObjectBuilder::new().schema_type(kind)))
        .example(Some(example))
        // utoipa has no field for `required`. Its extensions become members of the object.
        .extensions(Some(Extensions::from_iter([("required", required)])))
        .build()
}
