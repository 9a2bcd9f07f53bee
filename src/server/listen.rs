//! The two HTTP servers, bound to their ports.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use actix_web::dev::Server;
use actix_web::http::header;
use actix_web::{App, HttpResponse, web};

use super::limits::Connections;
use super::{ServeError, failed};
use crate::api::{self, ApiState};
use crate::config::Settings;
use crate::http::server::Http;
use crate::http::{Edge, RequestBudget, ResponseBudget};
use crate::shutdown::Drain;
use crate::store::Store;
use crate::telemetry::{Metrics, Recorder};

/// For responses of the metrics server that are not sent yet; one has some tens of KiB.
const METRICS_BUFFER: usize = 4 * 1024 * 1024;

pub(super) fn api_server(
    settings: &Settings,
    store: &Store,
    drain: &Drain,
    stopping: &Drain,
    connections: Connections,
    metrics: &Arc<Metrics>,
) -> Result<(Server, SocketAddr), ServeError> {
    let buffer = settings.response_buffer_bytes.get();
    let api = ApiState {
        store: store.clone(),
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
    let metrics = Arc::clone(metrics);
    http.serve(move || {
        App::new()
            .app_data(web::Data::new(api.clone()))
            .configure(api::configure)
            .wrap(Edge::new(api.clone(), Recorder::new(Arc::clone(&metrics))))
    })
    .map_err(|e| failed(format!("BIND_ADDRESS {}", settings.bind_address))(&e))
}

pub(super) fn metrics_server(
    settings: &Settings,
    store: &Store,
    connections: Connections,
    metrics: &Arc<Metrics>,
) -> Result<(Server, SocketAddr), ServeError> {
    // The same edge, so that what is refused is refused in the same form. Its requests are logged,
    // but they are none of the API and must not be in its metrics.
    let uncounted = Arc::new(Metrics::new().map_err(|e| failed("metrics")(&e))?);
    let api = ApiState {
        store: store.clone(),
        drain: Drain::default(),
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
        stopping: Drain::default(),
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
                api.clone(),
                Recorder::new(Arc::clone(&uncounted)),
            ))
    })
    .map_err(|e| failed(format!("METRICS_ADDRESS {}", settings.metrics_address))(&e))
}

async fn scrape(data: web::Data<(Store, Arc<Metrics>)>) -> HttpResponse {
    let (store, metrics) = data.get_ref();
    match metrics.render(store.pool_status()) {
        Ok(text) => HttpResponse::Ok()
            .insert_header((header::CONTENT_TYPE, crate::telemetry::TEXT_FORMAT))
            .body(text),
        Err(error) => {
            log::error!(error:%; "the metrics cannot be written");
            HttpResponse::InternalServerError().finish()
        }
    }
}
