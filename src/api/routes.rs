//! The route table.

use actix_web::web::{self, ServiceConfig};

use super::{docs, events, health, openapi, orders, root};

const ROOT: &str = "/";
const ORDERS: &str = "/api/v1/orders";
const ORDER: &str = "/api/v1/orders/{id}";
const ORDER_EVENTS: &str = "/api/v1/orders/{id}/events";
const EVENTS: &str = "/api/v1/events";
const DOCS: &str = "/docs";
const DOCS_FILE: &str = "/docs/{file}";
const HEALTHZ: &str = "/healthz";
const READYZ: &str = "/readyz";
const OPENAPI: &str = "/openapi.json";

/// The template of every route there is.
pub const TEMPLATES: [&str; 10] = [
    ORDERS,
    ORDER,
    EVENTS,
    ORDER_EVENTS,
    HEALTHZ,
    READYZ,
    OPENAPI,
    DOCS,
    DOCS_FILE,
    ROOT,
];

/// A resource that can be read. HEAD is GET without the body (RFC 9110, section 9.3.2).
macro_rules! readable {
    ($template:expr, $handler:path) => {
        web::resource($template)
            .route(web::get().to($handler))
            .route(web::head().to($handler))
    };
}

/// Puts every route into an Actix application. What is not named here is a 404, or a 405 with
/// `Allow` when only the method is wrong; Actix answers both and [`super::Edge`] makes them
/// problems.
pub fn configure(app: &mut ServiceConfig) {
    app.app_data(web::Data::new(openapi::Made::new()))
        .service(readable!(ORDERS, orders::list).route(web::post().to(orders::create)))
        .service(readable!(ORDER, orders::get).route(web::patch().to(orders::patch)))
        .service(readable!(ORDER_EVENTS, events::of_order))
        .service(readable!(EVENTS, events::feed))
        .service(readable!(HEALTHZ, health::healthz))
        .service(readable!(READYZ, health::readyz))
        .service(readable!(OPENAPI, openapi::openapi_json))
        .service(readable!(DOCS, docs::page))
        .service(readable!(DOCS_FILE, docs::file))
        .service(readable!(ROOT, root::root));
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
        segments.next().is_some_and(|segment| {
            segment == expected || expected.starts_with('{') && !segment.is_empty()
        })
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
            ("/", ROOT),
            ("//", "unmatched"),
            ("/api/v1/orders/7/events", ORDER_EVENTS),
            ("", "unmatched"),
            ("/readyz/x", "unmatched"),
        ] {
            assert_eq!(template_of(path), template, "{path}");
        }
    }
}
