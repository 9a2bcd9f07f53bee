//! A log that nothing reads.

use super::{Attack, abuse, exchange, post, serve};
use crate::experiment::Experiment;
use crate::support::database::Database;
use crate::support::orders::order;
use tokio::net::TcpStream;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "only in `make chaos`"]
async fn an_unread_log() {
    Experiment::run("unread log", async |experiment| {
        let database = Database::postgres().await;
        // Each request writes several lines, so that the pipe and the queue of lines are full soon.
        let server = serve(&database, |it| it.with("RUST_LOG", "trace")).await;
        let unread = server.stop_reading();
        let request = post(&order("sku-1").to_string());
        let create = abuse(move |address| {
            let request = request.clone();
            async move {
                let mut stream = TcpStream::connect(address).await?;
                loop {
                    exchange(&mut stream, &request).await?;
                }
            }
        });
        let attack = Attack {
            clients: 20,
            long: 10.0,
        };
        attack.run(experiment, &database, &server, &create).await;
        let dropped: u64 = server.metric("log_lines_dropped_total").await;
        drop(unread);
        experiment.figure("dropped lines", dropped);
        // The control: a line was dropped because the pipe was full.
        assert!(dropped > 0);
    })
    .await;
}
