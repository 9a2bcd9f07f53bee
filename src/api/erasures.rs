//! The endpoints of erasures.

use actix_web::HttpResponse;
use actix_web::http::header::LOCATION;
use actix_web::web::Data;
use chrono::{DateTime, Utc};
use serde::{Serialize, Serializer};
use utoipa::ToSchema;
use uuid::Uuid;

use super::openapi::parameters::{CustomerId, ErasureId};
use super::openapi::responses::{EraseErrors, ErasureErrors, ServerErrors};
use super::state::ApiState;
use super::{paths, query};
use crate::domain::{ShortText, Violation};
use crate::http::path::Parameter;
use crate::http::problem::Problem;
use crate::http::problem::kind::ProblemKind;
use crate::http::request::context::RequestContext;
use crate::order_json::rfc3339;
use crate::store::Erasure;

/// A request to erase a customer. It contains neither the customer nor the pseudonym, because whoever keeps both could
/// find the orders of the customer.
#[derive(Serialize, ToSchema)]
#[schema(as = Erasure)]
pub(super) struct ErasureJson {
    /// The id of the erasure.
    #[schema(example = "7d1c1f0e-8a51-4f0e-9f3a-6f1f5a0d9d11")]
    id: Uuid,
    /// Whether it waits, is in progress, or is done.
    #[schema(value_type = ErasureState)]
    state: ErasureState,
    /// Orders that were erased.
    #[schema(example = 12)]
    orders: i64,
    /// Orders that were archived before, and of which events remained.
    #[schema(example = 1)]
    archived_orders: i64,
    /// Events that were redacted.
    #[schema(example = 34)]
    events: i64,
    /// Idempotency keys whose replay was redacted.
    #[schema(example = 12)]
    idempotency_keys: i64,
    /// The time of the request, in UTC with microseconds.
    #[serde(serialize_with = "micros")]
    #[schema(example = "2026-11-22T06:19:00.123456Z")]
    requested_at: DateTime<Utc>,
    /// The time at which it was done, or null.
    #[serde(serialize_with = "optional_micros")]
    #[schema(required = true, example = "2026-11-22T06:19:02.123456Z")]
    finished_at: Option<DateTime<Utc>>,
}

/// The state of an erasure.
#[derive(Clone, Copy, Serialize, ToSchema)]
#[serde(rename_all = "lowercase")]
#[schema(example = "done")]
enum ErasureState {
    Pending,
    Running,
    Done,
}

fn micros<S: Serializer>(time: &DateTime<Utc>, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&rfc3339(time))
}

fn optional_micros<S: Serializer>(
    time: &Option<DateTime<Utc>>,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    time.as_ref().map(rfc3339).serialize(serializer)
}

impl From<Erasure> for ErasureJson {
    fn from(erasure: Erasure) -> Self {
        let state = match (erasure.started_at, erasure.finished_at) {
            (_, Some(_)) => ErasureState::Done,
            (Some(_), None) => ErasureState::Running,
            (None, None) => ErasureState::Pending,
        };
        Self {
            id: erasure.id,
            state,
            orders: erasure.orders,
            archived_orders: erasure.archived_orders,
            events: erasure.events,
            idempotency_keys: erasure.idempotency_keys,
            requested_at: erasure.requested_at,
            finished_at: erasure.finished_at,
        }
    }
}

/// Erase the personal data of a customer.
///
/// In the background, the service replaces the customer in its orders by a random pseudonym and removes their metadata
/// and external ids, also from events and replays, together with who made the changes. Lines, amounts and statuses stay.
/// Each order gets an event `order.erased`. While an erasure of the customer is not done, further requests return the
/// same one. Orders that are created after the request may not be erased. The response is the same for a customer without
/// orders.
#[utoipa::path(
    delete,
    path = paths::CUSTOMER.template,
    operation_id = "eraseCustomer",
    tag = "customers",
    params(CustomerId),
    responses(
        (status = 202, description = "The erasure.", body = ErasureJson, headers(("Location"))),
        EraseErrors,
        ServerErrors,
    )
)]
pub(super) async fn request(
    context: RequestContext,
    api: Data<ApiState>,
    Parameter(customer_id): Parameter,
) -> Result<HttpResponse, Problem> {
    let customer_id =
        ShortText::parse(customer_id).map_err(|detail| Violation::new("/customer_id", detail))?;
    let requested = api.store.request_erasure(context.caller(), customer_id);
    let erasure = context.within(requested, ProblemKind::Timeout).await??;
    let location = format!("/api/v1/erasures/{}", erasure.id);
    Ok(HttpResponse::Accepted()
        .insert_header((LOCATION, location))
        .json(ErasureJson::from(erasure)))
}

/// Get an erasure.
///
/// Its counts increase while it is running.
#[utoipa::path(
    get,
    path = paths::ERASURE.template,
    operation_id = "getErasure",
    tag = "customers",
    params(ErasureId),
    responses(
        (status = 200, description = "The erasure.", body = ErasureJson),
        ErasureErrors,
        ServerErrors,
    )
)]
pub(super) async fn get(
    context: RequestContext,
    api: Data<ApiState>,
    Parameter(id): Parameter,
) -> Result<HttpResponse, Problem> {
    let not_found = || Problem::new(ProblemKind::NotFound, "There is no erasure with this id.");
    let id = query::order_id(&id).ok_or_else(not_found)?;
    let found = api.store.erasure(context.caller(), id);
    let found = context.within(found, ProblemKind::Timeout).await??;
    let erasure = found.ok_or_else(not_found)?;
    Ok(HttpResponse::Ok().json(ErasureJson::from(erasure)))
}
