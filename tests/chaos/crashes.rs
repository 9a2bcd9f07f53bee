//! The service and the database crash at random moments, and clients retry with their idempotency keys.

use std::time::Duration;

use super::experiment::{Experiment, seconds};
use super::ledger::Ledger;
use super::service::{Service, free_address};
use super::timeline::Timeline;
use super::traffic::{Options, Traffic};
use crate::support::binary::migrate;
use crate::support::cluster::Cluster;
use crate::support::database::Database;
use crate::support::random::Random;
use crate::support::server::Server;

/// The longest time that the long versions may take: 200 starts of the service on a busy machine.
const DEADLINE: Duration = Duration::from_secs(400);

/// Kills the service at a random moment, and starts it again at the same address.
async fn crash(
    timeline: &Timeline,
    random: &mut Random,
    mut server: Server,
    service: &Service,
) -> Server {
    tokio::time::sleep(Duration::from_millis(20 + random.below(400))).await;
    timeline.mark("SIGKILL");
    let address = server.address().to_owned();
    server.signal(libc::SIGKILL);
    server.wait_for_exit(Duration::from_secs(5)).await;
    service.start_at(&address).await
}

/// Kills the service again and again under load.
async fn the_service_is_killed(experiment: &mut Experiment, database: Database, rounds: u32) {
    migrate(&database);
    let service = Service::on(database.url());
    let mut server = service.start_at(&free_address()).await;
    let mut random = Random(experiment.seed);
    let options = Options::new(&server.api);
    let traffic = Traffic::start(experiment, &options);
    for _ in 0..rounds {
        server = crash(&traffic.timeline, &mut random, server, &service).await;
    }
    let (timeline, ledger) = traffic.stop().await;
    report(experiment, &database, rounds, &timeline, &ledger).await;
}

/// Fails unless every acknowledged order is stored and every response was right.
async fn report(
    experiment: &mut Experiment,
    database: &Database,
    rounds: u32,
    timeline: &Timeline,
    ledger: &Ledger,
) {
    let (verified, counts) = (ledger.verify(database).await, timeline.counts());
    experiment.figure("crashes", rounds);
    experiment.figure("acknowledged orders", verified.acknowledged);
    experiment.figure("lost", verified.lost);
    experiment.figure("doubled", verified.stored - verified.acknowledged);
    experiment.figure("slowest response in seconds", seconds(counts.slowest));
    assert!(counts.wrong.is_empty(), "{counts:?}");
    assert_eq!(verified.lost, 0, "{verified:?}");
    assert_eq!(verified.stored, verified.acknowledged, "{verified:?}");
    assert!(
        counts.no_response + counts.unavailable > 0,
        "no fault was seen: {counts:?}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn crashes_of_the_service_on_postgres() {
    let name = "crashes of the service on PostgreSQL";
    Experiment::run_within(DEADLINE, name, async |experiment| {
        let rounds = experiment.either(8, 200);
        the_service_is_killed(experiment, Database::postgres().await, rounds).await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn crashes_of_the_service_on_sqlite() {
    let name = "crashes of the service on SQLite";
    Experiment::run_within(DEADLINE, name, async |experiment| {
        let rounds = experiment.either(5, 100);
        the_service_is_killed(experiment, Database::sqlite(), rounds).await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn crashes_of_the_database() {
    Experiment::run_within(DEADLINE, "crashes of PostgreSQL", async |experiment| {
        let rounds = experiment.either(2, 20);
        // A crash of the server without fsync loses nothing as long as the operating system lives.
        let cluster = Cluster::start();
        let database = cluster.database().await;
        migrate(&database);
        let server = Service::on(database.url()).start().await;
        let mut random = Random(experiment.seed);
        let traffic = Traffic::start(experiment, &Options::new(&server.api));
        for _ in 0..rounds {
            tokio::time::sleep(Duration::from_millis(200 + random.below(800))).await;
            traffic.timeline.mark("stop -m immediate");
            cluster.crash();
            cluster.start_again();
        }
        let (timeline, ledger) = traffic.stop().await;
        report(experiment, &database, rounds, &timeline, &ledger).await;
    })
    .await;
}

/// The control: without idempotency keys, retries after a crash create orders twice.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_idempotency_keys_retries_create_orders_twice() {
    let name = "crashes of the service without idempotency keys";
    Experiment::run(name, async |experiment| {
        let database = Database::postgres().await;
        migrate(&database);
        let service = Service::on(database.url());
        let mut server = service.start_at(&free_address()).await;
        let mut random = Random(experiment.seed);
        let mut options = Options::new(&server.api);
        options.idempotency_keys = false;
        let traffic = Traffic::start(experiment, &options);
        let mut rounds = 0;
        let doubled = loop {
            rounds += 1;
            assert!(rounds <= 200, "no order was created twice");
            server = crash(&traffic.timeline, &mut random, server, &service).await;
            // Orders whose creation is repeated have the same number.
            let sql = "SELECT count(*) - count(DISTINCT (tenant, metadata->>'order')) FROM orders";
            match database.number(sql).await {
                0 => {}
                doubled => break doubled,
            }
        };
        traffic.stop().await;
        experiment.figure("crashes", rounds);
        experiment.figure("doubled", doubled);
    })
    .await;
}
