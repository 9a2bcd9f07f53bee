//! What the tests share: real databases, the real binary, and a way to wait.

#![allow(dead_code, reason = "each test binary uses a part of it")]
pub mod certificates;
pub mod client;
pub mod database;
pub mod proxy;
pub mod raw;
pub mod relay;
pub mod server;
pub mod sse;

use std::future::Future;
use std::time::Duration;

/// Asks again and again until the answer is true; panics after `limit`.
pub async fn eventually<F: Future<Output = bool>>(
    what: &str,
    limit: Duration,
    mut ask: impl FnMut() -> F,
) {
    let asking = async {
        while !ask().await {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    let done = tokio::time::timeout(limit, asking).await;
    assert!(done.is_ok(), "not within {limit:?}: {what}");
}

/// A deadline that no test reaches.
pub fn in_a_minute() -> tokio::time::Instant {
    tokio::time::Instant::now() + Duration::from_secs(60)
}

/// Makes each named test twice: on SQLite and on PostgreSQL.
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
