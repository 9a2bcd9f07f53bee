//! Measures for how long partitions exist.

use std::sync::Arc;
use std::time::Duration;

use diesel::QueryResult;
use diesel::pg::Pg;
use diesel::query_builder::AstPass;
use diesel::sql_types::Double;
use diesel_async::RunQueryDsl as _;
use futures_util::FutureExt as _;

use super::super::Postgres;
use super::partition_sql::BOUNDS;
use crate::store::StoreError;
use crate::store::statement::{Prepared, Statement};
use crate::telemetry::{Metrics, QueryName};

/// How often it is measured.
const INTERVAL: Duration = Duration::from_secs(60);

/// Measures until the runtime ends. A measurement that fails sets the gauge to NaN, because an older value would be
/// wrong.
pub(in crate::store::postgres) async fn measure(postgres: Postgres, metrics: Arc<Metrics>) {
    let gauge = &metrics.event_partitions_ahead;
    gauge.set(f64::NAN);
    loop {
        match postgres.partitions_ahead().await {
            Ok(seconds) => gauge.set(seconds),
            Err(error) => {
                gauge.set(f64::NAN);
                log::debug!(error:%; "the partitions could not be read");
            }
        }
        tokio::time::sleep(INTERVAL).await;
    }
}

impl Postgres {
    /// The time in seconds from now to the end of the last partition that follows without a gap; 0 if this month has
    /// none.
    async fn partitions_ahead(&self) -> Result<f64, StoreError> {
        self.run(QueryName::PartitionsAhead, |connection| {
            async move { Prepared(PartitionsAhead).get_result(connection).await }.boxed()
        })
        .await
    }
}

/// Reads the catalog.
struct PartitionsAhead;

impl Statement for PartitionsAhead {
    type Database = Pg;
    type Id = Self;
    type Columns = Double;

    fn write<'b>(&'b self, out: &mut AstPass<'_, 'b, Pg>) -> QueryResult<()> {
        out.push_sql("WITH RECURSIVE bounds AS MATERIALIZED (");
        out.push_sql(BOUNDS);
        out.push_sql(
            "), ahead (until) AS (SELECT now() UNION ALL
                SELECT coalesce(bounds.ends, 'infinity') FROM ahead JOIN bounds
                    ON coalesce(bounds.starts, '-infinity') <= ahead.until
                    AND coalesce(bounds.ends, 'infinity') > ahead.until)
            SELECT CASE WHEN max(until) = 'infinity' THEN 'Infinity'::float8
                ELSE extract(epoch FROM max(until) - now())::float8 END FROM ahead",
        );
        Ok(())
    }
}
