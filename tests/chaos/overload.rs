//! More requests than the service can serve, and clients that misbehave.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use serde_json::json;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::timeout;

use super::experiment::{Experiment, seconds};
use super::service::{Service, Tenant};
use super::timeline::Timeline;
use super::traffic::{Options, Traffic};
use crate::support::binary::migrate;
use crate::support::database::Database;
use crate::support::orders::{large_order, order, order_path};
use crate::support::server::Server;

/// The longest time that `/healthz` may take on a machine that is fully used.
const HEALTH_TIMEOUT: Duration = Duration::from_secs(5);
/// The time from the end of an attack to normal service.
const RECOVERY: Duration = Duration::from_secs(2);
const MEMORY_MIB: usize = 128;

/// Asks for `/healthz` on a connection of its own, ten times a second, until it is stopped.
struct Health {
    stopped: Arc<AtomicBool>,
    slowest: tokio::task::JoinHandle<(usize, Duration)>,
}

impl Health {
    fn watch(server: &Server) -> Self {
        let stopped = Arc::new(AtomicBool::new(false));
        let (ends, url) = (Arc::clone(&stopped), server.url("/healthz"));
        let slowest = tokio::spawn(async move {
            let client = reqwest::Client::builder()
                .timeout(HEALTH_TIMEOUT)
                .build()
                .unwrap();
            let (mut count, mut slowest) = (0, Duration::ZERO);
            while !ends.load(Ordering::Relaxed) {
                let sent = Instant::now();
                let response = client.get(&url).send().await;
                assert_eq!(response.expect("/healthz responds").status(), 200);
                slowest = slowest.max(sent.elapsed());
                count += 1;
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
            (count, slowest)
        });
        Self { stopped, slowest }
    }

    async fn stop(self) -> (usize, Duration) {
        self.stopped.store(true, Ordering::Relaxed);
        self.slowest.await.unwrap()
    }
}

/// What a misbehaving client does again and again.
type Abuse = Arc<
    dyn Fn(String) -> futures_util::future::BoxFuture<'static, std::io::Result<()>> + Send + Sync,
>;

/// Clients that misbehave until they are dropped.
struct Abusers {
    /// Aborted on drop.
    _clients: JoinSet<()>,
    repeated: Arc<AtomicUsize>,
}

impl Abusers {
    fn start(server: &Server, count: usize, abuse: &Abuse) -> Self {
        let repeated = Arc::new(AtomicUsize::new(0));
        let mut clients = JoinSet::new();
        for _ in 0..count {
            let (address, abuse, repeated) = (
                server.address().to_owned(),
                Arc::clone(abuse),
                Arc::clone(&repeated),
            );
            clients.spawn(async move {
                loop {
                    // The service may close the connection of such a client, or reject it.
                    let _ = abuse(address.clone()).await;
                    repeated.fetch_add(1, Ordering::Relaxed);
                    tokio::time::sleep(Duration::from_millis(5)).await;
                }
            });
        }
        Self {
            _clients: clients,
            repeated,
        }
    }
}

/// Runs clients that misbehave beside others, which retry after 503.
async fn run(name: &'static str, count: usize, abuse: impl Fn(&Server) -> Abuse) {
    let mut experiment = Experiment::start(name);
    let database = Database::postgres().await;
    migrate(&database);
    let server = Service::on(database.url())
        .with("AUTH_ANONYMOUS", "all")
        .start()
        .await;
    for _ in 0..40 {
        server.post(&large_order(20)).await;
    }
    let abuse = abuse(&server);
    let mut options = Options::new(&server.api, experiment.seed);
    options.clients = 4;
    options.pause = Duration::from_millis(20);
    let traffic = Traffic::start(&options);
    let timeline = Arc::clone(&traffic.timeline);
    let health = Health::watch(&server);
    tokio::time::sleep(Duration::from_millis(500)).await;
    timeline.mark(name);
    let abusers = Abusers::start(&server, count, &abuse);
    tokio::time::sleep(experiment.seconds(3, 60)).await;
    let repeated = abusers.repeated.load(Ordering::Relaxed);
    drop(abusers);
    timeline.mark("end");
    let ended = Instant::now();
    tokio::time::sleep(RECOVERY + Duration::from_secs(1)).await;
    let (probes, slowest_probe) = health.stop().await;
    let (timeline, ledger) = traffic.stop().await;
    let memory = server.peak_memory_mib();
    finish_counts(&timeline, ended);
    assert!(memory <= MEMORY_MIB, "{memory} MiB");
    let counts = timeline.counts();
    let verified = ledger.verify_beside_others(&database).await;
    assert_eq!(verified.lost, 0, "{verified:?}");
    experiment.figure("misbehaving clients", count);
    experiment.figure("attempts", repeated);
    experiment.figure("responses to others", timeline.len());
    experiment.figure("503 to others", counts.unavailable);
    experiment.figure("health checks", probes);
    experiment.figure("slowest health check in seconds", seconds(slowest_probe));
    experiment.figure("memory in MiB", memory);
    experiment.finish(&timeline);
}

/// Fails unless other clients have right responses, and no failed ones after the recovery.
fn finish_counts(timeline: &Timeline, ended: Instant) {
    let counts = timeline.counts();
    assert!(counts.wrong.is_empty(), "{counts:?}");
    assert!(
        timeline.ok_since(ended) > 0,
        "no request succeeds after the end: {counts:?}"
    );
    let recovery = timeline.last_failure_after(ended).unwrap_or_default();
    assert!(
        recovery < RECOVERY,
        "{recovery:?} after the end: {counts:?}"
    );
}

/// Repeats a function of an address.
fn abuse<F: Future<Output = std::io::Result<()>> + Send + 'static>(
    repeat: impl Fn(String) -> F + Send + Sync + 'static,
) -> Abuse {
    Arc::new(move |address| Box::pin(repeat(address)))
}

