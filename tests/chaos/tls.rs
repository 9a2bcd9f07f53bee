//! Connections to the database with `sslmode=verify-full`.

use std::time::Duration;

use super::experiment::Experiment;
use super::service::Service;
use super::traffic::{Options, Traffic};
use crate::support::binary::{migrate, run_on, stderr};
use crate::support::certificates::{Certificates, serve_certificate};
use crate::support::cluster::Cluster;
use crate::support::database::{Database, connect};

/// The URL of a database whose server is verified as `host` with the certificate of the authority `ca`.
fn verified(database: &Database, certificates: &Certificates, host: &str, ca: &str) -> String {
    let file = certificates.path(&format!("{ca}.crt"));
    format!(
        "{}?host={host}&hostaddr=127.0.0.1&sslmode=verify-full&sslrootcert={}",
        database.url(),
        file.display()
    )
}

/// Fails unless a connection is rejected for this reason.
fn expect_rejected(url: &str, reason: &str) {
    let out = run_on(url, &["migrate", "--check"]);
    let text = stderr(&out);
    assert_eq!(out.status.code(), Some(3), "{url}: {text}");
    assert!(text.contains(reason), "{url}: {text}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_server_of_the_database_is_verified() {
    Experiment::run("verify-full", async |experiment| {
        let (cluster, certificates) = (Cluster::start(), Certificates::new());
        let database = cluster.database().await;
        migrate(&database);
        for authority in ["ca", "unknown"] {
            certificates.self_signed(authority, &format!("/CN={authority}"), &[]);
        }
        let name = "subjectAltName=DNS:db.example";
        certificates.signed("server", "/CN=server", "ca", name);
        serve_certificate(&cluster, &certificates, "server", None).await;
        let url = verified(&database, &certificates, "db.example", "ca");
        let server = Service::on(url).start().await;
        let mut options = Options::new(&server.api);
        options.retries = false;
        let traffic = Traffic::start(experiment, &options);
        tokio::time::sleep(experiment.seconds(1.0, 10.0)).await;
        let plain = "SELECT count(*) FROM pg_stat_ssl JOIN pg_stat_activity USING (pid) \
                     WHERE application_name = 'order-service' AND NOT ssl";
        let plain = connect(&cluster.url).await.query_one(plain, &[]).await;
        let plain: i64 = plain.unwrap().get(0);
        experiment.figure("sessions without TLS", plain);
        traffic.expect_nothing_failed(experiment, &database).await;
        assert_eq!(plain, 0);
        // The controls: the same settings with one difference.
        let wrong_host = verified(&database, &certificates, "other.example", "ca");
        expect_rejected(&wrong_host, "not valid for name");
        let unknown = verified(&database, &certificates, "db.example", "unknown");
        expect_rejected(&unknown, "UnknownIssuer");
        let without_tls = "ALTER SYSTEM SET ssl = off; SELECT pg_reload_conf()";
        let admin = connect(&cluster.url).await;
        for statement in without_tls.split(';') {
            admin.batch_execute(statement).await.unwrap();
        }
        tokio::time::sleep(Duration::from_millis(500)).await;
        let plain_server = verified(&database, &certificates, "db.example", "ca");
        expect_rejected(&plain_server, "server does not support TLS");
        experiment.figure("rejected connections of three kinds", 3);
    })
    .await;
}
