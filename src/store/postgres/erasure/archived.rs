//! Erases orders of a customer that were archived and removed, and of which events remain.

use std::sync::Arc;

use chrono::{DateTime, Utc};
use diesel::pg::Pg;
use diesel::query_builder::AstPass;
use diesel::sql_types::{
    Array, BigInt, Integer, Json, Nullable, Text, Timestamptz, Uuid as SqlUuid,
};
use diesel::{OptionalExtension as _, QueryResult, Queryable};
use diesel_async::{AsyncPgConnection, RunQueryDsl as _};
use futures_util::FutureExt as _;
use uuid::Uuid;

use super::{push_counted, push_held, push_logged};
use crate::store::StoreError;
use crate::store::document::json_bytes;
use crate::store::erasure::{BatchSize, Claim, ErasedArchived, Step};
use crate::store::event::LastEvent;
use crate::store::postgres::Postgres;
use crate::store::postgres::rows::JsonText;
use crate::store::statement::{Prepared, Statement};
use crate::telemetry::QueryName;

impl Postgres {
    pub(super) async fn erase_some_archived(
        &self,
        claim: Arc<Claim>,
        after: Option<Uuid>,
        size: BatchSize,
    ) -> Result<Option<Step<Uuid>>, StoreError> {
        self.run(QueryName::EraseOrders, move |connection| {
            let claim = Arc::clone(&claim);
            async move { erase(connection, &claim, after, size).await }.boxed()
        })
        .await?
    }
}

async fn erase(
    connection: &mut AsyncPgConnection,
    claim: &Claim,
    after: Option<Uuid>,
    size: BatchSize,
) -> QueryResult<Result<Option<Step<Uuid>>, StoreError>> {
    let find = FindArchived {
        claim,
        after: after.unwrap_or_default(),
    };
    let mut found: Vec<ArchivedRow> = Prepared(find).load(connection).await?;
    let lengths = found
        .iter()
        .map(|row| row.data.as_deref().map_or(0, json_bytes));
    found.truncate(size.fitting(lengths));
    let Some(last) = found.last().map(|row| row.order_id) else {
        return Ok(Ok(Some(Step::END)));
    };
    let erased: Result<Vec<_>, _> = found.into_iter().map(|row| row.erased(claim)).collect();
    let erased = match erased {
        Ok(erased) => erased,
        Err(error) => return Ok(Err(error)),
    };
    let erase = EraseArchived::new(claim, &erased);
    let changed: Option<i64> = Prepared(erase).get_result(connection).await.optional()?;
    Ok(Ok(changed.map(|changed| Step {
        changed: changed > 0,
        next: Some(last),
    })))
}

struct FindArchived<'a> {
    claim: &'a Claim,
    after: Uuid,
}

/// An archived order with its last event.
#[derive(Queryable)]
struct ArchivedRow {
    order_id: Uuid,
    version: i32,
    last_version: Option<i32>,
    occurred_at: Option<DateTime<Utc>>,
    data: Option<String>,
}

impl ArchivedRow {
    fn erased(self, claim: &Claim) -> Result<ErasedArchived, StoreError> {
        let last = match (self.last_version, self.occurred_at, self.data) {
            (Some(version), Some(occurred_at), Some(data)) => Some(LastEvent {
                version,
                occurred_at,
                data,
            }),
            _ => None,
        };
        ErasedArchived::new(self.order_id, self.version, last, claim)
    }
}

