//! The watches and what is known from them.

pub mod index;
pub mod status_cache;
pub(crate) mod streams;
