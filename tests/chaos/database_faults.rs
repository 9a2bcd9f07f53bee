//! Faults of the database and of the way to it, under load.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio_postgres::Client;

use super::experiment::{Experiment, seconds};
use super::link::{Link, Network};
use super::service::Service;
use super::traffic::{Options, Traffic};
use crate::support::binary::{kill, migrate};
use crate::support::cluster::Cluster;
use crate::support::database::{Database, connect};
use crate::support::server::Server;

/// The timeout of a request, and what a response may take in addition on a busy machine.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(3);
const TOLERANCE: Duration = Duration::from_secs(2);
/// The time from the end of a fault to full service.
const RECOVERY: Duration = Duration::from_secs(5);
const POOL_MAX_SIZE: usize = 10;
const MEMORY_MIB: usize = 128;

/// The service, its database, and the network between them.
struct Scene {
    cluster: Cluster,
    database: Database,
    link: Link,
    server: Server,
}

impl Scene {
    async fn new() -> Self {
        let cluster = Cluster::start_with(&[("POSTGRES_CONF", "max_connections = 40")]);
        let database = cluster.database().await;
        migrate(&database);
        let link = Link::in_front_of(&database).await;
        let timeout = humantime::format_duration(REQUEST_TIMEOUT).to_string();
        let server = Service::on(link.url())
            .with("REQUEST_TIMEOUT", timeout)
            .with("POOL_MAX_SIZE", POOL_MAX_SIZE.to_string())
            .start()
            .await;
        Self {
            cluster,
            database,
            link,
            server,
        }
    }

    /// A connection that no fault of the network concerns.
    async fn admin(&self) -> Client {
        connect(&self.cluster.url).await
    }

    async fn configure(&self, setting: &str, value: Option<&str>) {
        let client = self.admin().await;
        let set = match value {
            Some(value) => format!("ALTER SYSTEM SET {setting} = '{value}'"),
            None => format!("ALTER SYSTEM RESET {setting}"),
        };
        client.batch_execute(&set).await.unwrap();
        let reload = "SELECT pg_reload_conf()";
        client.batch_execute(reload).await.unwrap();
    }

    /// The process ids of the service's server processes.
    async fn server_processes(&self) -> Vec<i32> {
        let sql = "SELECT pid FROM pg_stat_activity WHERE application_name = 'order-service' ORDER BY pid";
        let rows = self.admin().await.query(sql, &[]).await.unwrap();
        rows.iter().map(|row| row.get(0)).collect()
    }
}

