//! Experiments: real processes and databases under load, with real faults. Each prints one line with its figures.
//!
//! `cargo test` runs short versions of those that take the least time for what they show. `make chaos` runs all in their
//! long versions, and writes docs/RELIABILITY.md.

#![cfg(test)]

#[path = "../support/mod.rs"]
mod support;

mod balancer;
mod crashes;
mod credentials;
mod database_faults;
mod experiment;
mod failover;
mod ledger;
mod link;
mod overload;
mod rolling_update;
mod secrets;
mod service;
mod soak;
mod timeline;
mod tls;
mod traffic;
