//! The contract of the store, on both databases.

#![cfg(test)]

#[path = "../support/mod.rs"]
mod support;

mod coalescing;
mod contract;
mod external_ids;
mod lost_responses;
mod pool;
mod sqlite_limits;
mod sqlstates;
mod state_machine;
mod tenants;
mod unique_values;
