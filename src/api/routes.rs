//! The route table.

use actix_web::web::{self, ServiceConfig};

use super::{events, health, openapi, orders, reference_page, root};
pub(super) use crate::http::path::Parameter;
use crate::http::path::{self, PathTemplate};

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

/// The template of every route.
pub(crate) const TEMPLATES: [PathTemplate; 10] = [
    PathTemplate::literal(ORDERS),
    PathTemplate::with_parameter(ORDER, "/api/v1/orders/:id"),
    PathTemplate::literal(EVENTS),
    PathTemplate::with_parameter(ORDER_EVENTS, "/api/v1/orders/:id/events"),
    PathTemplate::probe(HEALTHZ),
    PathTemplate::probe(READYZ),
    PathTemplate::literal(OPENAPI),
    PathTemplate::literal(DOCS),
    PathTemplate::with_parameter(DOCS_FILE, "/docs/:file"),
    PathTemplate::literal(ROOT),
];

/// A resource that can be read. HEAD is GET without the body (RFC 9110, section 9.3.2).
macro_rules! readable {
    ($template:expr, $handler:path) => {
        web::resource(actix_path($template))
            .route(web::get().to($handler))
            .route(web::head().to($handler))
    };
}

/// Puts every route into an Actix application. What is not named here is a 404, or a 405 with
/// `Allow` when only the method is wrong; Actix answers both and [`crate::http::Edge`] makes them
/// problems.
pub(crate) fn configure(app: &mut ServiceConfig) {
    app.app_data(web::Data::new(openapi::CachedDocument::new()))
        .service(readable!(ORDERS, orders::list).route(web::post().to(orders::create)))
        .service(readable!(ORDER, orders::get).route(web::patch().to(orders::patch)))
        .service(readable!(ORDER_EVENTS, events::of_order))
        .service(readable!(EVENTS, events::feed))
        .service(readable!(HEALTHZ, health::healthz))
        .service(readable!(READYZ, health::readyz))
        .service(readable!(OPENAPI, openapi::openapi_json))
        .service(readable!(DOCS, reference_page::page))
        .service(readable!(DOCS_FILE, reference_page::file))
        .service(readable!(ROOT, root::root));
}

/// The path under which Actix has the route of a template.
fn actix_path(template: &str) -> &'static str {
    path::find(&TEMPLATES, template).actix_path
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_template_is_a_pattern_to_actix() {
        for route in TEMPLATES {
            let path = route.actix_path;
            assert!(!path.contains('{'), "{path}");
            assert_eq!(
                path::find(&TEMPLATES, path),
                &route,
                "a request for {path} gets there as well"
            );
        }
    }
}