/// Runs a fault under load, which every request survives that is repeated until it succeeds. `fault` returns when the fault has ended.
async fn run(
    name: &'static str,
    may_be_unnoticed: bool,
    fault: impl AsyncFnOnce(&mut Scene, Duration),
) {
    let mut experiment = Experiment::start(name);
    let mut scene = Scene::new().await;
    let mut options = Options::new(&scene.server.api, experiment.seed);
    options.deadline = REQUEST_TIMEOUT + TOLERANCE;
    let traffic = Traffic::start(&options);
    let timeline = Arc::clone(&traffic.timeline);
    tokio::time::sleep(experiment.either(Duration::from_millis(500), Duration::from_secs(5))).await;
    timeline.mark(name);
    fault(
        &mut scene,
        experiment.either(Duration::from_millis(3500), Duration::from_secs(30)),
    )
    .await;
    timeline.mark("end");
    let healed = Instant::now();
    // The short version ends while the service may still recover. It then fails unless it has recovered.
    let observed = experiment.either(Duration::from_secs(2), RECOVERY + Duration::from_secs(5));
    tokio::time::sleep(observed).await;
    let connections = scene.server_processes().await.len();
    assert!(
        connections <= POOL_MAX_SIZE + 2,
        "{connections} connections"
    );
    let (timeline, ledger) = traffic.stop().await;
    let counts = timeline.counts();
    assert!(counts.wrong.is_empty(), "{counts:?}");
    // The service did not end, so every request has a response.
    assert_eq!(counts.no_response, 0, "{counts:?}");
    assert!(
        may_be_unnoticed || counts.unavailable > 0,
        "no request saw the fault: {counts:?}"
    );
    let recovery = timeline.last_failure_after(healed).unwrap_or_default();
    assert!(
        recovery < RECOVERY,
        "{recovery:?} after the end of the fault: {counts:?}"
    );
    let memory = scene.server.peak_memory_mib();
    assert!(memory <= MEMORY_MIB, "{memory} MiB");
    let verified = ledger.verify(&scene.database).await;
    assert_eq!(
        (verified.lost, verified.stored),
        (0, verified.acknowledged),
        "{verified:?}"
    );
    experiment.figure("responses", timeline.len());
    experiment.figure("503", counts.unavailable);
    experiment.figure("lost", verified.lost);
    experiment.figure(
        "last failed request after the end in seconds",
        seconds(recovery),
    );
    experiment.figure("slowest response in seconds", seconds(counts.slowest));
    experiment.figure("memory in MiB", memory);
    experiment.finish(&timeline);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn all_server_processes_are_terminated() {
    run("all server processes terminated", true, async |scene, duration| {
        let admin = scene.admin().await;
        let terminate = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'order-service'";
        let end = Instant::now() + duration;
        while Instant::now() < end {
            admin.batch_execute(terminate).await.unwrap();
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn fast_restart_of_the_database() {
    run("fast restart", false, async |scene, _| {
        scene.cluster.shut_down();
        scene.cluster.start_again();
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_server_process_stops() {
    run(
        "SIGSTOP of one server process",
        true,
        async |scene, duration| {
            let process = scene.server_processes().await[0];
            kill(process, libc::SIGSTOP);
            tokio::time::sleep(duration).await;
            kill(process, libc::SIGCONT);
        },
    )
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn all_server_processes_stop() {
    run(
        "SIGSTOP of all server processes",
        false,
        async |scene, duration| {
            scene.cluster.signal(libc::SIGSTOP);
            tokio::time::sleep(duration).await;
            scene.cluster.signal(libc::SIGCONT);
        },
    )
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn network_cut() {
    run("network cut", false, async |scene, duration| {
        scene.link.set(Network::Cut);
        tokio::time::sleep(duration).await;
        scene.link.set(Network::Works);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn half_open_network() {
    run("network half-open", false, async |scene, duration| {
        scene.link.set(Network::Silent);
        tokio::time::sleep(duration).await;
        scene.link.set(Network::Works);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn latency_beyond_the_timeout() {
    run("5 s of latency", false, async |scene, duration| {
        scene.link.set(Network::Slow(Duration::from_secs(5)));
        tokio::time::sleep(duration).await;
        scene.link.set(Network::Works);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn max_connections_reached() {
    run("max_connections reached", true, async |scene, duration| {
        // The clients that take all connections are faster than the service, whose connections have just ended.
        let admin = scene.admin().await;
        let mut taken = Vec::new();
        let terminate = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'order-service'";
        admin.batch_execute(terminate).await.unwrap();
        while let Ok((client, connection)) = tokio_postgres::connect(&scene.cluster.url, tokio_postgres::NoTls).await {
            tokio::spawn(connection);
            taken.push(client);
        }
        admin.batch_execute(terminate).await.unwrap();
        tokio::time::sleep(duration).await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn read_only_database() {
    run("read-only", false, async |scene, duration| {
        scene
            .configure("default_transaction_read_only", Some("on"))
            .await;
        tokio::time::sleep(duration).await;
        scene.configure("default_transaction_read_only", None).await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn orders_are_locked() {
    run("lock on orders", false, async |scene, duration| {
        let lock = scene.database.begin("LOCK TABLE orders").await;
        tokio::time::sleep(duration).await;
        lock.batch_execute("ROLLBACK").await.unwrap();
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn synchronous_standby_is_gone() {
    run(
        "synchronous standby gone",
        false,
        async |scene, duration| {
            scene
                .configure("synchronous_standby_names", Some("missing"))
                .await;
            tokio::time::sleep(duration).await;
            scene.configure("synchronous_standby_names", None).await;
        },
    )
    .await;
}
