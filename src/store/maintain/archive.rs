//! Archives old orders: writes them to files, verifies the files, and then removes the orders.
//!
//! An order is removed only if a file that was read back contains it in its last version. A run that is killed leaves a
//! pending file, some of whose orders are removed; the next run finishes it before it archives more. So an order is in
//! the database or in exactly one file, and a finished file has only orders that are removed.

use std::collections::HashSet;
use std::path::Path;

use chrono::{DateTime, Utc};
use uuid::Uuid;

use super::archive_file::{ArchiveDirectory, ArchiveWriter};
use super::archive_name::{DatabaseId, FileName};
use super::archive_page::{self, PageReader};
use super::pending_file::PendingFile;
use super::run::Run;
use super::{ArchivedOrder, Maintenance, StoreError, TenantTable, stored_tenant};
use crate::domain::{MAX_IMPORTED_VERSION, Order, Status, Tenant};
use crate::order_json;
use crate::store::error::StoreFault;
use crate::store::list::{CreatedRange, Direction, ListQuery};

/// The length at which a file ends. Nothing of a file is removed before all of it is verified.
const MAX_FILE_BYTES: u64 = 64 * 1024 * 1024;

/// Which orders are archived, and how.
#[derive(Clone, Copy, Debug)]
pub(super) struct ArchiveOptions<'a> {
    /// Orders with a final status that were last updated before this time are archived.
    pub(super) before: DateTime<Utc>,
    /// The time of the run.
    pub(super) now: DateTime<Utc>,
    pub(super) directory: &'a Path,
    /// Whether the keys of the orders are removed as well.
    pub(super) with_keys: bool,
}

/// Finishes the files that earlier runs have left, and archives old orders.
pub(super) async fn archive(
    database: &mut impl Maintenance,
    options: ArchiveOptions<'_>,
    run: &mut Run,
) -> Result<(), StoreError> {
    let id = DatabaseId::of(&database.cursor_key().await?);
    let directory = ArchiveDirectory::new(options.directory, id);
    directory.remove_abandoned()?;
    for file in directory.pending()? {
        if run.is_stopped() {
            return Ok(());
        }
        log::info!(file:% = file.name; "finishing a file of an interrupted run");
        remove(database, options, file, run).await?;
    }
    let mut after = String::new();
    while let Some(text) = database.tenant_after(TenantTable::Orders, &after).await? {
        let tenant = stored_tenant(&text)?;
        let mut candidates = Candidates::new(options.before);
        while let Some(first) = candidates.next(database, &tenant).await? {
            let name = FileName::new(&tenant, first.id, options.now);
            let mut file = ArchiveWriter::create(&directory, name)?;
            let mut next = Some(first);
            while let Some(order) = next {
                file.write(&archived(order)?.json)?;
                next = if file.bytes < MAX_FILE_BYTES && !run.is_stopped() {
                    candidates.next(database, &tenant).await?
                } else {
                    None
                };
            }
            let file = file.into_pending(&tenant)?;
            remove(database, options, file, run).await?;
            if run.is_stopped() {
                return Ok(());
            }
        }
        if run.is_stopped() {
            return Ok(());
        }
        after = text;
    }
    Ok(())
}

/// Removes the orders of a pending file, and finishes the file without the lines of those that stay. An order of the file
/// that is not stored was removed by an earlier run.
async fn remove(
    database: &mut impl Maintenance,
    options: ArchiveOptions<'_>,
    file: PendingFile,
    run: &mut Run,
) -> Result<(), StoreError> {
    let content = file.verify()?;
    let tenant = &file.name.tenant;
    let mut pages = PageReader::open(&file)?;
    let mut staying: HashSet<Uuid> = HashSet::new();
    while let Some(page) = pages.next()? {
        let found = stored(database, tenant, page.iter().map(|line| line.id).collect()).await?;
        staying.extend(found.iter().map(|order| order.id));
        // After a signal, nothing more is removed, and the file keeps only what was.
        if !run.is_stopped() {
            let mut unchanged = archive_page::unchanged(found, page)?;
            // The retention may be longer than that of the run that wrote the file.
            unchanged.retain(|archived| archived.order.updated_at < options.before);
            let removed = database
                .remove_archived(tenant, &unchanged, options.with_keys)
                .await?;
            run.report.orders_archived += u64::try_from(removed.len()).unwrap_or_default();
            for id in removed {
                staying.remove(&id);
            }
        }
        run.log_progress("archiving orders", run.report.orders_archived);
        run.pause().await;
    }
    if !run.is_stopped() {
        run.report.orders_changed += u64::try_from(staying.len()).unwrap_or_default();
    }
    // An order that stays may be erased later, and an erasure does not reach the archive.
    run.report.files.extend(file.finish(content, &staying)?);
    Ok(())
}

/// The orders with these ids that are stored.
async fn stored(
    database: &mut impl Maintenance,
    tenant: &Tenant,
    mut ids: Vec<Uuid>,
) -> Result<Vec<Order>, StoreError> {
    let mut stored = Vec::with_capacity(ids.len());
    // A page of orders may end early because of its length, but has at least one order.
    while !ids.is_empty() {
        let page = database.orders_by_id(tenant, &ids).await?;
        if page.is_empty() {
            break;
        }
        let found: HashSet<Uuid> = page.iter().map(|order| order.id).collect();
        ids.retain(|id| !found.contains(id));
        stored.extend(page);
    }
    Ok(stored)
}

/// The order as the archive has it: in the version of the event `order.archived`. The time of its last update stays,
/// because nothing else records it.
pub(super) fn archived(mut order: Order) -> Result<ArchivedOrder, StoreError> {
    order.version = order.version.saturating_add(1);
    let json = order_json::order(&order).map_err(StoreFault::Json)?;
    Ok(ArchivedOrder { order, json })
}

/// The orders of a tenant that may be archived, oldest first.
struct Candidates {
    before: DateTime<Utc>,
    /// The query of the next page. `None` after the last page.
    query: Option<ListQuery>,
    page: std::vec::IntoIter<Order>,
}

impl Candidates {
    fn new(before: DateTime<Utc>) -> Self {
        let query = ListQuery {
            limit: ListQuery::MAX_LIMIT,
            starting_after: None,
            direction: Direction::OldestFirst,
            // A walk along the index of statuses for each.
            statuses: Status::ALL.into_iter().filter(|s| s.is_final()).collect(),
            // An order that was updated before this time was created before it.
            created: CreatedRange {
                from: None,
                to: Some(before),
            },
            filter: None,
        };
        Self {
            before,
            query: Some(query),
            page: Vec::new().into_iter(),
        }
    }

    async fn next(
        &mut self,
        database: &mut impl Maintenance,
        tenant: &Tenant,
    ) -> Result<Option<Order>, StoreError> {
        loop {
            let before = self.before;
            for order in self.page.by_ref().filter(|order| order.updated_at < before) {
                if order.version < MAX_IMPORTED_VERSION {
                    return Ok(Some(order));
                }
                // Its line would have a version that an import rejects.
                log::warn!(order_id:% = order.id, version = order.version; "the version of an order is too high for the archive");
            }
            let Some(query) = self.query.take() else {
                return Ok(None);
            };
            let page = database.orders(tenant, &query).await?;
            self.query = page
                .last()
                .map(|last| last.id)
                .map(|last| query.continued_after(last));
            self.page = page.into_iter();
        }
    }
}
