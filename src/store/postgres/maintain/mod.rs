//! Maintenance of PostgreSQL.

mod brief_lock;
mod event_retention;
mod event_rows;
mod keys;
mod orders;
mod partition_sql;
mod partitions;
mod partitions_ahead;
mod privileges;
mod session;
mod statistics;

use chrono::{DateTime, Utc};
use diesel::dsl::sql;
use diesel::sql_types::{Binary, Timestamptz};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::{PgConnection, PgConnector};
use crate::domain::{Order, Tenant};
use crate::store::StoreError;
use crate::store::error::StoreFault;
use crate::store::list::ListQuery;
use crate::store::maintain::{
    ArchivedOrder, MaintainOptions, Maintained, Maintenance, RemovedKeys, Run, TenantTable,
    already_running, maintain,
};
use crate::store::order_id::IdRange;
use crate::store::page_sql::PageSql;
pub(super) use partitions_ahead::measure as measure_partitions_ahead;
use session::Session;

impl PgConnector {
    /// Maintains the database, unless another process does.
    pub(super) async fn maintain_database(
        &self,
        options: &MaintainOptions,
    ) -> Result<Maintained, StoreError> {
        let Some(mut session) = Session::open(self).await? else {
            return Ok(already_running());
        };
        let mut maintained = maintain(&mut session, options).await;
        if let Some(error) = maintained.error.take() {
            maintained.error = Some(privileges::explain(&mut session, error).await);
        }
        Ok(maintained)
    }

    /// Creates the partitions that will be needed on the connection of the migrations, unless another process maintains
    /// the database.
    pub(super) async fn prepare_partitions(
        &self,
        mut connection: PgConnection,
    ) -> Result<(), StoreError> {
        self.set_up(&mut connection).await?;
        if let Some(mut session) = Session::on(connection, self).await? {
            let mut run = Run::new(CancellationToken::new());
            partitions::prepare(&mut session, &mut run).await?;
        }
        Ok(())
    }
}

impl Maintenance for Session {
    async fn now(&mut self) -> Result<DateTime<Utc>, StoreError> {
        let now = self
            .row(|| diesel::select(sql::<Timestamptz>("now()")))
            .await?;
        Ok(now.unwrap_or_else(Utc::now))
    }

    async fn cursor_key(&mut self) -> Result<Vec<u8>, StoreError> {
        let key = self.row(|| sql::<Binary>("SELECT cursor_key FROM feed"));
        Ok(key.await?.ok_or(StoreFault::NoFeedRow)?)
    }

    async fn prepare(&mut self, run: &mut Run) -> Result<(), StoreError> {
        partitions::prepare(self, run).await
    }

    async fn remove_events(
        &mut self,
        before: DateTime<Utc>,
        run: &mut Run,
    ) -> Result<(), StoreError> {
        event_retention::remove(self, before, run).await
    }

    async fn tenant_after(
        &mut self,
        table: TenantTable,
        tenant: &str,
    ) -> Result<Option<String>, StoreError> {
        keys::tenant_after(self, table, tenant).await
    }

    async fn remove_keys(
        &mut self,
        tenant: &str,
        range: IdRange,
    ) -> Result<RemovedKeys, StoreError> {
        keys::remove_keys(self, tenant, range).await
    }

    async fn orders(
        &mut self,
        tenant: &Tenant,
        query: &ListQuery,
    ) -> Result<Vec<Order>, StoreError> {
        orders::read(self, || PageSql::list(tenant, query)).await
    }

    async fn orders_by_id(
        &mut self,
        tenant: &Tenant,
        ids: &[Uuid],
    ) -> Result<Vec<Order>, StoreError> {
        orders::read(self, || PageSql::ids(tenant, ids)).await
    }

    async fn remove_archived(
        &mut self,
        tenant: &Tenant,
        orders: &[ArchivedOrder],
        with_keys: bool,
    ) -> Result<Vec<Uuid>, StoreError> {
        orders::remove(self, tenant, orders, with_keys).await
    }

    async fn forget_archived(
        &mut self,
        before: DateTime<Utc>,
        run: &mut Run,
    ) -> Result<(), StoreError> {
        keys::forget_archived(self, before, run).await
    }
}
