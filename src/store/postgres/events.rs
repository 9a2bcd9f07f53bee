//! Reads the event log.

use diesel::QueryResult;
use diesel::pg::Pg;
use diesel::query_builder::{AstPass, Query, QueryFragment, QueryId};
use diesel::sql_types::{BigInt, Double, Integer, Uuid as SqlUuid};
use diesel_async::RunQueryDsl as _;
use futures_util::FutureExt as _;
use uuid::Uuid;

use super::Postgres;
use super::feed::{
    COLUMNS, EventColumns, EventSql, FeedRow, HORIZON, ReadFeed, push_fits, push_limit, push_walk,
};
use crate::store::StoreError;
use crate::store::cursor::{Cursor, Place};
use crate::store::event::{Event, EventPage, Feed, PageSize};
use crate::telemetry::QueryName;

impl Postgres {
    /// The events behind `after`, in the order of their commits, if reading may continue there; without
    /// a cursor, everything that there is.
    pub(in crate::store) async fn feed(
        &self,
        after: Option<Cursor>,
        size: PageSize,
    ) -> Result<Feed, StoreError> {
        let place = after
            .and_then(|cursor| cursor.0)
            .unwrap_or(Place::BEGINNING);
        let read = ReadFeed {
            after: place,
            events: size.events.into(),
            bytes: size.bytes.into(),
        };
        let rows: Vec<FeedRow> = self
            .run(QueryName::ReadFeed, move |connection| {
                let read = read.clone();
                async move { read.load(connection).await }.boxed()
            })
            .await?;
        let first = rows.as_slice().first();
        let first = first.ok_or_else(|| StoreError::Internal("feed has no row".to_owned()))?;
        let (evidence, waiting) = (first.evidence(place), first.waiting);
        let events = rows.into_iter().filter_map(|row| row.event);
        let page = EventPage::new(events.map(Event::from).collect(), waiting, size);
        Ok(Feed::new(after, evidence, page))
    }

    /// Age in seconds of the first event that readers do not get yet, because a transaction that began
    /// before it still runs; 0 when there is none. One step along an index, however much is held back.
    pub(in crate::store) async fn feed_lag(&self) -> Result<f64, StoreError> {
        self.run(QueryName::FeedLag, |connection| {
            async move { FeedLag.get_result(connection).await }.boxed()
        })
        .await
    }

    /// The events of one order behind a version, oldest first.
    pub(in crate::store) async fn order_events(
        &self,
        id: Uuid,
        after: i32,
        size: PageSize,
    ) -> Result<EventPage, StoreError> {
        let read = ReadOrderEvents {
            id,
            after,
            events: size.events.into(),
            bytes: size.bytes.into(),
        };
        let rows: Vec<(i64, EventColumns)> = self
            .run(QueryName::ReadOrderEvents, move |connection| {
                let read = read.clone();
                async move { read.load(connection).await }.boxed()
            })
            .await?;
        let waiting = rows.as_slice().first().map_or(0, |(waiting, _)| *waiting);
        let events = rows.into_iter().map(|(_, event)| event.into()).collect();
        Ok(EventPage::new(events, waiting, size))
    }
}

/// Reads a page of the events of one order.
#[derive(Clone)]
struct ReadOrderEvents {
    id: Uuid,
    after: i32,
    events: i64,
    bytes: i64,
}

impl QueryFragment<Pg> for ReadOrderEvents {
    fn walk_ast<'b>(&'b self, mut out: AstPass<'_, 'b, Pg>) -> QueryResult<()> {
        out.push_sql("WITH next AS MATERIALIZED (SELECT * FROM events WHERE order_id = ");
        out.push_bind_param::<SqlUuid, _>(&self.id)?;
        out.push_sql(" AND version > ");
        out.push_bind_param::<Integer, _>(&self.after)?;
        out.push_sql(" ORDER BY version");
        push_limit(&mut out);
        out.push_sql("), page AS (");
        push_walk(&mut out, "version");
        out.push_sql(") SELECT (SELECT count(*) FROM next), ");
        out.push_sql(COLUMNS);
        out.push_sql(" FROM page WHERE ");
        push_fits(&mut out, &self.events, &self.bytes)?;
        out.push_sql(" ORDER BY number");
        Ok(())
    }
}

impl QueryId for ReadOrderEvents {
    type QueryId = Self;
    const HAS_STATIC_QUERY_ID: bool = true;
}

impl Query for ReadOrderEvents {
    type SqlType = (BigInt, EventSql);
}

/// Reads the age in seconds of the first event that readers do not get yet.
struct FeedLag;

impl QueryFragment<Pg> for FeedLag {
    fn walk_ast<'b>(&'b self, mut out: AstPass<'_, 'b, Pg>) -> QueryResult<()> {
        out.push_sql(
            "SELECT coalesce(greatest(extract(epoch FROM now() - (SELECT occurred_at FROM events
                WHERE position >= (SELECT ",
        );
        out.push_sql(HORIZON);
        out.push_sql(" FROM feed) ORDER BY position, seq LIMIT 1)), 0), 0)::float8");
        Ok(())
    }
}

impl QueryId for FeedLag {
    type QueryId = Self;
    const HAS_STATIC_QUERY_ID: bool = true;
}

impl Query for FeedLag {
    type SqlType = Double;
}
