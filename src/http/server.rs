//! Serves HTTP on one port.

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
use actix_web::Error;
use actix_web::body::MessageBody;
use actix_web::dev::{AppConfig, Extensions, Server};
use actix_web::http::KeepAlive;
use socket2::{Domain, SockRef, Socket, Type};
use tokio_util::sync::CancellationToken;

use super::connection::slots::Slots;
use super::connection::{ClientTimeouts, Connection, ConnectionLimits};
use crate::telemetry::Metrics;

/// Longer than the idle time-out of common load balancers, so that it is they who close.
const KEEP_ALIVE: Duration = Duration::from_secs(75);
/// A client that takes nothing of a response for this long is cut off; without it, a stream of events
/// to a client that stopped reading would stay indefinitely.
const STUCK: Duration = Duration::from_secs(30);
/// How long the rest of a request is read after its response.
const LINGER: Duration = Duration::from_secs(5);
/// The time of a connection beyond `MAX_CONNECTIONS`.
const HURRIED: Duration = Duration::from_secs(1);
/// How to serve HTTP.
pub(crate) struct Http {
    pub(crate) name: &'static str,
    pub(crate) address: SocketAddr,
    pub(crate) workers: usize,
    pub(crate) request_timeout: Duration,
    pub(crate) shutdown_timeout: Duration,
    pub(crate) connections: ConnectionLimits,
    /// Where the connections are counted, if they are.
    pub(crate) metrics: Option<Arc<Metrics>>,
    pub(crate) stopping: CancellationToken,
}

impl Http {
    /// What `HttpServer` of actix-web does, with a connection of our own below it.
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
            idle: KEEP_ALIVE,
            stuck: STUCK,
            linger: LINGER,
            overflow: HURRIED,
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
            // The slots bound all workers together. What has been accepted and waits for its worker to
            // look at its slot has a descriptor too. A worker that is full leaves the next to another.
            .max_concurrent_connections(
                self.connections
                    .open_at_once()
                    .div_ceil(self.workers.max(1)),
            )
            .shutdown_timeout(self.shutdown_timeout.as_secs() + 1)
            .disable_signals()
            .listen(self.name, listener, move || {
                // Each connection takes the lock of the token, which the workers do not share like this.
                let stopping = stopping.child_token();
                let http = HttpService::build()
                    // The connection does both: it bounds every head, and arms no timer for a request.
                    .keep_alive(KeepAlive::Os)
                    .client_request_timeout(Duration::ZERO)
                    .graceful_shutdown_signal(move || stopping.clone().cancelled_owned())
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
                        let connection = Connection::new(stream, timeouts, slot);
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
