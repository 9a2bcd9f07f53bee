//! The endpoints of orders.

use std::sync::Arc;

use actix_web::http::header::{CONTENT_TYPE, ETAG, LINK, LOCATION};
use actix_web::web::Data;
use actix_web::{HttpRequest, HttpResponse, HttpResponseBuilder};

use super::created::Created;
use super::errors::order_not_found;
use super::idempotency::{IDEMPOTENCY_REPLAYED, idempotency};
use super::openapi::parameters::{
    IdempotencyKey, IfMatch, IfNoneMatch, ListParameters, OrderId, PageSize,
};
use super::openapi::responses::{CreateErrors, GetErrors, QueryErrors, ServerErrors, UpdateErrors};
use super::order_body::OrderPatchBody;
use super::query::orders::{OrdersQuery, next_page};
use super::state::ApiState;
use super::{export, paths, query};
use crate::domain::NewOrder;
use crate::http::path::Parameter;
use crate::http::problem::Problem;
use crate::http::problem::kind::ProblemKind;
use crate::http::request::body::Json;
use crate::http::request::conditional::{etag, failed, if_match, if_none_match};
use crate::http::request::context::RequestContext;
use crate::http::request::traceparent::traceparent;
use crate::order_json::OrderJson;
use crate::order_json::new_order::{NewOrderBody, basket};
use crate::store::{CreateOrder, Document, UpdateOrder, UpdateOutcome, WithPermit};

/// Create an order.
///
/// An order has 1 to 100 lines. A body with `product_id` and `quantity` means one line. Amounts are integers in the minor
/// unit of the currency, and the service computes their total. With an `Idempotency-Key` the request can be repeated safely: the order is created once, and each
/// repetition gets the same response for as long as the order exists.
#[utoipa::path(
    post,
    path = paths::ORDERS.template,
    operation_id = "createOrder",
    tag = "orders",
    params(IdempotencyKey),
    request_body(
        content = NewOrderBody,
        content_type = "application/json",
        examples(
            ("basket" = (summary = "Two products and a discount", value = json!(basket()))),
            ("one_line" = (
                summary = "One product without a price",
                value = json!({"product_id": "sku-1", "quantity": 3}),
            )),
        ),
    ),
    responses(
        (
            status = 201,
            description = "The order, created now or by an earlier request with the same key.",
            body = OrderJson<'_>,
            headers(("Location"), ("ETag"), ("Idempotency-Replayed")),
        ),
        CreateErrors,
        ServerErrors,
    )
)]
pub(super) async fn create(
    context: RequestContext,
    api: Data<ApiState>,
    request: HttpRequest,
    body: Json<NewOrderBody>,
) -> Result<HttpResponse, Problem> {
    api.panics.panic_at("createOrder");
    let new = NewOrder::try_from(body.0)?;
    let command = CreateOrder {
        caller: Arc::clone(context.caller()),
        idempotency: idempotency(request.headers(), &new)?,
        deadline: context.deadline(),
        traceparent: traceparent(request.headers()).map(str::to_owned),
        new,
    };
    let created = api.store.create(command);
    let created = context.within(created, ProblemKind::Timeout).await?;
    let Created { document, replayed } = Created::of(created)?;
    let mut response = HttpResponse::Created();
    response.insert_header((LOCATION, format!("/api/v1/orders/{}", document.id)));
    if replayed {
        response.insert_header((IDEMPOTENCY_REPLAYED, "true"));
    }
    Ok(with_document(&mut response, document))
}

