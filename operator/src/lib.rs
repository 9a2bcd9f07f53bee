//! The operator of order-service: one `OrderService` object, and the cluster keeps it running,
//! migrated and safe.

pub mod build;
pub mod cli;
pub mod cluster;
pub mod commands;
pub mod crd;
pub mod leader;
pub mod metrics;
pub mod quantity;
