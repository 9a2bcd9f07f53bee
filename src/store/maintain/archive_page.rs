//! Reads the lines of a file of the archive, page by page, and compares them with the orders.

use std::collections::HashMap;
use std::fs::File;
use std::io::{BufRead as _, BufReader};

use serde::Deserialize;
use uuid::Uuid;

use super::archive::archived;
use super::archive_file::ArchiveError;
use super::pending_file::PendingFile;
use super::{ArchivedOrder, StoreError};
use crate::domain::Order;
use crate::store::list::ListQuery;

/// The maximum number of lines in a page. A transaction removes the orders of one page.
const MAX_LINES: usize = 100;
/// The length at which a page ends: half of that of a page of orders, so that the orders fit even if they have become
/// longer.
const MAX_BYTES: usize = ListQuery::MAX_BYTES / 2;

/// A line of a file.
pub(super) struct Line {
    pub(super) id: Uuid,
    version: i32,
    json: String,
}

/// The members of a line that identify the version of an order.
#[derive(Deserialize)]
struct Identity {
    id: Uuid,
    version: i32,
}

/// Reads a file page by page.
pub(super) struct PageReader<'a> {
    file: &'a PendingFile,
    lines: BufReader<File>,
}

impl<'a> PageReader<'a> {
    pub(super) fn open(file: &'a PendingFile) -> Result<Self, ArchiveError> {
        Ok(Self {
            lines: file.read()?,
            file,
        })
    }

    /// The next lines. `None` after the last one.
    pub(super) fn next(&mut self) -> Result<Option<Vec<Line>>, ArchiveError> {
        let (mut page, mut bytes) = (Vec::new(), 0);
        while page.len() < MAX_LINES && bytes < MAX_BYTES {
            let Some(line) = self.line()? else {
                break;
            };
            bytes += line.json.len();
            page.push(line);
        }
        Ok((!page.is_empty()).then_some(page))
    }

    fn line(&mut self) -> Result<Option<Line>, ArchiveError> {
        let mut json = String::new();
        let read = self.lines.read_line(&mut json);
        if read.map_err(|source| self.file.error(source))? == 0 {
            return Ok(None);
        }
        if json.pop() != Some('\n') {
            return Err(self.file.mismatch("its last line is not complete"));
        }
        let identity: Identity = serde_json::from_str(&json)
            .map_err(|_| self.file.mismatch("a line is not an order"))?;
        Ok(Some(Line {
            id: identity.id,
            version: identity.version,
            json,
        }))
    }
}

/// The orders that still are as the lines of the page have them. A later version of the service may write the JSON of an
/// order in another way, so a line that an earlier run has written may differ although its version is the same.
pub(super) fn unchanged(
    found: Vec<Order>,
    page: Vec<Line>,
) -> Result<Vec<ArchivedOrder>, StoreError> {
    let mut found: HashMap<Uuid, Order> =
        found.into_iter().map(|order| (order.id, order)).collect();
    let mut unchanged = Vec::with_capacity(page.len());
    for line in page {
        let Some(order) = found.remove(&line.id) else {
            continue;
        };
        let archived = archived(order)?;
        if archived.order.version == line.version && archived.json == line.json {
            unchanged.push(archived);
        }
    }
    Ok(unchanged)
}
