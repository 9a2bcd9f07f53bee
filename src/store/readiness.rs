//! Whether requests would be served: does the database answer, take writes, and have the schema?

use std::sync::Arc;
use std::time::{Duration, Instant};

use diesel::SqliteConnection;
use diesel_async::AsyncPgConnection;
use parking_lot::Mutex;
use tokio::sync::watch;
use tokio::time::timeout;

use super::StoreError;
use super::pool::{Class, Connect as _, Pool};
use super::postgres::{PgConnection, PgConnector, Served};
use super::postgres::{examine_postgres, examine_sqlite};
use super::sqlite::SqliteConnector;

/// A good result is kept for this long, so that probes cost the database nothing.
const CACHED_FOR: Duration = Duration::from_secs(1);
/// A bad one: it may be over at once.
const BAD_CACHED_FOR: Duration = Duration::from_millis(200);
/// How many new connections a check tries: an administrator may end one after the other.
const ATTEMPTS: usize = 3;
/// How long a probe waits for a result: below the time-out of a probe of Kubernetes, which is 1 s.
const RESPONSE_TIMEOUT: Duration = Duration::from_millis(800);
/// How long the statements of a check may take, and how long each way to a connection.
const STEP_TIMEOUT: Duration = Duration::from_secs(5);
/// A new connection goes to where the URL points by now: after a failover, or a rotated secret.
const CONNECTION_LIFETIME: Duration = Duration::from_secs(10);

/// What the readiness check found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Readiness {
    /// Requests are served.
    Ready,
    /// The database does not answer.
    DatabaseUnavailable,
    /// A migration is missing.
    SchemaBehind,
    /// An unreleased build of the service made the schema; it cannot be migrated.
    SchemaUnreleased,
    /// The database takes no writes: a standby, or one that is read-only.
    ReadOnly,
    /// The row of the table `feed` is missing, so no event can have a position.
    FeedMissing,
    /// The database was restored from a dump and not migrated since: events that are written now would come
    /// before those that readers have.
    FeedBehind,
    /// The encoding of the database, which this names, is not UTF-8.
    Encoding(String),
}

impl Readiness {
    fn good_for(&self) -> Duration {
        if *self == Self::Ready {
            CACHED_FOR
        } else {
            BAD_CACHED_FOR
        }
    }
}

/// What is checked: the database by a connection of the check's own, or, if none can be opened, by one of
/// the pool.
pub(super) enum Target {
    Postgres {
        connector: Arc<PgConnector>,
        pool: Pool<PgConnector>,
        served: Arc<Served>,
    },
    Sqlite(Arc<SqliteConnector>),
}

/// Checks on a connection of its own, so that it never queues behind requests. Cheap to clone.
#[derive(Clone)]
pub(super) struct Probe(Arc<Inner>);

struct Inner {
    target: Target,
    state: Mutex<State>,
    /// The connection, with the time at which it was opened. Used by one check at a time.
    postgres: tokio::sync::Mutex<Option<(Instant, PgConnection)>>,
}

#[derive(Default)]
struct State {
    last: Option<(Instant, Readiness)>,
    running: Option<Running>,
}

/// A check that has not ended.
#[derive(Clone)]
struct Running {
    began: Instant,
    /// Becomes true with the result; the check may go on with what the next one needs.
    done: watch::Receiver<bool>,
}

impl Probe {
    pub(super) fn new(target: Target) -> Self {
        Self(Arc::new(Inner {
            target,
            state: Mutex::default(),
            postgres: tokio::sync::Mutex::default(),
        }))
    }

    /// The result, at most [`CACHED_FOR`] old (or [`BAD_CACHED_FOR`]), within [`RESPONSE_TIMEOUT`]. Callers at the same time share
    /// one check. Must be called on the runtime of the store.
    pub(super) async fn check(&self) -> Readiness {
        let mut running = {
            let mut state = self.0.state.lock();
            if let Some((at, readiness)) = &state.last
                && at.elapsed() < readiness.good_for()
            {
                return readiness.clone();
            }
            match &state.running {
                Some(running) => running.clone(),
                None => state.running.insert(self.start()).clone(),
            }
        };
        if timeout(RESPONSE_TIMEOUT, running.done.wait_for(|done| *done))
            .await
            .is_err()
        {
            self.0.not_in_time(running.began);
        }
        let last = self.0.state.lock().last.clone();
        last.map_or(Readiness::DatabaseUnavailable, |(_, readiness)| readiness)
    }

