//! The body of a response and its budget.

pub(crate) mod budget;
pub(crate) mod outgoing;
