//! Changes an order: one conditional UPDATE, with its event in the same statement.

use chrono::{DateTime, Utc};
use diesel::QueryResult;
use diesel::pg::Pg;
use diesel::query_builder::{AstPass, Query, QueryFragment, QueryId};
use diesel::sql_types::{Integer, Nullable, Text, Timestamptz, Uuid as SqlUuid};
use diesel_async::RunQueryDsl as _;
use futures_util::FutureExt as _;
use uuid::Uuid;

use super::Postgres;
use crate::domain::Order;
use crate::store::StoreError;
use crate::store::model::{Changing, json_bytes, metadata_json};
use crate::telemetry::QueryName;

impl Postgres {
    /// Writes `next` over the version before it. False when the order has another version by now.
    pub(in crate::store) async fn replace(
        &self,
        next: &Order,
        changing: &Changing,
        json: &str,
    ) -> Result<bool, StoreError> {
        let update = Update {
            id: next.id,
            version: next.version,
            quantity: next.quantity,
            status: next.status.as_str(),
            metadata: metadata_json(&next.metadata)?,
            at: next.updated_at,
            bytes: json_bytes(json),
            data: json.to_owned(),
            traceparent: changing.traceparent.clone(),
        };
        let written: Vec<Uuid> = self
            .run_once(QueryName::UpdateOrder, move |connection| {
                let update = update.clone();
                async move { update.load(connection).await }.boxed()
            })
            .await?;
        Ok(!written.is_empty())
    }
}

#[derive(Clone)]
struct Update {
    id: Uuid,
    version: i32,
    quantity: i32,
    status: &'static str,
    metadata: String,
    at: DateTime<Utc>,
    data: String,
    bytes: i32,
    traceparent: Option<String>,
}

impl QueryFragment<Pg> for Update {
    fn walk_ast<'b>(&'b self, mut out: AstPass<'_, 'b, Pg>) -> QueryResult<()> {
        out.push_sql("WITH changed AS (UPDATE orders SET quantity = ");
        out.push_bind_param::<Integer, _>(&self.quantity)?;
        out.push_sql(", status = ");
        out.push_bind_param::<Text, _>(&self.status)?;
        out.push_sql(", metadata = ");
        out.push_bind_param::<Text, _>(&self.metadata)?;
        out.push_sql("::jsonb, version = version + 1, updated_at = ");
        out.push_bind_param::<Timestamptz, _>(&self.at)?;
        out.push_sql(", json_bytes = ");
        out.push_bind_param::<Integer, _>(&self.bytes)?;
        out.push_sql(" WHERE id = ");
        out.push_bind_param::<SqlUuid, _>(&self.id)?;
        out.push_sql(" AND version + 1 = ");
        out.push_bind_param::<Integer, _>(&self.version)?;
        out.push_sql(
            " RETURNING id, version, updated_at, json_bytes),
            logged AS (INSERT INTO events
                (order_id, version, position, occurred_at, data, data_bytes, traceparent)
            SELECT id, version, ",
        );
        out.push_sql(super::POSITION);
        out.push_sql(", updated_at, ");
        out.push_bind_param::<Text, _>(&self.data)?;
        out.push_sql("::json, json_bytes, ");
        out.push_bind_param::<Nullable<Text>, _>(&self.traceparent)?;
        out.push_sql(" FROM changed) SELECT id FROM changed");
        Ok(())
    }
}

impl QueryId for Update {
    type QueryId = Self;
    const HAS_STATIC_QUERY_ID: bool = true;
}

impl Query for Update {
    type SqlType = SqlUuid;
}
