//! The route table. Routing, the labels of metrics, the OpenAPI document and the scopes are derived from it.

use actix_web::http::Method;
use actix_web::web::{self, ServiceConfig};

use super::{
    erasures, events, health, openapi_json, order_batch, orders, paths, reference_page,
    service_info,
};
use crate::access::{Requirement, Scope};
use crate::http::route::{Resource, Route};

/// Declares the routes by path: method, handler and scope of each, or `Open`. A route without a scope does not
/// compile.
macro_rules! routes {
    ($($path:ident { $($method:ident $module:ident::$handler:ident $scope:ident;)* })*) => {
        const PATHS: usize = [$(paths::$path),*].len();

        /// Every path with its routes. The first one that matches a path is used.
        pub(crate) static RESOURCES: [Resource; PATHS] = [
            $(Resource {
                path: paths::$path,
                routes: &[
                    $(Route {
                        method: Method::$method,
                        requirement: requirement!($scope),
                        handle: |route| route.to($module::$handler),
                    },)*
                ],
            },)*
        ];

        /// The operations of the OpenAPI document.
        #[cfg(test)]
        #[derive(utoipa::OpenApi)]
        #[openapi(paths($($($module::$handler,)*)*))]
        pub(super) struct Operations;
    };
}

macro_rules! requirement {
    (Open) => {
        Requirement::Open
    };
    ($scope:ident) => {
        Requirement::Scope(Scope::$scope)
    };
}

routes! {
    ORDERS {
        GET orders::list OrdersRead;
        POST orders::create OrdersWrite;
    }
    ORDERS_BATCH {
        POST order_batch::create OrdersWrite;
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
    CUSTOMER {
        DELETE erasures::request Admin;
    }
    ERASURE {
        GET erasures::get Admin;
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
pub(crate) fn configure(app: &mut ServiceConfig) {
    for resource in &RESOURCES {
        let mut service = web::resource(resource.path.actix_path);
        for route in resource.routes {
            service = service.route((route.handle)(web::method(route.method.clone())));
            if route.method == Method::GET {
                service = service.route((route.handle)(web::head()));
            }
        }
        app.service(service);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::route;

    #[test]
    fn actix_sees_literal_paths_only() {
        for resource in &RESOURCES {
            let path = resource.path.actix_path;
            assert!(!path.contains('{'), "{path}");
            assert_eq!(
                route::find(&RESOURCES, path).path,
                resource.path,
                "a request for {path} gets there as well"
            );
        }
    }

    #[test]
    fn every_route_has_the_scope_of_the_contract() {
        let scopes: Vec<_> = RESOURCES
            .iter()
            .flat_map(|resource| resource.routes.iter().map(|route| (resource.path, route)))
            .map(|(path, route)| {
                let scope = match route.requirement {
                    Requirement::Open => "open",
                    Requirement::Scope(scope) => scope.as_str(),
                };
                (route.method.as_str(), path.template, scope)
            })
            .collect();
        assert_eq!(
            scopes,
            [
                ("GET", "/api/v1/orders", "orders:read"),
                ("POST", "/api/v1/orders", "orders:write"),
                ("POST", "/api/v1/orders/batch", "orders:write"),
                ("GET", "/api/v1/orders/{id}", "orders:read"),
                ("PATCH", "/api/v1/orders/{id}", "orders:write"),
                ("GET", "/api/v1/events", "events:read"),
                ("GET", "/api/v1/orders/{id}/events", "events:read"),
                ("DELETE", "/api/v1/customers/{customer_id}", "admin"),
                ("GET", "/api/v1/erasures/{id}", "admin"),
                ("GET", "/healthz", "open"),
                ("GET", "/readyz", "open"),
                ("GET", "/openapi.json", "open"),
                ("GET", "/docs", "open"),
                ("GET", "/docs/{file}", "open"),
                ("GET", "/", "open"),
            ]
        );
    }
}
