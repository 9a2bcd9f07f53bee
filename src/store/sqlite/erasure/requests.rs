//! The rows of erasures: requests, leases and the end.

use std::sync::Arc;

use chrono::Utc;
use diesel::SqliteConnection;
use diesel::connection::SimpleConnection as _;
use diesel::prelude::*;
use uuid::Uuid;

use super::lease_end;
use crate::domain::Tenant;
use crate::store::StoreError;
use crate::store::erasure::{Claim, Erasure, NewErasure};
use crate::store::error::StoreFault;
use crate::store::pool::Class;
use crate::store::sqlite::Sqlite;
use crate::store::sqlite::create::check_written;
use crate::store::sqlite::rows::{time, uuid};
use crate::store::sqlite::schema::{erasure_orders, erasures};
use crate::telemetry::QueryName;

#[derive(Queryable, Selectable)]
#[diesel(table_name = erasures)]
struct ErasureRow {
    id: Vec<u8>,
    requested_at: i64,
    started_at: Option<i64>,
    finished_at: Option<i64>,
    orders: i64,
    archived_orders: i64,
    events: i64,
    idempotency_keys: i64,
}

impl TryFrom<ErasureRow> for Erasure {
    type Error = StoreError;

    fn try_from(row: ErasureRow) -> Result<Self, StoreError> {
        Ok(Self {
            id: uuid(&row.id)?,
            requested_at: time(row.requested_at)?,
            started_at: row.started_at.map(time).transpose()?,
            finished_at: row.finished_at.map(time).transpose()?,
            orders: row.orders,
            archived_orders: row.archived_orders,
            events: row.events,
            idempotency_keys: row.idempotency_keys,
        })
    }
}

#[derive(Queryable, Selectable)]
#[diesel(table_name = erasures)]
struct ClaimRow {
    tenant: String,
    id: Vec<u8>,
    customer_id: Option<String>,
    pseudonym: Option<String>,
    authtype: String,
    authid: Option<String>,
}

impl Sqlite {
    pub(super) async fn store_erasure(&self, new: Arc<NewErasure>) -> Result<Erasure, StoreError> {
        self.write(QueryName::RequestErasure, move |connection| {
            let unfinished: Option<ErasureRow> = erasures::table
                .filter(erasures::tenant.eq(new.tenant.as_str()))
                .filter(erasures::customer_id.eq(&new.customer_id))
                .select(ErasureRow::as_select())
                .first(connection)
                .optional()?;
            if let Some(unfinished) = unfinished {
                return unfinished.try_into();
            }
            let written = diesel::insert_into(erasures::table)
                .values((
                    erasures::tenant.eq(new.tenant.as_str()),
                    erasures::id.eq(new.id.as_bytes().as_slice()),
                    erasures::customer_id.eq(&new.customer_id),
                    erasures::pseudonym.eq(&new.pseudonym),
                    erasures::authtype.eq(new.auth_type),
                    erasures::authid.eq(&new.auth_id),
                    erasures::requested_at.eq(Utc::now().timestamp_micros()),
                ))
                .execute(connection)?;
            check_written(written)?;
            find(connection, &new.tenant, &new.id)?
                .ok_or(StoreFault::RowNotKept.into())
                .and_then(Erasure::try_from)
        })
        .await
    }

    pub(super) async fn read_erasure(
        &self,
        tenant: Tenant,
        id: Uuid,
    ) -> Result<Option<Erasure>, StoreError> {
        self.read(QueryName::GetErasure, move |connection| {
            let found = find(connection, &tenant, &id)?;
            found.map(Erasure::try_from).transpose()
        })
        .await
    }

