//! Shared by the test crates: real databases, the real binary, and clients.

#![allow(
    dead_code,
    unreachable_pub,
    reason = "a library that is compiled into each test crate, which uses a part of it"
)]

pub mod auth_file;
pub mod binary;
pub mod certificates;
pub mod client;
pub mod cluster;
pub mod database;
pub mod event_stream;
pub mod export;
pub mod memory_limit;
pub mod orders;
pub mod principals;
pub mod problem;
pub mod proxy;
pub mod random;
pub mod raw_client;
pub mod relay;
pub mod server;
pub mod slow_link;
pub mod small_disk;

use std::future::Future;
use std::time::Duration;

/// Repeats `condition` until it is true. Panics with `what` when it is still false after `timeout`.
pub async fn eventually<F: Future<Output = bool>>(
    what: &str,
    timeout: Duration,
    mut condition: impl FnMut() -> F,
) {
    let poll = async {
        while !condition().await {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    let done = tokio::time::timeout(timeout, poll).await;
    assert!(done.is_ok(), "not within {timeout:?}: {what}");
}

/// A deadline that no test reaches.
pub fn in_a_minute() -> tokio::time::Instant {
    tokio::time::Instant::now() + Duration::from_secs(60)
}

/// Makes two tests of each named function: one on SQLite, one on PostgreSQL.
#[macro_export]
macro_rules! on_both {
    ($($name:ident),* $(,)?) => {
        mod sqlite {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $name() {
                super::$name($crate::support::database::Database::sqlite()).await;
            })*
        }
        mod postgres {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $name() {
                super::$name($crate::support::database::Database::postgres().await).await;
            })*
        }
    };
}
