//! More requests than the service can serve, and clients that misbehave.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use futures_util::future::BoxFuture;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::task::JoinSet;

use crate::experiment::{Experiment, seconds};
use crate::service::{MEMORY_MIB, Service};
use crate::support::binary::migrate;
use crate::support::database::Database;
use crate::support::orders::large_order;
use crate::support::server::Server;
use crate::timeline::Timeline;
use crate::traffic::{Options, Traffic};

mod connections;
mod log;
mod requests;
mod unread;

/// The longest time that `/healthz` may take on a machine that is fully used.
const HEALTH_TIMEOUT: Duration = Duration::from_secs(5);
/// The time from the end of an attack to normal service.
const RECOVERY: Duration = Duration::from_secs(2);

/// Gets `/healthz` on a new connection ten times a second until it is stopped.
struct Health {
    stopped: Arc<AtomicBool>,
    task: tokio::task::JoinHandle<(usize, Duration)>,
}

impl Health {
    fn watch(server: &Server) -> Self {
        let stopped = Arc::new(AtomicBool::new(false));
        let (ends, url) = (Arc::clone(&stopped), server.url("/healthz"));
        let task = tokio::spawn(async move {
            // As a kubelet does: no connection is kept.
            let client = reqwest::Client::builder()
                .timeout(HEALTH_TIMEOUT)
                .pool_max_idle_per_host(0)
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
        Self { stopped, task }
    }

    /// The number of requests, and the longest time that one took.
    async fn stop(self) -> (usize, Duration) {
        self.stopped.store(true, Ordering::Relaxed);
        self.task.await.unwrap()
    }
}

/// What a client that misbehaves does again and again, at this address.
type Abuse = Arc<dyn Fn(String) -> BoxFuture<'static, io::Result<()>> + Send + Sync>;

fn abuse<F: Future<Output = io::Result<()>> + Send + 'static>(
    repeat: impl Fn(String) -> F + Send + Sync + 'static,
) -> Abuse {
    Arc::new(move |address| Box::pin(repeat(address)))
}

/// Clients that misbehave until they are dropped.
struct Abusers {
    /// Aborted on drop.
    _clients: JoinSet<()>,
    repeated: Arc<AtomicUsize>,
}

impl Abusers {
    fn start(server: &Server, count: usize, abuse: &Abuse) -> Self {
        let repeated = Arc::<AtomicUsize>::default();
        let mut clients = JoinSet::new();
        for _ in 0..count {
            let (abuse, repeated) = (Arc::clone(abuse), Arc::clone(&repeated));
            let address = server.address().to_owned();
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

/// An attack: how many clients misbehave, and for how long.
struct Attack {
    clients: usize,
    /// Seconds in the long version.
    long: f64,
}

/// A service with a limit of its memory and with orders for large pages. Requests without credentials have all scopes.
async fn serve(database: &Database, change: impl FnOnce(Service) -> Service) -> Server {
    migrate(database);
    let service = Service::on(database.url())
        .with("AUTH_ANONYMOUS", "all")
        .with_memory_limit(Some(MEMORY_MIB));
    let server = change(service).start().await;
    for _ in 0..40 {
        server.post(&large_order(20)).await;
    }
    server
}

impl Attack {
    /// Runs clients that misbehave beside others, which retry. Fails unless the others have right responses and no
    /// failed ones after the recovery, `/healthz` responds all the time, and the memory stays within its limit.
    async fn run(
        self,
        experiment: &mut Experiment,
        database: &Database,
        server: &Server,
        abuse: &Abuse,
    ) {
        let mut options = Options::new(&server.api);
        options.clients = 4;
        options.pause = Duration::from_millis(20);
        let traffic = Traffic::start(experiment, &options);
        let health = Health::watch(server);
        tokio::time::sleep(Duration::from_millis(500)).await;
        traffic.timeline.mark("attack");
        let abusers = Abusers::start(server, self.clients, abuse);
        tokio::time::sleep(experiment.seconds(2.0, self.long)).await;
        let repeated = abusers.repeated.load(Ordering::Relaxed);
        drop(abusers);
        traffic.timeline.mark("end");
        let ended = Instant::now();
        tokio::time::sleep(RECOVERY + experiment.seconds(0.5, 2.0)).await;
        let (probes, slowest_probe) = health.stop().await;
        let (timeline, ledger) = traffic.stop().await;
        let memory = experiment.peak_memory_mib(server);
        let counts = timeline.counts();
        let verified = ledger.verify_beside_others(database).await;
        experiment.figure("misbehaving clients", self.clients);
        if repeated > 0 {
            experiment.figure("finished attempts", repeated);
        }
        experiment.figure("responses to others", timeline.len());
        experiment.figure("503 to others", counts.unavailable);
        experiment.figure("health checks", probes);
        experiment.figure("slowest health check in seconds", seconds(slowest_probe));
        expect_recovery(&timeline, ended);
        assert_eq!(verified.lost, 0, "{verified:?}");
        assert!(memory <= MEMORY_MIB, "{memory} MiB");
    }
}

/// Fails unless other clients have right responses, and no failed ones after the recovery.
fn expect_recovery(timeline: &Timeline, ended: Instant) {
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

/// Runs an attack on a service with the default settings.
async fn run(name: &'static str, attack: Attack, abuse: impl FnOnce(&Server) -> Abuse) {
    Experiment::run(name, async |experiment| {
        let database = Database::postgres().await;
        let server = serve(&database, |service| service).await;
        let abuse = abuse(&server);
        attack.run(experiment, &database, &server, &abuse).await;
    })
    .await;
}

/// The head of a request without credentials. Those who misbehave are not the principals of the other clients.
fn head(method: &str, path: &str, headers: &str) -> String {
    format!("{method} {path} HTTP/1.1\r\nHost: localhost\r\n{headers}\r\n")
}

/// A request that creates an order.
fn post(body: &str) -> String {
    let headers = format!(
        "Content-Type: application/json\r\nContent-Length: {}\r\n",
        body.len()
    );
    head("POST", "/api/v1/orders", &headers) + body
}

/// Sends a request and reads the response. Returns its status.
async fn exchange(stream: &mut TcpStream, request: &str) -> io::Result<u16> {
    stream.write_all(request.as_bytes()).await?;
    let mut received = Vec::new();
    loop {
        if stream.read_buf(&mut received).await? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let Some(end) = received.windows(4).position(|it| it == b"\r\n\r\n") else {
            continue;
        };
        let head = String::from_utf8_lossy(&received[..end]).to_lowercase();
        let length = head
            .lines()
            .find_map(|line| line.strip_prefix("content-length: "));
        let length: usize = length.map_or(0, |it| it.parse().unwrap());
        if received.len() >= end + 4 + length {
            let status = head.split(' ').nth(1).unwrap();
            return Ok(status.parse().unwrap());
        }
    }
}
