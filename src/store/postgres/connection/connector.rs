//! Opens connections to the database that the settings name, for each purpose.

use std::sync::Arc;
use std::time::{Duration, Instant};

use diesel::QueryResult;
use diesel_async::{AsyncPgConnection, SimpleAsyncConnection as _};
use parking_lot::Mutex;
use tokio_postgres::Client;
use tokio_postgres_rustls::MakeRustlsConnect;

use super::command_client::CommandClient;
use super::driver::ConnectionGuard;
use super::error::{ConnectError, PostgresError};
use super::host_attempts;
use super::pg_connection::PgConnection;
use super::session_opener::{Session, SessionOpener};
use super::slots::{Purpose, Slots};
use crate::config::{DatabaseSource, DatabaseUrl};
use crate::store::StoreError;
use crate::store::pool::Connect;
use crate::store::postgres::response_timeout;
use crate::store::postgres::url::Target;

/// Set explicitly, because a default of the database or of the role could change the results of statements.
const ISOLATION: &str = "SET default_transaction_isolation = 'read committed'";

/// A migration may take hours and holds the lock of migrations. So that both end soon after the process, the server
/// checks once a second whether the client is still connected. Servers older than 14 have no such parameter, and some
/// systems other than Linux reject it.
const END_WITH_CLIENT: &str = "
    SELECT set_config(name, '1000', false) FROM pg_settings
    WHERE name = 'client_connection_check_interval' AND version() LIKE '%linux%'";

/// Every statement reads one index in its order. Outdated statistics, or statistics of columns that depend on each
/// other, must not make a scan or a sort of the table look cheaper. A statement that has to sort a page anyway
/// then looks very expensive, and must not be compiled for that reason.
const PLANS: &str =
    "SET enable_seqscan = off; SET enable_bitmapscan = off; SET enable_sort = off; SET jit = off";

/// How often the file of the URL is read after the server has rejected its login.
const URL_POLL_INTERVAL: Duration = Duration::from_millis(100);

/// Opens connections to the database that the settings name at that time.
pub(crate) struct PgConnector {
    source: DatabaseSource,
    statement_timeout: Duration,
    /// The time for all attempts together to open a session.
    connect_timeout: Duration,
    slots: Arc<Slots>,
    last: Mutex<LastDatabase>,
}

/// The most recent database that the pool connected to.
#[derive(Default)]
struct LastDatabase {
    /// See [`identity`]. `None` before the first connection.
    identity: Option<String>,
    /// How often the identity has changed.
    generation: u64,
}

/// Whether to wait for a slot.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Wait {
    Yes,
    No,
}

impl PgConnector {
    /// Creates a connector with `pool_size` slots for the pool on each server. The server ends a statement after
    /// `statement_timeout`. The attempts to open a session take four fifths of `acquire_timeout`, so that the last
    /// host of the URL is tried before the caller gives up.
    pub(crate) fn new(
        source: DatabaseSource,
        statement_timeout: Duration,
        acquire_timeout: Duration,
        pool_size: usize,
    ) -> Self {
        Self {
            source,
            statement_timeout,
            connect_timeout: acquire_timeout * 4 / 5,
            slots: Arc::new(Slots::new(pool_size)),
            last: Mutex::default(),
        }
    }

    /// Opens a connection without a statement timeout.
    pub(crate) async fn connect_for_migrations(&self) -> Result<PgConnection, StoreError> {
        let session = self.open_waiting(Purpose::Migration).await?;
        let setup = format!("{ISOLATION}; {END_WITH_CLIENT}");
        Ok(for_diesel(session, &setup).await?)
    }

    /// Opens a connection for the readiness check, which has one slot. It is set up like those of the pool.
    pub(in crate::store) async fn connect_probe(&self) -> Result<PgConnection, StoreError> {
        let session = self.open_waiting(Purpose::Probe).await?;
        Ok(for_diesel(session, &self.setup()).await?)
    }

    /// Opens a connection without Diesel that calls `on_notification` for each notification.
    pub(crate) async fn connect_listener(
        &self,
        on_notification: impl Fn() + Send + Sync + 'static,
    ) -> Result<(Client, ConnectionGuard), ConnectError> {
        let on_notification = Arc::new(on_notification);
        let opened = self
            .open(Purpose::Listener, Wait::Yes, on_notification)
            .await?;
        let Session { client, guard, .. } = opened.ok_or(ConnectError::NoSlot)?;
        Ok((client, guard))
    }

    /// Opens a connection without Diesel for a command. It is set up like those of the pool.
    pub(crate) async fn connect_for_command(&self) -> Result<CommandClient, ConnectError> {
        let Session { client, guard, .. } = self.open_waiting(Purpose::Command).await?;
        let client = CommandClient::new(client, guard);
        let setup = client.batch_execute(&self.setup()).await;
        setup.map_err(|source| ConnectError::SetupOfCommand(PostgresError(source)))?;
        Ok(client)
    }

    /// Opens a connection for the maintenance of the database. It is set up like those of the pool.
    pub(in crate::store) async fn connect_for_maintenance(
        &self,
    ) -> Result<PgConnection, ConnectError> {
        let session = self.open_waiting(Purpose::Command).await?;
        for_diesel(session, &self.setup()).await
    }

    /// Sets up a connection like those of the pool.
    pub(in crate::store) async fn set_up(&self, connection: &mut PgConnection) -> QueryResult<()> {
        connection.batch_execute(&self.setup()).await
    }

    /// How long a statement of a command may take before its connection is discarded. A server that sends nothing for
    /// much longer than `statement_timeout` is down.
    pub(in crate::store) fn response_timeout(&self) -> Duration {
        response_timeout(self.statement_timeout)
    }