impl Statement for FindArchived<'_> {
    type Database = Pg;
    type Id = FindArchived<'static>;
    type Columns = (
        SqlUuid,
        Integer,
        Nullable<Integer>,
        Nullable<Timestamptz>,
        Nullable<Text>,
    );

    fn write<'b>(&'b self, out: &mut AstPass<'_, 'b, Pg>) -> QueryResult<()> {
        out.push_sql(
            "SELECT found.order_id, found.version, last.version, last.occurred_at, last.data::text
            FROM (SELECT order_id, version FROM archived_orders WHERE tenant = ",
        );
        out.push_bind_param::<Text, _>(self.claim.tenant.as_str())?;
        out.push_sql(" AND customer_id = ");
        out.push_bind_param::<Text, _>(&self.claim.customer_id)?;
        out.push_sql(" AND order_id > ");
        out.push_bind_param::<SqlUuid, _>(&self.after)?;
        out.push_sql(" ORDER BY order_id LIMIT ");
        out.push_sql(&BatchSize::MAX_ORDERS.to_string());
        out.push_sql(
            ") AS found LEFT JOIN LATERAL (SELECT version, occurred_at, data FROM events WHERE tenant = ",
        );
        out.push_bind_param::<Text, _>(self.claim.tenant.as_str())?;
        out.push_sql(
            " AND events.order_id = found.order_id ORDER BY version DESC LIMIT 1) AS last ON true
            ORDER BY found.order_id",
        );
        Ok(())
    }
}

/// Replaces the customer of archived orders, and adds an event to those that still have events. The time at which the
/// order was archived becomes that of this event, because its row is needed as long as there are events.
struct EraseArchived<'a> {
    claim: &'a Claim,
    ids: Vec<Uuid>,
    versions: Vec<i32>,
    times: Vec<DateTime<Utc>>,
    documents: Vec<Option<JsonText<'a>>>,
    lengths: Vec<i32>,
}

impl<'a> EraseArchived<'a> {
    fn new(claim: &'a Claim, erased: &'a [ErasedArchived]) -> Self {
        Self {
            claim,
            ids: erased.iter().map(|erased| erased.order_id).collect(),
            versions: erased.iter().map(|erased| erased.version).collect(),
            times: erased.iter().map(|erased| erased.occurred_at).collect(),
            documents: erased
                .iter()
                .map(|erased| erased.json.as_deref().map(JsonText))
                .collect(),
            lengths: erased.iter().map(ErasedArchived::json_bytes).collect(),
        }
    }
}

impl Statement for EraseArchived<'_> {
    type Database = Pg;
    type Id = EraseArchived<'static>;
    type Columns = BigInt;

    fn write<'b>(&'b self, out: &mut AstPass<'_, 'b, Pg>) -> QueryResult<()> {
        let claim = self.claim;
        push_held(claim, out)?;
        out.push_sql("input AS MATERIALIZED (SELECT t.* FROM held, unnest(");
        out.push_bind_param::<Array<SqlUuid>, _>(&self.ids)?;
        out.push_sql(", ");
        out.push_bind_param::<Array<Integer>, _>(&self.versions)?;
        out.push_sql(", ");
        out.push_bind_param::<Array<Timestamptz>, _>(&self.times)?;
        out.push_sql(", ");
        out.push_bind_param::<Array<Nullable<Json>>, _>(&self.documents)?;
        out.push_sql(", ");
        out.push_bind_param::<Array<Integer>, _>(&self.lengths)?;
        out.push_sql(
            ") AS t (id, version, at, data, bytes)),
            changed AS (UPDATE archived_orders SET customer_id = ",
        );
        out.push_bind_param::<Text, _>(&claim.pseudonym)?;
        out.push_sql(
            ", version = CASE WHEN input.data IS NULL THEN archived_orders.version ELSE input.version END,
                archived_at = CASE WHEN input.data IS NULL THEN archived_at ELSE now() END
                FROM input WHERE archived_orders.tenant = ",
        );
        out.push_bind_param::<Text, _>(claim.tenant.as_str())?;
        out.push_sql(" AND order_id = input.id AND archived_orders.version + 1 = input.version AND customer_id = ");
        out.push_bind_param::<Text, _>(&claim.customer_id)?;
        out.push_sql(
            " RETURNING archived_orders.tenant, input.id, input.version, input.at, input.data, input.bytes), ",
        );
        push_logged(claim, out)?;
        push_counted(
            "archived_orders = archived_orders + (SELECT count(*) FROM changed)",
            "changed",
            out,
        );
        Ok(())
    }
}