/// List orders, newest first.
///
/// A page ends at `limit` orders or at 1 MiB, whichever comes first, and holds at least one order if there is
/// any. Only `Link` shows whether there may be more. At most one of `product_id`, `customer_id` and `external_id`,
/// with any of the other parameters except `id`, which cannot be combined with any.
///
/// With `Accept: application/x-ndjson` the response is an export: all matching orders as a stream, one JSON object a
/// line, without `limit`. An export that is cut off ends without the last chunk of HTTP/1.1. It is resumed with the
/// `id` of its last complete line as `starting_after`.
#[utoipa::path(
    get,
    path = paths::ORDERS.template,
    operation_id = "listOrders",
    tag = "orders",
    params(PageSize, ListParameters),
    responses(
        (
            status = 200,
            description = "A page of orders, or all of them as a stream.",
            content(
                ([OrderJson<'_>] = "application/json"),
                (String = "application/x-ndjson", example = "{\"id\":\"0199a3c4-5d6e-7f80-9a1b-2c3d4e5f6071\"}\n"),
            ),
            headers(("Link")),
        ),
        QueryErrors,
        ServerErrors,
    )
)]
pub(super) async fn list(
    context: RequestContext,
    api: Data<ApiState>,
    request: HttpRequest,
) -> Result<HttpResponse, Problem> {
    if export::is_requested(request.headers()) {
        return export::response(&context, &api, &request).await;
    }
    let query = query::orders::orders(&request)?;
    let page = async {
        match query.clone() {
            OrdersQuery::List(list) => api.store.list(context.caller(), list).await,
            OrdersQuery::Ids(ids) => api.store.list_by_id(context.caller(), ids).await,
        }
    };
    // The edge charges the response budget without an await in between, so the permit of the page can be dropped.
    let WithPermit {
        page,
        permit: _permit,
    } = context.within(page, ProblemKind::Timeout).await??;
    let mut response = HttpResponse::Ok();
    let next = page.next.and_then(|last| next_page(&query, last));
    if let Some(next) = next {
        response.insert_header((LINK, format!("<{next}>; rel=\"next\"")));
    }
    Ok(response
        .insert_header((CONTENT_TYPE, "application/json"))
        .body(page.json))
}

/// Get an order.
///
/// `If-None-Match` saves the transfer of a version that the client already has.
#[utoipa::path(
    get,
    path = paths::ORDER.template,
    operation_id = "getOrder",
    tag = "orders",
    params(OrderId, IfNoneMatch),
    responses(
        (status = 200, description = "The order.", body = OrderJson<'_>, headers(("ETag"))),
        (status = 304, description = "The client has this version.", headers(("ETag"))),
        GetErrors,
        ServerErrors,
    )
)]
pub(super) async fn get(
    context: RequestContext,
    api: Data<ApiState>,
    request: HttpRequest,
    Parameter(id): Parameter,
) -> Result<HttpResponse, Problem> {
    api.panics.panic_at("getOrder");
    let id = query::order_id(&id).ok_or_else(order_not_found)?;
    let order = context
        .within(api.store.get(context.caller(), id), ProblemKind::Timeout)
        .await??;
    let document = order.ok_or_else(order_not_found)?;
    if !if_match(request.headers())?.allows(document.version) {
        return Err(failed(request.headers()));
    }
    let known = if_none_match(request.headers())?;
    if known.is_some_and(|versions| versions.allows(document.version)) {
        return Ok(HttpResponse::NotModified()
            .insert_header((ETAG, etag(document.version)))
            .finish());
    }
    Ok(with_document(&mut HttpResponse::Ok(), document))
}

/// Update an order.
///
/// A JSON Merge Patch (RFC 7396) of `status`, `items`, `quantity` and `metadata`. `items` replaces all lines, `quantity`
/// is that of the only line; both can change only while the order is pending. A patch that changes nothing returns 200
/// and creates no new version.
#[utoipa::path(
    patch,
    path = paths::ORDER.template,
    operation_id = "updateOrder",
    tag = "orders",
    params(OrderId, IfMatch),
    request_body(content(
        (OrderPatchBody = "application/merge-patch+json"),
        (OrderPatchBody = "application/json"),
    )),
    responses(
        (status = 200, description = "The order after the update.", body = OrderJson<'_>, headers(("ETag"))),
        UpdateErrors,
        ServerErrors,
    )
)]
pub(super) async fn update(
    context: RequestContext,
    api: Data<ApiState>,
    request: HttpRequest,
    Parameter(id): Parameter,
    body: Json<OrderPatchBody>,
) -> Result<HttpResponse, Problem> {
    let command = UpdateOrder {
        caller: Arc::clone(context.caller()),
        patch: body.0.try_into()?,
        if_match: if_match(request.headers())?,
        if_none_match: if_none_match(request.headers())?,
        deadline: context.deadline(),
        id: query::order_id(&id).ok_or_else(order_not_found)?,
        traceparent: traceparent(request.headers()).map(str::to_owned),
    };
    let updated = api.store.update(command);
    match context.within(updated, ProblemKind::Timeout).await?? {
        UpdateOutcome::Current(document) => Ok(with_document(&mut HttpResponse::Ok(), document)),
        UpdateOutcome::Missing => Err(order_not_found()),
        UpdateOutcome::PreconditionFailed => Err(failed(request.headers())),
        UpdateOutcome::Rejected(error) => Err(error.into()),
    }
}

fn with_document(response: &mut HttpResponseBuilder, document: Document) -> HttpResponse {
    response
        .insert_header((ETAG, etag(document.version)))
        .insert_header((CONTENT_TYPE, "application/json"))
        .body(document.json)
}
