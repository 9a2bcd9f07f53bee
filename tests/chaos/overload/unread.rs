//! Responses that clients read slowly.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpSocket;

use super::{Abuse, Abusers, Attack, abuse, head, run, serve};
use crate::experiment::Experiment;
use crate::service::MEMORY_MIB;
use crate::support::database::Database;

/// The time in which unsent responses without a limit take more memory than is allowed.
const GROWTH_TIMEOUT: Duration = Duration::from_secs(60);

/// Requests a page of a megabyte, and reads 10 KB/s of it for half a minute.
fn read_slowly() -> Abuse {
    let number = Arc::<AtomicUsize>::default();
    abuse(move |address| {
        // Responses to the same query would share their memory.
        let number = number.fetch_add(1, Ordering::Relaxed) % 3600;
        let time = format!("2020-01-01T00:{:02}:{:02}Z", number / 60, number % 60);
        let page = head("GET", &format!("/api/v1/orders?created_from={time}"), "");
        async move {
            let socket = TcpSocket::new_v4()?;
            // Otherwise the kernel takes most of the page.
            socket.set_recv_buffer_size(4096)?;
            let mut stream = socket.connect(address.parse().unwrap()).await?;
            stream.write_all(page.as_bytes()).await?;
            for _ in 0..300 {
                if stream.read(&mut [0; 1024]).await? == 0 {
                    break;
                }
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
            Ok(())
        }
    })
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn slow_readers_of_large_pages() {
    let attack = Attack {
        clients: 300,
        long: 10.0,
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
        let server = serve(&database, |it| {
            it.with(limit.0, limit.1).with_memory_limit(None)
        })
        .await;
        experiment.new_timeline().mark("attack");
        let abusers = Abusers::start(&server, 300, &read_slowly());
        let started = Instant::now();
        while server.peak_memory_mib() <= MEMORY_MIB && started.elapsed() < GROWTH_TIMEOUT {
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        drop(abusers);
        let memory = server.peak_memory_mib();
        experiment.figure("memory in MiB", memory);
        assert!(memory > MEMORY_MIB, "{memory} MiB");
    })
    .await;
}
