//! A service that cannot write to its database is not ready.

use super::expect_reason;
use crate::support::binary::migrate;
use crate::support::cluster::Cluster;
use crate::support::database::Database;
use crate::support::orders::order;
use crate::support::problem::{problem, problem_kind};
use crate::support::server::Server;

#[tokio::test]
async fn a_service_on_a_read_only_database_is_not_ready() {
    let database = Database::postgres().await;
    let server = Server::start(&database, &[]).await;
    expect_reason(&server, None).await;
    let name = database.name().to_owned();
    let admin = database.client().await;
    let writable = "SET default_transaction_read_only = off";
    admin.batch_execute(writable).await.unwrap();
    let alter = format!("ALTER DATABASE {name} SET default_transaction_read_only =");
    let read_only = format!(
        "{alter} on; SELECT pg_terminate_backend(pid) FROM pg_stat_activity
         WHERE datname = current_database() AND pid <> pg_backend_pid()"
    );
    admin.batch_execute(&read_only).await.unwrap();
    expect_reason(&server, Some("read_only")).await;
    let rejected = problem(server.post(&order("sku-1")).await);
    assert_eq!(problem_kind(&rejected), "unavailable");
    // New sessions may write again, so read-only sessions in the pool must not decide.
    admin.batch_execute(&format!("{alter} off")).await.unwrap();
    expect_reason(&server, None).await;
    server.create("afterwards").await;
}

#[tokio::test]
async fn a_service_whose_role_may_not_write_is_not_ready() {
    let cluster = Cluster::start();
    let database = cluster.database().await;
    migrate(&database);
    let grants = "CREATE ROLE reader LOGIN;
        GRANT SELECT ON ALL TABLES IN SCHEMA public TO reader";
    database.execute(grants).await;
    let url = database.url().replace("postgres@", "reader@");
    let server = Server::spawn(&[("DATABASE_URL", &url)]).await;
    expect_reason(&server, Some("read_only")).await;
    let granted = "GRANT INSERT, UPDATE ON ALL TABLES IN SCHEMA public TO reader;
        GRANT USAGE ON ALL SEQUENCES IN SCHEMA public TO reader";
    database.execute(granted).await;
    expect_reason(&server, None).await;
    server.create("sku-1").await;
}

#[tokio::test]
async fn a_service_on_a_standby_is_not_ready() {
    let cluster = Cluster::start();
    let database = cluster.database().await;
    migrate(&database);
    let standby = cluster.standby();
    let url = database.in_copy(&standby).url();
    let server = Server::spawn(&[("DATABASE_URL", &url)]).await;
    expect_reason(&server, Some("read_only")).await;
    assert_eq!(
        problem_kind(&problem(server.post(&order("sku-1")).await)),
        "unavailable"
    );
    assert_eq!(server.status("/api/v1/orders").await, 200);
    standby.promote();
    expect_reason(&server, None).await;
    server.create("sku-1").await;
}

#[tokio::test]
async fn a_service_on_a_read_only_sqlite_database_is_not_ready() {
    let database = Database::sqlite();
    migrate(&database);
    let url = format!("{}?mode=ro", database.url());
    let server = Server::spawn(&[("DATABASE_URL", &url), ("MIGRATE_ON_START", "false")]).await;
    expect_reason(&server, Some("read_only")).await;
    assert_eq!(
        problem_kind(&problem(server.post(&order("sku-1")).await)),
        "unavailable"
    );
    assert_eq!(server.status("/api/v1/orders").await, 200);
}

#[tokio::test]
async fn a_missing_sqlite_file_makes_the_service_not_ready_and_a_new_one_is_used() {
    let database = Database::sqlite();
    let file = database.file();
    let server = Server::start(&database, &[]).await;
    server.create("before").await;
    expect_reason(&server, None).await;
    let moved = format!("{file}.moved");
    for suffix in ["", "-wal", "-shm"] {
        std::fs::rename(format!("{file}{suffix}"), format!("{moved}{suffix}")).unwrap();
    }
    assert_eq!(
        problem_kind(&problem(server.post(&order("lost")).await)),
        "unavailable"
    );
    expect_reason(&server, Some("database_unavailable")).await;
    assert!(
        !std::path::Path::new(&file).exists(),
        "no empty file is created"
    );
    // A new database is put at the same path.
    let other = Database::sqlite();
    migrate(&other);
    std::fs::copy(other.file(), file).unwrap();
    expect_reason(&server, None).await;
    server.create("afterwards").await;
    assert_eq!(database.count("orders").await, 1);
}
