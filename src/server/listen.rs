//! The two HTTP servers, bound to their ports.

use std::future::ready;
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use actix_http::error::DispatchError;
use actix_http::{HttpService, Protocol};

use actix_rt::net::TcpStream;
use actix_service::{
    IntoServiceFactory as _, ServiceFactoryExt as _, boxed, fn_service, map_config,
};
use actix_web::dev::{AppConfig, Extensions, Server};
use actix_web::http::{KeepAlive, header};
use actix_web::{App, Error, HttpResponse, HttpServer, web};

use socket2::{Domain, SockRef, Socket, Type};

use super::connection::{Connection, Patience};
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
    stopping: &Drain,
    metrics: &Arc<Metrics>,
) -> Result<(Server, SocketAddr), ServeError> {
    let api = Api {
        store: store.clone(),
        drain: drain.clone(),
        request_timeout: settings.request_timeout,
        max_body_bytes: settings.max_body_bytes.get(),
    };
    let patience = Patience {
        head: settings.request_timeout,
        idle: KEEP_ALIVE,
    };
    let (metrics, stopping) = (Arc::clone(metrics), stopping.clone());
    let wanted = settings.bind_address;
    let failed_to_bind = |error: io::Error| failed(format!("BIND_ADDRESS {wanted}"))(&error);
    let listener = listener(wanted).map_err(failed_to_bind)?;
    let address = listener.local_addr().map_err(failed_to_bind)?;
    // What `HttpServer` of actix-web does, with a connection of our own below it.
    let server = Server::build()
        .workers(settings.workers())
        .shutdown_timeout(settings.shutdown_timeout.as_secs() + 1)
        .disable_signals()
        .listen("api", listener, move || {
            let edge = Edge::new(api.clone(), Recorder::new(Arc::clone(&metrics)));
            let slow = edge.clone();
            let too_slow: Rc<dyn Fn() -> Vec<u8>> = Rc::new(move || slow.too_slow());
            let app = App::new()
                .app_data(web::Data::new(api.clone()))
                .configure(api::configure)
                .wrap(edge);
            let stopping = stopping.clone();
            let http = HttpService::build()
                // The connection does both: it bounds every head, and arms no timer for a request.
                .keep_alive(KeepAlive::Os)
                .client_request_timeout(Duration::ZERO)
                .graceful_shutdown_signal(move || {
                    let stopping = stopping.clone();
                    async move { stopping.started().await }
                })
                .local_addr(address)
                .on_connect_ext(|connection: &Connection, data: &mut Extensions| {
                    cut_off_when_stuck(connection.stream());
                    data.insert(connection.activity());
                })
                .finish(map_config(
                    app.into_factory()
                        .map_err(|error: Error| error.error_response()),
                    |()| AppConfig::default(),
                ));
            let connected = fn_service(move |stream: TcpStream| {
                let connection = Connection::new(stream, patience, Rc::clone(&too_slow));
                let peer = connection.peer();
                ready(Ok::<_, DispatchError>((connection, Protocol::Http1, peer)))
            });
            // In a box, as the task that Actix makes of it has room for it twice.
            boxed::factory(connected.and_then(http))
        })
        .map_err(failed_to_bind)?;
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

fn cut_off_when_stuck(stream: &TcpStream) {
    let socket = SockRef::from(stream);
    let set = socket.set_tcp_user_timeout(Some(STUCK));
    if let Err(error) = set.and_then(|()| socket.set_tcp_nodelay(true)) {
        log::debug!(error:%; "a socket does not take its options");
    }
}

/// Connections that may wait to be accepted; the kernel has a limit of its own (`net.core.somaxconn`).
const BACKLOG: i32 = 4096;

/// Like the one of the standard library, with more room.
fn listener(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, None)?;
    socket.set_reuse_address(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    Ok(socket.into())
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
