//! Opens connections to PostgreSQL, without libpq.

use std::sync::Arc;
use std::time::Duration;

use diesel_async::{AsyncPgConnection, SimpleAsyncConnection as _};
use tokio::net::lookup_host;
use tokio::time::timeout;
use tokio_postgres::config::{Host, SslMode, SslNegotiation, TargetSessionAttrs};
use tokio_postgres::tls::MakeTlsConnect;
use tokio_postgres::{Client, Config, SimpleQueryMessage};
use tokio_postgres_rustls::MakeRustlsConnect;

use super::session::{Attempt, Cancel, Driver, Hold, PgConnection};
use super::slots::{Address, Purpose, Slot, Slots};
use super::socket::Socket;
use super::sqlstate::describe;
use super::tap::{Tap, Tapped, TappedTls, TlsHandshake};
use super::url::Target;
use crate::config::DatabaseSource;
use crate::store::StoreError;
use crate::store::pool::Connect;

/// How long the first of several addresses is waited for when all its slots are taken: for as long
/// as a healthy server takes to close a connection.
const SLOT_WAIT: Duration = Duration::from_millis(300);

/// Opens connections to the database that the settings name at that moment.
pub(crate) struct PgConnector {
    source: DatabaseSource,
    statement_timeout: Duration,
    slots: Slots,
}

/// A session that is open.
struct Connected {
    client: Client,
    hold: Hold,
    encoding: String,
}

/// How to come to a server, whichever address it has.
struct Way {
    config: Config,
    tls: MakeRustlsConnect,
    purpose: Purpose,
    notified: Arc<dyn Fn() + Send + Sync>,
}

/// Whether a connection may wait for a slot.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Wait {
    /// As long as it takes.
    Yes,
    /// It is wanted only if there is room for it now.
    No,
}

impl PgConnector {
    /// A connector with `pool_size` slots for the pool on each server.
    pub(crate) fn new(
        source: DatabaseSource,
        statement_timeout: Duration,
        pool_size: usize,
    ) -> Self {
        Self {
            source,
            statement_timeout,
            slots: Slots::new(pool_size),
        }
    }

    /// Opens a connection with no time-outs set, as migrations need it.
    pub(crate) async fn connect_plain(&self) -> Result<PgConnection, StoreError> {
        let opened = self
            .open(Purpose::Migration, Wait::Yes, Arc::new(|| {}))
            .await?;
        for_diesel(opened.ok_or_else(no_room)?, ISOLATION).await
    }

    /// Opens a connection like the pool's for the readiness check. There is one at a time.
    pub(in crate::store) async fn connect_probe(&self) -> Result<PgConnection, StoreError> {
        let opened = self
            .open(Purpose::Probe, Wait::Yes, Arc::new(|| {}))
            .await?;
        for_diesel(opened.ok_or_else(no_room)?, &self.setup()).await
    }

    /// Opens a connection without Diesel for notifications, and calls `notified` for each.
    pub(super) async fn connect_listener(
        &self,
        notified: impl Fn() + Send + Sync + 'static,
    ) -> Result<(Client, Hold), StoreError> {
        let opened = self
            .open(Purpose::Listener, Wait::Yes, Arc::new(notified))
            .await?;
        let Connected { client, hold, .. } = opened.ok_or_else(no_room)?;
        Ok((client, hold))
    }

    async fn connect_pooled(&self, wait: Wait) -> Result<Option<PgConnection>, StoreError> {
        match self.open(Purpose::Pool, wait, Arc::new(|| {})).await? {
            Some(opened) => for_diesel(opened, &self.setup()).await.map(Some),
            None => Ok(None),
        }
    }

    /// A transaction of ours never idles; the time-out makes a forgotten one harmless.
    fn setup(&self) -> String {
        let timeout = self.statement_timeout.as_millis().max(1);
        format!(
            "SET statement_timeout = {timeout};
             SET idle_in_transaction_session_timeout = {timeout};
             {PLANS};
             {ISOLATION}"
        )
    }

