//! However PostgreSQL fails, the service never has more connections to it than `POOL_MAX_SIZE` and two, and requests
//! that do not need the failing part are served.

use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Duration, Instant};

use tokio_postgres::Client;

use super::load::Load;
use crate::support::binary::{kill, migrate};
use crate::support::cluster::Cluster;
use crate::support::database::Database;
use crate::support::eventually;
use crate::support::proxy::Proxy;
use crate::support::server::Server;

const SETTINGS: [(&str, &str); 4] = [
    ("POOL_MAX_SIZE", "6"),
    ("POOL_ACQUIRE_TIMEOUT", "1s"),
    ("STATEMENT_TIMEOUT", "1s"),
    ("REQUEST_TIMEOUT", "10s"),
];
/// `POOL_MAX_SIZE`, the readiness check and the listener for events.
const MAX_SERVER_PROCESSES: i64 = 8;

const SERVER_PROCESSES: &str = "SELECT count(*) FROM pg_stat_activity
    WHERE application_name = 'order-service'";

/// The largest number of server processes for the service within `time`.
async fn max_server_processes(client: &Client, time: Duration) -> i64 {
    let most = AtomicI64::new(0);
    let until = Instant::now() + time;
    while Instant::now() < until {
        let now: i64 = client
            .query_one(SERVER_PROCESSES, &[])
            .await
            .unwrap()
            .get(0);
        most.fetch_max(now, Ordering::SeqCst);
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    most.into_inner()
}

/// Checks that the service keeps to its connections for `time`, and that it serves at least `min_served` reads, of which
/// at most one in fifty fails.
async fn expect_reads_served(client: &Client, load: &Load, time: Duration, min_served: usize) {
    load.take_reads();
    let most = max_server_processes(client, time).await;
    assert!(most <= MAX_SERVER_PROCESSES, "{most} server processes");
    let (served, failed) = load.take_reads();
    assert!(
        served > min_served && failed <= served / 50,
        "{served} reads served, {failed} failed"
    );
}

/// Waits until the load creates orders again.
async fn expect_writes_continue(load: &Load, timeout: Duration) {
    let before = load.created();
    eventually("writes continue", timeout, async || {
        load.created() > before + 10
    })
    .await;
}

/// A server that is stopped (SIGSTOP) until this is dropped, also when the test fails.
struct StoppedServer<'a>(&'a Cluster);

impl<'a> StoppedServer<'a> {
    fn new(cluster: &'a Cluster) -> Self {
        cluster.signal(libc::SIGSTOP);
        Self(cluster)
    }
}

impl Drop for StoppedServer<'_> {
    fn drop(&mut self) {
        self.0.signal(libc::SIGCONT);
    }
}

/// These tests run one at a time, because each measures a server under load.
static ONE_AT_A_TIME: tokio::sync::Mutex<()> = tokio::sync::Mutex::const_new(());

