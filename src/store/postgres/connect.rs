//! Opens connections to PostgreSQL, without libpq.

use std::sync::Arc;
use std::time::Duration;

use diesel_async::{AsyncPgConnection, SimpleAsyncConnection as _};
use futures_util::future::select_all;
use parking_lot::Mutex;
use tokio::time::timeout;
use tokio_postgres::Client;
use tokio_postgres::config::{SslMode, SslNegotiation};
use tokio_postgres::tls::MakeTlsConnect;
use tokio_postgres_rustls::MakeRustlsConnect;

use super::hosts::{self, Open};
use super::session::{About, Attempt, Cancel, Driver, Hold, PgConnection};
use super::slots::{Address, Purpose, Slot, Slots};
use super::socket::Socket;
use super::sqlstate::describe;
use super::tap::{Tap, Tapped, TappedTls, TlsHandshake};
use super::url::{Endpoint, Target};
use super::wanted::Wanted;
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
    /// How long the first way to a session may take, over all hosts.
    patience: Duration,
    slots: Arc<Slots>,
    /// Where the pool connected to last, as the URL names it, and how often that has changed.
    last: Mutex<(Option<String>, u64)>,
}

/// A session that is open.
struct Connected {
    client: Client,
    hold: Hold,
    about: About,
}

/// How to open a session, whichever address the server has.
struct Way<'a> {
    connector: &'a PgConnector,
    target: &'a Target,
    tls: MakeRustlsConnect,
    purpose: Purpose,
    notified: Arc<dyn Fn() + Send + Sync>,
    /// Where all slots were taken.
    full: Mutex<Vec<(Endpoint, Address, Wanted)>>,
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
    /// A connector with `pool_size` slots for the pool on each server, whose statements end after
    /// `statement_timeout`. Whoever wants a connection waits for `acquire_timeout`; the last host of the URL is
    /// tried before that is over.
    pub(crate) fn new(
        source: DatabaseSource,
        statement_timeout: Duration,
        acquire_timeout: Duration,
        pool_size: usize,
    ) -> Self {
        Self {
            source,
            statement_timeout,
            patience: acquire_timeout * 4 / 5,
            slots: Arc::new(Slots::new(pool_size)),
            last: Mutex::default(),
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

    fn target(&self) -> Result<Target, String> {
        let url = self.source.url().map_err(|error| error.to_string())?;
        Target::parse(&url)
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
        let target = self.target().map_err(StoreError::Unavailable)?;
        let tls = target.tls.client_config();
        let way = Way {
            connector: self,
            target: &target,
            tls: MakeRustlsConnect::new(tls.map_err(StoreError::Unavailable)?),
            purpose,
            notified,
            full: Mutex::default(),
        };
        let error = match hosts::connect(&target, self.patience, &way).await {
            Ok(connected) => return Ok(Some(connected)),
            Err(error) => error,
        };
        let full = std::mem::take(&mut *way.full.lock());
        match wait {
            _ if full.is_empty() => Err(StoreError::Unavailable(error)),
            Wait::No => Ok(None),
            Wait::Yes => way.open_when_free(&full).await.map(Some),
        }
    }
}

impl Way<'_> {
    /// Waits for a slot at one of these places, for as long as the caller does.
    async fn open_when_free(
        &self,
        full: &[(Endpoint, Address, Wanted)],
    ) -> Result<Connected, StoreError> {
        let slots = full
            .iter()
            .map(|(_, address, _)| Box::pin(self.connector.slots.take(self.purpose, address)));
        let (slot, first, _) = select_all(slots).await;
        let (Some(slot), Some((endpoint, address, wanted))) = (slot, full.get(first)) else {
            return Err(no_room());
        };
        let opened = self.open_session(endpoint, address, *wanted, slot).await;
        opened.map_err(StoreError::Unavailable)
    }

    async fn slot_soon(&self, address: &Address) -> Option<Slot> {
        let slots = &self.connector.slots;
        match slots.try_take(self.purpose, address) {
            Some(slot) => Some(slot),
            None => timeout(SLOT_WAIT, slots.take(self.purpose, address))
                .await
                .ok()?,
        }
    }

    /// A session with the server at one address, which takes the slot until the server has closed it.
    async fn open_session(
        &self,
        endpoint: &Endpoint,
        address: &Address,
        wanted: Wanted,
        slot: Slot,
    ) -> Result<Connected, String> {
        let Target { config, socket, .. } = self.target;
        let slots = &self.connector.slots;
        let mut config = config.clone();
        if matches!(address, Address::Unix(_)) {
            // As in libpq, TLS is not for Unix sockets.
            config.ssl_mode(SslMode::Disable);
        }
        let connected = Socket::connect(address, socket).await;
        let (stream, returned) = connected.map_err(|error| error.to_string())?;
        let attempt = Attempt::new(returned, slot);
        let tap = Arc::<Tap>::default();
        let asks_for_tls = config.get_ssl_mode() != SslMode::Disable
            && config.get_ssl_negotiation() == SslNegotiation::Postgres;
        let stream = Tapped::new(stream, Arc::clone(&tap), asks_for_tls);
        let handshakes = handshakes(self.tls.clone(), endpoint.name.clone());
        let tls = TappedTls {
            handshake: handshakes(),
        };
        let connected = config.connect_raw(stream, tls).await;
        let (client, mut wire) = connected.map_err(|error| describe(&error))?;
        wanted.check(&client, &mut wire).await?;
        let opened = attempt.succeed().ok_or("the socket is gone")?;
        let encoding = wire.parameter("server_encoding").unwrap_or_default();
        let encoding = encoding.to_owned();
        let notified = Arc::clone(&self.notified);
        let driver = Driver {
            wire,
            opened,
            address: address.clone(),
            cancel: Cancel {
                token: client.cancel_token(),
                slots: Arc::clone(slots),
                socket: socket.clone(),
                handshake: handshakes,
            },
            current: slots.watch(),
            notified: Box::new(move || notified()),
        };
        let hold = driver.start(tap);
        let generation = match self.purpose {
            Purpose::Pool => {
                slots.connected_to(address);
                self.connector.generation(self.target)
            }
            _ => 0,
        };
        Ok(Connected {
            client,
            hold,
            about: About {
                encoding,
                generation,
            },
        })
    }
}

