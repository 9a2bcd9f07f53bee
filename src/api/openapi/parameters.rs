//! The parameters of the operations. These types only generate the OpenAPI document. `api/query.rs`,
//! `api/idempotency.rs` and `http/request/` read the values.

#![expect(dead_code, reason = "the document needs the types of the fields only")]

use chrono::{DateTime, Utc};
use utoipa::IntoParams;
use uuid::Uuid;

use super::schemas::{DirectionSchema, Limit, ShortTextSchema};
use crate::order_json::StatusSchema;

/// The parameter for an order in a path.
#[derive(IntoParams)]
#[into_params(parameter_in = Path)]
pub(crate) struct OrderId {
    /// The id of the order.
    #[param(example = "0199a3c4-5d6e-7f80-9a1b-2c3d4e5f6071")]
    id: Uuid,
}

/// The parameter for a customer in a path.
#[derive(IntoParams)]
#[into_params(parameter_in = Path)]
pub(crate) struct CustomerId {
    /// The customer, percent-encoded.
    #[param(inline, example = "customer-7")]
    customer_id: ShortTextSchema,
}

/// The parameter for an erasure in a path.
#[derive(IntoParams)]
#[into_params(parameter_in = Path)]
pub(crate) struct ErasureId {
    /// The id of the erasure.
    #[param(example = "7d1c1f0e-8a51-4f0e-9f3a-6f1f5a0d9d11")]
    id: Uuid,
}

/// The parameter for a file in a path.
#[derive(IntoParams)]
#[into_params(parameter_in = Path)]
pub(crate) struct FileName {
    /// The name of the file.
    #[param(example = "swagger-ui.css")]
    file: String,
}

/// The size of a page.
#[derive(IntoParams)]
#[into_params(parameter_in = Query)]
pub(crate) struct PageSize {
    /// The maximum number of entries of the page. Values above 100 mean 100.
    #[param(required = false, inline, example = 100)]
    limit: Limit,
}

/// The query of a list of orders, without [`PageSize`].
#[derive(IntoParams)]
#[into_params(parameter_in = Query)]
pub(crate) struct ListParameters {
    /// The id of the last order of the previous page.
    #[param(required = false, example = "0199a3c4-5d6e-7f80-9a1b-2c3d4e5f6071")]
    starting_after: Uuid,
    /// `asc` is oldest first.
    #[param(required = false, inline, example = "desc")]
    order: DirectionSchema,
    /// Only orders with one of these statuses.
    #[param(required = false, example = json!(["pending", "confirmed"]))]
    status: Vec<StatusSchema>,
    /// Only orders created at this time or later.
    #[param(required = false, example = "2026-11-22T06:00:00Z")]
    created_from: DateTime<Utc>,
    /// Only orders created before this time. A range that ends less than 60 seconds ago is not final.
    #[param(required = false, example = "2026-11-22T07:00:00Z")]
    created_to: DateTime<Utc>,
    /// Only orders of this product.
    #[param(required = false, inline, example = "sku-1")]
    product_id: ShortTextSchema,
    /// Only orders of this customer.
    #[param(required = false, inline, example = "customer-7")]
    customer_id: ShortTextSchema,
    /// Only the order with this external id.
    #[param(required = false, inline, example = "A-1001")]
    external_id: ShortTextSchema,
    /// The orders with these ids, at most 100, in this order. Unknown ids are left out.
    #[param(required = false, example = json!(["0199a3c4-5d6e-7f80-9a1b-2c3d4e5f6071"]))]
    id: Vec<Uuid>,
}

/// The query of the events of one order, without [`PageSize`].
#[derive(IntoParams)]
#[into_params(parameter_in = Query)]
pub(crate) struct OrderEventsParameters {
    /// Only events after this version of the order.
    #[param(required = false, minimum = 0, example = 1)]
    after: i32,
}

/// The query of the feed, without [`PageSize`].
#[derive(IntoParams)]
#[into_params(parameter_in = Query)]
pub(crate) struct FeedParameters {
    /// A cursor from an earlier response. Without it the feed starts at its beginning.
    #[param(
        required = false,
        pattern = "^[A-Za-z0-9_-]{80}$",
        example = "XW5_gJobLD1OX2Bxk3Jv0aQ9mZc7Yt2LwP8nRe5UsHdKfXbV1oGi4TjCqNyMuE6lDzWhSaOBpIxQrJFg"
    )]
    after: String,
}

/// The header with which a client resumes a stream.
#[derive(IntoParams)]
#[into_params(parameter_in = Header)]
pub(crate) struct LastEventId {
    /// For a stream: the last id that the client received. Takes precedence over `after`.
    #[param(
        required = false,
        rename = "Last-Event-ID",
        pattern = "^([A-Za-z0-9_-]{80})?$",
        example = "XW5_gJobLD1OX2Bxk3Jv0aQ9mZc7Yt2LwP8nRe5UsHdKfXbV1oGi4TjCqNyMuE6lDzWhSaOBpIxQrJFg"
    )]
    last_event_id: String,
}

/// The header that makes a request repeatable.
#[derive(IntoParams)]
#[into_params(parameter_in = Header)]
pub(crate) struct IdempotencyKey {
    /// 1 to 255 visible ASCII characters, for example a UUID.
    #[param(
        required = false,
        rename = "Idempotency-Key",
        min_length = 1,
        max_length = 255,
        pattern = "^[!-~]+$",
        example = "7d1c1f0e-8a51-4f0e-9f3a-6f1f5a0d9d11"
    )]
    idempotency_key: String,
}

/// The precondition of a change (RFC 9110, section 13.1.1).
#[derive(IntoParams)]
#[into_params(parameter_in = Header)]
pub(crate) struct IfMatch {
    /// The entity tags of the versions that may be changed, or `*`. Without it any version may be changed.
    #[param(
        required = false,
        rename = "If-Match",
        pattern = r#"^(\*|(W/)?"[^"]*"(\s*,\s*(W/)?"[^"]*")*)?$"#,
        example = "\"1\""
    )]
    if_match: String,
}

/// The precondition of a read (RFC 9110, section 13.1.2).
#[derive(IntoParams)]
#[into_params(parameter_in = Header)]
pub(crate) struct IfNoneMatch {
    /// The entity tags of the versions that the client already has, or `*`.
    #[param(
        required = false,
        rename = "If-None-Match",
        pattern = r#"^(\*|(W/)?"[^"]*"(\s*,\s*(W/)?"[^"]*")*)?$"#,
        example = "\"1\""
    )]
    if_none_match: String,
}

/// The headers that every request may have. They have no constraints: an invalid value is ignored, not rejected.
#[derive(IntoParams)]
#[into_params(parameter_in = Header)]
pub(super) struct TraceHeaders {
    /// Identifies the request in the response and in the logs. Used if it has 1 to 128 visible ASCII
    /// characters.
    #[param(required = false, rename = "X-Request-Id", example = "checkout-7f3a")]
    x_request_id: String,
    /// W3C Trace Context. If it is valid, it is copied to the logs and to the events.
    #[param(
        required = false,
        example = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
    )]
    traceparent: String,
}
