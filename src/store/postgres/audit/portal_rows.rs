//! The rows of portals, one portal after another.

use std::pin::Pin;
use std::slice::Iter;

use futures_util::TryStreamExt as _;
use tokio_postgres::{Error, Portal, Row, RowStream, Transaction};

/// Takes rows from portals in parts, because the reader may stop at any row.
pub(super) struct PortalRows<'a> {
    transaction: &'a Transaction<'a>,
    /// The portals after the current one.
    rest: Iter<'a, Portal>,
    portal: Option<&'a Portal>,
    /// The rest of the current part.
    part: Option<Pin<Box<RowStream>>>,
    /// The number of rows of a part.
    size: usize,
    /// The number of rows that were taken from the current part.
    taken: usize,
}

impl<'a> PortalRows<'a> {
    pub(super) fn new(
        transaction: &'a Transaction<'a>,
        portals: &'a [Portal],
        size: usize,
    ) -> Self {
        let mut rest = portals.iter();
        Self {
            transaction,
            portal: rest.next(),
            rest,
            part: None,
            size,
            taken: 0,
        }
    }

    /// The next row.
    pub(super) async fn next(&mut self) -> Result<Option<Row>, Error> {
        while let Some(portal) = self.portal {
            let part = match &mut self.part {
                Some(part) => part,
                None => {
                    self.taken = 0;
                    let size = i32::try_from(self.size).unwrap_or(i32::MAX);
                    let part = self.transaction.query_portal_raw(portal, size).await?;
                    self.part.insert(Box::pin(part))
                }
            };
            if let Some(row) = part.try_next().await? {
                self.taken += 1;
                return Ok(Some(row));
            }
            self.part = None;
            // A part that is not full is the last one of its portal.
            if self.taken < self.size {
                self.portal = self.rest.next();
            }
        }
        Ok(None)
    }
}
