//! The binary as a process: exit codes, signals, logs, migrations, and the commands of the documentation.

#![cfg(test)]

#[path = "../support/mod.rs"]
mod support;

mod access;
mod access_doc;
mod api_doc;
mod audit;
mod commands;
mod crashes;
#[cfg(debug_assertions)]
mod handled_panics;
mod hosts;
mod import;
mod logs;
mod migrations;
mod panics;
mod readme;
mod secrets;
mod signals;
mod sqlite_urls;
mod tls;
mod unread_output;
