//! Archives old orders: writes them to files, verifies the files, and then removes the orders.
//!
//! An order is removed only if a file that was read back contains it in its last version. A run that is killed leaves
//! orders that are archived and not removed; the next run archives them again. So an order is in the database or in a
//! verified file, and possibly in several files.

use std::collections::HashSet;
use std::path::Path;

use chrono::{DateTime, Utc};
use uuid::Uuid;

use super::archive_file::{ArchiveWriter, FileName, WrittenFile, remove_abandoned};
use super::archive_page::{self, PageReader};
use super::run::Run;
use super::{ArchivedOrder, Maintenance, StoreError, TenantTable, stored_tenant};
use crate::domain::{Order, Status, Tenant};
use crate::order_json;
use crate::store::error::StoreFault;
use crate::store::list::{CreatedRange, Direction, ListQuery};

/// The length at which a file ends. Nothing of a file is removed before all of it is verified.
const MAX_FILE_BYTES: u64 = 64 * 1024 * 1024;

/// Archives the orders with a final status that were last updated before `before`. `now` is the time of the run.
pub(super) async fn archive(
    database: &mut impl Maintenance,
    before: DateTime<Utc>,
    now: DateTime<Utc>,
    directory: &Path,
    with_keys: bool,
    run: &mut Run,
) -> Result<(), StoreError> {
    remove_abandoned(directory)?;
    let mut after = String::new();
    while let Some(text) = database.tenant_after(TenantTable::Orders, &after).await? {
        let tenant = stored_tenant(&text)?;
        let mut candidates = Candidates::new(before);
        while let Some(first) = candidates.next(database, &tenant).await? {
            let name = FileName::new(&tenant, first.id, now);
            let mut file = ArchiveWriter::create(directory, name)?;
            let mut next = Some(first);
            while let Some(order) = next {
                file.write(&archived(order)?.json)?;
                next = if file.bytes() < MAX_FILE_BYTES && !run.is_stopped() {
                    candidates.next(database, &tenant).await?
                } else {
                    None
                };
            }
            let written = file.finish()?;
            remove(database, &tenant, written, with_keys, run).await?;
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

/// Removes the orders of a file that was written, and the lines of those that were not removed.
async fn remove(
    database: &mut impl Maintenance,
    tenant: &Tenant,
    mut file: WrittenFile,
    with_keys: bool,
    run: &mut Run,
) -> Result<(), StoreError> {
    file.verify()?;
    let mut pages = PageReader::open(&file)?;
    let mut kept: HashSet<Uuid> = HashSet::new();
    while let Some(page) = pages.next()? {
        let ids: Vec<Uuid> = page.iter().map(|line| line.id).collect();
        // After a signal, nothing more is removed, and the file keeps only what was.
        let removed = if run.is_stopped() {
            Vec::new()
        } else {
            let found = database.orders_by_id(tenant, &ids).await?;
            let unchanged = archive_page::unchanged(found, page, &file)?;
            database
                .remove_archived(tenant, &unchanged, with_keys)
                .await?
        };
        run.report.orders_archived += u64::try_from(removed.len()).unwrap_or_default();
        kept.extend(ids.into_iter().filter(|id| !removed.contains(id)));
        run.log_progress("archiving orders", run.report.orders_archived);
        run.pause().await;
    }
    if !kept.is_empty() {
        if !run.is_stopped() {
            run.report.orders_changed += u64::try_from(kept.len()).unwrap_or_default();
        }
        // An order that stays may be erased later, and an erasure does not reach the archive.
        file.remove_lines(&kept)?;
    }
    run.report.files.extend(file.into_report());
    Ok(())
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
            if let Some(order) = self.page.find(|order| order.updated_at < self.before) {
                return Ok(Some(order));
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
