//! What bounds a response until it is sent.

pub(crate) mod budget;
pub(crate) mod outgoing;