impl Open for Way<'_> {
    type Session = Connected;

    async fn open(
        &self,
        endpoint: &Endpoint,
        address: &Address,
        wanted: Wanted,
    ) -> Result<Connected, String> {
        match self.slot_soon(address).await {
            Some(slot) => self.open_session(endpoint, address, wanted, slot).await,
            None => {
                let place = (endpoint.clone(), address.clone(), wanted);
                self.full.lock().push(place);
                Err("this process has as many connections to it as it may have".to_owned())
            }
        }
    }
}

impl PgConnector {
    /// How often the place has changed, after the pool has connected to this one.
    fn generation(&self, target: &Target) -> u64 {
        let now = place(target);
        let mut last = self.last.lock();
        let (before, generation) = &mut *last;
        if before.as_ref().is_some_and(|before| *before != now) {
            *generation += 1;
        }
        *before = Some(now);
        *generation
    }
}

/// The servers and the database that a URL names. The login is no part of it: sessions that are open
/// outlast a new password.
fn place(target: &Target) -> String {
    format!("{:?} {:?}", target.endpoints, target.config.get_dbname())
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

async fn for_diesel(connected: Connected, setup: &str) -> Result<PgConnection, StoreError> {
    let Connected {
        client,
        hold,
        about,
    } = connected;
    let inner = AsyncPgConnection::try_from(client)
        .await
        .map_err(|error| StoreError::Unavailable(error.to_string()))?;
    let mut connection = PgConnection::new(inner, hold, about);
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

    fn has_moved(&self) -> bool {
        let last = self.last.lock().0.clone();
        let now = self.target().ok().map(|target| place(&target));
        // A URL that cannot be read names no other place.
        matches!((last, now), (Some(last), Some(now)) if last != now)
    }
}