    /// A session with the first server that takes one. None when there is no room for it now and it
    /// may not wait.
    async fn open(
        &self,
        purpose: Purpose,
        wait: Wait,
        notified: Arc<dyn Fn() + Send + Sync>,
    ) -> Result<Option<Connected>, StoreError> {
        let url = self.source.url().map_err(StoreError::Unavailable)?;
        let Target { config, tls } = Target::parse(&url).map_err(StoreError::Unavailable)?;
        let tls = MakeRustlsConnect::new(tls.client_config().map_err(StoreError::Unavailable)?);
        let way = Way {
            config,
            tls,
            purpose,
            notified,
        };
        let mut error = None;
        let mut full = Vec::new();
        for (host, address) in addresses(&way.config, &mut error).await {
            match self.slot_soon(&way, &address).await {
                Some(slot) => match self.connect_address(&way, &host, &address, slot).await {
                    Ok(connected) => return Ok(Some(connected)),
                    Err(failed) => error = Some(failed),
                },
                None => full.push((host, address)),
            }
        }
        if wait == Wait::Yes && !full.is_empty() {
            let slots = full
                .iter()
                .map(|(_, address)| Box::pin(self.slots.take(purpose, address)));
            let (slot, first, _) = futures_util::future::select_all(slots).await;
            if let (Some(slot), Some((host, address))) = (slot, full.get(first)) {
                let connected = self.connect_address(&way, host, address, slot).await;
                return connected.map(Some);
            }
        }
        error.map_or(Ok(None), Err)
    }

    async fn slot_soon(&self, way: &Way, address: &Address) -> Option<Slot> {
        match self.slots.try_take(way.purpose, address) {
            Some(slot) => Some(slot),
            None => timeout(SLOT_WAIT, self.slots.take(way.purpose, address))
                .await
                .ok()?,
        }
    }

    /// A session with the server at one address, which takes the slot until the server has closed it.
    async fn connect_address(
        &self,
        way: &Way,
        host: &str,
        address: &Address,
        slot: Slot,
    ) -> Result<Connected, StoreError> {
        let opening = self.open_session(way, host, address, slot);
        let connected = match way.config.get_connect_timeout() {
            None => opening.await,
            Some(limit) => timeout(*limit, opening)
                .await
                .unwrap_or_else(|_| Err(format!("no answer within {limit:?}"))),
        };
        connected.map_err(StoreError::Unavailable)
    }

    async fn open_session(
        &self,
        way: &Way,
        host: &str,
        address: &Address,
        slot: Slot,
    ) -> Result<Connected, String> {
        let mut config = way.config.clone();
        if matches!(address, Address::Unix(_)) {
            // As in libpq: nobody can listen in on a Unix socket.
            config.ssl_mode(SslMode::Disable);
        }
        let (socket, returned) = Socket::connect(address).await.map_err(|e| e.to_string())?;
        let attempt = Attempt::new(returned, slot);
        let tap = Arc::<Tap>::default();
        let asks_for_tls = config.get_ssl_mode() != SslMode::Disable
            && config.get_ssl_negotiation() == SslNegotiation::Postgres;
        let stream = Tapped::new(socket, Arc::clone(&tap), asks_for_tls);
        let handshakes = handshakes(way.tls.clone(), host.to_owned());
        let tls = TappedTls {
            handshake: handshakes(),
        };
        let connected = config.connect_raw(stream, tls).await;
        let (client, wire) = connected.map_err(|error| describe(&error))?;
        let opened = attempt.succeed().ok_or("the socket is gone")?;
        let encoding = wire.parameter("server_encoding").unwrap_or_default();
        let encoding = encoding.to_owned();
        let notified = Arc::clone(&way.notified);
        let driver = Driver {
            wire,
            opened,
            cancel: Cancel {
                token: client.cancel_token(),
                address: address.clone(),
                handshake: handshakes,
            },
            current: self.slots.watch(),
            notified: Box::new(move || notified()),
        };
        let hold = driver.start(tap);
        suits(&client, way.config.get_target_session_attrs()).await?;
        if way.purpose == Purpose::Pool {
            self.slots.connected_to(address);
        }
        Ok(Connected {
            client,
            hold,
            encoding,
        })
    }
}

