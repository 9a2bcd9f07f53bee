//! However PostgreSQL fails, it never sees more connections of a process than `POOL_MAX_SIZE` and two,
//! and what can be served is served.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use tokio::task::JoinSet;
use tokio_postgres::Client;

use crate::support::database::{Cluster, Database};
use crate::support::proxy::Proxy;
use crate::support::server::{Server, kill, order};
use crate::support::{eventually, server};

const LIMITS: [(&str, &str); 4] = [
    ("POOL_MAX_SIZE", "6"),
    ("POOL_ACQUIRE_TIMEOUT", "1s"),
    ("STATEMENT_TIMEOUT", "1s"),
    ("REQUEST_TIMEOUT", "10s"),
];
/// `POOL_MAX_SIZE`, the readiness check and the listener.
const MOST: i64 = 8;

const BACKENDS: &str = "SELECT count(*) FROM pg_stat_activity
    WHERE application_name = 'order-service'";

/// Clients that place orders and read, for as long as it lives.
struct Load {
    stop: Arc<AtomicBool>,
    clients: JoinSet<()>,
    placed: Arc<AtomicUsize>,
    /// Reads that were not answered with 200 within 2 s.
    unread: Arc<AtomicUsize>,
    read: Arc<AtomicUsize>,
}

impl Load {
    async fn on(server: &Server) -> Self {
        let id = server.place("sku-1").await["id"]
            .as_str()
            .unwrap()
            .to_owned();
        let mut load = Self {
            stop: Arc::default(),
            clients: JoinSet::new(),
            placed: Arc::default(),
            unread: Arc::default(),
            read: Arc::default(),
        };
        for _ in 0..6 {
            let (client, url) = (server.client.clone(), server.url("/api/v1/orders"));
            let (stop, placed) = (Arc::clone(&load.stop), Arc::clone(&load.placed));
            load.clients.spawn(async move {
                while !stop.load(Ordering::SeqCst) {
                    let answer = client.post(&url).json(&order("sku-2")).send().await;
                    match answer.unwrap().status() {
                        201 => _ = placed.fetch_add(1, Ordering::SeqCst),
                        503 => {}
                        other => panic!("{other}"),
                    }
                    tokio::time::sleep(Duration::from_millis(20)).await;
                }
            });
        }
        for path in [
            format!("/api/v1/orders/{id}"),
            "/api/v1/orders?limit=1".to_owned(),
        ] {
            let (client, url) = (server.client.clone(), server.url(&path));
            let (stop, read, unread) = (
                Arc::clone(&load.stop),
                Arc::clone(&load.read),
                Arc::clone(&load.unread),
            );
            load.clients.spawn(async move {
                while !stop.load(Ordering::SeqCst) {
                    let start = Instant::now();
                    let status = client.get(&url).send().await.unwrap().status();
                    if status == 200 && start.elapsed() < Duration::from_secs(2) {
                        read.fetch_add(1, Ordering::SeqCst);
                    } else {
                        unread.fetch_add(1, Ordering::SeqCst);
                    }
                    tokio::time::sleep(Duration::from_millis(50)).await;
                }
            });
        }
        load
    }

    fn placed(&self) -> usize {
        self.placed.load(Ordering::SeqCst)
    }

    fn read(&self) -> usize {
        self.read.load(Ordering::SeqCst)
    }

    /// How many reads were served and how many not since the last call.
    fn reads(&self) -> (usize, usize) {
        let take = |count: &AtomicUsize| count.swap(0, Ordering::SeqCst);
        (take(&self.read), take(&self.unread))
    }

    async fn end(mut self) {
        self.stop.store(true, Ordering::SeqCst);
        while let Some(ended) = self.clients.join_next().await {
            ended.unwrap();
        }
    }
}

/// The most backends of the service that its server showed within `time`.
async fn most_backends(client: &Client, time: Duration) -> i64 {
    let most = AtomicI64::new(0);
    let until = Instant::now() + time;
    while Instant::now() < until {
        let now: i64 = client.query_one(BACKENDS, &[]).await.unwrap().get(0);
        most.fetch_max(now, Ordering::SeqCst);
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    most.into_inner()
}

/// A server that is stopped until this is dropped, also when the test fails.
struct Stopped<'a>(&'a Cluster);

