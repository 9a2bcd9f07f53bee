//! The route table.

use actix_web::web::{self, ServiceConfig};

use super::{health, openapi, orders};

const ORDERS: &str = "/api/v1/orders";
const ORDER: &str = "/api/v1/orders/{id}";
const HEALTHZ: &str = "/healthz";
const READYZ: &str = "/readyz";
const OPENAPI: &str = "/openapi.json";

/// The template of every route there is.
pub const TEMPLATES: [&str; 5] = [ORDERS, ORDER, HEALTHZ, READYZ, OPENAPI];

/// Puts every route into an Actix application. What is not named here is a 404, or a 405 with
/// `Allow` when only the method is wrong; Actix answers both and [`super::Edge`] makes them
/// problems.
pub fn configure(app: &mut ServiceConfig) {
    app.service(
        web::resource(ORDERS)
            .route(web::post().to(orders::create))
            .route(web::get().to(orders::list))
            .route(web::head().to(orders::list)),
    )
    .service(
        web::resource(ORDER)
            .route(web::get().to(orders::get))
            .route(web::head().to(orders::get)),
    )
    .service(
        web::resource(HEALTHZ)
            .route(web::get().to(health::healthz))
            .route(web::head().to(health::healthz)),
    )
    .service(
        web::resource(READYZ)
            .route(web::get().to(health::readyz))
            .route(web::head().to(health::readyz)),
    )
    .service(
        web::resource(OPENAPI)
            .route(web::get().to(openapi::openapi_json))
            .route(web::head().to(openapi::openapi_json)),
    );
}

/// The template that `path` belongs to, or `unmatched`. For labels: what clients send must not
/// become a label, or each scanner would fill the memory with series.
pub fn template_of(path: &str) -> &'static str {
    TEMPLATES
        .into_iter()
        .find(|template| matches(template, path))
        .unwrap_or("unmatched")
}

fn matches(template: &str, path: &str) -> bool {
    let mut segments = path.split('/');
    template.split('/').all(|expected| {
        segments
            .next()
            .is_some_and(|segment| segment == expected || expected == "{id}" && !segment.is_empty())
    }) && segments.next().is_none()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_find_their_template() {
        for (path, template) in [
            ("/api/v1/orders", ORDERS),
            ("/api/v1/orders/7", ORDER),
            ("/api/v1/orders/", "unmatched"),
            ("/api/v1/orders/7/", "unmatched"),
            ("/api/v1/orders/7/8", "unmatched"),
            ("/healthz", HEALTHZ),
            ("/", "unmatched"),
            ("", "unmatched"),
            ("/readyz/x", "unmatched"),
        ] {
            assert_eq!(template_of(path), template, "{path}");
        }
    }
}
