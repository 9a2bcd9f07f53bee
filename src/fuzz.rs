//! The fuzz targets of `fuzz/`, which are compiled for fuzzing and for tests only.
//!
//! Each function takes the input of a fuzzer and panics if a property does not hold. The properties stand next to the
//! code that they are about. A unit test runs the committed corpora, so that a finding stays corrected.

#[cfg(test)]
mod tests;

/// The body of a new order.
pub fn new_order(data: &[u8]) {
    crate::api::fuzz::new_order(data);
}

/// The body of a batch of orders.
pub fn order_batch(data: &[u8]) {
    crate::api::fuzz::order_batch(data);
}

/// The body of an update.
pub fn merge_patch(data: &[u8]) {
    crate::api::fuzz::merge_patch(data);
}

/// The queries of lists, of exports, of the feed and of the events of an order.
pub fn query(data: &[u8]) {
    crate::api::fuzz::query(data);
}

/// A cursor of the feed.
pub fn cursor(data: &[u8]) {
    crate::store::fuzz::cursor(data);
}

/// The headers `If-Match` and `If-None-Match`; each line is one header.
pub fn conditions(data: &[u8]) {
    crate::http::request::fuzz::conditions(data);
}

/// The header `traceparent`.
pub fn traceparent(data: &[u8]) {
    crate::http::request::fuzz::traceparent(data);
}

/// A URL of a database, with a password that no message may contain.
pub fn database_url(data: &[u8]) {
    crate::store::fuzz::database_url(data);
}

/// Tokens and key sets, with the issuer that signs them.
pub struct Tokens(crate::access::fuzz::Tokens);

impl Tokens {
    /// Creates an issuer with new keys.
    #[expect(
        clippy::new_without_default,
        reason = "generating keys is no default value"
    )]
    pub fn new() -> Self {
        Self(crate::access::fuzz::Tokens::new())
    }

    /// A text in the place of a token, forged tokens, signed tokens with changed claims, and changed key sets.
    pub fn token(&self, data: &[u8]) {
        self.0.token(data);
    }
}

/// `AUTH_FILE`, API keys and the header `Authorization`.
pub fn access(data: &[u8]) {
    crate::access::fuzz::access(data);
}