/// A default of the database's or the role's own would change what statements see.
const ISOLATION: &str = "SET default_transaction_isolation = 'read committed'";

fn no_room() -> StoreError {
    StoreError::Unavailable("no connection is free".to_owned())
}

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

/// Each address of each host, with the name that its certificate must have. What cannot be resolved
/// is left out, and noted as an error.
async fn addresses(config: &Config, error: &mut Option<StoreError>) -> Vec<(String, Address)> {
    let (hosts, ips, ports) = (
        config.get_hosts(),
        config.get_hostaddrs(),
        config.get_ports(),
    );
    let mut found = Vec::new();
    for at in 0..hosts.len().max(ips.len()) {
        let port = ports.get(at).or(ports.first()).copied().unwrap_or(5432);
        let name = match hosts.get(at) {
            Some(Host::Tcp(name)) => name.clone(),
            Some(Host::Unix(dir)) => {
                let file = dir.join(format!(".s.PGSQL.{port}"));
                found.push((String::new(), Address::Unix(file)));
                continue;
            }
            None => String::new(),
        };
        if let Some(ip) = ips.get(at) {
            found.push((name, Address::Tcp((*ip, port).into())));
            continue;
        }
        match lookup_host((name.as_str(), port)).await {
            Ok(all) => found.extend(all.map(|address| (name.clone(), Address::Tcp(address)))),
            Err(failed) => {
                *error = Some(StoreError::Unavailable(format!("{name}: {failed}")));
            }
        }
    }
    found
}

/// Whether the server is of the kind that the URL asks for (`target_session_attrs`).
async fn suits(client: &Client, wanted: TargetSessionAttrs) -> Result<(), String> {
    if wanted == TargetSessionAttrs::Any {
        return Ok(());
    }
    let answer = client.simple_query("SHOW transaction_read_only").await;
    let answer = answer.map_err(|error| describe(&error))?;
    let read_only = answer
        .iter()
        .any(|message| matches!(message, SimpleQueryMessage::Row(row) if row.get(0) == Some("on")));
    match (wanted, read_only) {
        (TargetSessionAttrs::ReadWrite, true) => Err("the server is read-only".to_owned()),
        (TargetSessionAttrs::ReadOnly, false) => Err("the server is not read-only".to_owned()),
        _ => Ok(()),
    }
}

async fn for_diesel(connected: Connected, setup: &str) -> Result<PgConnection, StoreError> {
    let Connected {
        client,
        hold,
        encoding,
    } = connected;
    let inner = AsyncPgConnection::try_from(client)
        .await
        .map_err(|error| StoreError::Unavailable(error.to_string()))?;
    let mut connection = PgConnection::new(inner, hold, encoding);
    connection.begin();
    let done = connection.batch_execute(setup).await;
    let code = connection.end();
    match (done, code) {
        (Ok(()), _) => Ok(connection),
        (Err(error), None) => Err(StoreError::Unavailable(error.to_string())),
        (Err(error), Some(code)) => {
            Err(StoreError::Unavailable(format!("SQLSTATE {code}: {error}")))
        }
    }
}

/// Every statement of ours is a walk along one index in the order of that index. Statistics that are old, or
/// of columns that depend on each other, must not make a scan or a sort of the table look cheaper. What has
/// to sort a page all the same looks very expensive then, and must not be compiled for it.
const PLANS: &str =
    "SET enable_seqscan = off; SET enable_bitmapscan = off; SET enable_sort = off; SET jit = off";

impl Connect for PgConnector {
    type Connection = PgConnection;

    async fn connect(&self) -> Result<PgConnection, StoreError> {
        self.connect_pooled(Wait::Yes).await?.ok_or_else(no_room)
    }

    async fn connect_if_room(&self) -> Result<Option<PgConnection>, StoreError> {
        self.connect_pooled(Wait::No).await
    }
}
