//! The probes of Kubernetes.

use actix_web::HttpResponse;
use actix_web::web::Data;
use serde::Serialize;
use utoipa::ToSchema;

use super::ApiState;
use super::openapi::responses::NotReady;
use crate::http::problem::Problem;
use crate::http::problem::kind::ProblemKind;
use crate::store::Readiness;

/// How the service is.
#[derive(Serialize, ToSchema)]
pub(super) struct Health {
    /// `ok` or `ready`.
    #[schema(example = "ok")]
    status: &'static str,
}

/// Whether the process runs. Never looks at the database: a probe that did would restart every
/// replica when the database is down.
#[utoipa::path(
    get,
    path = "/healthz",
    tag = "operations",
    responses((status = 200, description = "The process runs.", body = Health))
)]
pub(super) async fn healthz() -> HttpResponse {
    HttpResponse::Ok().json(Health { status: "ok" })
}

/// Whether requests would be served.
#[utoipa::path(
    get,
    path = "/readyz",
    tag = "operations",
    responses(
        (status = 200, description = "Requests are served.", body = Health),
        NotReady,
    )
)]
pub(super) async fn readyz(api: Data<ApiState>) -> Result<HttpResponse, Problem> {
    if api.drain.is_cancelled() {
        let detail = "The service is about to end.";
        return Err(Problem::new(ProblemKind::Unavailable, detail).with_reason("draining"));
    }
    let readiness = api.store.readiness().await;
    let (detail, reason) = match &readiness {
        Readiness::Ready => return Ok(HttpResponse::Ok().json(Health { status: "ready" })),
        Readiness::DatabaseUnavailable => ("The database does not answer.", "database_unavailable"),
        Readiness::SchemaBehind => ("The database lacks a migration.", "schema_behind"),
        Readiness::SchemaUnreleased => (
            "An unreleased build made the database; it cannot be migrated.",
            "schema_unreleased",
        ),
        Readiness::ReadOnly => ("The database takes no writes.", "read_only"),
        Readiness::FeedMissing => (
            "The table feed of the database is empty; `order-service migrate` fills it.",
            "feed_missing",
        ),
        Readiness::FeedBehind => (
            "The database was restored from a dump; run `order-service migrate`.",
            "feed_behind",
        ),
        Readiness::Encoding(encoding) => {
            let detail = format!("The encoding of the database is {encoding}, and must be UTF8.");
            return Err(Problem::new(ProblemKind::Unavailable, detail).with_reason("encoding"));
        }
    };
    Err(Problem::new(ProblemKind::Unavailable, detail).with_reason(reason))
}
