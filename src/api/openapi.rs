//! The OpenAPI document. It is a file of the repository, which a test generates from the route table and the annotations
//! of the handlers and compares. So the binary contains neither the code that generates it nor its parts.

#[cfg(test)]
mod components;
mod headers;
pub(crate) mod parameters;
pub(crate) mod responses;
pub(crate) mod schemas;

/// The OpenAPI 3.1 document as indented JSON.
pub(crate) const DOCUMENT: &str = include_str!("../../openapi.json");

#[cfg(test)]
mod tests;
