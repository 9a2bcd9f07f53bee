//! Measures how far the feed is behind what is committed.

use std::sync::Arc;
use std::time::Duration;

use super::Postgres;
use crate::telemetry::Metrics;

/// How often the lag is measured; a scrape interval is longer.
const PAUSE: Duration = Duration::from_secs(5);

/// Measures until the runtime ends. A lag that could not be measured is not a number, and is counted: the
/// last one that could be says nothing about now.
pub(in crate::store) async fn measure(postgres: Postgres, metrics: Arc<Metrics>) {
    loop {
        match postgres.feed_lag().await {
            Ok(lag) => metrics.feed_lag.set(lag),
            Err(error) => {
                metrics.feed_lag.set(f64::NAN);
                metrics.feed_lag_failures.inc();
                log::debug!(error:%; "the lag of the feed could not be measured");
            }
        }
        tokio::time::sleep(PAUSE).await;
    }
}
