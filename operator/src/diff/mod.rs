//! Compares live objects with desired ones, and finds the field managers that changed them.

pub(crate) mod admission;
pub(crate) mod compare;
pub(crate) mod contention;
pub(crate) mod drift;
