//! The API server and the metrics server.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use actix_web::dev::Server;
use actix_web::http::header;
use actix_web::{App, HttpResponse, web};
use tokio_util::sync::CancellationToken;

use super::ServeError;
use crate::api::{self, ApiState};
use crate::config::Settings;
use crate::http::connection::ConnectionLimits;
use crate::http::server::HttpServer;
use crate::http::{Edge, HttpState, RequestBudget, ResponseBudget};
use crate::store::Store;
use crate::telemetry::{Metrics, PoolConnections, Recorder};

/// The response budget of the metrics server, in bytes. One response takes a few tens of KiB.
const METRICS_RESPONSE_BYTES: usize = 4 * 1024 * 1024;

pub(super) fn api_server(
    settings: &Settings,
    store: &Store,
    drain: &CancellationToken,
    stopping: &CancellationToken,
    connections: ConnectionLimits,
    metrics: &Arc<Metrics>,
) -> Result<(Server, SocketAddr), ServeError> {
    let api = ApiState {
        store: store.clone(),
        drain: drain.clone(),
    };
    let state = HttpState {
        templates: &api::TEMPLATES,
        drain: drain.clone(),
        request_timeout: settings.request_timeout,
        max_body_bytes: settings.max_body_bytes.get(),
        responses: ResponseBudget::new(settings.response_buffer_bytes.get(), Arc::clone(metrics)),
        bodies: RequestBudget::default(),
    };
    let server = HttpServer {
        name: "api",
        address: settings.bind_address,
        workers: settings.workers(),
        request_timeout: settings.request_timeout,
        shutdown_timeout: settings.shutdown_timeout,
        connections,
        metrics: Some(Arc::clone(metrics)),
        stopping: stopping.clone(),
    };
    let metrics = Arc::clone(metrics);
    server
        .serve(move || {
            // Each worker has its own `Data`: extractors change its reference count, and workers do not share the
            // count.
            App::new()
                .app_data(web::Data::new(api.clone()))
                .app_data(web::Data::new(state.clone()))
                .configure(api::configure)
                .wrap(Edge::new(
                    state.clone(),
                    Recorder::new(Arc::clone(&metrics)),
                ))
        })
        .map_err(|source| ServeError::Bind {
            setting: "BIND_ADDRESS",
            address: settings.bind_address,
            source,
        })
}

pub(super) fn metrics_server(
    settings: &Settings,
    store: &Store,
    connections: ConnectionLimits,
    metrics: &Arc<Metrics>,
) -> Result<(Server, SocketAddr), ServeError> {
    // The metrics server has the same edge, so that errors have the same form. Its requests are logged. They are
    // not requests of the API, so their metrics are never exported.
    let unexported = Arc::new(Metrics::new()?);
    let state = HttpState {
        templates: &api::TEMPLATES,
        drain: CancellationToken::new(),
        request_timeout: settings.request_timeout,
        max_body_bytes: settings.max_body_bytes.get(),
        responses: ResponseBudget::new(METRICS_RESPONSE_BYTES, Arc::clone(&unexported)),
        bodies: RequestBudget::default(),
    };
    let data = web::Data::new((store.clone(), Arc::clone(metrics)));
    let server = HttpServer {
        name: "metrics",
        address: settings.metrics_address,
        workers: 1,
        request_timeout: settings.request_timeout,
        shutdown_timeout: Duration::ZERO,
        connections,
        metrics: None,
        stopping: CancellationToken::new(),
    };
    server
        .serve(move || {
            App::new()
                .app_data(data.clone())
                .service(
                    web::resource("/metrics")
                        .route(web::get().to(scrape))
                        .route(web::head().to(scrape)),
                )
                .wrap(Edge::new(
                    state.clone(),
                    Recorder::new(Arc::clone(&unexported)),
                ))
        })
        .map_err(|source| ServeError::Bind {
            setting: "METRICS_ADDRESS",
            address: settings.metrics_address,
            source,
        })
}

async fn scrape(data: web::Data<(Store, Arc<Metrics>)>) -> HttpResponse {
    let (store, metrics) = data.get_ref();
    let pool = store.pool_status();
    let pool = PoolConnections {
        idle: pool.idle,
        in_use: pool.in_use,
        max: pool.max,
    };
    match metrics.render(pool) {
        Ok(text) => HttpResponse::Ok()
            .insert_header((header::CONTENT_TYPE, crate::telemetry::TEXT_FORMAT))
            .body(text),
        Err(error) => {
            log::error!(error:%; "cannot encode the metrics");
            HttpResponse::InternalServerError().finish()
        }
    }
}
