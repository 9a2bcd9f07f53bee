//! Passwords and API keys are rotated under load.

use std::sync::Arc;
use std::time::Duration;

use super::experiment::{Experiment, seconds};
use super::service::Service;
use super::traffic::{Options, Traffic};
use crate::support::binary::migrate;
use crate::support::certificates::{reload, write_data_file};
use crate::support::cluster::Cluster;
use crate::support::database::connect;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_password_of_the_database_is_rotated() {
    let mut experiment = Experiment::start("rotated password");
    let cluster = Cluster::start();
    let database = cluster.database().await;
    migrate(&database);
    let admin = connect(&cluster.url).await;
    let role = "CREATE ROLE shop LOGIN SUPERUSER PASSWORD 'password-0'";
    admin.batch_execute(role).await.unwrap();
    let rules = "host all postgres 127.0.0.1/32 trust\nhost all shop 127.0.0.1/32 scram-sha-256\n";
    write_data_file(&cluster, "pg_hba.conf", rules.as_bytes()).await;
    reload(&cluster).await;
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("url");
    let write_url = |number: u32| {
        let role = format!("shop:password-{number}@");
        let new = directory.path().join("new");
        std::fs::write(&new, database.url().replace("postgres@", &role)).unwrap();
        std::fs::rename(new, &file).unwrap();
    };
    write_url(0);
    let server = Service::on("")
        .with("DATABASE_URL_FILE", file.to_str().unwrap())
        // New connections are opened all the time.
        .with("POOL_MAX_LIFETIME", "1s")
        .start()
        .await;
    let mut options = Options::new(&server.api, experiment.seed);
    options.retries = false;
    let traffic = Traffic::start(&options);
    let timeline = Arc::clone(&traffic.timeline);
    let rotations = experiment.either(3, 20);
    for number in 1..=rotations {
        tokio::time::sleep(Duration::from_millis(1500)).await;
        timeline.mark("ALTER ROLE");
        let alter = format!("ALTER ROLE shop PASSWORD 'password-{number}'");
        admin.batch_execute(&alter).await.unwrap();
        // A secret that Kubernetes mounts changes later than the role.
        tokio::time::sleep(Duration::from_millis(300)).await;
        write_url(number);
    }
    tokio::time::sleep(Duration::from_millis(1500)).await;
    // The control: the old password is refused, so the connections of the service are new.
    let old = database.url().replace("postgres@", "shop:password-0@");
    assert!(
        tokio_postgres::connect(&old, tokio_postgres::NoTls)
            .await
            .is_err()
    );
    let (timeline, ledger) = traffic.stop().await;
    let counts = timeline.counts();
    assert_eq!(counts.failed, 0, "{counts:?}");
    let verified = ledger.verify(&database).await;
    assert_eq!(verified.lost, 0, "{verified:?}");
    experiment.figure("rotations", rotations);
    experiment.figure("requests", timeline.len());
    experiment.figure("failed", counts.failed);
    experiment.figure("slowest response in seconds", seconds(counts.slowest));
    experiment.finish(&timeline);
}
