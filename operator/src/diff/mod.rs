//! Whether a live object is as it should be, and who changed it.

pub mod compare;
pub mod contention;
pub mod drift;
