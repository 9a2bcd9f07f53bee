//! One contract for the store, on both databases.

#![allow(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::print_stderr,
    clippy::string_slice,
    clippy::unwrap_used,
    missing_docs,
    unreachable_pub,
    reason = "a test that fails panics, and nobody calls a test"
)]

#[path = "../support/mod.rs"]
mod support;

mod changes;
mod coalescing;
mod codes;
mod contract;
mod lost_responses;
mod pool;
mod sqlite_limits;
