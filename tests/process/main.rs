//! The binary as a process: exit codes, signals, logs, migrations, and the commands of the documentation.

#![allow(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::print_stderr,
    clippy::string_slice,
    clippy::unwrap_used,
    missing_docs,
    unreachable_pub,
    reason = "a test that fails panics, and nobody calls a test"
)]

#[path = "../support/mod.rs"]
mod support;

mod api_doc;
mod commands;
mod crashes;
mod hosts;
mod logs;
mod migrations;
mod panics;
mod readme;
mod signals;
mod sqlite_urls;
mod tls;
mod unread_output;
