//! The parts of a request.

pub(crate) mod body;
pub(crate) mod budget;
pub(crate) mod conditional;
pub(crate) mod context;
#[cfg(any(test, fuzzing))]
pub(crate) mod fuzz;
pub(crate) mod limits;
pub(crate) mod negotiate;
pub(crate) mod query;
pub(crate) mod traceparent;