    fn start(&self) -> Running {
        let (sender, done) = watch::channel(false);
        let inner = Arc::clone(&self.0);
        tokio::spawn(async move {
            let result = inner.examine().await;
            inner.publish(result);
            sender.send_replace(true);
            inner.renew().await;
            inner.state.lock().running = None;
        });
        Running {
            began: Instant::now(),
            done,
        }
    }
}

impl Inner {
    /// A check takes long. If requests have been served since it began, its own way to the database is
    /// slow and nothing else is known to have changed.
    fn not_in_time(&self, began: Instant) {
        if let Target::Postgres { served, .. } = &self.target
            && served.since(began)
            && self.state.lock().last.is_some()
        {
            return;
        }
        self.publish(Err(StoreError::Unavailable(format!(
            "no answer within {RESPONSE_TIMEOUT:?}"
        ))));
    }

    /// Keeps a result, and logs a change with its cause.
    fn publish(&self, result: Result<Readiness, StoreError>) {
        let readiness = match &result {
            Ok(readiness) => readiness.clone(),
            Err(_) => Readiness::DatabaseUnavailable,
        };
        let last = (Instant::now(), readiness.clone());
        let before = self.state.lock().last.replace(last);
        if before.is_some_and(|(_, before)| before == readiness) {
            return;
        }
        match result {
            Ok(Readiness::Ready) => log::info!("ready"),
            Ok(readiness) => log::warn!(reason:? = readiness; "not ready"),
            Err(error) => log::warn!(reason:? = readiness, error:%; "not ready"),
        }
    }

    async fn examine(&self) -> Result<Readiness, StoreError> {
        match &self.target {
            Target::Sqlite(connector) => {
                let mut connection = in_time(connector.connect()).await?;
                let (handle, limit) = (connection.handle(), connection.statement_timeout());
                let examine = move |connection: &mut SqliteConnection| {
                    Ok(examine_sqlite(connection, &handle, limit))
                };
                in_time(async { Ok(connection.spawn_blocking(examine).await?) }).await?
            }
            Target::Postgres {
                connector, pool, ..
            } => {
                let mut kept = self.postgres.lock().await;
                // One that was open before may have broken since, or keep settings that have changed:
                // only a good result of it says something about now.
                if let Some((opened, mut connection)) = kept.take()
                    && let Ok(Readiness::Ready) = examine(&mut connection).await
                {
                    *kept = Some((opened, connection));
                    return Ok(Readiness::Ready);
                }
                let mut error = None;
                for _ in 0..ATTEMPTS {
                    let mut connection = match in_time(connector.connect_probe()).await {
                        Ok(connection) => connection,
                        Err(failed) => {
                            error = Some(failed);
                            break;
                        }
                    };
                    match examine(&mut connection).await {
                        Ok(readiness) => {
                            *kept = Some((Instant::now(), connection));
                            return Ok(readiness);
                        }
                        Err(failed) => error = Some(failed),
                    }
                }
                // The login may have been rotated: what is open keeps working.
                match pool.first_in_line().get(Class::Read).await {
                    Ok(mut lease) => examine(&mut lease).await,
                    Err(failed) => Err(error.unwrap_or(failed)),
                }
            }
        }
    }

    /// Opens the next connection when this one is old, so that no probe waits for that.
    async fn renew(&self) {
        let Target::Postgres { connector, .. } = &self.target else {
            return;
        };
        let mut kept = self.postgres.lock().await;
        let too_old = |(at, _): &mut (Instant, _)| at.elapsed() > CONNECTION_LIFETIME;
        if kept.take_if(too_old).is_some() {
            match in_time(connector.connect_probe()).await {
                Ok(connection) => *kept = Some((Instant::now(), connection)),
                Err(error) => {
                    log::warn!(error:%; "could not renew the connection of the readiness check");
                }
            }
        }
    }
}

/// Examines the database behind a connection.
async fn examine(connection: &mut PgConnection) -> Result<Readiness, StoreError> {
    if let Some(encoding) = connection.other_encoding() {
        return Ok(Readiness::Encoding(encoding.to_owned()));
    }
    connection.begin();
    let inner: &mut AsyncPgConnection = connection;
    // A connection whose statement did not end is broken; it is closed then.
    let result = in_time(examine_postgres(inner)).await;
    if result.is_ok() {
        connection.succeeded();
    }
    result
}

async fn in_time<T>(work: impl Future<Output = Result<T, StoreError>>) -> Result<T, StoreError> {
    timeout(STEP_TIMEOUT, work).await.unwrap_or_else(|_| {
        Err(StoreError::Unavailable(format!(
            "no answer within {STEP_TIMEOUT:?}"
        )))
    })
}
