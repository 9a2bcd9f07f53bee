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

/// Finds the resource of a request, and makes Actix route the request to it.
pub(super) fn route(
    resources: &'static [Resource],
    request: &mut ServiceRequest,
) -> &'static Resource {
    let found = find(resources, request.match_info().as_str());
    if found.path.actix_path != found.path.template {
        let path = request.match_info_mut().get_mut();
        path.update(&Uri::from_static(found.path.actix_path));
    }
    found
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
