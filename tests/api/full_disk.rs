//! A full disk makes requests fail as unavailable, not as internal errors.

use std::path::Path;
use std::time::Duration;

use crate::support::cluster::Cluster;
use crate::support::eventually;
use crate::support::orders::large_order;
use crate::support::problem::{problem, problem_kind};
use crate::support::server::Server;
use crate::support::small_disk::SmallDisk;

/// Creates orders until the disk is full, and checks that creating works again when there is space.
async fn writes_continue_after_a_full_disk(server: &Server, disk: &SmallDisk) {
    server.create("sku-1").await;
    disk.fill_except(64);
    let large = large_order(5);
    let mut rejected = None;
    for _ in 0..1000 {
        let response = server.post(&large).await;
        if response.status() != 201 {
            rejected = Some(response);
            break;
        }
    }
    let rejected = problem(rejected.expect("the disk is full"));
    assert_eq!(problem_kind(&rejected), "unavailable", "{rejected}");
    assert_eq!(server.status("/api/v1/orders").await, 200);
    let internal: u64 = server.metric("db_errors_total{kind=\"internal\"}").await;
    assert_eq!(internal, 0);
    disk.free();
    eventually(
        "orders are created again",
        Duration::from_secs(5),
        async || server.post(&large).await.status() == 201,
    )
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn on_sqlite_writes_continue_after_a_full_disk() {
    let Some(disk) = SmallDisk::mount(4) else {
        return;
    };
    let url = format!("sqlite://{}", disk.path().join("orders.db").display());
    let server = Server::spawn(&[("DATABASE_URL", &url)]).await;
    writes_continue_after_a_full_disk(&server, &disk).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn on_postgres_writes_continue_after_a_full_disk() {
    let Some(disk) = SmallDisk::mount(8) else {
        return;
    };
    let cluster = Cluster::start();
    let database = cluster.database().await;
    let server = Server::start(&database, &[]).await;
    let directory = disk.path().join("space");
    std::fs::create_dir(&directory).unwrap();
    give_to_server(&directory, &cluster);
    let admin = database.client().await;
    let tablespace = format!("CREATE TABLESPACE small LOCATION '{}'", directory.display());
    admin.batch_execute(&tablespace).await.unwrap();
    for table in ["orders", "events"] {
        let moved = format!("ALTER TABLE {table} SET TABLESPACE small");
        admin.batch_execute(&moved).await.unwrap();
    }
    writes_continue_after_a_full_disk(&server, &disk).await;
    let back = "ALTER TABLE orders SET TABLESPACE pg_default;
        ALTER TABLE events SET TABLESPACE pg_default";
    admin.batch_execute(back).await.unwrap();
}

/// Makes the user of the database server the owner of a directory.
fn give_to_server(directory: &Path, cluster: &Cluster) {
    use std::os::unix::fs::{MetadataExt as _, chown};
    let data = std::fs::metadata(cluster.data()).unwrap();
    chown(directory, Some(data.uid()), Some(data.gid())).unwrap();
}
