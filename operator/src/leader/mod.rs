//! Which of the processes works: the one that holds the Lease.

mod fence;
mod lease;

pub use fence::{Fence, Moment};
pub use lease::{Election, Timing};