impl<'a> Stopped<'a> {
    fn new(cluster: &'a Cluster) -> Self {
        cluster.signal(libc::SIGSTOP);
        Self(cluster)
    }
}

impl Drop for Stopped<'_> {
    fn drop(&mut self) {
        self.0.signal(libc::SIGCONT);
    }
}

/// One test at a time: each measures what a server under load does in a second.
static ALONE: tokio::sync::Mutex<()> = tokio::sync::Mutex::const_new(());

async fn on_own_cluster() -> (Cluster, Database, Client, Server) {
    let cluster = Cluster::start();
    let database = Database::postgres_in(cluster.url.clone()).await;
    let client = database.client().await;
    let server = Server::start(&database, &LIMITS).await;
    (cluster, database, client, server)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn writes_that_wait_for_a_standby_leave_reads_their_connections() {
    let _alone = ALONE.lock().await;
    let (_cluster, _database, client, server) = on_own_cluster().await;
    let load = Load::on(&server).await;
    let set = |value: &str| format!("ALTER SYSTEM SET synchronous_standby_names = '{value}'");
    client.batch_execute(&set("nobody")).await.unwrap();
    client
        .batch_execute("SELECT pg_reload_conf()")
        .await
        .unwrap();
    tokio::time::sleep(Duration::from_secs(1)).await;
    load.reads();
    let most = most_backends(&client, Duration::from_secs(30)).await;
    assert!(most <= MOST, "{most} backends");
    let (read, unread) = load.reads();
    assert!(
        read > 300 && unread <= read / 50,
        "{read} reads, {unread} not"
    );
    client.batch_execute(&set("")).await.unwrap();
    client
        .batch_execute("SELECT pg_reload_conf()")
        .await
        .unwrap();
    let before = load.placed();
    eventually("writes go on", Duration::from_secs(5), async || {
        load.placed() > before + 10
    })
    .await;
    load.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn backends_that_are_stopped_keep_their_slots() {
    let _alone = ALONE.lock().await;
    let (_cluster, _database, client, server) = on_own_cluster().await;
    let load = Load::on(&server).await;
    let pids = "SELECT pid FROM pg_stat_activity WHERE application_name = 'order-service'
        ORDER BY query ~ 'order_events' LIMIT 4";
    let stopped: Vec<i32> = client
        .query(pids, &[])
        .await
        .unwrap()
        .iter()
        .map(|row| row.get(0))
        .collect();
    for pid in &stopped {
        kill(*pid, libc::SIGSTOP);
    }
    let most = most_backends(&client, Duration::from_secs(5)).await;
    load.reads();
    let most = most.max(most_backends(&client, Duration::from_secs(10)).await);
    assert!(most <= MOST, "{most} backends");
    let (read, unread) = load.reads();
    assert!(
        read > 50 && unread <= read / 50,
        "{read} reads, {unread} not"
    );
    for pid in &stopped {
        kill(*pid, libc::SIGCONT);
    }
    // They end, being cancelled and told to go.
    let left = format!("{BACKENDS} AND pid = ANY($1)");
    eventually("they are gone", Duration::from_secs(8), async || {
        let left: i64 = client.query_one(&left, &[&stopped]).await.unwrap().get(0);
        left == 0
    })
    .await;
    load.end().await;
}

/// The sockets of a process to a port, whatever their state.
fn sockets(pid: i32, port: u16) -> usize {
    let own: Vec<String> = std::fs::read_dir(format!("/proc/{pid}/fd"))
        .unwrap()
        .filter_map(|entry| std::fs::read_link(entry.unwrap().path()).ok())
        .map(|target| target.display().to_string())
        .collect();
    let table = std::fs::read_to_string(format!("/proc/{pid}/net/tcp")).unwrap();
    table
        .lines()
        .skip(1)
        .map(|line| line.split_whitespace().collect::<Vec<_>>())
        .filter(|fields| fields[2].ends_with(&format!(":{port:04X}")))
        .filter(|fields| own.contains(&format!("socket:[{}]", fields[9])))
        .count()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_is_stopped_gets_no_more_sockets_and_is_used_again_when_it_goes_on() {
    let _alone = ALONE.lock().await;
    let (cluster, _database, _client, server) = on_own_cluster().await;
    let load = Load::on(&server).await;
    let stopped = Stopped::new(&cluster);
    let until = Instant::now() + Duration::from_secs(15);
    let mut most = 0;
    while Instant::now() < until {
        most = most.max(sockets(server.pid(), cluster.port()));
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    // One more asks to cancel a statement.
    assert!(most <= 9, "{most} sockets");
    drop(stopped);
    let (placed, read) = (load.placed(), load.read());
    eventually("all is served again", Duration::from_secs(20), async || {
        load.placed() > placed + 10 && load.read() > read + 10
    })
    .await;
    load.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_locked_table_takes_no_connection_from_reads() {
    let _alone = ALONE.lock().await;
    let (_cluster, database, client, server) = on_own_cluster().await;
    let load = Load::on(&server).await;
    let holder = database.client().await;
    holder
        .batch_execute("BEGIN; LOCK TABLE orders IN EXCLUSIVE MODE")
        .await
        .unwrap();
    load.reads();
    let most = most_backends(&client, Duration::from_secs(10)).await;
    assert!(most <= MOST, "{most} backends");
    let (read, unread) = load.reads();
    assert!(
        read > 100 && unread <= read / 50,
        "{read} reads, {unread} not"
    );
    holder.batch_execute("ROLLBACK").await.unwrap();
    let before = load.placed();
    eventually("writes go on", Duration::from_secs(3), async || {
        load.placed() > before + 10
    })
    .await;
    load.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn behind_a_proxy_that_lost_its_other_side_the_backends_stay_bounded() {
    let _alone = ALONE.lock().await;
    let cluster = Cluster::start();
    let database = Database::postgres_in(cluster.url.clone()).await;
    server::migrate(&database);
    let proxy = Proxy::before(&database).await;
    let client = database.client().await;
    let mut variables = vec![("DATABASE_URL", proxy.url())];
    variables.extend(LIMITS);
    variables.push(("POOL_MIN_IDLE", "2"));
    let server = Server::spawn(&variables).await;
    let load = Load::on(&server).await;
    tokio::time::sleep(Duration::from_millis(500)).await;
    let pool = format!("{BACKENDS} AND query !~ 'order_events'");
    let open: i64 = client.query_one(&pool, &[]).await.unwrap().get(0);
    // Closes those beyond the minimum: at least one slot is left.
    assert!(open <= 7, "{open}");
    proxy.silence_open();
    let most = most_backends(&client, Duration::from_secs(15)).await;
    assert!(most <= MOST, "{most} backends");
    load.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn another_server_is_used_at_once_although_the_first_holds_all_connections() {
    let _alone = ALONE.lock().await;
    for timeout in ["1s", "5s"] {
        let (first, second) = (Cluster::start(), Cluster::start());
        let databases = [
            Database::postgres_in(first.url.clone()).await,
            Database::postgres_in(second.url.clone()).await,
        ];
        databases.iter().for_each(server::migrate);
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("url");
        std::fs::write(&file, databases[0].url()).unwrap();
        let mut variables = vec![("DATABASE_URL_FILE", file.to_str().unwrap())];
        variables.extend(LIMITS);
        variables.push(("STATEMENT_TIMEOUT", timeout));
        let server = Server::spawn(&variables).await;
        let load = Load::on(&server).await;
        let stopped = Stopped::new(&first);
        tokio::time::sleep(Duration::from_secs(4)).await;
        std::fs::write(&file, databases[1].url()).unwrap();
        let (placed, start) = (load.placed(), Instant::now());
        eventually("writes are served", Duration::from_secs(5), async || {
            load.placed() > placed + 10
        })
        .await;
        let list = server.get("/api/v1/orders?limit=2").await;
        assert_eq!(list.status(), 200);
        assert!(start.elapsed() < Duration::from_secs(5));
        load.end().await;
        drop(stopped);
    }
}
