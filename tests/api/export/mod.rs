//! Exports: all orders of a query as a stream of lines.

mod contents;
mod ends;
mod failures;
mod limits;
mod memory;

use std::time::Duration;

use futures_util::StreamExt as _;
use serde_json::Value;

use crate::response_budget::create_large_orders;
use crate::support::database::Database;
use crate::support::eventually;
use crate::support::export::Export;
use crate::support::server::Server;

const ORDERS: &str = "/api/v1/orders";
/// The number of large orders of [`with_large_orders`]: three pages of 1 MiB.
const LARGE: usize = 60;
/// More than what the kernel and Actix take of a response to a client that reads nothing, and less than a page.
const A_PART: usize = 600_000;

/// Starts a service with [`LARGE`] orders, so that most of an export stays in the service until it is read.
async fn with_large_orders(database: &Database, variables: &[(&str, &str)]) -> Server {
    let server = Server::start(database, variables).await;
    create_large_orders(&server, LARGE).await;
    server
}

/// Creates orders, several at the same time.
async fn create_all(server: &Server, bodies: impl IntoIterator<Item = Value>) {
    futures_util::stream::iter(bodies)
        .for_each_concurrent(8, async |body| {
            assert_eq!(server.post(&body).await.status(), 201);
        })
        .await;
}

/// The number of exports in progress.
async fn exports(server: &Server) -> i64 {
    server.metric("order_exports").await
}

/// Opens an export, and reads a part of its first page.
async fn begin(server: &Server) -> Export {
    let mut export = Export::open(server, ORDERS).await;
    export.read_bytes(A_PART).await;
    export
}

/// The cause in the log for an export that was cut off.
async fn cut_off_cause(server: &Server) -> String {
    let line = || {
        let mut logs = server.logs().into_iter();
        logs.find(|line| line["msg"] == "an export was cut off")
    };
    eventually("the line is logged", Duration::from_secs(5), async || {
        line().is_some()
    })
    .await;
    let line = line().unwrap();
    assert_eq!(line["level"], "WARN");
    line["cause"].as_str().unwrap().to_owned()
}
