//! Hears of events that other processes wrote, and tells them of ours: LISTEN and NOTIFY on one
//! connection (PostgreSQL manual, "NOTIFY").
//!
//! NOTIFY is not part of the writing transactions: it would make all commits of the database wait
//! for one lock. A notification that is lost, with a connection or a process, only costs time:
//! readers poll as well.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use super::PgConnector;
use super::sqlstate::describe;
use crate::store::StoreError;
use crate::store::feed_signal::FeedSignal;

/// At most so often are other processes told.
const NOTIFY_PAUSE: Duration = Duration::from_millis(20);
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
const RECONNECT_PAUSE: Duration = Duration::from_secs(1);

/// Listens until the runtime ends. A lost connection is replaced, and one of this age as well: the
/// next is opened with the login, and to the server, that the settings name by then.
pub(in crate::store) async fn listen(
    connector: Arc<PgConnector>,
    wake: FeedSignal,
    lifetime: Duration,
) {
    loop {
        match tokio::time::timeout(lifetime, session(&connector, &wake)).await {
            Ok(Err(error)) => {
                log::debug!(error:%; "no notifications of events for now");
                tokio::time::sleep(RECONNECT_PAUSE).await;
            }
            Ok(Ok(never)) => match never {},
            Err(_) => log::debug!("the connection for notifications is replaced"),
        }
    }
}

/// Listens and tells until something fails.
async fn session(connector: &PgConnector, wake: &FeedSignal) -> Result<Infallible, StoreError> {
    let lost = |error: tokio_postgres::Error| StoreError::unavailable(describe(&error));
    let silent = |_| StoreError::unavailable("no response in time");
    let readers = wake.clone();
    let connect = connector.connect_listener(move || readers.wake_readers());
    let connect = tokio::time::timeout(CONNECT_TIMEOUT, connect);
    let (client, mut hold) = connect.await.map_err(silent)??;
    let tell = async {
        client
            .batch_execute("LISTEN order_events")
            .await
            .map_err(lost)?;
        // Something may have happened while nobody listened.
        wake.wake_readers();
        loop {
            wake.announced().await;
            client
                .batch_execute("NOTIFY order_events")
                .await
                .map_err(lost)?;
            tokio::time::sleep(NOTIFY_PAUSE).await;
        }
    };
    tokio::select! {
        () = hold.over() => Err(StoreError::unavailable("the connection ended")),
        ended = tell => ended,
    }
}
