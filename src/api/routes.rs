//! The route table.

use std::future::{Ready, ready};

use actix_web::dev::{Payload, ServiceRequest};
use actix_web::http::Uri;
use actix_web::web::{self, ServiceConfig};
use actix_web::{FromRequest, HttpRequest};
use percent_encoding::percent_decode_str;

use super::{events, health, openapi, orders, reference_page, service_info};
use crate::http::problem::Problem;
use crate::http::request::context::RequestContext;

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

/// What stands for the template of a path that has none.
pub(crate) const UNMATCHED: &str = "unmatched";

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
        web::resource(routed($template))
            .route(web::get().to($handler))
            .route(web::head().to($handler))
    };
}

/// Puts every route into an Actix application. What is not named here is a 404, or a 405 with
/// `Allow` when only the method is wrong; Actix answers both and [`super::Edge`] makes them
/// problems.
pub fn configure(app: &mut ServiceConfig) {
    app.app_data(web::Data::new(openapi::CachedDocument::new()))
        .service(readable!(ORDERS, orders::list).route(web::post().to(orders::create)))
        .service(readable!(ORDER, orders::get).route(web::patch().to(orders::update)))
        .service(readable!(ORDER_EVENTS, events::list_of_order))
        .service(readable!(EVENTS, events::feed))
        .service(readable!(HEALTHZ, health::healthz))
        .service(readable!(READYZ, health::readyz))
        .service(readable!(OPENAPI, openapi::openapi_json))
        .service(readable!(DOCS, reference_page::page))
        .service(readable!(DOCS_FILE, reference_page::file))
        .service(readable!(ROOT, service_info::service_info));
}

/// The path by which Actix knows a template. It has no parameter: Actix finds those with a regular
/// expression, which took as long as all else that is done to get an order.
fn routed(template: &'static str) -> &'static str {
    match template {
        ORDER => "/api/v1/orders/:id",
        ORDER_EVENTS => "/api/v1/orders/:id/events",
        DOCS_FILE => "/docs/:file",
        literal => literal,
    }
}

/// Finds the template of a request, and sends it there.
pub(crate) fn route(request: &mut ServiceRequest) -> &'static str {
    let template = template_of(request.match_info().as_str());
    let routed = routed(template);
    if routed != template {
        let path = request.match_info_mut().get_mut();
        path.update(&Uri::from_static(routed));
    }
    template
}

/// Whether a template is that of a probe, which is served whatever is going on.
pub(crate) fn is_probe(template: &str) -> bool {
    matches!(template, HEALTHZ | READYZ)
}

/// What stands in the path of a request for the parameter of its template.
pub(crate) struct Parameter(pub(super) String);

impl FromRequest for Parameter {
    type Error = Problem;
    type Future = Ready<Result<Self, Problem>>;

    fn from_request(request: &HttpRequest, _: &mut Payload) -> Self::Future {
        let missing = || Problem::internal("a route has no parameter");
        let found = RequestContext::of(request).and_then(|context| {
            let mut segments = context.template.split('/').zip(request.path().split('/'));
            let (_, segment) = segments
                .find(|(expected, _)| expected.starts_with('{'))
                .ok_or_else(missing)?;
            // With replacement characters, what is not UTF-8 would name what contains them. Empty, it
            // names nothing, as no segment is empty that stands for a parameter.
            let decoded = percent_decode_str(segment).decode_utf8();
            Ok(Self(decoded.unwrap_or_default().into_owned()))
        });
        ready(found)
    }
}

/// The template that `path` belongs to, or `unmatched`. For labels: what clients send must not
/// become a label, or each scanner would fill the memory with series.
pub fn template_of(path: &str) -> &'static str {
    TEMPLATES
        .into_iter()
        .find(|template| matches(template, path))
        .unwrap_or(UNMATCHED)
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
    fn no_template_is_a_pattern_to_actix() {
        for template in TEMPLATES {
            let path = routed(template);
            assert!(!path.contains('{'), "{path}");
            assert_eq!(
                template_of(path),
                template,
                "who asks for {path} gets there anyway"
            );
        }
    }

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
