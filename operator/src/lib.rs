//! The operator of order-service: one `OrderService` object, and the cluster keeps it running,
//! migrated and safe.

pub mod cli;
pub mod commands;
pub mod crd;
