//! Redacts the events and the documents for replays of erased orders.

use std::sync::Arc;

use chrono::{DateTime, Utc};
use diesel::pg::Pg;
use diesel::query_builder::AstPass;
use diesel::sql_types::{Array, BigInt, Integer, Json, Text, Timestamptz, Uuid as SqlUuid};
use diesel::{OptionalExtension as _, QueryResult, Queryable};
use diesel_async::{AsyncPgConnection, RunQueryDsl as _};
use futures_util::FutureExt as _;
use uuid::Uuid;

use super::{push_counted, push_held};
use crate::store::StoreError;
use crate::store::erasure::{Advance, BatchSize, Claim, Pending, Redaction, Step, StoredEvent};
use crate::store::postgres::Postgres;
use crate::store::postgres::events::recorded_from;
use crate::store::postgres::rows::JsonText;
use crate::store::statement::{Prepared, Statement};
use crate::telemetry::QueryName;

impl Postgres {
    pub(super) async fn redact_some(
        &self,
        claim: Arc<Claim>,
        after: Option<Uuid>,
        size: BatchSize,
    ) -> Result<Option<Step<Uuid>>, StoreError> {
        self.run(QueryName::RedactEvents, move |connection| {
            let claim = Arc::clone(&claim);
            async move { redact(connection, &claim, after, size).await }.boxed()
        })
        .await?
    }
}

async fn redact(
    connection: &mut AsyncPgConnection,
    claim: &Claim,
    after: Option<Uuid>,
    size: BatchSize,
) -> QueryResult<Result<Option<Step<Uuid>>, StoreError>> {
    let find = FindPending {
        claim,
        after: after.unwrap_or_default(),
    };
    let mut pending: Vec<PendingRow> = Prepared(find).load(connection).await?;
    pending.truncate(usize::try_from(size.orders).unwrap_or(usize::MAX));
    let pending: Vec<_> = pending.into_iter().map(Pending::from).collect();
    if pending.is_empty() {
        return Ok(Ok(Some(Step::END)));
    }
    let find = FindEvents::new(claim, &pending, size);
    let rows: Vec<EventRow> = Prepared(find).load(connection).await?;
    let waiting = rows.as_slice().first().map_or(0, |row| row.waiting);
    let all = usize::try_from(waiting).is_ok_and(|waiting| waiting == rows.len());
    let events: Vec<_> = rows.into_iter().map(StoredEvent::from).collect();
    let advance = Advance::of(&pending, &events, all);
    let find = FindDocuments {
        claim,
        ids: &advance.complete,
    };
    let documents: Vec<(Uuid, String)> = if advance.complete.is_empty() {
        Vec::new()
    } else {
        Prepared(find).load(connection).await?
    };
    let redactions = match Redactions::new(claim, &events, &documents) {
        Ok(redactions) => redactions,
        Err(error) => return Ok(Err(error)),
    };
    let write = Redact::new(claim, &redactions, &advance);
    let held: Option<i64> = Prepared(write).get_result(connection).await.optional()?;
    // The walk continues before the first order of which the step has left out events.
    let complete = |order: &&Pending| advance.complete.contains(&order.order_id);
    let last = pending.iter().take_while(complete).last();
    let next = last.map_or(after.unwrap_or_default(), |order| order.order_id);
    Ok(Ok(held.map(|_| Step {
        changed: true,
        next: Some(next),
    })))
}

/// Orders of the worklist, by id.
struct FindPending<'a> {
    claim: &'a Claim,
    after: Uuid,
}

#[derive(Queryable)]
struct PendingRow {
    order_id: Uuid,
    version: i32,
    redacted: i32,
}

impl From<PendingRow> for Pending {
    fn from(row: PendingRow) -> Self {
        Self {
            order_id: row.order_id,
            version: row.version,
            redacted: row.redacted,
        }
    }
}

impl Statement for FindPending<'_> {
    type Database = Pg;
    type Id = FindPending<'static>;
    type Columns = (SqlUuid, Integer, Integer);

    fn write<'b>(&'b self, out: &mut AstPass<'_, 'b, Pg>) -> QueryResult<()> {
        out.push_sql("SELECT order_id, version, redacted FROM erasure_orders WHERE tenant = ");
        out.push_bind_param::<Text, _>(self.claim.tenant.as_str())?;
        out.push_sql(" AND erasure_id = ");
        out.push_bind_param::<SqlUuid, _>(&self.claim.id)?;
        out.push_sql(" AND order_id > ");
        out.push_bind_param::<SqlUuid, _>(&self.after)?;
        out.push_sql(" ORDER BY order_id LIMIT ");
        out.push_sql(&BatchSize::MAX_ORDERS.to_string());
        Ok(())
    }
}

/// The next events of orders of the worklist, as many as fit into a step. Only these are read with their data, as for a
/// page (`event_rows.rs`).
struct FindEvents<'a> {
    claim: &'a Claim,
    ids: Vec<Uuid>,
    redacted: Vec<i32>,
    versions: Vec<i32>,
    recorded_from: Vec<DateTime<Utc>>,
    events: i64,
    bytes: i64,
}

