//! Opens a session with a server at one address: slot, socket, TLS, login, and the check of the server.

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::select_all;
use parking_lot::Mutex;
use tokio::time::timeout;
use tokio_postgres::Client;
use tokio_postgres::config::{SslMode, SslNegotiation};
use tokio_postgres::tls::MakeTlsConnect;
use tokio_postgres_rustls::MakeRustlsConnect;

use super::PgConnector;
use super::cancel::Canceller;
use super::driver::{ConnectionGuard, Driver};
use super::error::{ConnectError, PostgresError, SessionError};
use super::host_attempts::OpenSession;
use super::messages::{MessageParser, ServerState};
use super::observed_stream::{ObservedStream, ObservedTlsHandshake, TlsHandshake};
use super::occupied_slot::OpeningSlot;
use super::pg_connection::SessionInfo;
use super::slots::{Address, Purpose, Slot, Slots};
use super::socket::Socket;
use super::target_session_attrs::TargetSessionAttrs;
use crate::store::postgres::url::{Endpoint, Target};

/// How long to wait for a slot at an address before the next address is tried: the time that a healthy server
/// needs to close a connection.
const SLOT_TIMEOUT: Duration = Duration::from_millis(300);

/// An open session.
pub(super) struct Session {
    pub(super) client: Client,
    pub(super) guard: ConnectionGuard,
    pub(super) info: SessionInfo,
}

/// An address without a free slot.
pub(super) struct FullAddress {
    endpoint: Endpoint,
    address: Address,
    attrs: TargetSessionAttrs,
}

/// Opens sessions with any of the servers of one URL.
pub(super) struct SessionOpener<'a> {
    pub(super) connector: &'a PgConnector,
    pub(super) target: &'a Target,
    pub(super) tls: MakeRustlsConnect,
    pub(super) purpose: Purpose,
    pub(super) on_notification: Arc<dyn Fn() + Send + Sync>,
    /// The addresses that had no free slot.
    pub(super) full: Mutex<Vec<FullAddress>>,
}

impl SessionOpener<'_> {
    fn slots(&self) -> &Arc<Slots> {
        self.connector.slots()
    }

    /// Waits for a slot at any of these addresses until the caller drops the future.
    pub(super) async fn open_when_free(
        &self,
        full: &[FullAddress],
    ) -> Result<Session, ConnectError> {
        let slots = full
            .iter()
            .map(|full| Box::pin(self.slots().acquire(self.purpose, &full.address)));
        let (slot, first, _) = select_all(slots).await;
        let (Some(slot), Some(full)) = (slot, full.get(first)) else {
            return Err(ConnectError::NoSlot);
        };
        let opening = self.open_in_slot(&full.endpoint, &full.address, full.attrs, slot);
        Ok(opening.await?)
    }

    async fn slot(&self, address: &Address) -> Option<Slot> {
        match self.slots().try_acquire(self.purpose, address) {
            Some(slot) => Some(slot),
            None => timeout(SLOT_TIMEOUT, self.slots().acquire(self.purpose, address))
                .await
                .ok()?,
        }
    }

    /// Opens a session that occupies the slot until the server has closed the connection.
    async fn open_in_slot(
        &self,
        endpoint: &Endpoint,
        address: &Address,
        attrs: TargetSessionAttrs,
        slot: Slot,
    ) -> Result<Session, SessionError> {
        let Target { config, socket, .. } = self.target;
        let mut config = config.clone();
        if matches!(address, Address::Unix(_)) {
            // As in libpq, a Unix socket has no TLS.
            config.ssl_mode(SslMode::Disable);
        }
        let (stream, returned) = Socket::connect(address, socket).await?;
        let opening = OpeningSlot::new(returned, slot);
        let state = Arc::<ServerState>::default();
        let sends_ssl_request = config.get_ssl_mode() != SslMode::Disable
            && config.get_ssl_negotiation() == SslNegotiation::Postgres;
        let parser = if sends_ssl_request {
            MessageParser::after_ssl_response()
        } else {
            MessageParser::new()
        };
        let stream = ObservedStream::new(stream, Arc::clone(&state), parser);
        let new_handshake = handshakes(self.tls.clone(), endpoint.name.clone());
        let tls = ObservedTlsHandshake(new_handshake());
        let connected = config.connect_raw(stream, tls).await;
        let (client, mut connection) = connected.map_err(PostgresError)?;
        attrs.check(&client, &mut connection).await?;
        let slot = opening.opened().ok_or(SessionError::Closed)?;
        let encoding = connection.parameter("server_encoding").unwrap_or_default();
        let encoding = encoding.to_owned();
        let on_notification = Arc::clone(&self.on_notification);
        let driver = Driver {
            connection,
            slot,
            address: address.clone(),
            canceller: Canceller {
                token: client.cancel_token(),
                slots: Arc::clone(self.slots()),
                socket: socket.clone(),
                new_handshake,
            },
            current: self.slots().watch_current(),
            on_notification: Box::new(move || on_notification()),
        };
        let guard = driver.start(state);
        let generation = match self.purpose {
            Purpose::Pool => {
                self.slots().set_current(address);
                self.connector.generation_of(self.target)
            }
            _ => 0,
        };
        let info = SessionInfo {
            encoding,
            generation,
        };
        Ok(Session {
            client,
            guard,
            info,
        })
    }
}

impl OpenSession for SessionOpener<'_> {
    type Session = Session;

    async fn open(
        &self,
        endpoint: &Endpoint,
        address: &Address,
        attrs: TargetSessionAttrs,
    ) -> Result<Session, SessionError> {
        match self.slot(address).await {
            Some(slot) => self.open_in_slot(endpoint, address, attrs, slot).await,
            None => {
                self.full.lock().push(FullAddress {
                    endpoint: endpoint.clone(),
                    address: address.clone(),
                    attrs,
                });
                Err(SessionError::NoSlot)
            }
        }
    }
}

/// A function that creates TLS handshakes with the server `host`.
fn handshakes(tls: MakeRustlsConnect, host: String) -> Box<dyn Fn() -> TlsHandshake + Send + Sync> {
    Box::new(move || {
        let made = <MakeRustlsConnect as MakeTlsConnect<Socket>>::make_tls_connect(
            &mut tls.clone(),
            &host,
        );
        match made {
            Ok(handshake) => handshake,
            Err(never) => match never {},
        }
    })
}
