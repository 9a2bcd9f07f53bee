//! The operator of order-service: one `OrderService` object, and the cluster keeps it running,
//! migrated and safe.
//!
//! - [`crd`] says what a person may ask for,
//! - [`build`] what that is made of, purely,
//! - [`reconcile`] brings the cluster there,
//! - [`cluster`] is the only way to the API server, and
//! - [`leader`] says whether this process may write.

mod backoff;
pub mod build;
pub mod cli;
pub mod cluster;
pub mod commands;
mod controller;
pub mod crd;
mod diff;
mod health;
mod http;
pub mod leader;
pub mod logging;
pub mod metrics;
mod quantity;
pub mod reconcile;
mod serve;
pub mod watch;
