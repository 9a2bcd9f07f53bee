//! The two HTTP servers, bound to their ports.

use std::any::Any;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use actix_rt::net::TcpStream;
use actix_web::dev::Server;
use actix_web::http::{KeepAlive, header};
use actix_web::{App, HttpResponse, HttpServer, web};

use socket2::SockRef;

use super::{ServeError, failed};
use crate::api::{self, Api, Edge};
use crate::config::Settings;
use crate::shutdown::Drain;
use crate::store::Store;
use crate::telemetry::{Metrics, Recorder};

/// Longer than the idle time-out of common load balancers, so that it is they who close.
const KEEP_ALIVE: Duration = Duration::from_secs(75);

pub(super) fn api_server(
    settings: &Settings,
    store: &Store,
    drain: &Drain,
    metrics: &Arc<Metrics>,
) -> Result<(Server, SocketAddr), ServeError> {
    let api = Api {
        store: store.clone(),
        drain: drain.clone(),
        request_timeout: settings.request_timeout,
        max_body_bytes: settings.max_body_bytes.get(),
    };
    let metrics = Arc::clone(metrics);
    let server = HttpServer::new(move || {
        let edge = Edge::new(api.clone(), Recorder::new(Arc::clone(&metrics)));
        App::new()
            .app_data(web::Data::new(api.clone()))
            .configure(api::configure)
            .wrap(edge)
    })
    .workers(settings.workers())
    .keep_alive(KeepAlive::Timeout(KEEP_ALIVE))
    .on_connect(|connection, _| cut_off_when_stuck(connection))
    .client_request_timeout(settings.request_timeout)
    .shutdown_timeout(settings.shutdown_timeout.as_secs() + 1)
    .disable_signals();
    let server = server
        .bind(settings.bind_address)
        .map_err(|e| failed(format!("BIND_ADDRESS {}", settings.bind_address))(&e))?;
    let address = bound(&server.addrs(), settings.bind_address);
    Ok((server.run(), address))
}

pub(super) fn metrics_server(
    settings: &Settings,
    store: &Store,
    metrics: &Arc<Metrics>,
) -> Result<(Server, SocketAddr), ServeError> {
    let data = web::Data::new((store.clone(), Arc::clone(metrics)));
    let server = HttpServer::new(move || {
        App::new()
            .app_data(data.clone())
            .route("/metrics", web::get().to(scrape))
    })
    .workers(1)
    .disable_signals()
    .bind(settings.metrics_address)
    .map_err(|e| failed(format!("METRICS_ADDRESS {}", settings.metrics_address))(&e))?;
    let address = bound(&server.addrs(), settings.metrics_address);
    Ok((server.run(), address))
}

/// A client that takes nothing of an answer for this long is cut off by the kernel; without it, a
/// stream of events to a client that stopped reading would stay for ever.
const STUCK: Duration = Duration::from_secs(30);

fn cut_off_when_stuck(connection: &dyn Any) {
    if let Some(stream) = connection.downcast_ref::<TcpStream>() {
        let set = SockRef::from(stream).set_tcp_user_timeout(Some(STUCK));
        if let Err(error) = set {
            log::debug!(error:%; "TCP_USER_TIMEOUT is not available");
        }
    }
}

fn bound(addresses: &[SocketAddr], wanted: SocketAddr) -> SocketAddr {
    addresses.first().copied().unwrap_or(wanted)
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
