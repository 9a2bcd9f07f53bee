//! The rows of erasures: requests, leases and the end.

use std::sync::Arc;

use chrono::{DateTime, Utc};
use diesel::pg::Pg;
use diesel::query_builder::AstPass;
use diesel::sql_types::{BigInt, Double, Nullable, Text, Timestamptz, Uuid as SqlUuid};
use diesel::{OptionalExtension as _, QueryResult, Queryable};
use diesel_async::RunQueryDsl as _;
use futures_util::FutureExt as _;
use uuid::Uuid;

use super::{LEASE_END, push_leased};
use crate::domain::Tenant;
use crate::store::StoreError;
use crate::store::erasure::{Claim, Erasure, NewErasure};
use crate::store::error::StoreFault;
use crate::store::postgres::Postgres;
use crate::store::statement::{Prepared, Statement};
use crate::telemetry::QueryName;

/// How often an erasure is stored while the database has neither it nor another one of the customer, because the other
/// one was finished between two looks.
const MAX_ROUNDS: usize = 3;

/// SQL for the columns of [`ErasureRow`].
const COLUMNS: &str =
    "id, requested_at, started_at, finished_at, orders, archived_orders, events, idempotency_keys";

type ErasureSql = (
    SqlUuid,
    Timestamptz,
    Nullable<Timestamptz>,
    Nullable<Timestamptz>,
    BigInt,
    BigInt,
    BigInt,
    BigInt,
);

#[derive(Queryable)]
struct ErasureRow {
    id: Uuid,
    requested_at: DateTime<Utc>,
    started_at: Option<DateTime<Utc>>,
    finished_at: Option<DateTime<Utc>>,
    orders: i64,
    archived_orders: i64,
    events: i64,
    idempotency_keys: i64,
}

impl From<ErasureRow> for Erasure {
    fn from(row: ErasureRow) -> Self {
        Self {
            id: row.id,
            requested_at: row.requested_at,
            started_at: row.started_at,
            finished_at: row.finished_at,
            orders: row.orders,
            archived_orders: row.archived_orders,
            events: row.events,
            idempotency_keys: row.idempotency_keys,
        }
    }
}

impl Postgres {
    pub(super) async fn store_erasure(&self, new: Arc<NewErasure>) -> Result<Erasure, StoreError> {
        for _ in 0..MAX_ROUNDS {
            let new = Arc::clone(&new);
            let stored: Vec<ErasureRow> = self
                .run(QueryName::RequestErasure, move |connection| {
                    let request = Request(Arc::clone(&new));
                    async move { Prepared(request).load(connection).await }.boxed()
                })
                .await?;
            if let Some(erasure) = stored.into_iter().next() {
                return Ok(erasure.into());
            }
        }
        Err(StoreFault::NeitherKeptNorFound.into())
    }

    pub(super) async fn read_erasure(
        &self,
        tenant: Tenant,
        id: Uuid,
    ) -> Result<Option<Erasure>, StoreError> {
        let found: Option<ErasureRow> = self
            .run(QueryName::GetErasure, move |connection| {
                let find = Find {
                    tenant: tenant.clone(),
                    id,
                };
                async move { Prepared(find).get_result(connection).await.optional() }.boxed()
            })
            .await?;
        Ok(found.map(Erasure::from))
    }

    pub(super) async fn oldest_erasure_age(&self) -> Result<f64, StoreError> {
        self.run(QueryName::OldestErasure, |connection| {
            async move { Prepared(Oldest).get_result(connection).await }.boxed()
        })
        .await
    }

    pub(super) async fn lease_next_erasure(
        &self,
        lease: Uuid,
    ) -> Result<Option<Claim>, StoreError> {
        let claimed: Option<ClaimRow> = self
            .run(QueryName::ClaimErasure, move |connection| {
                async move {
                    let claim = Prepared(LeaseNext { lease });
                    claim.get_result(connection).await.optional()
                }
                .boxed()
            })
            .await?;
        let corrupt = || StoreError::from(StoreFault::Corrupt("tenant"));
        claimed
            .map(|row| {
                Ok(Claim {
                    tenant: Tenant::parse(&row.tenant).map_err(|_| corrupt())?,
                    id: row.id,
                    lease,
                    customer_id: row.customer_id,
                    pseudonym: row.pseudonym,
                    auth_type: row.auth_type,
                    auth_id: row.auth_id,
                })
            })
            .transpose()
    }

    pub(super) async fn finish_leased_erasure(
        &self,
        claim: Arc<Claim>,
    ) -> Result<bool, StoreError> {
        let finished: Vec<Uuid> = self
            .run(QueryName::ClaimErasure, move |connection| {
                let finish = Finish(Arc::clone(&claim));
                async move { Prepared(finish).load(connection).await }.boxed()
            })
            .await?;
        Ok(!finished.is_empty())
    }

    pub(super) async fn release_leased_erasure(&self, claim: Arc<Claim>) -> Result<(), StoreError> {
        self.run(QueryName::ClaimErasure, move |connection| {
            let release = Release(Arc::clone(&claim));
            async move { Prepared(release).execute(connection).await }.boxed()
        })
        .await?;
        Ok(())
    }
}

/// Stores an erasure, or finds the unfinished one of the customer.
struct Request(Arc<NewErasure>);

impl Statement for Request {
    type Database = Pg;
    type Id = Self;
    type Columns = ErasureSql;

