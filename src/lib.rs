//! order-service: an orders API for Kubernetes.
//!
//! The rooms, from the outside in:
//!
//! - [`config`]: every setting, and the only reader of the environment
//! - [`server`]: puts the parts together, from the first bind to the last answer
//! - [`shutdown`]: from a signal to the end
//! - [`telemetry`]: logs, metrics, and a record of every request
//! - [`api`]: the routes
//! - [`http`]: connections, the edge, requests and responses
//! - [`domain`]: what an order is and which orders are legal
//! - `order_json`: the JSON form of an order
//! - [`store`]: where orders are kept
//! - [`commands`]: the subcommands that do not serve

pub mod access;
pub mod api;
pub mod commands;
pub mod config;
pub mod domain;
pub mod http;
mod order_json;
pub mod server;
pub mod shutdown;
pub mod store;
pub mod telemetry;