async fn start_on_cluster() -> (Cluster, Database, Client, Server) {
    let cluster = Cluster::start();
    let database = cluster.database().await;
    let client = database.client().await;
    let server = Server::start(&database, &SETTINGS).await;
    (cluster, database, client, server)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn writes_that_wait_for_a_standby_leave_connections_for_reads() {
    let _guard = ONE_AT_A_TIME.lock().await;
    let (_cluster, _database, client, server) = start_on_cluster().await;
    let load = Load::on(&server).await;
    let set = |value: &str| format!("ALTER SYSTEM SET synchronous_standby_names = '{value}'");
    client.batch_execute(&set("missing_standby")).await.unwrap();
    client
        .batch_execute("SELECT pg_reload_conf()")
        .await
        .unwrap();
    tokio::time::sleep(Duration::from_secs(1)).await;
    expect_reads_served(&client, &load, Duration::from_secs(30), 300).await;
    client.batch_execute(&set("")).await.unwrap();
    client
        .batch_execute("SELECT pg_reload_conf()")
        .await
        .unwrap();
    expect_writes_continue(&load, Duration::from_secs(5)).await;
    load.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn stopped_server_processes_keep_their_slots() {
    let _guard = ONE_AT_A_TIME.lock().await;
    let (_cluster, _database, client, server) = start_on_cluster().await;
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
    // Requests on the stopped server processes time out first.
    let most = max_server_processes(&client, Duration::from_secs(5)).await;
    assert!(most <= MAX_SERVER_PROCESSES, "{most} server processes");
    expect_reads_served(&client, &load, Duration::from_secs(10), 50).await;
    for pid in &stopped {
        kill(*pid, libc::SIGCONT);
    }
    // They exit: their statements are cancelled and their connections are closed.
    let left = format!("{SERVER_PROCESSES} AND pid = ANY($1)");
    eventually("they have exited", Duration::from_secs(8), async || {
        let left: i64 = client.query_one(&left, &[&stopped]).await.unwrap().get(0);
        left == 0
    })
    .await;
    load.stop().await;
}

/// The number of sockets of a process to a port, in any state.
fn count_sockets(pid: i32, port: u16) -> usize {
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
async fn a_stopped_server_gets_no_more_sockets_and_is_used_again_when_it_continues() {
    let _guard = ONE_AT_A_TIME.lock().await;
    let (cluster, _database, _client, server) = start_on_cluster().await;
    let load = Load::on(&server).await;
    let stopped = StoppedServer::new(&cluster);
    let until = Instant::now() + Duration::from_secs(15);
    let mut most = 0;
    while Instant::now() < until {
        most = most.max(count_sockets(server.pid(), cluster.port()));
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    // Eight connections, and a socket that sends a request to cancel a statement.
    assert!(most <= 9, "{most} sockets");
    drop(stopped);
    let (created, served) = (load.created(), load.served());
    eventually(
        "writes and reads are served again",
        Duration::from_secs(20),
        async || load.created() > created + 10 && load.served() > served + 10,
    )
    .await;
    load.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn writes_that_wait_for_a_locked_table_leave_connections_for_reads() {
    let _guard = ONE_AT_A_TIME.lock().await;
    let (_cluster, database, client, server) = start_on_cluster().await;
    let load = Load::on(&server).await;
    let lock = database.begin("LOCK TABLE orders IN EXCLUSIVE MODE").await;
    expect_reads_served(&client, &load, Duration::from_secs(10), 100).await;
    lock.batch_execute("ROLLBACK").await.unwrap();
    expect_writes_continue(&load, Duration::from_secs(3)).await;
    load.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn behind_a_proxy_that_stops_forwarding_connections_stay_bounded() {
    let _guard = ONE_AT_A_TIME.lock().await;
    let cluster = Cluster::start();
    let database = cluster.database().await;
    migrate(&database);
    let proxy = Proxy::in_front_of(&database).await;
    let client = database.client().await;
    let mut variables = vec![("DATABASE_URL", proxy.url())];
    variables.extend(SETTINGS);
    variables.push(("POOL_MIN_IDLE", "2"));
    let server = Server::spawn(&variables).await;
    let load = Load::on(&server).await;
    tokio::time::sleep(Duration::from_millis(500)).await;
    let pool = format!("{SERVER_PROCESSES} AND query !~ 'order_events'");
    let open: i64 = client.query_one(&pool, &[]).await.unwrap().get(0);
    // The pool closes connections beyond the minimum: at least one slot is free.
    assert!(open <= 7, "{open}");
    proxy.silence_open();
    let most = max_server_processes(&client, Duration::from_secs(15)).await;
    assert!(most <= MAX_SERVER_PROCESSES, "{most} server processes");
    load.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn another_server_is_used_at_once_although_the_stopped_one_holds_all_slots() {
    let _guard = ONE_AT_A_TIME.lock().await;
    for timeout in ["1s", "5s"] {
        let (first, second) = (Cluster::start(), Cluster::start());
        let databases = [first.database().await, second.database().await];
        databases.iter().for_each(migrate);
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("url");
        std::fs::write(&file, databases[0].url()).unwrap();
        let mut variables = vec![("DATABASE_URL_FILE", file.to_str().unwrap())];
        variables.extend(SETTINGS);
        variables.push(("STATEMENT_TIMEOUT", timeout));
        let server = Server::spawn(&variables).await;
        let load = Load::on(&server).await;
        let stopped = StoppedServer::new(&first);
        tokio::time::sleep(Duration::from_secs(4)).await;
        std::fs::write(&file, databases[1].url()).unwrap();
        let (created, start) = (load.created(), Instant::now());
        eventually("writes are served", Duration::from_secs(5), async || {
            load.created() > created + 10
        })
        .await;
        let list = server.get("/api/v1/orders?limit=2").await;
        assert_eq!(list.status(), 200);
        assert!(start.elapsed() < Duration::from_secs(5));
        load.stop().await;
        drop(stopped);
    }
}
