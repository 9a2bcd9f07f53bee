//! Orders over HTTP.

use actix_web::http::header::{CONTENT_TYPE, ETAG, LINK, LOCATION};
use actix_web::web::Data;
use actix_web::{HttpRequest, HttpResponse, HttpResponseBuilder};

use super::ApiState;
use super::idempotency::{REPLAYED, idempotency};
use super::openapi::responses::{BadGet, BadOrder, BadPatch, BadQuery, ServerErrors};
use super::openapi::schemas::{EntityTags, LabelText, Limit};
use super::order_body::{NewOrderBody, OrderPatchBody, StatusName};
use super::query;
use super::routes::Parameter;
use crate::domain::NewOrder;
use crate::http::problem::Problem;
use crate::http::problem::kind::ProblemKind;
use crate::http::request::body::Json;
use crate::http::request::conditional::{etag, failed, if_match, if_none_match};
use crate::http::request::context::RequestContext;
use crate::http::request::traceparent::traceparent;
use crate::order_json::OrderJson;
use crate::store::{CreateOrder, CreateOutcome, Document, UpdateOrder, UpdateOutcome, WithPermit};

/// Place an order.
///
/// With an `Idempotency-Key` the request may be repeated: the order is placed once, and every
/// repetition gets the same answer for as long as the order exists.
#[utoipa::path(
    post,
    path = "/api/v1/orders",
    tag = "orders",
    params(
        ("Idempotency-Key" = Option<String>, Header, description = "1 to 255 visible ASCII characters, for example a UUID.", min_length = 1, max_length = 255, pattern = "^[!-~]+$"),
    ),
    request_body(content = inline(NewOrderBody), content_type = "application/json"),
    responses(
        (status = 201, description = "CreateOutcome, now or by an earlier request with the same key.", body = OrderJson<'_>, headers(
            ("Location" = String, description = "The path of the order."),
            ("ETag" = String, description = "The version of the order, in quotes."),
            ("Idempotency-Replayed" = Option<String>, description = "`true` when an earlier request with the same key placed it; the order as it was then."),
        )),
        BadOrder,
        ServerErrors,
    )
)]
pub(super) async fn create(
    context: RequestContext,
    api: Data<ApiState>,
    request: HttpRequest,
    body: Json<NewOrderBody>,
) -> Result<HttpResponse, Problem> {
    let new = NewOrder::parse(body.0.into())?;
    let command = CreateOrder {
        idempotency: idempotency(request.headers(), &new)?,
        deadline: context.deadline(),
        traceparent: traceparent(request.headers()).map(str::to_owned),
        new,
    };
    let placed = api.store.create(command);
    let (document, replayed) = match context.within(placed, ProblemKind::Timeout).await?? {
        CreateOutcome::New(document) => (document, false),
        CreateOutcome::Replay(document) => (document, true),
        CreateOutcome::KeyReused => return Err(ProblemKind::IdempotencyKeyReused.into()),
    };
    let mut response = HttpResponse::Created();
    response.insert_header((LOCATION, format!("/api/v1/orders/{}", document.id)));
    if replayed {
        response.insert_header((REPLAYED, "true"));
    }
    Ok(with_document(&mut response, document))
}

/// List orders, newest first.
///
/// A page ends at `limit` orders or at 1 MiB, whichever comes first, and holds at least one order if there is
/// any; only `Link` says whether there is more. `status` combines with one of `product_id` and `customer_id`.
#[utoipa::path(
    get,
    path = "/api/v1/orders",
    tag = "orders",
    params(
        ("limit" = Option<Limit>, Query, description = "The most orders of the page; more than 100 means 100.", example = 100),
        ("starting_after" = Option<Uuid>, Query, description = "The id of the last order of the page before."),
        ("status" = Option<StatusName>, Query, description = "Only orders that stand so."),
        ("product_id" = Option<LabelText>, Query, description = "Only orders of this product."),
        ("customer_id" = Option<LabelText>, Query, description = "Only orders of this customer."),
    ),
    responses(
        (status = 200, description = "A page of orders.", body = [OrderJson<'_>], headers(
            ("Link" = Option<String>, description = "The next page, with `rel=\"next\"` (RFC 8288), while there may be one."),
        )),
        BadQuery,
        ServerErrors,
    )
)]
pub(super) async fn list(
    context: RequestContext,
    api: Data<ApiState>,
    request: HttpRequest,
) -> Result<HttpResponse, Problem> {
    let list = query::list(&request)?;
    let page = api.store.list(list.clone());
    // The edge charges the budget for the response before anything else happens.
    let WithPermit {
        page,
        permit: _permit,
    } = context.within(page, ProblemKind::Timeout).await??;
    let mut response = HttpResponse::Ok();
    if let Some(last) = page.next {
        let next = query::next_page(&list, last);
        response.insert_header((LINK, format!("<{next}>; rel=\"next\"")));
    }
    Ok(response
        .insert_header((CONTENT_TYPE, "application/json"))
        .body(page.json))
}

