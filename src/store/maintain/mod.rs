//! Maintenance: partitions, retention, and the archive of old orders.
//!
//! A run is one pass over everything that the settings allow to remove, in short transactions with pauses between
//! them: readers of the feed wait for the oldest running transaction, and writers for locks. It may end after any
//! transaction, and the next run continues.

mod archive;
mod archive_file;
mod archive_name;
mod archive_page;
mod pending_file;
mod report;
mod run;

use std::path::PathBuf;

use chrono::{DateTime, TimeDelta, Utc};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::StoreError;
use super::error::StoreFault;
use super::list::ListQuery;
use super::order_id::{IdRange, first_id};
use crate::config::Retention;
use crate::domain::{Order, Tenant};
use archive::ArchiveOptions;
pub use report::MaintainReport;
pub(super) use run::Run;

/// What a run does.
#[derive(Clone, Debug)]
pub struct MaintainOptions {
    /// How long data is kept.
    pub retention: Retention,
    /// The directory of the archive. Orders are removed only if it is given.
    pub archive_to: Option<PathBuf>,
    /// Ends the run after the current transaction.
    pub stop: CancellationToken,
}

/// The result of a run.
#[derive(Debug)]
pub struct Maintained {
    /// What the run has done, also if it failed.
    pub report: MaintainReport,
    /// Why the run ended early.
    pub error: Option<StoreError>,
}

/// The tables whose tenants a run visits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum TenantTable {
    Orders,
    IdempotencyKeys,
}

impl TenantTable {
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Orders => "orders",
            Self::IdempotencyKeys => "idempotency_keys",
        }
    }
}

/// The keys that one transaction removed.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct RemovedKeys {
    pub(super) count: u64,
    /// The order of the last of them; `None` if no key is left in the range.
    pub(super) last: Option<Uuid>,
}

/// An order that is written to the archive, in the version of its last event.
#[derive(Clone, Debug)]
pub(super) struct ArchivedOrder {
    pub(super) order: Order,
    /// The order as JSON: the line of the file, and the data of the event `order.archived`.
    pub(super) json: String,
}

/// What a run needs from a database that it maintains alone. Each method is one short transaction, or several with
/// pauses between them.
pub(super) trait Maintenance: Send {
    /// The time by the clock that `recorded_at` comes from.
    fn now(&mut self) -> impl Future<Output = Result<DateTime<Utc>, StoreError>> + Send;

    /// The key of the cursors of the database (`feed.cursor_key`).
    fn cursor_key(&mut self) -> impl Future<Output = Result<Vec<u8>, StoreError>> + Send;

    /// Creates the partitions that will be needed.
    fn prepare(&mut self, run: &mut Run) -> impl Future<Output = Result<(), StoreError>> + Send;

    /// Removes events that were recorded before this time, and raises the floors of the feed.
    fn remove_events(
        &mut self,
        before: DateTime<Utc>,
        run: &mut Run,
    ) -> impl Future<Output = Result<(), StoreError>> + Send;

    /// The first tenant after `tenant`, in the order of the table's keys.
    fn tenant_after(
        &mut self,
        table: TenantTable,
        tenant: &str,
    ) -> impl Future<Output = Result<Option<String>, StoreError>> + Send;

    /// Removes the first keys of a tenant whose orders have ids in this range.
    fn remove_keys(
        &mut self,
        tenant: &str,
        range: IdRange,
    ) -> impl Future<Output = Result<RemovedKeys, StoreError>> + Send;

    /// A page of the orders of a tenant.
    fn orders(
        &mut self,
        tenant: &Tenant,
        query: &ListQuery,
    ) -> impl Future<Output = Result<Vec<Order>, StoreError>> + Send;

    /// The orders of a tenant with these ids, which are unique, as far as they exist and fit into a page. At least one of
    /// those that exist fits.
    fn orders_by_id(
        &mut self,
        tenant: &Tenant,
        ids: &[Uuid],
    ) -> impl Future<Output = Result<Vec<Order>, StoreError>> + Send;

    /// Removes archived orders, each only if it still has the version before the archived one and no other transaction
    /// has locked it. Removes their keys as well if `with_keys` is set. Returns the ids of the removed orders.
    fn remove_archived(
        &mut self,
        tenant: &Tenant,
        orders: &[ArchivedOrder],
        with_keys: bool,
    ) -> impl Future<Output = Result<Vec<Uuid>, StoreError>> + Send;

    /// Removes the records of archived orders of which neither an event nor a key is left, up to those that were
    /// archived at `before`.
    fn forget_archived(
        &mut self,
        before: DateTime<Utc>,
        run: &mut Run,
    ) -> impl Future<Output = Result<(), StoreError>> + Send;
}

/// Maintains a database that is locked for this run.
pub(super) async fn maintain(
    database: &mut impl Maintenance,
    options: &MaintainOptions,
) -> Maintained {
    let mut run = Run::new(options.stop.clone());
    let result = maintain_with(database, options, &mut run).await;
    run.finish(result)
}

/// Another process maintains the database.
pub(super) fn already_running() -> Maintained {
    Maintained {
        report: MaintainReport {
            already_running: true,
            ..MaintainReport::default()
        },
        error: None,
    }
}

async fn maintain_with(
    database: &mut impl Maintenance,
    options: &MaintainOptions,
    run: &mut Run,
) -> Result<(), StoreError> {
    let now = database.now().await?;
    let before = |retention: std::time::Duration| {
        let retention = TimeDelta::from_std(retention).unwrap_or(TimeDelta::MAX);
        now.checked_sub_signed(retention)
            .unwrap_or(DateTime::<Utc>::MIN_UTC)
    };
    // First, because a missing partition costs more than data that is removed a day later.
    database.prepare(run).await?;
    let retention = &options.retention;
    if let Some(retention) = retention.idempotency_keys {
        remove_keys(database, before(retention), run).await?;
    }
    if let Some((retention, directory)) = retention.orders.zip(options.archive_to.as_deref()) {
        let options = ArchiveOptions {
            before: before(retention),
            now,
            directory,
            // With a retention of their own, keys outlive their orders.
            with_keys: options.retention.idempotency_keys.is_none(),
        };
        archive::archive(database, options, run).await?;
    }
    if let Some(retention) = retention.events {
        let before = before(retention);
        database.remove_events(before, run).await?;
        database.forget_archived(before, run).await?;
    }
    Ok(())
}

/// Removes the keys of orders that were created before this time, tenant by tenant.
async fn remove_keys(
    database: &mut impl Maintenance,
    before: DateTime<Utc>,
    run: &mut Run,
) -> Result<(), StoreError> {
    let before = first_id(before);
    let mut after = String::new();
    while let Some(tenant) = database
        .tenant_after(TenantTable::IdempotencyKeys, &after)
        .await?
    {
        let mut range = IdRange {
            from: Uuid::nil(),
            before,
        };
        loop {
            let removed = database.remove_keys(&tenant, range).await?;
            run.report.idempotency_keys_removed += removed.count;
            run.log_progress(
                "removing idempotency keys",
                run.report.idempotency_keys_removed,
            );
            if !run.pause().await {
                return Ok(());
            }
            let Some(last) = removed.last else {
                break;
            };
            range.from = Uuid::from_u128(last.as_u128().saturating_add(1));
        }
        after = tenant;
    }
    Ok(())
}

/// A tenant that the database returned.
fn stored_tenant(text: &str) -> Result<Tenant, StoreError> {
    Tenant::parse(text).map_err(|_| StoreFault::Corrupt("tenant").into())
}
