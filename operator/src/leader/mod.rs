//! Leader election: only the process that holds the Lease may write.

mod fence;
mod lease;

pub use fence::{Fence, Moment};
pub use lease::{Election, Timing};