/// Get an order.
#[utoipa::path(
    get,
    path = "/api/v1/orders/{id}",
    tag = "orders",
    params(
        ("id" = Uuid, Path, description = "The id of the order."),
        ("If-None-Match" = Option<EntityTags>, Header, description = "Entity tags of versions that the client has, or `*`.", example = "\"1\""),
    ),
    responses(
        (status = 200, description = "The order.", body = OrderJson<'_>, headers(
            ("ETag" = String, description = "The version of the order, in quotes."),
        )),
        (status = 304, description = "The client has this version.", headers(
            ("ETag" = String, description = "The version of the order, in quotes."),
        )),
        BadGet,
        ServerErrors,
    )
)]
pub(super) async fn get(
    context: RequestContext,
    api: Data<ApiState>,
    request: HttpRequest,
    Parameter(id): Parameter,
) -> Result<HttpResponse, Problem> {
    let id = query::order_id(&id).ok_or_else(order_not_found)?;
    let order = context
        .within(api.store.get(id), ProblemKind::Timeout)
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

/// Change an order.
///
/// A JSON Merge Patch (RFC 7396) of `status`, `quantity` (only while the order is pending) and
/// `metadata`. A patch that changes nothing answers 200 and makes no new version.
#[utoipa::path(
    patch,
    path = "/api/v1/orders/{id}",
    tag = "orders",
    params(
        ("id" = Uuid, Path, description = "The id of the order."),
        ("If-Match" = Option<EntityTags>, Header, description = "Entity tags of the versions to change, or `*`; without it, whichever there is.", example = "\"1\""),
    ),
    request_body(content(
        (inline(OrderPatchBody) = "application/merge-patch+json"),
        (inline(OrderPatchBody) = "application/json"),
    )),
    responses(
        (status = 200, description = "The order as it is now.", body = OrderJson<'_>, headers(
            ("ETag" = String, description = "The version of the order, in quotes."),
        )),
        BadPatch,
        ServerErrors,
    )
)]
pub(super) async fn patch(
    context: RequestContext,
    api: Data<ApiState>,
    request: HttpRequest,
    Parameter(id): Parameter,
    body: Json<OrderPatchBody>,
) -> Result<HttpResponse, Problem> {
    let command = UpdateOrder {
        patch: body.0.try_into()?,
        if_match: if_match(request.headers())?,
        if_none_match: if_none_match(request.headers())?,
        deadline: context.deadline(),
        id: query::order_id(&id).ok_or_else(order_not_found)?,
        traceparent: traceparent(request.headers()).map(str::to_owned),
    };
    let changed = api.store.update(command);
    match context.within(changed, ProblemKind::Timeout).await?? {
        UpdateOutcome::Now(document) => Ok(with_document(&mut HttpResponse::Ok(), document)),
        UpdateOutcome::Missing => Err(order_not_found()),
        UpdateOutcome::Stale => Err(failed(request.headers())),
        UpdateOutcome::Refused(refusal) => Err(refusal.into()),
    }
}

pub(super) fn order_not_found() -> Problem {
    Problem::new(ProblemKind::NotFound, "There is no order with this id.")
}

fn with_document(response: &mut HttpResponseBuilder, document: Document) -> HttpResponse {
    response
        .insert_header((ETAG, etag(document.version)))
        .insert_header((CONTENT_TYPE, "application/json"))
        .body(document.json)
}
