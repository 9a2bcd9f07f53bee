//! The operator of order-service. It deploys, migrates and upgrades the service as `OrderService` objects
//! describe.
//!
//! - [`crd`] defines the custom resource.
//! - `build` builds the objects of an OrderService, without side effects.
//! - [`cluster`] sends all requests to the API server except those of watches and of the Lease.
//! - [`leader`] elects the process that may write.
//! - [`watch`] follows the watches and keeps the known state of the cluster.
//! - [`fleet`] limits the rollouts that no change of a spec requested.
//! - [`osvc`] is the kubectl plugin.
//! - `pods` explains why pods do not run.
//! - `diff` compares built objects with live ones.
//! - [`reconcile`] applies the objects that differ and writes the status.

mod backoff;
pub mod build;
pub mod cli;
pub mod cluster;
pub mod commands;
mod controller;
pub mod crd;
mod diff;
pub mod fleet;
mod health;
mod http;
pub mod leader;
pub mod logging;
pub mod metrics;
pub mod osvc;
mod pods;
mod quantity;
pub mod reconcile;
mod serve;
pub mod watch;
