//! Requests beyond the capacity, and requests that contend.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use serde_json::json;
use tokio::io::AsyncReadExt as _;
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::{Attack, abuse, exchange, head, post, run, serve};
use crate::experiment::Experiment;
use crate::support::database::Database;
use crate::support::orders::{order, order_path};

/// The requests that may wait for the database.
const CAPACITY: usize = 64;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn more_requests_than_capacity() {
    Experiment::run("four times the capacity", async |experiment| {
        let database = Database::postgres().await;
        let capacity = CAPACITY.to_string();
        let server = serve(&database, |it| it.with("QUEUE_CAPACITY", capacity)).await;
        let request = post(&order("sku-1").to_string());
        let created = Arc::<AtomicUsize>::default();
        let rejected = Arc::<AtomicUsize>::default();
        let counters = (Arc::clone(&created), Arc::clone(&rejected));
        let create = abuse(move |address| {
            let (request, (created, rejected)) = (request.clone(), counters.clone());
            async move {
                let mut stream = TcpStream::connect(address).await?;
                loop {
                    let status = exchange(&mut stream, &request).await?;
                    let counter = if status == 201 { &created } else { &rejected };
                    counter.fetch_add(1, Ordering::Relaxed);
                }
            }
        });
        let attack = Attack {
            clients: 4 * CAPACITY,
            long: 60.0,
        };
        attack.run(experiment, &database, &server, &create).await;
        let (created, rejected) = (
            created.load(Ordering::Relaxed),
            rejected.load(Ordering::Relaxed),
        );
        experiment.figure("created orders", created);
        experiment.figure("rejected requests", rejected);
        // The control: there were more requests than the capacity.
        assert!(created > 0 && rejected > 0, "{created} {rejected}");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "only in `make chaos`"]
async fn pipelined_requests() {
    let attack = Attack {
        clients: 60,
        long: 10.0,
    };
    run("pipelined requests", attack, |_| {
        let requests = post(&order("sku-1").to_string()).repeat(20);
        abuse(move |address| {
            let requests = requests.clone();
            async move {
                let mut stream = TcpStream::connect(address).await?;
                for _ in 0..5 {
                    stream.write_all(requests.as_bytes()).await?;
                }
                // Until nothing arrives for a while.
                let mut bytes = vec![0; 65_536];
                while let Ok(read) = timeout(Duration::from_secs(1), stream.read(&mut bytes)).await
                {
                    if read? == 0 {
                        break;
                    }
                }
                Ok(())
            }
        })
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "only in `make chaos`"]
async fn slow_heads_and_bodies() {
    let attack = Attack {
        clients: 300,
        long: 10.0,
    };
    run("slow heads and bodies", attack, |_| {
        let whole = post(&order("sku-1").to_string());
        abuse(move |address| {
            let whole = whole.clone();
            async move {
                let mut stream = TcpStream::connect(address).await?;
                let (last, others) = whole.as_bytes().split_last().unwrap();
                for byte in others {
                    stream.write_all(&[*byte]).await?;
                    tokio::time::sleep(Duration::from_millis(20)).await;
                }
                let last = String::from_utf8_lossy(&[*last]).into_owned();
                exchange(&mut stream, &last).await.map(drop)
            }
        })
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "only in `make chaos`"]
async fn many_changes_of_one_order() {
    let attack = Attack {
        clients: 100,
        long: 10.0,
    };
    run("changes of one order", attack, |server| {
        let api = server.api.clone();
        let client = reqwest::Client::new();
        let path = Arc::new(tokio::sync::OnceCell::new());
        abuse(move |_| {
            let (client, api, path) = (client.clone(), api.clone(), Arc::clone(&path));
            async move {
                let path = path
                    .get_or_init(|| async {
                        let request = client.post(format!("{api}/api/v1/orders"));
                        let created = request.json(&order("sku-1")).send().await;
                        order_path(&created.unwrap().json().await.unwrap())
                    })
                    .await;
                let change = json!({"metadata": {"n": uuid::Uuid::new_v4().to_string()}});
                let request = client.patch(format!("{api}{path}")).json(&change);
                // Its outcome does not matter: the service may reject it.
                let _ = request.send().await;
                Ok(())
            }
        })
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "only in `make chaos`"]
async fn early_closes() {
    let attack = Attack {
        clients: 100,
        long: 10.0,
    };
    run("requests whose client closes", attack, |_| {
        let whole = post(&order("sku-1").to_string());
        abuse(move |address| {
            let whole = whole.clone();
            async move {
                let mut stream = TcpStream::connect(address).await?;
                stream.write_all(whole.as_bytes()).await
            }
        })
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "only in `make chaos`"]
async fn streams_that_connect_and_leave() {
    let attack = Attack {
        clients: 50,
        long: 10.0,
    };
    run("streams that connect and leave", attack, |_| {
        let stream = head("GET", "/api/v1/events", "Accept: text/event-stream\r\n");
        abuse(move |address| {
            let request = stream.clone();
            async move {
                let mut stream = TcpStream::connect(address).await?;
                stream.write_all(request.as_bytes()).await?;
                stream.read(&mut [0; 1024]).await.map(drop)
            }
        })
    })
    .await;
}