    async fn connect_pooled(&self, wait: Wait) -> Result<Option<PgConnection>, ConnectError> {
        match self.open(Purpose::Pool, wait, Arc::new(|| {})).await? {
            Some(session) => for_diesel(session, &self.setup()).await.map(Some),
            None => Ok(None),
        }
    }

    fn url(&self) -> Result<DatabaseUrl, ConnectError> {
        let url = self.source.url();
        url.map_err(|error| ConnectError::Settings(error.into()))
    }

    fn target(&self) -> Result<Target, ConnectError> {
        Ok(Target::parse(&self.url()?)?)
    }

    /// The statements that set up a session. No transaction of this service stays idle, and the timeout makes a
    /// forgotten one harmless.
    fn setup(&self) -> String {
        let timeout = self.statement_timeout.as_millis().max(1);
        format!(
            "SET statement_timeout = {timeout};
             SET idle_in_transaction_session_timeout = {timeout};
             {PLANS};
             {ISOLATION}"
        )
    }

    async fn open_waiting(&self, purpose: Purpose) -> Result<Session, ConnectError> {
        let opened = self.open(purpose, Wait::Yes, Arc::new(|| {})).await?;
        opened.ok_or(ConnectError::NoSlot)
    }

    /// Opens a session with the first server that permits one. Without [`Wait::Yes`], returns `None` if
    /// there is no free slot.
    ///
    /// A password changes in the database before it changes in the file of the URL, so a request waits for the file
    /// if the server rejects the login.
    async fn open(
        &self,
        purpose: Purpose,
        wait: Wait,
        on_notification: Arc<dyn Fn() + Send + Sync>,
    ) -> Result<Option<Session>, ConnectError> {
        let deadline = Instant::now() + self.connect_timeout;
        let waits_for_file = purpose == Purpose::Pool && wait == Wait::Yes;
        loop {
            let url = self.url()?;
            let on_notification = Arc::clone(&on_notification);
            let opened = self.open_with(&url, deadline, purpose, wait, on_notification);
            match opened.await {
                Err(error)
                    if waits_for_file
                        && error.is_rejected_login()
                        && self.url_changes(&url, deadline).await => {}
                outcome => return outcome,
            }
        }
    }

    /// Whether the file of the URL has other content before the deadline.
    async fn url_changes(&self, before: &DatabaseUrl, deadline: Instant) -> bool {
        if !self.source.is_file() {
            return false;
        }
        loop {
            if self.url().is_ok_and(|url| url.expose() != before.expose()) {
                return true;
            }
            if Instant::now() + URL_POLL_INTERVAL >= deadline {
                return false;
            }
            tokio::time::sleep(URL_POLL_INTERVAL).await;
        }
    }

    async fn open_with(
        &self,
        url: &DatabaseUrl,
        deadline: Instant,
        purpose: Purpose,
        wait: Wait,
        on_notification: Arc<dyn Fn() + Send + Sync>,
    ) -> Result<Option<Session>, ConnectError> {
        let target = Target::parse(url)?;
        let opener = SessionOpener {
            connector: self,
            target: &target,
            tls: MakeRustlsConnect::new(target.tls.client_config()?),
            purpose,
            on_notification,
            full: Mutex::default(),
        };
        let timeout = deadline.saturating_duration_since(Instant::now());
        let error = match host_attempts::connect(&target, timeout, &opener).await {
            Ok(session) => return Ok(Some(session)),
            Err(error) => error,
        };
        let full = std::mem::take(&mut *opener.full.lock());
        match wait {
            _ if full.is_empty() => Err(error.into()),
            Wait::No => Ok(None),
            Wait::Yes => opener.open_when_free(&full).await.map(Some),
        }
    }

    pub(super) fn slots(&self) -> &Arc<Slots> {
        &self.slots
    }

    /// Records that the pool has connected to this database. Returns how often the database has changed.
    pub(super) fn generation_of(&self, target: &Target) -> u64 {
        let now = identity(target);
        let mut last = self.last.lock();
        if last.identity.as_ref().is_some_and(|last| *last != now) {
            last.generation += 1;
        }
        last.identity = Some(now);
        last.generation
    }
}

/// The servers and the database that a URL names. The login is not part of it, because open sessions survive a
/// change of the password.
fn identity(target: &Target) -> String {
    format!("{:?} {:?}", target.endpoints, target.config.get_dbname())
}

async fn for_diesel(session: Session, setup: &str) -> Result<PgConnection, ConnectError> {
    let Session {
        client,
        guard,
        info,
    } = session;
    let inner = AsyncPgConnection::try_from(client)
        .await
        .map_err(ConnectError::Diesel)?;
    let mut connection = PgConnection::new(inner, guard, info);
    connection.begin_statement();
    let done = connection.batch_execute(setup).await;
    let code = connection.end_statement();
    match (done, code) {
        (Ok(()), _) => Ok(connection),
        (Err(source), None) => Err(ConnectError::Setup(source)),
        (Err(source), Some(code)) => Err(ConnectError::SetupWithCode {
            code: code.to_string(),
            source,
        }),
    }
}

impl Connect for PgConnector {
    type Connection = PgConnection;

    async fn connect(&self) -> Result<PgConnection, StoreError> {
        let connection = self.connect_pooled(Wait::Yes).await?;
        Ok(connection.ok_or(ConnectError::NoSlot)?)
    }

    async fn try_connect(&self) -> Result<Option<PgConnection>, StoreError> {
        Ok(self.connect_pooled(Wait::No).await?)
    }

    fn has_moved(&self) -> bool {
        let last = self.last.lock().identity.clone();
        let now = self.target().ok().map(|target| identity(&target));
        // A URL that cannot be read does not name another database.
        matches!((last, now), (Some(last), Some(now)) if last != now)
    }
}