impl<'a> FindEvents<'a> {
    fn new(claim: &'a Claim, pending: &[Pending], size: BatchSize) -> Self {
        Self {
            claim,
            ids: pending.iter().map(|order| order.order_id).collect(),
            redacted: pending.iter().map(|order| order.redacted).collect(),
            versions: pending.iter().map(|order| order.version).collect(),
            recorded_from: pending
                .iter()
                .map(|order| recorded_from(order.order_id))
                .collect(),
            events: size.events.into(),
            bytes: size.bytes.into(),
        }
    }
}

#[derive(Queryable)]
struct EventRow {
    /// How many events were found, with those that do not fit.
    waiting: i64,
    order_id: Uuid,
    version: i32,
    recorded_at: DateTime<Utc>,
    data: String,
}

impl From<EventRow> for StoredEvent {
    fn from(row: EventRow) -> Self {
        Self {
            order_id: row.order_id,
            version: row.version,
            recorded_at: row.recorded_at,
            data: row.data,
        }
    }
}

impl Statement for FindEvents<'_> {
    type Database = Pg;
    type Id = FindEvents<'static>;
    type Columns = (BigInt, SqlUuid, Integer, Timestamptz, Text);

    fn write<'b>(&'b self, out: &mut AstPass<'_, 'b, Pg>) -> QueryResult<()> {
        out.push_sql("WITH next AS MATERIALIZED (SELECT place, event.* FROM unnest(");
        out.push_bind_param::<Array<SqlUuid>, _>(&self.ids)?;
        out.push_sql(", ");
        out.push_bind_param::<Array<Integer>, _>(&self.redacted)?;
        out.push_sql(", ");
        out.push_bind_param::<Array<Integer>, _>(&self.versions)?;
        out.push_sql(", ");
        out.push_bind_param::<Array<Timestamptz>, _>(&self.recorded_from)?;
        // Partitions of months before the order are not read.
        out.push_sql(
            ") WITH ORDINALITY AS pending (id, redacted, version, recorded_from, place)
            CROSS JOIN LATERAL (SELECT order_id, version, recorded_at, data, data_bytes FROM events WHERE tenant = ",
        );
        out.push_bind_param::<Text, _>(self.claim.tenant.as_str())?;
        out.push_sql(
            " AND order_id = pending.id AND events.version > pending.redacted AND events.version < pending.version
                AND recorded_at >= pending.recorded_from
                ORDER BY version LIMIT ",
        );
        out.push_sql(&BatchSize::MAX_EVENTS.to_string());
        out.push_sql(
            ") AS event), page AS (SELECT *, row_number() OVER walk AS number, sum(data_bytes) OVER walk AS bytes
                FROM next WINDOW walk AS (ORDER BY place, version ROWS UNBOUNDED PRECEDING))
            SELECT (SELECT count(*) FROM next), order_id, version, recorded_at, data::text FROM page
            WHERE number <= ",
        );
        out.push_bind_param::<BigInt, _>(&self.events)?;
        out.push_sql(" AND (number = 1 OR bytes <= ");
        out.push_bind_param::<BigInt, _>(&self.bytes)?;
        out.push_sql(") ORDER BY number");
        Ok(())
    }
}

/// The documents for replays of orders.
struct FindDocuments<'a> {
    claim: &'a Claim,
    ids: &'a [Uuid],
}

impl Statement for FindDocuments<'_> {
    type Database = Pg;
    type Id = FindDocuments<'static>;
    type Columns = (SqlUuid, Text);

    fn write<'b>(&'b self, out: &mut AstPass<'_, 'b, Pg>) -> QueryResult<()> {
        out.push_sql("SELECT order_id, document::text FROM unnest(");
        out.push_bind_param::<Array<SqlUuid>, _>(self.ids)?;
        out.push_sql(
            ") AS wanted (id) CROSS JOIN LATERAL (SELECT order_id, document FROM idempotency_keys AS k WHERE k.tenant = ",
        );
        out.push_bind_param::<Text, _>(self.claim.tenant.as_str())?;
        out.push_sql(" AND k.order_id = wanted.id OFFSET 0) AS found");
        Ok(())
    }
}

/// What a step writes into events and keys.
struct Redactions<'a> {
    events: Vec<(&'a StoredEvent, Redaction)>,
    documents: Vec<(Uuid, Redaction)>,
}

impl<'a> Redactions<'a> {
    fn new(
        claim: &Claim,
        events: &'a [StoredEvent],
        documents: &[(Uuid, String)],
    ) -> Result<Self, StoreError> {
        let events = events
            .iter()
            .map(|event| Ok((event, Redaction::new(&event.data, claim)?)));
        let documents = documents
            .iter()
            .map(|(id, document)| Ok((*id, Redaction::new(document, claim)?)));
        Ok(Self {
            events: events.collect::<Result<_, StoreError>>()?,
            documents: documents.collect::<Result<_, StoreError>>()?,
        })
    }
}

