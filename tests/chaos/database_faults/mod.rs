//! Faults of the database and of the way to it, under load.

use std::time::{Duration, Instant};

use tokio_postgres::Client;

use crate::experiment::{Experiment, seconds};
use crate::link::Link;
use crate::service::{MEMORY_MIB, Service};
use crate::support::binary::migrate;
use crate::support::cluster::Cluster;
use crate::support::database::{Database, connect};
use crate::support::server::Server;
use crate::traffic::{Options, Traffic};

/// The timeout of a request, and what a response may take in addition on a busy machine.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(2);
const TOLERANCE: Duration = Duration::from_secs(3);
/// The length of a fault in the short version: longer than [`REQUEST_TIMEOUT`] and the timeout of a retry.
const SHORT_FAULT: Duration = Duration::from_millis(2500);
/// The same in the long version, unless a fault has a length of its own.
const LONG_FAULT: Duration = Duration::from_secs(10);
/// The time from the end of a fault to full service.
const RECOVERY: Duration = Duration::from_secs(5);
const POOL_MAX_SIZE: usize = 10;
/// Besides the pool, one connection for the readiness check and one for notifications.
const CONNECTIONS: usize = POOL_MAX_SIZE + 2;

mod network;
mod processes;
mod refusals;

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
        Self::on(cluster, &[]).await
    }

    /// The service on a cluster, with these variables.
    async fn on(cluster: Cluster, variables: &[(&'static str, &str)]) -> Self {
        let database = cluster.database().await;
        migrate(&database);
        let link = Link::in_front_of(&database).await;
        let timeout = humantime::format_duration(REQUEST_TIMEOUT).to_string();
        let mut service = Service::on(link.url())
            .with("REQUEST_TIMEOUT", timeout)
            .with("POOL_MAX_SIZE", POOL_MAX_SIZE.to_string())
            .with_memory_limit(Some(MEMORY_MIB));
        for (name, value) in variables {
            service = service.with(name, *value);
        }
        let server = service.start().await;
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

    async fn terminate_server_processes(&self) {
        let sql = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity \
                   WHERE application_name = 'order-service'";
        self.admin().await.batch_execute(sql).await.unwrap();
    }

    /// The process id of the service's server process that got the last statement about orders. The pool is likely to
    /// use its session next.
    async fn last_server_process(&self) -> i32 {
        let sql = "SELECT pid FROM pg_stat_activity WHERE application_name = 'order-service' \
                   AND query LIKE '%orders%' ORDER BY query_start DESC LIMIT 1";
        self.admin().await.query_one(sql, &[]).await.unwrap().get(0)
    }

    /// The process ids of the service's server processes.
    async fn server_processes(&self) -> Vec<i32> {
        let sql = "SELECT pid FROM pg_stat_activity \
                   WHERE application_name = 'order-service' ORDER BY pid";
        let rows = self.admin().await.query(sql, &[]).await.unwrap();
        rows.iter().map(|row| row.get(0)).collect()
    }
}

/// How a fault shows, and how it is run.
#[derive(Clone, Copy)]
struct Expected {
    name: &'static str,
    /// Whether the service may serve every request without a 503.
    may_be_unnoticed: bool,
    /// The length of the fault in the long version.
    long: Duration,
}

impl Expected {
    fn noticed(name: &'static str) -> Self {
        Self {
            name,
            may_be_unnoticed: false,
            long: LONG_FAULT,
        }
    }

    fn perhaps_unnoticed(name: &'static str) -> Self {
        Self {
            may_be_unnoticed: true,
            ..Self::noticed(name)
        }
    }

    fn for_half_a_minute(self) -> Self {
        Self {
            long: Duration::from_secs(30),
            ..self
        }
    }
}

/// Runs a fault under load. Clients retry until they succeed. `fault` returns when the fault has ended.
async fn run(expected: Expected, fault: impl AsyncFnOnce(&mut Scene, Duration)) {
    Experiment::run(expected.name, async |experiment| {
        let mut scene = Scene::new().await;
        fault_under_load(experiment, &mut scene, expected, fault).await;
    })
    .await;
}

async fn fault_under_load(
    experiment: &mut Experiment,
    scene: &mut Scene,
    expected: Expected,
    fault: impl AsyncFnOnce(&mut Scene, Duration),
) {
    let mut options = Options::new(&scene.server.api);
    options.deadline = REQUEST_TIMEOUT + TOLERANCE;
    let traffic = Traffic::start(experiment, &options);
    tokio::time::sleep(experiment.seconds(0.3, 3.0)).await;
    traffic.timeline.mark(expected.name);
    fault(scene, experiment.either(SHORT_FAULT, expected.long)).await;
    traffic.timeline.mark("end");
    let ended = Instant::now();
    // The short version ends while requests may still fail. It then fails unless they succeed in time.
    let observed = experiment.either(Duration::from_secs(1), RECOVERY + Duration::from_secs(2));
    tokio::time::sleep(observed).await;
    let connections = scene.server_processes().await.len();
    let (timeline, ledger) = traffic.stop().await;
    let counts = timeline.counts();
    let recovery = timeline.last_failure_after(ended).unwrap_or_default();
    let memory = experiment.peak_memory_mib(&scene.server);
    let verified = ledger.verify(&scene.database).await;
    experiment.figure("responses", timeline.len());
    experiment.figure("503", counts.unavailable);
    experiment.figure("acknowledged orders", verified.acknowledged);
    experiment.figure("lost", verified.lost);
    let name = "last failed request after the end in seconds";
    experiment.figure(name, seconds(recovery));
    experiment.figure("slowest response in seconds", seconds(counts.slowest));
    assert!(counts.wrong.is_empty(), "{counts:?}");
    // The service did not end, so every request has a response.
    assert_eq!(counts.no_response, 0, "{counts:?}");
    assert!(
        expected.may_be_unnoticed || counts.unavailable > 0,
        "no request saw the fault: {counts:?}"
    );
    assert!(
        timeline.ok_since(ended) > 0,
        "no request succeeds after the end: {counts:?}"
    );
    assert!(
        recovery < RECOVERY,
        "{recovery:?} after the end of the fault: {counts:?}"
    );
    assert!(connections <= CONNECTIONS, "{connections} connections");
    assert!(memory <= MEMORY_MIB, "{memory} MiB");
    assert_eq!(
        (verified.lost, verified.stored),
        (0, verified.acknowledged),
        "{verified:?}"
    );
}
