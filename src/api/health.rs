//! The endpoints of the Kubernetes probes.

use actix_web::HttpResponse;
use actix_web::web::Data;
use serde::Serialize;
use utoipa::ToSchema;

use super::openapi::responses::ReadinessErrors;
use super::paths;
use super::state::ApiState;
use crate::http::problem::Problem;
use crate::http::problem::kind::ProblemKind;
use crate::store::Readiness;

/// The state of the service.
#[derive(Serialize, ToSchema)]
pub(super) struct Health {
    /// `ok` or `ready`.
    #[schema(example = "ok")]
    status: &'static str,
}

/// Check that the process runs.
///
/// The liveness probe of Kubernetes. It never uses the database: otherwise an outage of the database would
/// restart every replica.
#[utoipa::path(
    get,
    path = paths::HEALTHZ.template,
    operation_id = "checkLiveness",
    tag = "operations",
    responses((status = 200, description = "The process runs.", body = Health))
)]
pub(super) async fn healthz() -> HttpResponse {
    HttpResponse::Ok().json(Health { status: "ok" })
}

/// Check that requests are served.
///
/// The readiness probe of Kubernetes. A problem carries the `reason` why the service is not ready.
#[utoipa::path(
    get,
    path = paths::READYZ.template,
    operation_id = "checkReadiness",
    tag = "operations",
    responses(
        (status = 200, description = "Requests are served.", body = Health),
        ReadinessErrors,
    )
)]
pub(super) async fn readyz(api: Data<ApiState>) -> Result<HttpResponse, Problem> {
    if api.drain.is_cancelled() {
        let detail = "The service is shutting down.";
        return Err(Problem::new(ProblemKind::Unavailable, detail).with_reason("draining"));
    }
    if !api.access.is_ready() {
        let detail = "The keys that verify tokens have not been fetched yet.";
        return Err(Problem::new(ProblemKind::Unavailable, detail).with_reason("keys_unavailable"));
    }
    let readiness = api.store.readiness().await;
    let (detail, reason) = match &readiness {
        Readiness::Ready => return Ok(HttpResponse::Ok().json(Health { status: "ready" })),
        Readiness::DatabaseUnavailable => {
            ("The database does not respond.", "database_unavailable")
        }
        Readiness::SchemaBehind => ("The database lacks a migration.", "schema_behind"),
        Readiness::SchemaUnreleased => (
            "The database was created by an unreleased build and cannot be migrated.",
            "schema_unreleased",
        ),
        Readiness::ReadOnly => ("The database accepts no writes.", "read_only"),
        Readiness::FeedMissing => (
            "The table `feed` of the database is empty. Run `order-service migrate` to fill it.",
            "feed_missing",
        ),
        Readiness::FeedBehind => (
            "The database was restored from a dump. Run `order-service migrate`.",
            "feed_behind",
        ),
        Readiness::Encoding(encoding) => {
            let detail = format!("The encoding of the database is {encoding}. It must be UTF8.");
            return Err(Problem::new(ProblemKind::Unavailable, detail).with_reason("encoding"));
        }
    };
    Err(Problem::new(ProblemKind::Unavailable, detail).with_reason(reason))
}
