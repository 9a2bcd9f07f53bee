//! The API server and the metrics server.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use actix_web::dev::Server;
use actix_web::http::header;
use actix_web::{App, HttpResponse, web};
use tokio_util::sync::CancellationToken;

use super::ServeError;
use crate::access::{Access, Authenticator};
use crate::api::{self, ApiState};
use crate::config::Settings;
use crate::http::connection::ConnectionLimits;
use crate::http::server::HttpServer;
use crate::http::{Edge, HttpState, Rates, RequestBudget, ResponseBudget};
use crate::store::Store;
use crate::telemetry::{Metrics, PoolConnections, Recorder};

/// The response budget of the metrics server, in bytes. One response takes a few tens of KiB.
const METRICS_RESPONSE_BYTES: usize = 4 * 1024 * 1024;

pub(super) fn api_server(
    settings: &Settings,
    store: &Store,
    access: &Arc<Access>,
    drain: &CancellationToken,
    stopping: &CancellationToken,
    connections: ConnectionLimits,
    metrics: &Arc<Metrics>,
) -> Result<(Server, SocketAddr), ServeError> {
    let api = ApiState {
        store: store.clone(),
        access: Arc::clone(access),
        panics: settings.test_panics(),
        drain: drain.clone(),
    };
    let state = HttpState {
        resources: &api::RESOURCES,
        drain: drain.clone(),
        request_timeout: settings.request_timeout,
        max_body_bytes: settings.max_body_bytes.get(),
        rates: settings
            .burst_and_rate()
            .map(|(burst, rate)| Rates::new(burst, rate)),
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
    let (metrics, access) = (Arc::clone(metrics), Arc::clone(access));
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
                    Some(Authenticator::new(Arc::clone(&access))),
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
    access: &Arc<Access>,
    connections: ConnectionLimits,
    metrics: &Arc<Metrics>,
) -> Result<(Server, SocketAddr), ServeError> {
    // The metrics server has the same edge, so that errors have the same form. Its requests are logged. They are
    // not requests of the API, so their metrics are never exported.
    let unexported = Arc::new(Metrics::new()?);
    let state = HttpState {
        resources: &api::RESOURCES,
        drain: CancellationToken::new(),
        request_timeout: settings.request_timeout,
        max_body_bytes: settings.max_body_bytes.get(),
        rates: None,
        responses: ResponseBudget::new(METRICS_RESPONSE_BYTES, Arc::clone(&unexported)),
        bodies: RequestBudget::default(),
    };
    let data = web::Data::new(Scraped {
        store: store.clone(),
        access: Arc::clone(access),
        metrics: Arc::clone(metrics),
    });
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
                    None,
                ))
        })
        .map_err(|source| ServeError::Bind {
            setting: "METRICS_ADDRESS",
            address: settings.metrics_address,
            source,
        })
}

/// The sources of a scrape.
struct Scraped {
    store: Store,
    access: Arc<Access>,
    metrics: Arc<Metrics>,
}

async fn scrape(data: web::Data<Scraped>) -> HttpResponse {
    let pool = data.store.pool_status();
    let pool = PoolConnections {
        idle: pool.idle,
        in_use: pool.in_use,
        max: pool.max,
    };
    match data.metrics.render(pool, &data.access.key_set_ages()) {
        Ok(text) => HttpResponse::Ok()
            .insert_header((header::CONTENT_TYPE, crate::telemetry::TEXT_FORMAT))
            .body(text),
        Err(error) => {
            log::error!(error:%; "cannot encode the metrics");
            HttpResponse::InternalServerError().finish()
        }
    }
}
