//! The database server works and rejects or delays what the service needs.

use std::time::{Duration, Instant};

use tokio_postgres::NoTls;

use super::{Expected, Scene, fault_under_load, run};
use crate::experiment::Experiment;
use crate::support::cluster::Cluster;
use crate::support::small_disk::SmallDisk;

/// A new cluster has about 40 MiB, and its log up to 48 MiB.
const DISK_MIB: u32 = 160;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "only in `make chaos`"]
async fn max_connections_reached() {
    let expected = Expected::perhaps_unnoticed("max_connections reached");
    run(expected, async |scene, duration| {
        scene.terminate_server_processes().await;
        // Other clients take each connection that the service has not opened again.
        let end = Instant::now() + duration;
        let mut taken = Vec::new();
        while Instant::now() < end {
            match tokio_postgres::connect(&scene.cluster.url, NoTls).await {
                Ok((client, connection)) => {
                    tokio::spawn(connection);
                    taken.push(client);
                }
                Err(_) => tokio::time::sleep(Duration::from_millis(10)).await,
            }
        }
        assert!(!taken.is_empty());
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn read_only_database() {
    run(Expected::noticed("read-only"), async |scene, duration| {
        scene
            .configure("default_transaction_read_only", Some("on"))
            .await;
        tokio::time::sleep(duration).await;
        scene.configure("default_transaction_read_only", None).await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "only in `make chaos`"]
async fn orders_are_locked() {
    run(
        Expected::noticed("lock on orders"),
        async |scene, duration| {
            let lock = scene.database.begin("LOCK TABLE orders").await;
            tokio::time::sleep(duration).await;
            lock.batch_execute("ROLLBACK").await.unwrap();
        },
    )
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "only in `make chaos`"]
async fn synchronous_standby_is_gone() {
    run(
        Expected::noticed("synchronous standby gone"),
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

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_disk_of_the_database_is_full() {
    let expected = Expected::noticed("disk full");
    Experiment::run(expected.name, async |experiment| {
        let Some(disk) = SmallDisk::mount(DISK_MIB) else {
            experiment.skip("this user may not mount a file system");
            return;
        };
        let conf = "max_connections = 40\nmin_wal_size = 32MB\nmax_wal_size = 48MB";
        let cluster = Cluster::start_in(disk.path(), &[("POSTGRES_CONF", conf)]);
        let mut scene = Scene::on(cluster, &[]).await;
        let fault = async |scene: &mut Scene, duration| {
            // What is left is smaller than what the clients write during the fault.
            disk.fill_except(256);
            tokio::time::sleep(duration).await;
            disk.free();
            // Without space for its log the server shuts down. A supervisor starts it again.
            scene.cluster.start_if_down();
        };
        fault_under_load(experiment, &mut scene, expected, fault).await;
    })
    .await;
}