fn head(method: &str, path: &str, headers: &str) -> String {
    format!(
        "{method} {path} HTTP/1.1\r\nHost: localhost\r\nAuthorization: {}\r\n{headers}\r\n",
        Tenant::Globex.credential()
    )
}

fn post(body: &str) -> String {
    let headers = format!(
        "Content-Type: application/json\r\nContent-Length: {}\r\n",
        body.len()
    );
    head("POST", "/api/v1/orders", &headers) + body
}

/// Reads whatever the service sends, until nothing arrives for a while.
async fn read_all(stream: &mut TcpStream) -> std::io::Result<()> {
    let mut bytes = vec![0; 65_536];
    while let Ok(read) = timeout(Duration::from_secs(1), stream.read(&mut bytes)).await {
        if read? == 0 {
            break;
        }
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn more_requests_than_capacity() {
    // Each client has 20 requests in flight.
    run("four times the capacity", 60, |_| {
        let requests = post(&order("sku-1").to_string()).repeat(20);
        abuse(move |address| {
            let requests = requests.clone();
            async move {
                let mut stream = TcpStream::connect(address).await?;
                for _ in 0..20 {
                    stream.write_all(requests.as_bytes()).await?;
                    let mut bytes = vec![0; 65_536];
                    let _ = stream.read(&mut bytes).await?;
                }
                read_all(&mut stream).await
            }
        })
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn slow_heads_and_bodies() {
    run("slow heads and bodies", 300, |_| {
        let whole = post(&order("sku-1").to_string());
        abuse(move |address| {
            let whole = whole.clone();
            async move {
                let mut stream = TcpStream::connect(address).await?;
                for byte in whole.bytes() {
                    stream.write_all(&[byte]).await?;
                    tokio::time::sleep(Duration::from_millis(100)).await;
                }
                read_all(&mut stream).await
            }
        })
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn slow_readers_of_large_pages() {
    run("slow readers of large pages", 100, |_| {
        let page = head("GET", "/api/v1/orders", "").replace(&Tenant::Globex.credential(), "");
        let page = page.replace("Authorization: \r\n", "");
        abuse(move |address| {
            let page = page.clone();
            async move {
                let socket = tokio::net::TcpSocket::new_v4()?;
                socket.set_recv_buffer_size(4096)?;
                let mut stream = socket.connect(address.parse().unwrap()).await?;
                stream.write_all(page.as_bytes()).await?;
                for _ in 0..50 {
                    let mut bytes = [0; 1024];
                    if stream.read(&mut bytes).await? == 0 {
                        break;
                    }
                    tokio::time::sleep(Duration::from_millis(100)).await;
                }
                Ok(())
            }
        })
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn streams_that_connect_and_leave() {
    run("streams that connect and leave", 50, |_| {
        let stream = head("GET", "/api/v1/events", "Accept: text/event-stream\r\n");
        abuse(move |address| {
            let request = stream.clone();
            async move {
                let mut stream = TcpStream::connect(address).await?;
                stream.write_all(request.as_bytes()).await?;
                let mut bytes = [0; 1024];
                let _ = stream.read(&mut bytes).await?;
                Ok(())
            }
        })
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_changes_of_one_order() {
    run("changes of one order", 100, |server| {
        let api = server.api.clone();
        let client = reqwest::Client::new();
        let path = Arc::new(tokio::sync::OnceCell::new());
        abuse(move |_| {
            let (client, api, path) = (client.clone(), api.clone(), Arc::clone(&path));
            async move {
                let path = path
                    .get_or_init(|| async {
                        let request = client
                            .post(format!("{api}/api/v1/orders"))
                            .json(&order("sku-1"));
                        let created = request.header("authorization", Tenant::Globex.credential());
                        order_path(&created.send().await.unwrap().json().await.unwrap())
                    })
                    .await;
                let change = json!({"metadata": {"n": uuid::Uuid::new_v4().to_string()}});
                let request = client.patch(format!("{api}{path}")).json(&change);
                let request = request.header("authorization", Tenant::Globex.credential());
                let _ = request.send().await;
                Ok(())
            }
        })
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn early_closes() {
    run("requests whose client closes", 100, |_| {
        let whole = post(&order("sku-1").to_string());
        abuse(move |address| {
            let whole = whole.clone();
            async move {
                let mut stream = TcpStream::connect(address).await?;
                stream.write_all(whole.as_bytes()).await?;
                Ok(())
            }
        })
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn idle_connections() {
    run("5000 idle connections", 5000, |_| {
        abuse(move |address| async move {
            let mut stream = TcpStream::connect(address).await?;
            stream
                .write_all(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n")
                .await?;
            let mut bytes = [0; 1024];
            let _ = stream.read(&mut bytes).await?;
            // Until the service closes it.
            let _ = stream.read(&mut bytes).await?;
            Ok(())
        })
    })
    .await;
}
