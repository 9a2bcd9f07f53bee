//! Lists of orders: the query of a client, and the page that it receives.

use bytes::Bytes;
use chrono::{DateTime, Utc};
use uuid::Uuid;

use super::StoreError;
use super::error::StoreFault;
use crate::domain::{Order, StatusSet};
use crate::order_json;

/// A query for a page of orders, in the order of their ids.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListQuery {
    /// The maximum number of orders in the page.
    pub limit: u32,
    /// The last order of the previous page.
    pub starting_after: Option<Uuid>,
    /// Which order comes first.
    pub direction: Direction,
    /// Only orders with one of these statuses.
    pub statuses: StatusSet,
    /// Only orders that were created in this range of time.
    pub created: CreatedRange,
    /// Only orders of one product, of one customer, or with one external id.
    pub filter: Option<ListFilter>,
}

/// The order of a list. Later orders have larger ids.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// By id, descending.
    NewestFirst,
    /// By id, ascending.
    OldestFirst,
}

/// A range of the time of creation. It is half-open, so that ranges that follow each other have each order once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CreatedRange {
    /// The beginning of the range, which belongs to it.
    pub from: Option<DateTime<Utc>>,
    /// The end of the range, which does not belong to it.
    pub to: Option<DateTime<Utc>>,
}

impl CreatedRange {
    /// The range without bounds.
    pub const ALL: Self = Self {
        from: None,
        to: None,
    };
}

/// A property that the orders of a list have in common. A list has only one of them at a time: a query for two
/// would not walk along an index, and would take time in proportion to the table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ListFilter {
    /// Orders of this product.
    Product(String),
    /// Orders of this customer.
    Customer(String),
    /// The order with this external id.
    External(String),
}

impl ListQuery {
    /// The maximum number of orders of one page, and the default limit.
    pub const MAX_LIMIT: u32 = 100;

    /// The length in bytes at which a page ends even before its limit. One order always fits.
    pub const MAX_BYTES: usize = 1024 * 1024;

    /// The newest orders without a filter: the page that most clients begin with.
    pub const FIRST_PAGE: Self = Self {
        limit: Self::MAX_LIMIT,
        starting_after: None,
        direction: Direction::NewestFirst,
        statuses: StatusSet::ALL,
        created: CreatedRange::ALL,
        filter: None,
    };

    /// The query that continues after the order with this id.
    pub(super) fn continued_after(self, id: Uuid) -> Self {
        Self {
            starting_after: Some(id),
            ..self
        }
    }
}

/// How the orders of a page are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum PageForm {
    /// A JSON array.
    Array,
    /// One line for each order (NDJSON).
    Lines,
}

/// A page of orders, ready to be sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Page {
    /// The orders as JSON: an array, and one order a line in an export.
    pub json: Bytes,
    /// The id of the last order, when more may follow.
    pub next: Option<Uuid>,
}

impl Page {
    /// Creates the page of a list with a limit of `limit` orders.
    pub(super) fn new(orders: &[Order], limit: u32, form: PageForm) -> Result<Self, StoreError> {
        let json = match form {
            PageForm::Array => order_json::orders(orders),
            PageForm::Lines => order_json::lines(orders),
        };
        let json = json.map_err(StoreFault::Json)?;
        // No count and no extra row: orders may follow a full page, and also a page that the next order might have
        // made too long.
        let full = u32::try_from(orders.len()) == Ok(limit)
            || json.len() + order_json::LONGEST_ORDER > ListQuery::MAX_BYTES;
        Ok(Self {
            json,
            next: orders.last().filter(|_| full).map(|order| order.id),
        })
    }
}
