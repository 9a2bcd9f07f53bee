//! Checks that stored data is consistent: the invariants that the database itself does not enforce. Pure: the store
//! reads the rows, and this module says what is wrong with them.
//!
//! Rows come in ranges of keys (tenant, id), sorted. Everything that is known about an order is in one range, so a
//! check needs memory for one range only, and a row without an order is found because the ranges cover all keys. Each
//! range is one snapshot of the database: a service that writes meanwhile causes no violation.

mod checker;
mod clock;
mod document;
mod history;
mod keys;
mod kind;
mod order;
mod range;
mod report;
mod rows;
mod value;

pub(crate) use checker::Checker;
pub(crate) use clock::Clock;
pub(crate) use keys::{Database, DatabaseKey, DatabaseKeys};
pub(crate) use range::{Gauge, Limits, Range, Scope, keep};
pub(crate) use report::Report;
pub(crate) use rows::{
    ArchivedRow, ErasureRow, EventRow, IdempotencyRow, Key, LineRow, OrderRow, Stored, Table, read,
};
pub(crate) use value::{BadColumn, SqlValue};
