//! order-service: an orders API for Kubernetes.
//!
//! The modules, from the outside in:
//!
//! - [`commands`]: the subcommands
//! - [`config`]: every setting, and the only reader of the environment
//! - `server`: the composition root
//! - `shutdown`: signals
//! - [`telemetry`]: logs, metrics, and a record of every request
//! - `api`: the routes
//! - `http`: connections, the edge, requests and responses
//! - `import`: orders from a file
//! - [`domain`]: orders, which orders are legal, and which updates they allow
//! - `audit`: checks that stored data is consistent
//! - `order_json`: the JSON forms of an order
//! - `fuzz`: the fuzz targets, for fuzzing and tests only
//! - `json`: parses JSON and reports why it is rejected
//! - `faults`: panics that tests cause
//! - `concurrency`: the locks, atomics, tasks and clock of state that threads share
//! - `shares`: how much of a bounded resource one principal may hold
//! - [`store`]: orders in PostgreSQL and SQLite

mod access;
mod api;
mod audit;
pub mod commands;
mod concurrency;
pub mod config;
pub mod domain;
mod faults;
#[cfg(any(test, fuzzing))]
pub mod fuzz;
mod http;
mod import;
mod json;
mod order_json;
mod server;
mod shares;
mod shutdown;
pub mod store;
pub mod telemetry;
