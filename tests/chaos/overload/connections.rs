//! Connections that clients keep.

use tokio::io::AsyncReadExt as _;
use tokio::net::TcpStream;

use super::{Abuse, Attack, abuse, exchange, run, serve};
use crate::experiment::Experiment;
use crate::support::database::Database;

/// The descriptors that the service may have: its connections to the database and its files need about 60.
const DESCRIPTORS: usize = 256;

/// Keeps a connection after a request until the service closes it.
fn keep_connection() -> Abuse {
    abuse(move |address| async move {
        let mut stream = TcpStream::connect(address).await?;
        let health = "GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n";
        exchange(&mut stream, health).await?;
        stream.read(&mut [0; 1024]).await.map(drop)
    })
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "only in `make chaos`"]
async fn idle_connections() {
    let attack = Attack {
        clients: 5000,
        long: 10.0,
    };
    run("5000 idle connections", attack, |_| keep_connection()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "only in `make chaos`"]
async fn more_connections_than_descriptors() {
    Experiment::run("descriptors exhausted", async |experiment| {
        let database = Database::postgres().await;
        let server = serve(&database, |it| it.with_descriptors(DESCRIPTORS)).await;
        let attack = Attack {
            clients: 2 * DESCRIPTORS,
            long: 10.0,
        };
        let abuse = keep_connection();
        attack.run(experiment, &database, &server, &abuse).await;
        experiment.figure("descriptors", DESCRIPTORS);
    })
    .await;
}
