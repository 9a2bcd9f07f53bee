//! The service and the database crash at random moments, and clients retry with their idempotency keys.

use std::sync::Arc;
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

/// Kills the service again and again under load, and starts it again at the same address.
async fn the_service_is_killed(mut experiment: Experiment, database: Database, rounds: u32) {
    migrate(&database);
    let address = free_address();
    let service = Service::on(database.url());
    let mut random = Random(experiment.seed);
    let options = Options::new(&format!("http://{address}"), experiment.seed);
    let mut server = service.start_at(&address).await;
    let traffic = Traffic::start(&options);
    let timeline = Arc::clone(&traffic.timeline);
    for _ in 0..rounds {
        tokio::time::sleep(Duration::from_millis(20 + random.below(200))).await;
        timeline.mark("SIGKILL");
        server.signal(libc::SIGKILL);
        server.wait_for_exit(Duration::from_secs(5)).await;
        server = service.start_at(&address).await;
    }
    let (timeline, ledger) = traffic.stop().await;
    report(&mut experiment, &database, rounds, &timeline, &ledger).await;
    experiment.finish(&timeline);
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
    assert!(counts.wrong.is_empty(), "{counts:?}");
    assert_eq!(verified.lost, 0, "{verified:?}");
    assert_eq!(verified.stored, verified.acknowledged, "{verified:?}");
    assert!(
        counts.no_response + counts.unavailable > 0,
        "no fault was seen: {counts:?}"
    );
    experiment.figure("crashes", rounds);
    experiment.figure("acknowledged orders", verified.acknowledged);
    experiment.figure("lost", verified.lost);
    experiment.figure("doubled", verified.stored - verified.acknowledged);
    experiment.figure("slowest response in seconds", seconds(counts.slowest));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn crashes_of_the_service_on_postgres() {
    let experiment = Experiment::start("crashes of the service on PostgreSQL");
    let rounds = experiment.either(12, 200);
    the_service_is_killed(experiment, Database::postgres().await, rounds).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn crashes_of_the_service_on_sqlite() {
    let experiment = Experiment::start("crashes of the service on SQLite");
    let rounds = experiment.either(8, 100);
    the_service_is_killed(experiment, Database::sqlite(), rounds).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn crashes_of_the_database() {
    let mut experiment = Experiment::start("crashes of PostgreSQL");
    let rounds = experiment.either(3, 20);
    // A crash of the server without fsync loses nothing as long as the operating system lives.
    let cluster = Cluster::start();
    let database = cluster.database().await;
    migrate(&database);
    let server = Service::on(database.url()).start().await;
    let mut random = Random(experiment.seed);
    let traffic = Traffic::start(&Options::new(&server.api, experiment.seed));
    let timeline = Arc::clone(&traffic.timeline);
    for _ in 0..rounds {
        tokio::time::sleep(Duration::from_millis(200 + random.below(800))).await;
        timeline.mark("stop -m immediate");
        cluster.crash();
        cluster.start_again();
    }
    let (timeline, ledger) = traffic.stop().await;
    report(&mut experiment, &database, rounds, &timeline, &ledger).await;
    experiment.finish(&timeline);
}

/// The control: without idempotency keys, retries after a crash would create orders twice.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_idempotency_keys_retries_create_orders_twice() {
    let mut experiment = Experiment::start("crashes of the service without idempotency keys");
    let database = Database::postgres().await;
    migrate(&database);
    let address = free_address();
    let service = Service::on(database.url());
    let mut random = Random(experiment.seed);
    let mut options = Options::new(&format!("http://{address}"), experiment.seed);
    options.idempotency_keys = false;
    let mut server = service.start_at(&address).await;
    let traffic = Traffic::start(&options);
    let timeline = Arc::clone(&traffic.timeline);
    let mut rounds = 0;
    let doubled = loop {
        rounds += 1;
        assert!(rounds <= 200, "no order was created twice");
        tokio::time::sleep(Duration::from_millis(20 + random.below(200))).await;
        timeline.mark("SIGKILL");
        server.signal(libc::SIGKILL);
        server.wait_for_exit(Duration::from_secs(5)).await;
        server = service.start_at(&address).await;
        // Orders whose creation is repeated have the same number.
        let sql = "SELECT count(*) - count(DISTINCT (tenant, metadata->>'order')) FROM orders";
        match database.number(sql).await {
            0 => {}
            doubled => break doubled,
        }
    };
    let (timeline, _) = traffic.stop().await;
    experiment.figure("crashes", rounds);
    experiment.figure("doubled", doubled);
    experiment.finish(&timeline);
}