    #[expect(
        clippy::as_conversions,
        clippy::cast_precision_loss,
        reason = "the age of an erasure in microseconds is far below 2^53"
    )]
    pub(super) async fn oldest_erasure_age(&self) -> Result<f64, StoreError> {
        let requested_at: Option<i64> = self
            .read(QueryName::OldestErasure, |connection| {
                Ok(erasures::table
                    .filter(erasures::finished_at.is_null())
                    .order((erasures::requested_at, erasures::id))
                    .select(erasures::requested_at)
                    .first(connection)
                    .optional()?)
            })
            .await?;
        let age = requested_at.map_or(0, |at| Utc::now().timestamp_micros() - at);
        Ok(age.max(0) as f64 / 1e6)
    }

    /// Looks for an erasure before it begins to write, so that a process without erasures never locks the file.
    pub(super) async fn lease_next_erasure(
        &self,
        lease: Uuid,
    ) -> Result<Option<Claim>, StoreError> {
        let found = self
            .read(QueryName::ClaimErasure, |connection| Ok(next(connection)?))
            .await?;
        if found.is_none() {
            return Ok(None);
        }
        self.write(QueryName::ClaimErasure, move |connection| {
            let Some(row) = next(connection)? else {
                return Ok(None);
            };
            let now = Utc::now().timestamp_micros();
            let key = (row.tenant.as_str(), row.id.as_slice());
            let written = diesel::update(erasures::table.find(key))
                .set((
                    erasures::lease.eq(lease.as_bytes().as_slice()),
                    erasures::leased_until.eq(lease_end()),
                ))
                .execute(connection)?;
            check_written(written)?;
            diesel::update(erasures::table.find(key))
                .filter(erasures::started_at.is_null())
                .set(erasures::started_at.eq(now))
                .execute(connection)?;
            let corrupt = |column| StoreError::from(StoreFault::Corrupt(column));
            Ok(Some(Claim {
                tenant: Tenant::parse(&row.tenant).map_err(|_| corrupt("tenant"))?,
                id: uuid(&row.id)?,
                lease,
                customer_id: row.customer_id.ok_or_else(|| corrupt("customer"))?,
                pseudonym: row.pseudonym.ok_or_else(|| corrupt("pseudonym"))?,
                auth_type: row.authtype,
                auth_id: row.authid,
            }))
        })
        .await
    }

    /// Then empties the write-ahead log, which still has the erased data.
    pub(super) async fn finish_leased_erasure(
        &self,
        claim: Arc<Claim>,
    ) -> Result<bool, StoreError> {
        let finished = self
            .write(QueryName::ClaimErasure, move |connection| {
                let key = (claim.tenant.as_str(), claim.id.as_bytes().as_slice());
                let pending: i64 = erasure_orders::table
                    .filter(erasure_orders::tenant.eq(key.0))
                    .filter(erasure_orders::erasure_id.eq(key.1))
                    .count()
                    .get_result(connection)?;
                if pending > 0 {
                    return Ok(false);
                }
                let finished = diesel::update(erasures::table.find(key))
                    .filter(erasures::lease.eq(claim.lease.as_bytes().as_slice()))
                    .filter(erasures::finished_at.is_null())
                    .set((
                        erasures::finished_at.eq(Utc::now().timestamp_micros()),
                        erasures::customer_id.eq(None::<&str>),
                        erasures::pseudonym.eq(None::<&str>),
                    ))
                    .execute(connection)?;
                Ok(finished == 1)
            })
            .await?;
        if finished && let Err(error) = self.empty_log().await {
            log::debug!(error:%; "the write-ahead log could not be emptied after an erasure");
        }
        Ok(finished)
    }

    /// Moves all changes from the write-ahead log to the database, and truncates it. A reader or another process may
    /// prevent that; then a later checkpoint reuses the log.
    async fn empty_log(&self) -> Result<(), StoreError> {
        let _writer = self.writer.lock().await;
        self.run(Class::Write, QueryName::ClaimErasure, |connection| {
            Ok(connection.batch_execute("PRAGMA wal_checkpoint(TRUNCATE)")?)
        })
        .await
    }

    pub(super) async fn release_leased_erasure(&self, claim: Arc<Claim>) -> Result<(), StoreError> {
        self.write(QueryName::ClaimErasure, move |connection| {
            let key = (claim.tenant.as_str(), claim.id.as_bytes().as_slice());
            diesel::update(erasures::table.find(key))
                .filter(erasures::lease.eq(claim.lease.as_bytes().as_slice()))
                .set(erasures::leased_until.eq(0))
                .execute(connection)?;
            Ok(())
        })
        .await
    }
}

fn find(
    connection: &mut SqliteConnection,
    tenant: &Tenant,
    id: &Uuid,
) -> QueryResult<Option<ErasureRow>> {
    erasures::table
        .find((tenant.as_str(), id.as_bytes().as_slice()))
        .select(ErasureRow::as_select())
        .first(connection)
        .optional()
}

/// The oldest unfinished erasure whose lease has ended.
fn next(connection: &mut SqliteConnection) -> QueryResult<Option<ClaimRow>> {
    erasures::table
        .filter(erasures::finished_at.is_null())
        .filter(erasures::leased_until.lt(Utc::now().timestamp_micros()))
        .order((erasures::requested_at, erasures::id))
        .select(ClaimRow::as_select())
        .first(connection)
        .optional()
}
