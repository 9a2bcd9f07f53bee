//! The locks, atomics, tasks and clock of state that threads share.
//!
//! `crates/interleavings` compiles the modules that use these names a second time, with types of the same names that run
//! on a scheduler of shuttle. There each operation is a point at which another task may continue.

pub(crate) use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize};

pub(crate) use parking_lot::{Mutex, RwLock};
pub(crate) use tokio::runtime::Handle;
pub(crate) use tokio::spawn;
pub(crate) use tokio::time::{Instant, sleep, timeout, timeout_at};
