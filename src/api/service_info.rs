//! What is at `/`: a signpost.

use actix_web::HttpResponse;
use serde::Serialize;
use utoipa::ToSchema;

/// What this service is and where to go from here.
#[derive(Serialize, ToSchema)]
pub(super) struct Service {
    /// The name of the service.
    #[schema(example = "order-service")]
    service: &'static str,
    /// Its version.
    #[schema(example = json!(env!("CARGO_PKG_VERSION")))]
    version: &'static str,
    links: Links,
}

/// Where to go from here.
#[derive(Serialize, ToSchema)]
struct Links {
    /// The orders.
    orders: &'static str,
    /// The feed of events.
    events: &'static str,
    /// The reference for people.
    docs: &'static str,
    /// The reference for programs.
    openapi: &'static str,
    /// Whether requests are served.
    ready: &'static str,
}

/// What this service is and where to go from here.
#[utoipa::path(
    get,
    path = "/",
    tag = "operations",
    responses((status = 200, description = "Name, version and links.", body = Service))
)]
pub(super) async fn root() -> HttpResponse {
    HttpResponse::Ok().json(Service {
        service: env!("CARGO_PKG_NAME"),
        version: env!("CARGO_PKG_VERSION"),
        links: Links {
            orders: "/api/v1/orders",
            events: "/api/v1/events",
            docs: "/docs",
            openapi: "/openapi.json",
            ready: "/readyz",
        },
    })
}