/// Writes redacted events and documents, and advances the orders of the worklist.
struct Redact<'a> {
    claim: &'a Claim,
    event_ids: Vec<Uuid>,
    event_versions: Vec<i32>,
    event_times: Vec<DateTime<Utc>>,
    event_data: Vec<JsonText<'a>>,
    event_lengths: Vec<i32>,
    document_ids: Vec<Uuid>,
    documents: Vec<JsonText<'a>>,
    advanced_ids: Vec<Uuid>,
    advanced_to: Vec<i32>,
    complete: &'a [Uuid],
}

impl<'a> Redact<'a> {
    fn new(claim: &'a Claim, redactions: &'a Redactions<'a>, advance: &'a Advance) -> Self {
        let Redactions { events, documents } = redactions;
        Self {
            claim,
            event_ids: events.iter().map(|(event, _)| event.order_id).collect(),
            event_versions: events.iter().map(|(event, _)| event.version).collect(),
            event_times: events.iter().map(|(event, _)| event.recorded_at).collect(),
            event_data: events.iter().map(|(_, new)| JsonText(&new.json)).collect(),
            event_lengths: events.iter().map(|(_, new)| new.json_bytes()).collect(),
            document_ids: documents.iter().map(|(id, _)| *id).collect(),
            documents: documents
                .iter()
                .map(|(_, new)| JsonText(&new.json))
                .collect(),
            advanced_ids: advance.advanced.iter().map(|(id, _)| *id).collect(),
            advanced_to: advance
                .advanced
                .iter()
                .map(|(_, version)| *version)
                .collect(),
            complete: &advance.complete,
        }
    }
}

impl Statement for Redact<'_> {
    type Database = Pg;
    type Id = Redact<'static>;
    type Columns = BigInt;

    fn write<'b>(&'b self, out: &mut AstPass<'_, 'b, Pg>) -> QueryResult<()> {
        let tenant = self.claim.tenant.as_str();
        push_held(self.claim, out)?;
        out.push_sql(
            "redacted AS (UPDATE events SET data = input.data, data_bytes = input.bytes, traceparent = NULL,
                    authid = NULL FROM (SELECT t.* FROM held, unnest(",
        );
        out.push_bind_param::<Array<SqlUuid>, _>(&self.event_ids)?;
        out.push_sql(", ");
        out.push_bind_param::<Array<Integer>, _>(&self.event_versions)?;
        out.push_sql(", ");
        out.push_bind_param::<Array<Timestamptz>, _>(&self.event_times)?;
        out.push_sql(", ");
        out.push_bind_param::<Array<Json>, _>(&self.event_data)?;
        out.push_sql(", ");
        out.push_bind_param::<Array<Integer>, _>(&self.event_lengths)?;
        out.push_sql(") AS t (id, version, at, data, bytes)) AS input WHERE events.tenant = ");
        out.push_bind_param::<Text, _>(tenant)?;
        out.push_sql(
            " AND events.order_id = input.id AND events.version = input.version AND events.recorded_at = input.at
                RETURNING events.order_id),
            replays AS (UPDATE idempotency_keys SET document = input.document FROM (SELECT t.* FROM held, unnest(",
        );
        out.push_bind_param::<Array<SqlUuid>, _>(&self.document_ids)?;
        out.push_sql(", ");
        out.push_bind_param::<Array<Json>, _>(&self.documents)?;
        out.push_sql(") AS t (id, document)) AS input WHERE idempotency_keys.tenant = ");
        out.push_bind_param::<Text, _>(tenant)?;
        out.push_sql(
            " AND idempotency_keys.order_id = input.id RETURNING idempotency_keys.order_id),
            advanced AS (UPDATE erasure_orders SET redacted = input.redacted FROM (SELECT held.id AS erasure_id, t.*
                FROM held, unnest(",
        );
        out.push_bind_param::<Array<SqlUuid>, _>(&self.advanced_ids)?;
        out.push_sql(", ");
        out.push_bind_param::<Array<Integer>, _>(&self.advanced_to)?;
        out.push_sql(") AS t (id, redacted)) AS input WHERE erasure_orders.tenant = ");
        out.push_bind_param::<Text, _>(tenant)?;
        out.push_sql(
            " AND erasure_orders.erasure_id = input.erasure_id AND erasure_orders.order_id = input.id),
            complete AS (DELETE FROM erasure_orders USING held, unnest(",
        );
        out.push_bind_param::<Array<SqlUuid>, _>(self.complete)?;
        out.push_sql(") AS t (id) WHERE erasure_orders.tenant = ");
        out.push_bind_param::<Text, _>(tenant)?;
        out.push_sql(
            " AND erasure_orders.erasure_id = held.id AND erasure_orders.order_id = t.id), ",
        );
        push_counted(
            "events = events + (SELECT count(*) FROM redacted),
                idempotency_keys = idempotency_keys + (SELECT count(*) FROM replays)",
            "redacted",
            out,
        );
        Ok(())
    }
}
