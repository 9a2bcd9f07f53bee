//! Measures how far the feed lags behind the committed events.

use std::sync::Arc;
use std::time::Duration;

use diesel::QueryResult;
use diesel::pg::Pg;
use diesel::query_builder::AstPass;
use diesel::sql_types::Double;
use diesel_async::RunQueryDsl as _;
use futures_util::FutureExt as _;

use super::Postgres;
use super::feed::HORIZON;
use crate::store::StoreError;
use crate::store::statement::{Prepared, Statement};
use crate::telemetry::{Metrics, QueryName};

/// How often the lag is measured: more often than metrics are scraped.
const INTERVAL: Duration = Duration::from_secs(5);

/// Measures until the runtime ends. A measurement that fails is counted, and sets the gauge to NaN: an older value
/// would be wrong.
pub(super) async fn measure(postgres: Postgres, metrics: Arc<Metrics>) {
    loop {
        match postgres.feed_lag().await {
            Ok(lag) => metrics.feed_lag.set(lag),
            Err(error) => {
                metrics.feed_lag.set(f64::NAN);
                metrics.feed_lag_failures.inc();
                log::debug!(error:%; "the lag of the feed could not be measured");
            }
        }
        tokio::time::sleep(INTERVAL).await;
    }
}

impl Postgres {
    /// The age in seconds of the first event that is held back from readers, because a transaction that began
    /// before it still runs; 0 if there is none. The query takes one step along an index, however many are held
    /// back.
    async fn feed_lag(&self) -> Result<f64, StoreError> {
        self.run(QueryName::FeedLag, |connection| {
            async move { Prepared(FeedLag).get_result(connection).await }.boxed()
        })
        .await
    }
}

/// Reads the age in seconds of the first event that is held back.
struct FeedLag;

impl Statement for FeedLag {
    type Database = Pg;
    type Id = Self;
    type Columns = Double;

    fn write<'b>(&'b self, out: &mut AstPass<'_, 'b, Pg>) -> QueryResult<()> {
        out.push_sql(
            "SELECT coalesce(greatest(extract(epoch FROM now() - (SELECT occurred_at FROM events
                WHERE position >= (SELECT ",
        );
        out.push_sql(HORIZON);
        out.push_sql(" FROM feed) ORDER BY position, seq LIMIT 1)), 0), 0)::float8");
        Ok(())
    }
}
