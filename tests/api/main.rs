//! The HTTP API of the real server over real sockets, on SQLite and on PostgreSQL.

#![cfg(test)]

#[path = "../support/mod.rs"]
mod support;

mod access;
mod bad_input;
mod batch;
mod conditions;
mod connections;
mod contention;
mod cursors;
mod database_connections;
mod early_response;
mod erasure;
mod events;
mod every_response;
mod export;
mod external_ids;
mod fairness;
mod feed;
mod framing;
mod full_disk;
mod http_clients;
mod idempotency;
mod items;
mod limits;
mod lists;
mod load;
mod metrics;
mod orders;
mod plans;
mod readiness;
mod request_memory;
mod response_budget;
mod search;
mod stages;
mod stateful;
mod streams;
mod tenants;
mod timeouts;
mod unread_pages;
mod updates;
