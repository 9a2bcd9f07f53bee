//! The two HTTP servers, bound to their ports.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use actix_web::dev::Server;
use actix_web::http::header;
use actix_web::{App, HttpResponse, web};
use tokio_util::sync::CancellationToken;

use super::{ServeError, failed};
use crate::api::{self, ApiState};
use crate::config::Settings;
use crate::http::connection::ConnectionLimits;
use crate::http::server::Http;
use crate::http::{Edge, HttpState, RequestBudget, ResponseBudget};
use crate::store::Store;
use crate::telemetry::{Metrics, PoolConnections, Recorder};

/// For responses of the metrics server that are not sent yet; one has some tens of KiB.
const METRICS_BUFFER: usize = 4 * 1024 * 1024;

pub(super) fn api_server(
    settings: &Settings,
    store: &Store,
    drain: &CancellationToken,
    stopping: &CancellationToken,
    connections: ConnectionLimits,
    metrics: &Arc<Metrics>,
) -> Result<(Server, SocketAddr), ServeError> {
    let buffer = settings.response_buffer_bytes.get();
    let api = web::Data::new(ApiState {
        store: store.clone(),
        drain: drain.clone(),
    });
    let state = HttpState {
        templates: &api::TEMPLATES,
        drain: drain.clone(),
        request_timeout: settings.request_timeout,
        max_body_bytes: settings.max_body_bytes.get(),
        responses: ResponseBudget::new(buffer, Arc::clone(metrics)),
        bodies: RequestBudget::default(),
    };
    let http = Http {
        name: "api",
        address: settings.bind_address,
        workers: settings.workers(),
        request_timeout: settings.request_timeout,
        shutdown_timeout: settings.shutdown_timeout,
        connections,
        metrics: Some(Arc::clone(metrics)),
        stopping: stopping.clone(),
    };
    let body_state = web::Data::new(state.clone());
    let metrics = Arc::clone(metrics);
    http.serve(move || {
        App::new()
            .app_data(api.clone())
            .app_data(body_state.clone())
            .configure(api::configure)
            .wrap(Edge::new(
                state.clone(),
                Recorder::new(Arc::clone(&metrics)),
            ))
    })
    .map_err(|e| failed(format!("BIND_ADDRESS {}", settings.bind_address))(&e))
}

pub(super) fn metrics_server(
    settings: &Settings,
    store: &Store,
    connections: ConnectionLimits,
    metrics: &Arc<Metrics>,
) -> Result<(Server, SocketAddr), ServeError> {
    // The same edge, so that what is refused is refused in the same form. Its requests are logged,
    // but they are none of the API and must not be in its metrics.
    let uncounted = Arc::new(Metrics::new().map_err(|e| failed("metrics")(&e))?);
    let state = HttpState {
        templates: &api::TEMPLATES,
        drain: CancellationToken::new(),
        request_timeout: settings.request_timeout,
        max_body_bytes: settings.max_body_bytes.get(),
        responses: ResponseBudget::new(METRICS_BUFFER, Arc::clone(&uncounted)),
        bodies: RequestBudget::default(),
    };
    let data = web::Data::new((store.clone(), Arc::clone(metrics)));
    let http = Http {
        name: "metrics",
        address: settings.metrics_address,
        workers: 1,
        request_timeout: settings.request_timeout,
        shutdown_timeout: Duration::ZERO,
        connections,
        metrics: None,
        stopping: CancellationToken::new(),
    };
    http.serve(move || {
        App::new()
            .app_data(data.clone())
            .service(
                web::resource("/metrics")
                    .route(web::get().to(scrape))
                    .route(web::head().to(scrape)),
            )
            .wrap(Edge::new(
                state.clone(),
                Recorder::new(Arc::clone(&uncounted)),
            ))
    })
    .map_err(|e| failed(format!("METRICS_ADDRESS {}", settings.metrics_address))(&e))
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
            log::error!(error:%; "the metrics cannot be written");
            HttpResponse::InternalServerError().finish()
        }
    }
}
