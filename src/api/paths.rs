//! The paths of the resources.

use crate::http::path::PathTemplate;

pub(super) const ROOT: PathTemplate = PathTemplate::literal("/");
pub(super) const ORDERS: PathTemplate = PathTemplate::literal("/api/v1/orders");
/// Before [`ORDER`] in the route table, whose template matches this path as well.
pub(super) const ORDERS_BATCH: PathTemplate = PathTemplate::literal("/api/v1/orders/batch");
pub(super) const ORDER: PathTemplate =
    PathTemplate::with_parameter("/api/v1/orders/{id}", "/api/v1/orders/:id");
pub(super) const ORDER_EVENTS: PathTemplate =
    PathTemplate::with_parameter("/api/v1/orders/{id}/events", "/api/v1/orders/:id/events");
pub(super) const EVENTS: PathTemplate = PathTemplate::literal("/api/v1/events");
pub(super) const CUSTOMER: PathTemplate = PathTemplate::with_personal_parameter(
    "/api/v1/customers/{customer_id}",
    "/api/v1/customers/:customer_id",
);
pub(super) const ERASURE: PathTemplate =
    PathTemplate::with_parameter("/api/v1/erasures/{id}", "/api/v1/erasures/:id");
pub(super) const DOCS: PathTemplate = PathTemplate::literal("/docs");
pub(super) const DOCS_FILE: PathTemplate =
    PathTemplate::with_parameter("/docs/{file}", "/docs/:file");
pub(super) const HEALTHZ: PathTemplate = PathTemplate::probe("/healthz");
pub(super) const READYZ: PathTemplate = PathTemplate::probe("/readyz");
pub(super) const OPENAPI: PathTemplate = PathTemplate::literal("/openapi.json");
