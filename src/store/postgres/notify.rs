//! Notifications of new events between processes: LISTEN and NOTIFY on one connection (PostgreSQL
//! manual, "NOTIFY").
//!
//! NOTIFY is not part of the writing transactions, because all commits of the database would then wait for one
//! lock. A notification can be lost with a connection or a process. That costs only time, because readers poll as
//! well.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use thiserror::Error;

use super::PgConnector;
use super::connection::{ConnectError, PostgresError};
use crate::store::feed_signal::FeedSignal;

/// The pause between two notifications to other processes.
const NOTIFY_PAUSE: Duration = Duration::from_millis(20);
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
const RECONNECT_PAUSE: Duration = Duration::from_secs(1);

/// Why notifications are interrupted.
#[derive(Debug, Error)]
enum NotifyError {
    #[error(transparent)]
    Connect(#[from] ConnectError),
    #[error("no connection within {CONNECT_TIMEOUT:?}")]
    ConnectTimeout,
    #[error(transparent)]
    Statement(#[from] PostgresError),
    #[error("the server closed the connection")]
    Closed,
}

/// Sends and receives notifications until the runtime ends. A connection that is lost, or older than `lifetime`,
/// is replaced. The next one uses the server and the login that the settings name then.
pub(in crate::store) async fn listen(
    connector: Arc<PgConnector>,
    signal: FeedSignal,
    lifetime: Duration,
) {
    loop {
        match tokio::time::timeout(lifetime, notify_until_error(&connector, &signal)).await {
            Ok(Err(error)) => {
                log::debug!(error:%; "notifications of events are interrupted");
                tokio::time::sleep(RECONNECT_PAUSE).await;
            }
            Ok(Ok(never)) => match never {},
            Err(_) => log::debug!("the connection for notifications is replaced"),
        }
    }
}

async fn notify_until_error(
    connector: &PgConnector,
    signal: &FeedSignal,
) -> Result<Infallible, NotifyError> {
    let readers = signal.clone();
    let connect = connector.connect_listener(move || readers.wake_readers());
    let connected = tokio::time::timeout(CONNECT_TIMEOUT, connect).await;
    let (client, mut guard) = connected.map_err(|_| NotifyError::ConnectTimeout)??;
    let notify = async {
        let executed = client.batch_execute("LISTEN order_events").await;
        executed.map_err(PostgresError)?;
        // Events may have been written before LISTEN.
        signal.wake_readers();
        loop {
            signal.announced().await;
            let executed = client.batch_execute("NOTIFY order_events").await;
            executed.map_err(PostgresError)?;
            tokio::time::sleep(NOTIFY_PAUSE).await;
        }
    };
    tokio::select! {
        () = guard.closed() => Err(NotifyError::Closed),
        ended = notify => ended,
    }
}
