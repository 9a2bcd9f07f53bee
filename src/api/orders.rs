//! Orders over HTTP.

use actix_web::http::header::{CONTENT_TYPE, ETAG, LINK, LOCATION};
use actix_web::web::{Data, Path};
use actix_web::{HttpRequest, HttpResponse};

use super::Api;
use super::body::Json;
use super::context::Context;
use super::dto::{NewOrderBody, OrderBody};
use super::problem::{Problem, ProblemBody};
use super::query;
use super::slug::Slug;
use crate::domain::{NewOrder, Order};

/// Place an order.
#[utoipa::path(
    post,
    path = "/api/v1/orders",
    tag = "orders",
    request_body = NewOrderBody,
    responses(
        (status = 201, description = "Placed.", body = OrderBody, headers(
            ("Location" = String, description = "The path of the order."),
            ("ETag" = String, description = "The version of the order, in quotes."),
        )),
        (status = 400, description = "The body is not JSON.", body = ProblemBody, content_type = "application/problem+json"),
        (status = 408, description = "The body did not arrive in time.", body = ProblemBody, content_type = "application/problem+json"),
        (status = 413, description = "The body is too large.", body = ProblemBody, content_type = "application/problem+json"),
        (status = 415, description = "The body is not `application/json`.", body = ProblemBody, content_type = "application/problem+json"),
        (status = 422, description = "The body is JSON and does not fit.", body = ProblemBody, content_type = "application/problem+json"),
        (status = 503, description = "Overloaded, unavailable or too slow; see Retry-After.", body = ProblemBody, content_type = "application/problem+json"),
    )
)]
pub(super) async fn create(
    context: Context,
    api: Data<Api>,
    body: Json<NewOrderBody>,
) -> Result<HttpResponse, Problem> {
    let new = NewOrder::parse(body.0.into())?;
    let order = context
        .within(api.store.create(new), Slug::Timeout)
        .await??;
    let location = format!("/api/v1/orders/{}", order.id);
    Ok(HttpResponse::Created()
        .insert_header((LOCATION, location))
        .insert_header((ETAG, etag(&order)))
        .json(OrderBody::from(&*order)))
}

/// List orders, newest first.
#[utoipa::path(
    get,
    path = "/api/v1/orders",
    tag = "orders",
    params(
        ("limit" = Option<u32>, Query, description = "The most orders of the page; more than 100 means 100.", minimum = 1, example = 100),
        ("starting_after" = Option<uuid::Uuid>, Query, description = "The id of the last order of the page before."),
    ),
    responses(
        (status = 200, description = "A page of orders.", body = [OrderBody], headers(
            ("Link" = Option<String>, description = "The next page, with `rel=\"next\"` (RFC 8288), while there may be one."),
        )),
        (status = 422, description = "A parameter does not fit.", body = ProblemBody, content_type = "application/problem+json"),
        (status = 503, description = "Overloaded, unavailable or too slow; see Retry-After.", body = ProblemBody, content_type = "application/problem+json"),
    )
)]
pub(super) async fn list(
    context: Context,
    api: Data<Api>,
    request: HttpRequest,
) -> Result<HttpResponse, Problem> {
    let list = query::list(&request)?;
    let limit = list.limit;
    let orders = context
        .within(api.store.list(list), Slug::Timeout)
        .await??;
    let mut response = HttpResponse::Ok();
    // No count and no extra row: a full page may have a successor.
    if let Some(last) = orders.last()
        && u32::try_from(orders.len()) == Ok(limit)
    {
        let next = format!(
            "</api/v1/orders?limit={limit}&starting_after={}>; rel=\"next\"",
            last.id
        );
        response.insert_header((LINK, next));
    }
    let bodies: Vec<_> = orders.iter().map(OrderBody::from).collect();
    let json = serde_json::to_vec(&bodies).map_err(Problem::internal)?;
    Ok(response
        .insert_header((CONTENT_TYPE, "application/json"))
        .body(json))
}

/// Get an order.
#[utoipa::path(
    get,
    path = "/api/v1/orders/{id}",
    tag = "orders",
    params(("id" = uuid::Uuid, Path, description = "The id of the order.")),
    responses(
        (status = 200, description = "The order.", body = OrderBody, headers(
            ("ETag" = String, description = "The version of the order, in quotes."),
        )),
        (status = 404, description = "There is no such order.", body = ProblemBody, content_type = "application/problem+json"),
        (status = 503, description = "Overloaded, unavailable or too slow; see Retry-After.", body = ProblemBody, content_type = "application/problem+json"),
    )
)]
pub(super) async fn get(
    context: Context,
    api: Data<Api>,
    id: Path<String>,
) -> Result<HttpResponse, Problem> {
    let missing = || Problem::new(Slug::NotFound, "There is no order with this id.");
    let id = query::order_id(&id).ok_or_else(missing)?;
    let order = context
        .within(api.store.get(id), Slug::Timeout)
        .await??
        .ok_or_else(missing)?;
    Ok(HttpResponse::Ok()
        .insert_header((ETAG, etag(&order)))
        .json(OrderBody::from(&order)))
}

/// The version as a strong entity tag (RFC 9110, section 8.8.3).
fn etag(order: &Order) -> String {
    format!("\"{}\"", order.version)
}
