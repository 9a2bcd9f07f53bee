//! Who may call: credentials, scopes, and what happens when they change.

mod anonymous;
mod changes;
mod early_response;
mod open;
mod records;
mod scopes;
mod streams;
mod tokens;
