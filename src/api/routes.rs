//! The route table. Routing, the labels of metrics, the OpenAPI document and the scopes are derived from it.

use actix_web::Route as ActixRoute;
use actix_web::http::Method;
use actix_web::web::{self, ServiceConfig};
use utoipa::OpenApi;

use super::{events, health, openapi_json, orders, paths, reference_page, service_info};
use crate::http::path::PathTemplate;

/// The permission that a request needs. No scope implies another. Not enforced yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Scope {
    /// No permission, not even credentials.
    Open,
    /// To read orders.
    OrdersRead,
    /// To create and update orders.
    OrdersWrite,
    /// To read the events of orders.
    EventsRead,
    /// To erase personal data.
    #[expect(dead_code, reason = "no route needs it yet")]
    Admin,
}

/// A method of a resource.
pub(crate) struct Route {
    pub(crate) method: Method,
    pub(crate) path: PathTemplate,
    #[cfg_attr(
        not(test),
        expect(dead_code, reason = "not enforced yet; a test compares it")
    )]
    pub(crate) scope: Scope,
    /// Configures an Actix route to call the handler.
    handle: fn(ActixRoute) -> ActixRoute,
}

/// Declares the routes by path: method, handler and scope of each. A route without a scope does not
/// compile.
macro_rules! routes {
    ($($path:ident { $($method:ident $module:ident::$handler:ident $scope:ident;)* })*) => {
        const PATHS: usize = [$(paths::$path),*].len();

        /// The template of every route. The first one that matches a path is used.
        pub(crate) const TEMPLATES: [PathTemplate; PATHS] = [$(paths::$path),*];

        /// Every route.
        pub(crate) static ROUTES: &[Route] = &[
            $($(
                Route {
                    method: Method::$method,
                    path: paths::$path,
                    scope: Scope::$scope,
                    handle: |route| route.to($module::$handler),
                },
            )*)*
        ];

        /// The operations of the OpenAPI document.
        #[derive(OpenApi)]
        #[openapi(paths($($($module::$handler,)*)*))]
        pub(super) struct Operations;
    };
}

routes! {
    ORDERS {
        GET orders::list OrdersRead;
        POST orders::create OrdersWrite;
    }
    ORDER {
        GET orders::get OrdersRead;
        PATCH orders::update OrdersWrite;
    }
    EVENTS {
        GET events::feed EventsRead;
    }
    ORDER_EVENTS {
        GET events::list_of_order EventsRead;
    }
    HEALTHZ {
        GET health::healthz Open;
    }
    READYZ {
        GET health::readyz Open;
    }
    OPENAPI {
        GET openapi_json::openapi_json Open;
    }
    DOCS {
        GET reference_page::page Open;
    }
    DOCS_FILE {
        GET reference_page::file Open;
    }
    ROOT {
        GET service_info::service_info Open;
    }
}

/// Adds every route to an Actix application. HEAD is GET without the body (RFC 9110, section 9.3.2).
///
/// Actix itself responds with 404 to a path that is not listed here, and with 405 and `Allow` to a method that is
/// not listed. [`crate::http::Edge`] turns both responses into problems.
pub(super) fn configure(app: &mut ServiceConfig) {
    for template in TEMPLATES {
        let mut resource = web::resource(template.actix_path);
        for route in ROUTES.iter().filter(|route| route.path == template) {
            resource = resource.route((route.handle)(web::method(route.method.clone())));
            if route.method == Method::GET {
                resource = resource.route((route.handle)(web::head()));
            }
        }
        app.service(resource);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::path;

    #[test]
    fn actix_sees_literal_paths_only() {
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

    #[test]
    fn every_route_has_the_scope_of_the_contract() {
        let scopes: Vec<_> = ROUTES
            .iter()
            .map(|route| (route.method.as_str(), route.path.template, route.scope))
            .collect();
        assert_eq!(
            scopes,
            [
                ("GET", "/api/v1/orders", Scope::OrdersRead),
                ("POST", "/api/v1/orders", Scope::OrdersWrite),
                ("GET", "/api/v1/orders/{id}", Scope::OrdersRead),
                ("PATCH", "/api/v1/orders/{id}", Scope::OrdersWrite),
                ("GET", "/api/v1/events", Scope::EventsRead),
                ("GET", "/api/v1/orders/{id}/events", Scope::EventsRead),
                ("GET", "/healthz", Scope::Open),
                ("GET", "/readyz", Scope::Open),
                ("GET", "/openapi.json", Scope::Open),
                ("GET", "/docs", Scope::Open),
                ("GET", "/docs/{file}", Scope::Open),
                ("GET", "/", Scope::Open),
            ]
        );
    }
}
