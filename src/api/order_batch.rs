//! The endpoint that creates several orders with one request.

mod body;
mod element;
#[cfg(any(test, fuzzing))]
pub(super) mod fuzz;
mod results;
mod schema;

use std::sync::Arc;

use actix_web::http::header::CONTENT_TYPE;
use actix_web::web::Data;
use actix_web::{HttpRequest, HttpResponse, ResponseError as _};

use self::body::{BatchedOrder, OrderBatch, Outline};
use self::results::Results;
use super::created::Created;
use super::idempotency::IDEMPOTENCY_KEY;
use super::openapi::responses::{BatchErrors, ServerErrors};
use super::paths;
use super::state::ApiState;
use crate::http::problem::Problem;
use crate::http::problem::kind::ProblemKind;
use crate::http::request::body::Json;
use crate::http::request::context::RequestContext;
use crate::http::request::traceparent::traceparent;
use crate::store::CreateOrder;

const KEY_OF_BATCH: &str =
    "A batch has no Idempotency-Key: each of its orders may have a member idempotency_key.";

/// Create several orders.
///
/// The body has at most 1 MiB. Each order has a result of its own, so that one that is rejected does not fail the
/// others. With an `idempotency_key` for each order, the whole batch can be repeated safely. The header
/// `Idempotency-Key` is rejected. If the service fails to create any of the valid orders, the response is 500 or 503.
#[utoipa::path(
    post,
    path = paths::ORDERS_BATCH.template,
    operation_id = "createOrders",
    tag = "orders",
    request_body(content = Outline<'_>, content_type = "application/json"),
    responses(
        (status = 200, description = "The outcome of each order.", body = Results<'_>),
        BatchErrors,
        ServerErrors,
    )
)]
pub(super) async fn create(
    context: RequestContext,
    api: Data<ApiState>,
    request: HttpRequest,
    body: Json<OrderBatch>,
) -> Result<HttpResponse, Problem> {
    if request.headers().contains_key(IDEMPOTENCY_KEY) {
        return Err(Problem::new(ProblemKind::MalformedRequest, KEY_OF_BATCH));
    }
    let outcomes = create_all(&context, &api, &request, body.0).await?;
    let json = results::to_json(&outcomes, request.path(), context.id());
    Ok(HttpResponse::Ok()
        .insert_header((CONTENT_TYPE, "application/json"))
        .body(json.map_err(Problem::internal)?))
}

/// Creates the valid orders, and waits until each has its outcome or the deadline has passed. An order without an
/// outcome by then may be created all the same.
///
/// # Errors
/// The problem of the first valid order if each of them failed because of the service: then clients retry as after any
/// 503, and the metrics show the failure.
async fn create_all(
    context: &RequestContext,
    api: &ApiState,
    request: &HttpRequest,
    OrderBatch(orders): OrderBatch,
) -> Result<Vec<Result<Created, Problem>>, Problem> {
    let traceparent = traceparent(request.headers());
    let mut outcomes = Vec::with_capacity(orders.len());
    let mut commands = Vec::with_capacity(orders.len());
    let mut invalid = Vec::new();
    for (index, order) in orders.into_iter().enumerate() {
        match order {
            Ok(BatchedOrder { new, idempotency }) => commands.push(CreateOrder {
                caller: Arc::clone(context.caller()),
                new,
                idempotency,
                deadline: context.deadline(),
                traceparent: traceparent.map(str::to_owned),
            }),
            Err(problem) => invalid.push((index, problem)),
        }
    }
    if !commands.is_empty() {
        // All orders have been submitted when this returns, so each outcome can be awaited in turn.
        let store = &api.store;
        let mut submitted = store.create_all(context.caller(), commands, invalid.len())?;
        for outcome in submitted.outcomes.drain(..) {
            let outcome = context.within(outcome, ProblemKind::Timeout).await;
            outcomes.push(outcome.and_then(Created::of));
        }
        if outcomes.iter().all(is_fault) {
            outcomes.swap_remove(0)?;
        }
    }
    for (index, problem) in invalid {
        outcomes.insert(index, Err(problem));
    }
    Ok(outcomes)
}

/// Whether an order was not created because of the service.
fn is_fault(outcome: &Result<Created, Problem>) -> bool {
    let problem = outcome.as_ref().err();
    problem.is_some_and(|problem| problem.status_code().is_server_error())
}