    fn write<'b>(&'b self, out: &mut AstPass<'_, 'b, Pg>) -> QueryResult<()> {
        let new = &*self.0;
        out.push_sql(
            "WITH inserted AS (INSERT INTO erasures (tenant, id, customer_id, pseudonym, authtype, authid) VALUES (",
        );
        out.push_bind_param::<Text, _>(new.tenant.as_str())?;
        out.push_sql(", ");
        out.push_bind_param::<SqlUuid, _>(&new.id)?;
        out.push_sql(", ");
        out.push_bind_param::<Text, _>(&new.customer_id)?;
        out.push_sql(", ");
        out.push_bind_param::<Text, _>(&new.pseudonym)?;
        out.push_sql(", ");
        out.push_bind_param::<Text, _>(new.auth_type)?;
        out.push_sql(", ");
        out.push_bind_param::<Nullable<Text>, _>(&new.auth_id)?;
        out.push_sql(") ON CONFLICT DO NOTHING RETURNING ");
        out.push_sql(COLUMNS);
        out.push_sql(") SELECT ");
        out.push_sql(COLUMNS);
        out.push_sql(" FROM inserted UNION ALL SELECT ");
        out.push_sql(COLUMNS);
        out.push_sql(" FROM erasures WHERE tenant = ");
        out.push_bind_param::<Text, _>(new.tenant.as_str())?;
        out.push_sql(" AND customer_id = ");
        out.push_bind_param::<Text, _>(&new.customer_id)?;
        Ok(())
    }
}

struct Find {
    tenant: Tenant,
    id: Uuid,
}

impl Statement for Find {
    type Database = Pg;
    type Id = Self;
    type Columns = ErasureSql;

    fn write<'b>(&'b self, out: &mut AstPass<'_, 'b, Pg>) -> QueryResult<()> {
        out.push_sql("SELECT ");
        out.push_sql(COLUMNS);
        out.push_sql(" FROM erasures WHERE tenant = ");
        out.push_bind_param::<Text, _>(self.tenant.as_str())?;
        out.push_sql(" AND id = ");
        out.push_bind_param::<SqlUuid, _>(&self.id)?;
        Ok(())
    }
}

struct Oldest;

impl Statement for Oldest {
    type Database = Pg;
    type Id = Self;
    type Columns = Double;

    fn write<'b>(&'b self, out: &mut AstPass<'_, 'b, Pg>) -> QueryResult<()> {
        out.push_sql(
            "SELECT coalesce(greatest(extract(epoch FROM now() - (SELECT requested_at FROM erasures
                WHERE finished_at IS NULL ORDER BY requested_at, id LIMIT 1)), 0), 0)::float8",
        );
        Ok(())
    }
}

struct LeaseNext {
    lease: Uuid,
}

#[derive(Queryable)]
struct ClaimRow {
    tenant: String,
    id: Uuid,
    customer_id: String,
    pseudonym: String,
    auth_type: String,
    auth_id: Option<String>,
}

impl Statement for LeaseNext {
    type Database = Pg;
    type Id = Self;
    type Columns = (Text, SqlUuid, Text, Text, Text, Nullable<Text>);

    fn write<'b>(&'b self, out: &mut AstPass<'_, 'b, Pg>) -> QueryResult<()> {
        out.push_sql(
            "WITH next AS (SELECT tenant, id FROM erasures
                WHERE finished_at IS NULL AND leased_until < clock_timestamp()
                ORDER BY requested_at, id LIMIT 1 FOR UPDATE SKIP LOCKED),
            leased AS (UPDATE erasures SET lease = ",
        );
        out.push_bind_param::<SqlUuid, _>(&self.lease)?;
        out.push_sql(", started_at = coalesce(started_at, now()), leased_until = ");
        out.push_sql(LEASE_END);
        out.push_sql(
            " FROM next WHERE erasures.tenant = next.tenant AND erasures.id = next.id
                RETURNING erasures.tenant, erasures.id, customer_id, pseudonym, authtype, authid)
            SELECT tenant, id, customer_id, pseudonym, authtype, authid FROM leased",
        );
        Ok(())
    }
}

struct Finish(Arc<Claim>);

/// A finish that is repeated, because its response was lost, finds the lease that the first one has left.
impl Statement for Finish {
    type Database = Pg;
    type Id = Self;
    type Columns = SqlUuid;

    fn write<'b>(&'b self, out: &mut AstPass<'_, 'b, Pg>) -> QueryResult<()> {
        out.push_sql(
            "UPDATE erasures SET finished_at = coalesce(finished_at, now()), customer_id = NULL, pseudonym = NULL",
        );
        push_leased(&self.0, out)?;
        out.push_sql(" AND NOT EXISTS (SELECT FROM erasure_orders WHERE tenant = ");
        out.push_bind_param::<Text, _>(self.0.tenant.as_str())?;
        out.push_sql(" AND erasure_id = ");
        out.push_bind_param::<SqlUuid, _>(&self.0.id)?;
        out.push_sql(") RETURNING id");
        Ok(())
    }
}

struct Release(Arc<Claim>);

impl Statement for Release {
    type Database = Pg;
    type Id = Self;
    type Columns = ();

    fn write<'b>(&'b self, out: &mut AstPass<'_, 'b, Pg>) -> QueryResult<()> {
        out.push_sql("UPDATE erasures SET leased_until = '-infinity'");
        push_leased(&self.0, out)
    }
}
