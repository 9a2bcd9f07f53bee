//! Whether a live object is as it should be, and who changed it.

pub(crate) mod compare;
pub(crate) mod contention;
pub(crate) mod drift;
