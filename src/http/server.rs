//! An HTTP server on one port.

use std::fmt::Debug;
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use actix_http::error::DispatchError;
use actix_http::{HttpService, Protocol, Request, Response};
use actix_rt::net::TcpStream;
use actix_service::{
    IntoServiceFactory, Service, ServiceFactory, ServiceFactoryExt as _, boxed, fn_service,
    map_config,
};
use actix_web::Error;
use actix_web::body::MessageBody;
use actix_web::dev::{AppConfig, Extensions, Server};
use actix_web::http::KeepAlive;
use socket2::{Domain, SockRef, Socket, Type};
use tokio_util::sync::CancellationToken;

use super::connection::slots::Slots;
use super::connection::{ClientTimeouts, Connection, ConnectionLimits};
use crate::telemetry::Metrics;

/// Longer than the idle timeout of common load balancers, so that they close first.
const IDLE_TIMEOUT: Duration = Duration::from_secs(75);
/// A response is aborted if its client reads none of it for this long. Without this timeout, a stream of events to
/// a client that stopped reading would stay open indefinitely.
const STUCK_TIMEOUT: Duration = Duration::from_secs(30);
/// How long the rest of a request is read after its response.
const LINGER_TIMEOUT: Duration = Duration::from_secs(5);
/// How long a connection beyond `MAX_CONNECTIONS` may be open.
const OVERFLOW_TIMEOUT: Duration = Duration::from_secs(1);

/// An HTTP server on one port.
pub(crate) struct HttpServer {
    pub(crate) name: &'static str,
    pub(crate) address: SocketAddr,
    pub(crate) workers: usize,
    pub(crate) request_timeout: Duration,
    pub(crate) shutdown_timeout: Duration,
    pub(crate) connections: ConnectionLimits,
    /// Counts the connections, and measures how long responses take to send.
    pub(crate) metrics: Option<Arc<Metrics>>,
    /// Cancelled when idle connections must close.
    pub(crate) stopping: CancellationToken,
}

impl HttpServer {
    /// Binds the port and builds the server, like `HttpServer` of actix-web, but with [`Connection`] instead of
    /// its TCP stream. Returns the server and its address.
    ///
    /// # Errors
    /// When the port cannot be bound.
    pub(crate) fn serve<F, I, S, B>(self, app: F) -> io::Result<(Server, SocketAddr)>
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
        let timeouts = ClientTimeouts {
            head: self.request_timeout,
            idle: IDLE_TIMEOUT,
            stuck: STUCK_TIMEOUT,
            linger: LINGER_TIMEOUT,
            overflow: OVERFLOW_TIMEOUT,
        };
        let listener = listener(self.address)?;
        let address = listener.local_addr()?;
        let slots = Slots::new(
            self.connections.served,
            self.connections.overflow,
            self.metrics,
        );
        let stopping = self.stopping;
        let server = Server::build()
            .workers(self.workers)
            // The slots bound the connections of all workers together. A connection that has been accepted also
            // has a descriptor while it waits for its worker to acquire its slot. A full worker leaves the next
            // connection to another worker.
            .max_concurrent_connections(
                self.connections
                    .open_at_once()
                    .div_ceil(self.workers.max(1)),
            )
            .shutdown_timeout(self.shutdown_timeout.as_secs() + 1)
            .disable_signals()
            .listen(self.name, listener, move || {
                // Each connection locks the token. With child tokens, the workers do not share the lock.
                let stopping = stopping.child_token();
                // Boxed, so that an idle connection reserves no space for the future of a request.
                let app = app()
                    .into_factory()
                    .map_err(|error: S::Error| error.into().error_response());
                let http = HttpService::build()
                    // `Connection` implements both timeouts: it bounds every head, and sets no timer per request.
                    .keep_alive(KeepAlive::Os)
                    .client_request_timeout(Duration::ZERO)
                    .graceful_shutdown_signal(move || stopping.clone().cancelled_owned())
                    .local_addr(address)
                    .on_connect_ext(|connection: &Connection, data: &mut Extensions| {
                        set_options(connection.stream());
                        data.insert(connection.activity());
                    })
                    .finish(map_config(boxed::factory(app), |()| AppConfig::default()));
                let slots = slots.clone();
                let timeouts = Rc::new(timeouts);
                let connected = fn_service(move |stream: TcpStream| {
                    let (slots, timeouts) = (slots.clone(), Rc::clone(&timeouts));
                    async move {
                        // Without a slot, the connection is closed. The error has no other effect.
                        let slot = slots.acquire_soon().await;
                        let slot = slot.ok_or(DispatchError::DisconnectTimeout)?;
                        let connection = Connection::new(stream, timeouts, slot);
                        let peer = connection.peer();
                        Ok((connection, Protocol::Http1, peer))
                    }
                });
                // Boxed, because the task that Actix makes of the future would contain it twice.
                boxed::factory(connected.and_then(http))
            })?;
        Ok((server.run(), address))
    }
}

/// The maximum number of bytes of a connection that the kernel accepts before it has sent them
/// (`TCP_NOTSENT_LOWAT`). A larger value would use memory for clients that do not read, without making other
/// clients faster.
const MAX_UNSENT: u32 = 128 * 1024;

/// When the kernel closes a connection whose peer acknowledges nothing (`TCP_USER_TIMEOUT`), such as a peer that
/// lost its power during a quiet stream of events. It is longer than [`STUCK_TIMEOUT`], because the kernel also
/// counts the time in which the small window of a slow reader is closed.
const ACKNOWLEDGE_TIMEOUT: Duration = Duration::from_secs(120);

fn set_options(stream: &TcpStream) {
    let socket = SockRef::from(stream);
    let set = socket
        .set_tcp_user_timeout(Some(ACKNOWLEDGE_TIMEOUT))
        .and_then(|()| socket.set_tcp_nodelay(true))
        .and_then(|()| socket.set_tcp_notsent_lowat(MAX_UNSENT));
    if let Err(error) = set {
        log::debug!(error:%; "cannot set socket options");
    }
}

/// The maximum number of connections that wait to be accepted. The kernel has a limit as well
/// (`net.core.somaxconn`).
const BACKLOG: i32 = 4096;

/// Creates a listener like that of the standard library, but with a longer backlog.
fn listener(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, None)?;
    socket.set_reuse_address(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    Ok(socket.into())
}
