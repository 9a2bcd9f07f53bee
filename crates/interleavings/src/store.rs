//! The modules of the store, and the types that they import from others.

use std::error::Error;
use std::fmt;
use std::sync::Arc;

use crate::domain::Caller;

pub mod closing;
pub mod coalescing;
pub mod pooling;
pub mod updates;

#[path = "../../../src/store/admission.rs"]
pub(crate) mod admission;
#[path = "../../../src/store/coalesce/mod.rs"]
pub(crate) mod coalesce;
#[path = "../../../src/store/order_key.rs"]
pub(crate) mod order_key;
#[path = "../../../src/store/order_locks.rs"]
pub(crate) mod order_locks;
#[path = "../../../src/store/pool/mod.rs"]
pub(crate) mod pool;
#[path = "../../../src/store/stages.rs"]
pub(crate) mod stages;

pub(crate) mod error {
    /// The faults of admission and coalescer.
    #[derive(Debug)]
    pub(crate) enum StoreFault {
        Closed,
        WorkerEnded,
        Panicked,
        WrongCount { requests: usize, responses: usize },
    }

    impl From<StoreFault> for super::StoreError {
        fn from(fault: StoreFault) -> Self {
            let text = format!("{fault:?}");
            match fault {
                StoreFault::Closed => Self::Unavailable(text),
                _ => Self::Internal(text),
            }
        }
    }
}

/// The errors of the store, without their causes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum StoreError {
    Overloaded,
    ShareExceeded,
    Unavailable(String),
    StatementTimeout,
    LockTimeout,
    BatchTooLarge,
    Internal(String),
}

impl StoreError {
    pub(crate) fn unavailable(cause: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        Self::Unavailable(cause.into().to_string())
    }

    pub(crate) fn internal(cause: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        Self::Internal(cause.into().to_string())
    }
}

impl fmt::Display for StoreError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self:?}")
    }
}

/// The part of an update that admission reads.
pub(crate) struct UpdateOrder {
    pub(crate) caller: Arc<Caller>,
}

impl UpdateOrder {
    pub(crate) fn bytes(&self) -> usize {
        0
    }
}
