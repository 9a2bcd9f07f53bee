//! The two HTTP servers, bound to their ports.

use std::fmt::Debug;
use std::future::ready;
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::time::Duration;

use actix_http::error::DispatchError;
use actix_http::{HttpService, Protocol, Request, Response};
use actix_rt::net::TcpStream;
use actix_service::{
    IntoServiceFactory, Service, ServiceFactory, ServiceFactoryExt as _, boxed, fn_service,
    map_config,
};
use actix_web::body::MessageBody;
use actix_web::dev::{AppConfig, Extensions, Server};
use actix_web::http::{KeepAlive, header};
use actix_web::{App, Error, HttpResponse, web};
use socket2::{Domain, SockRef, Socket, Type};

use super::connection::{Connection, Patience};
use super::limits;
use super::slots::{OVERFLOW, Slots};
use super::{ServeError, failed};
use crate::api::{self, Api, Edge, ResponseBudget};
use crate::config::Settings;
use crate::shutdown::Drain;
use crate::store::Store;
use crate::telemetry::{Metrics, Recorder};

/// Longer than the idle time-out of common load balancers, so that it is they who close.
const KEEP_ALIVE: Duration = Duration::from_secs(75);
/// A client that takes nothing of a response for this long is cut off; without it, a stream of events
/// to a client that stopped reading would stay indefinitely.
const STUCK: Duration = Duration::from_secs(30);
/// How long the rest of a request is read after its response.
const LINGER: Duration = Duration::from_secs(5);
/// The time of a connection beyond `MAX_CONNECTIONS`.
const HURRIED: Duration = Duration::from_secs(1);
/// Connections of the metrics server: some Prometheus servers and a person.
const METRICS_CONNECTIONS: usize = 64;
/// For responses of the metrics server that are not sent yet; one has some tens of KiB.
const METRICS_BUFFER: usize = 4 * 1024 * 1024;

pub(super) fn api_server(
    settings: &Settings,
    store: &Store,
    drain: &Drain,
    stopping: &Drain,
    metrics: &Arc<Metrics>,
) -> Result<(Server, SocketAddr), ServeError> {
    let buffer = settings.response_buffer_bytes.get();
    let api = Api {
        store: store.clone(),
        drain: drain.clone(),
        request_timeout: settings.request_timeout,
        max_body_bytes: settings.max_body_bytes.get(),
        responses: ResponseBudget::new(buffer, Arc::clone(metrics)),
    };
    let http = Http {
        name: "api",
        address: settings.bind_address,
        workers: settings.workers(),
        request_timeout: settings.request_timeout,
        shutdown_timeout: settings.shutdown_timeout,
        connections: limits::connections(settings),
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
    metrics: &Arc<Metrics>,
) -> Result<(Server, SocketAddr), ServeError> {
    // The same edge, so that what is refused is refused in the same form. Its requests are logged,
    // but they are none of the API and must not be in its metrics.
    let uncounted = Arc::new(Metrics::new().map_err(|e| failed("metrics")(&e))?);
    let api = Api {
        store: store.clone(),
        drain: Drain::default(),
        request_timeout: settings.request_timeout,
        max_body_bytes: settings.max_body_bytes.get(),
        responses: ResponseBudget::new(METRICS_BUFFER, Arc::clone(&uncounted)),
    };
    let data = web::Data::new((store.clone(), Arc::clone(metrics)));
    let http = Http {
        name: "metrics",
        address: settings.metrics_address,
        workers: 1,
        request_timeout: settings.request_timeout,
        shutdown_timeout: Duration::ZERO,
        connections: METRICS_CONNECTIONS,
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

/// How to serve HTTP.
struct Http {
    name: &'static str,
    address: SocketAddr,
    workers: usize,
    request_timeout: Duration,
    shutdown_timeout: Duration,
    connections: usize,
    /// Where the connections are counted, if they are.
    metrics: Option<Arc<Metrics>>,
    stopping: Drain,
}

impl Http {
    /// What `HttpServer` of actix-web does, with a connection of our own below it.
    fn serve<F, I, S, B>(self, app: F) -> io::Result<(Server, SocketAddr)>
    where
        F: Fn() -> I + Send + Clone + 'static,
        I: IntoServiceFactory<S, Request>,
        S: ServiceFactory<Request, Config = AppConfig> + 'static,
        S::Error: Into<Error> + 'static,
        S::InitError: Debug,
        S::Response: Into<Response<B>> + 'static,
        <S::Service as Service<Request>>::Future: 'static,
        S::Service: 'static,
        B: MessageBody + 'static,
    {
        let patience = Patience {
            head: self.request_timeout,
            idle: KEEP_ALIVE,
            stuck: STUCK,
            linger: LINGER,
            overflow: HURRIED,
        };
        let listener = listener(self.address)?;
        let address = listener.local_addr()?;
        let slots = Slots::new(self.connections, self.metrics);
        let stopping = self.stopping;
        let server = Server::build()
            .workers(self.workers)
            // The slots bound all workers together; each must be able to take as many.
            .max_concurrent_connections(self.connections.saturating_add(4 * OVERFLOW))
            .shutdown_timeout(self.shutdown_timeout.as_secs() + 1)
            .disable_signals()
            .listen(self.name, listener, move || {
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
                        set_options(connection.stream());
                        data.insert(connection.activity());
                    })
                    .finish(map_config(
                        app()
                            .into_factory()
                            .map_err(|error: S::Error| error.into().error_response()),
                        |()| AppConfig::default(),
                    ));
                let slots = slots.clone();
                let connected = fn_service(move |stream: TcpStream| {
                    // Without a slot it is closed at once; the error is no more than that.
                    let slot = slots.take().ok_or(DispatchError::DisconnectTimeout);
                    ready(slot.map(|slot| {
                        let connection = Connection::new(stream, patience, slot);
                        let peer = connection.peer();
                        (connection, Protocol::Http1, peer)
                    }))
                });
                // In a box, as the task that Actix makes of it has room for it twice.
                boxed::factory(connected.and_then(http))
            })?;
        Ok((server.run(), address))
    }
}

/// Bytes that the kernel takes for a connection before the ones ahead of them are on their way. More
/// is memory for a client that does not read, and none of it makes a client faster that does.
const UNSENT: u32 = 128 * 1024;

/// When the kernel gives up a peer that acknowledges nothing, such as one that lost its power while a
/// stream of events is quiet. Longer than [`STUCK`], as the kernel also counts the time in which a small
/// window of a slow reader is closed now and then.
const UNACKNOWLEDGED: Duration = Duration::from_secs(120);

fn set_options(stream: &TcpStream) {
    let socket = SockRef::from(stream);
    let set = socket
        .set_tcp_user_timeout(Some(UNACKNOWLEDGED))
        .and_then(|()| socket.set_tcp_nodelay(true))
        .and_then(|()| socket.set_tcp_notsent_lowat(UNSENT));
    if let Err(error) = set {
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
