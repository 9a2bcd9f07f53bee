//! Responses that clients read slowly.

use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpSocket;

use super::{Abuse, Abusers, Attack, MEMORY_MIB, abuse, run, serve};
use crate::experiment::Experiment;
use crate::support::database::Database;

/// Requests a page of a megabyte, and reads 10 KB/s of it.
fn read_slowly() -> Abuse {
    let page = "GET /api/v1/orders HTTP/1.1\r\nHost: localhost\r\n\r\n";
    abuse(move |address| async move {
        let socket = TcpSocket::new_v4()?;
        // Otherwise the kernel takes most of the page.
        socket.set_recv_buffer_size(4096)?;
        let mut stream = socket.connect(address.parse().unwrap()).await?;
        stream.write_all(page.as_bytes()).await?;
        for _ in 0..50 {
            if stream.read(&mut [0; 1024]).await? == 0 {
                break;
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        Ok(())
    })
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn slow_readers_of_large_pages() {
    let attack = Attack {
        clients: 300,
        long: 15.0,
    };
    run("slow readers of large pages", attack, |_| read_slowly()).await;
}

/// The control: without a limit, the responses that are not sent yet take more memory than is allowed.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "only in `make chaos`"]
async fn without_a_limit_of_unsent_responses_the_memory_grows() {
    let name = "slow readers without RESPONSE_BUFFER_BYTES";
    Experiment::run(name, async |experiment| {
        let database = Database::postgres().await;
        let limit = ("RESPONSE_BUFFER_BYTES", "8589934592");
        let server = serve(&database, |it| it.with(limit.0, limit.1)).await;
        experiment.new_timeline().mark("attack");
        let abusers = Abusers::start(&server, 300, &read_slowly());
        let started = Instant::now();
        while server.peak_memory_mib() <= MEMORY_MIB && started.elapsed().as_secs() < 30 {
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        drop(abusers);
        let memory = server.peak_memory_mib();
        experiment.figure("memory in MiB", memory);
        assert!(memory > MEMORY_MIB, "{memory} MiB");
    })
    .await;
}
