//! State that threads share, under interleavings that shuttle chooses.
//!
//! The modules are those of the service, compiled with the locks, atomics, tasks and clock of [`concurrency`]. shuttle
//! runs all tasks on one thread and chooses at each operation of a lock or an atomic, and at each await that is not
//! ready, which task continues. The channels, semaphores and notifications of Tokio are Tokio's own: they are tested by
//! Tokio with loom, and count as one step here. All atomics are sequentially consistent, so a missing barrier is not
//! found.
//!
//! shuttle prints the schedule of a failure. `INTERLEAVINGS` is the number of schedules of each test.
//!
//! Under `cfg(test)` this crate is empty, because the unit tests of the modules need the real locks.
#![cfg(not(test))]
#![allow(
    dead_code,
    missing_docs,
    unreachable_pub,
    unused_imports,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::let_unit_value,
    clippy::missing_errors_doc,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test crate, with modules of which it uses a part"
)]

mod concurrency;
pub mod connections;
pub mod servers;
pub mod shared;

/// The modules of the service. What they import from modules that are not compiled here is replaced by types with the
/// same names.
#[path = "../../../src/shares/mod.rs"]
mod shares;

mod domain {
    pub(crate) use order_service::domain::*;
}

mod telemetry {
    pub(crate) use order_service::telemetry::{QueueMetrics, StoreTimes};

    /// The metrics of client connections and of the pool.
    pub(crate) struct Metrics {
        pub(crate) http_connections: prometheus::IntGauge,
        pub(crate) pool_acquire: prometheus::Histogram,
    }
}

pub mod store;

#[path = "../../../src/http/connection/slots.rs"]
mod client_slots;

#[path = "../../../src/store/postgres/connection/slots.rs"]
mod server_slots;

/// How many schedules of each test run without `INTERLEAVINGS`.
const SCHEDULES: usize = 1_000;

/// Runs a test under many schedules.
fn explore(test: impl Fn() + Send + Sync + 'static) {
    let schedules = std::env::var("INTERLEAVINGS");
    let schedules = schedules.map_or(SCHEDULES, |number| {
        number.parse().expect("INTERLEAVINGS is a number")
    });
    shuttle::check_random(
        move || {
            concurrency::reset();
            test();
        },
        schedules,
    );
}
