//! Whether requests would be served: does the database answer, and is its schema new enough?

use std::time::{Duration, Instant};

use tokio::sync::Mutex;

use super::connector::Way;
use super::migrate::{pending_on_postgres, pending_on_sqlite};
use super::pool::Connect as _;
use super::postgres::PgConnection;
use super::{Connector, StoreError};

/// An answer is good for this long, so that probes cost the database nothing.
const CACHED_FOR: Duration = Duration::from_secs(1);
/// The check's own time-out: well below the time-out of a probe.
const CHECK_TIMEOUT: Duration = Duration::from_millis(800);

/// A new connection goes to where the URL points by now: after a failover, or a rotated secret.
const CONNECTION_LIFETIME: Duration = Duration::from_secs(60);

/// What the readiness check found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Readiness {
    /// Requests are served.
    Ready,
    /// The database does not answer.
    DatabaseUnavailable,
    /// A migration is missing.
    SchemaBehind,
}

/// Checks on a connection of its own, so that it never queues behind requests.
pub(super) struct Probe {
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// With the time at which it was opened.
    postgres: Option<(Instant, PgConnection)>,
    last: Option<(Instant, Readiness)>,
}

impl Probe {
    pub(super) fn new() -> Self {
        Self {
            state: Mutex::default(),
        }
    }

    /// The answer, at most [`CACHED_FOR`] old. Callers at the same time share one check.
    pub(super) async fn check(&self, connector: &Connector) -> Readiness {
        let mut state = self.state.lock().await;
        if let Some((at, readiness)) = &state.last
            && at.elapsed() < CACHED_FOR
        {
            return readiness.clone();
        }
        let pending = tokio::time::timeout(CHECK_TIMEOUT, pending(&mut state, connector))
            .await
            .unwrap_or_else(|_| Err(StoreError::Unavailable("no answer in time".to_owned())));
        let readiness = match &pending {
            Ok(names) if names.is_empty() => Readiness::Ready,
            Ok(_) => Readiness::SchemaBehind,
            Err(_) => Readiness::DatabaseUnavailable,
        };
        if let Err(error) = &pending {
            // The connection may be broken, or wait for an answer that nobody reads any more.
            state.postgres = None;
            log::debug!(error:%; "readiness check failed");
        }
        let before = state.last.replace((Instant::now(), readiness.clone()));
        if before.is_none_or(|(_, before)| before != readiness) {
            log::info!(readiness:? = readiness; "readiness changed");
        }
        readiness
    }
}

async fn pending(state: &mut State, connector: &Connector) -> Result<Vec<String>, StoreError> {
    match connector.way() {
        Way::Postgres(connector) => {
            let too_old = |(at, _): &mut (Instant, _)| at.elapsed() > CONNECTION_LIFETIME;
            drop(state.postgres.take_if(too_old));
            let (_, connection) = match &mut state.postgres {
                Some(connection) => connection,
                none => none.insert((Instant::now(), connector.connect_probe().await?)),
            };
            pending_on_postgres(connection).await
        }
        Way::Sqlite(connector) => {
            let mut connection = connector.connect().await?;
            connection
                .spawn_blocking(|connection| Ok(pending_on_sqlite(connection)))
                .await?
        }
    }
}
