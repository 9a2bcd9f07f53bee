//! The resource at `/`: name, version and links.

use actix_web::HttpResponse;
use serde::Serialize;
use utoipa::ToSchema;

use super::paths;

/// The name and version of the service, and links to its resources.
#[derive(Serialize, ToSchema)]
pub(super) struct ServiceInfo {
    /// The name of the service.
    #[schema(example = "order-service")]
    service: &'static str,
    /// The version of the service.
    #[schema(example = json!(env!("CARGO_PKG_VERSION")))]
    version: &'static str,
    /// Paths of the main resources.
    links: Links,
}

/// Paths of the main resources.
#[derive(Serialize, ToSchema)]
struct Links {
    /// The orders.
    #[schema(example = "/api/v1/orders")]
    orders: &'static str,
    /// The feed of events.
    #[schema(example = "/api/v1/events")]
    events: &'static str,
    /// The reference page.
    #[schema(example = "/docs")]
    docs: &'static str,
    /// The OpenAPI document.
    #[schema(example = "/openapi.json")]
    openapi: &'static str,
    /// The readiness probe.
    #[schema(example = "/readyz")]
    ready: &'static str,
}

/// Get the name and version of the service.
///
/// The response also links to the main resources.
#[utoipa::path(
    get,
    path = paths::ROOT.template,
    operation_id = "getServiceInfo",
    tag = "operations",
    responses((status = 200, description = "Name, version and links.", body = ServiceInfo))
)]
pub(super) async fn service_info() -> HttpResponse {
    HttpResponse::Ok().json(ServiceInfo {
        service: env!("CARGO_PKG_NAME"),
        version: env!("CARGO_PKG_VERSION"),
        links: Links {
            orders: paths::ORDERS.template,
            events: paths::EVENTS.template,
            docs: paths::DOCS.template,
            openapi: paths::OPENAPI.template,
            ready: paths::READYZ.template,
        },
    })
}
