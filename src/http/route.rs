//! Routes: the resource that a request belongs to, and what its method needs.

use actix_web::Route as ActixRoute;
use actix_web::dev::ServiceRequest;
use actix_web::http::{Method, Uri};

use super::path::PathTemplate;
use crate::access::Requirement;

/// A path and the methods that it supports.
pub(crate) struct Resource {
    pub(crate) path: PathTemplate,
    pub(crate) routes: &'static [Route],
}

/// A method of a resource.
pub(crate) struct Route {
    pub(crate) method: Method,
    pub(crate) requirement: Requirement,
    /// Configures an Actix route to call the handler.
    pub(crate) handle: fn(ActixRoute) -> ActixRoute,
}

/// Represents a path that belongs to no resource.
pub(super) static UNMATCHED: Resource = Resource {
    path: PathTemplate::UNMATCHED,
    routes: &[],
};

impl Resource {
    /// What a request with this method needs. HEAD needs what GET needs.
    ///
    /// A method that the resource does not support needs nothing, and neither does a path without a resource: the
    /// responses 405 and 404 disclose only what the OpenAPI document says, which needs nothing either.
    pub(super) fn requirement(&self, method: &Method) -> Requirement {
        let method = if *method == Method::HEAD {
            &Method::GET
        } else {
            method
        };
        self.routes
            .iter()
            .find(|route| route.method == *method)
            .map_or(Requirement::Open, |route| route.requirement)
    }
}

/// Returns the first of `resources` to which `path` belongs.
pub(crate) fn find(resources: &'static [Resource], path: &str) -> &'static Resource {
    resources
        .iter()
        .find(|resource| resource.path.matches(path))
        .unwrap_or(&UNMATCHED)
}

/// The path that logs and problems show, if it is not that of the request, which contains personal data.
fn shown_instead(
    resources: &'static [Resource],
    found: &Resource,
    path: &str,
) -> Option<&'static str> {
    if !found.path.is_personal && found.path != PathTemplate::UNMATCHED {
        return None;
    }
    let mut paths = resources.iter().map(|resource| resource.path);
    paths
        .find(|template| template.discloses(path))
        .map(|template| template.template)
}

/// Finds the resource of a request, and makes Actix route the request to it. Also returns the URI that logs and
/// problems show.
pub(super) fn route(
    resources: &'static [Resource],
    request: &mut ServiceRequest,
) -> (&'static Resource, Uri) {
    let path = request.match_info().as_str();
    let found = find(resources, path);
    let shown = shown_instead(resources, found, path)
        .map_or_else(|| request.uri().clone(), Uri::from_static);
    if found.path.actix_path != found.path.template {
        let path = request.match_info_mut().get_mut();
        path.update(&Uri::from_static(found.path.actix_path));
    }
    (found, shown)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::access::Scope;

    const fn resource(path: PathTemplate) -> Resource {
        Resource { path, routes: &[] }
    }

    #[test]
    fn paths_find_their_resource() {
        static RESOURCES: [Resource; 5] = [
            resource(PathTemplate::literal("/orders")),
            resource(PathTemplate::with_parameter("/orders/{id}", "/orders/:id")),
            resource(PathTemplate::with_parameter(
                "/orders/{id}/events",
                "/orders/:id/events",
            )),
            resource(PathTemplate::probe("/healthz")),
            resource(PathTemplate::literal("/")),
        ];
        let unmatched = UNMATCHED.path.template;
        for (path, template) in [
            ("/orders", "/orders"),
            ("/orders/7", "/orders/{id}"),
            ("/orders/", unmatched),
            ("/orders/7/", unmatched),
            ("/orders/7/8", unmatched),
            ("/healthz", "/healthz"),
            ("/", "/"),
            ("//", unmatched),
            ("/orders/7/events", "/orders/{id}/events"),
            ("", unmatched),
            ("/healthz/x", unmatched),
        ] {
            assert_eq!(find(&RESOURCES, path).path.template, template, "{path}");
        }
    }

    #[test]
    fn paths_with_personal_data_are_not_shown() {
        static RESOURCES: [Resource; 2] = [
            resource(PathTemplate::with_parameter("/orders/{id}", "/orders/:id")),
            resource(PathTemplate::with_personal_parameter(
                "/customers/{customer_id}",
                "/customers/:id",
            )),
        ];
        let template = Some("/customers/{customer_id}");
        for (path, shown) in [
            ("/customers/ann", template),
            ("/customers/ann/", template),
            ("/customers/ann/bee", template),
            ("/customers//ann", template),
            ("/customers/ann%2Fbee", template),
            ("//customers/ann", template),
            ("/Customers/ann", template),
            ("/CUSTOMERS//ann", template),
            ("/%63ustomers/ann", template),
            ("/%2563ustomers%252Fann", template),
            ("/customers%2Fann", template),
            ("/customers\\ann", template),
            ("/customers;ann", template),
            ("/v1/customers/ann", template),
            ("/customer/ann", template),
            ("/./customers/ann", template),
            ("/customers/%ff", template),
            ("/customers/", None),
            ("/customers//", None),
            ("/favicon.ico", None),
            ("/api/v2/orders/1", None),
            ("/orders/1", None),
            ("/orders/1/2", None),
            ("/customers", None),
            ("/", None),
        ] {
            let found = find(&RESOURCES, path);
            assert_eq!(shown_instead(&RESOURCES, found, path), shown, "{path}");
        }
        assert_eq!(
            Uri::from_static("/customers/{customer_id}").path(),
            "/customers/{customer_id}"
        );
    }

    #[test]
    fn head_needs_what_get_needs_and_an_unsupported_method_nothing() {
        static RESOURCE: Resource = Resource {
            path: PathTemplate::literal("/orders"),
            routes: &[
                Route {
                    method: Method::GET,
                    requirement: Requirement::Scope(Scope::OrdersRead),
                    handle: |route| route,
                },
                Route {
                    method: Method::POST,
                    requirement: Requirement::Scope(Scope::OrdersWrite),
                    handle: |route| route,
                },
            ],
        };
        for (method, requirement) in [
            (Method::GET, Requirement::Scope(Scope::OrdersRead)),
            (Method::HEAD, Requirement::Scope(Scope::OrdersRead)),
            (Method::POST, Requirement::Scope(Scope::OrdersWrite)),
            (Method::DELETE, Requirement::Open),
        ] {
            assert_eq!(RESOURCE.requirement(&method), requirement, "{method}");
        }
    }
}
