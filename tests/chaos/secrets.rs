//! The password of the database is rotated under load.

use std::time::Duration;

use tempfile::TempDir;
use tokio_postgres::Client;

use super::experiment::Experiment;
use super::service::Service;
use super::traffic::{Options, Traffic};
use crate::support::binary::migrate;
use crate::support::certificates::{reload, write_data_file};
use crate::support::cluster::Cluster;
use crate::support::database::{Database, connect};
use crate::support::eventually;

/// A database whose role `shop` logs in with a password, and the file with its URL.
struct Scene {
    admin: Client,
    database: Database,
    directory: TempDir,
    /// Stops on drop, after the database is removed.
    _cluster: Cluster,
}

impl Scene {
    async fn new() -> Self {
        let cluster = Cluster::start();
        let database = cluster.database().await;
        migrate(&database);
        let admin = connect(&cluster.url).await;
        let role = "CREATE ROLE shop LOGIN SUPERUSER PASSWORD 'password-0'";
        admin.batch_execute(role).await.unwrap();
        let rules =
            "host all postgres 127.0.0.1/32 trust\nhost all shop 127.0.0.1/32 scram-sha-256\n";
        write_data_file(&cluster, "pg_hba.conf", rules.as_bytes()).await;
        reload(&cluster).await;
        let scene = Self {
            admin,
            database,
            directory: tempfile::tempdir().unwrap(),
            _cluster: cluster,
        };
        scene.write_url(0);
        scene
    }

    /// The URL with a password.
    fn url(&self, number: u32) -> String {
        let role = format!("shop:password-{number}@");
        self.database.url().replace("postgres@", &role)
    }

    /// Replaces the file at once, as Kubernetes replaces a mounted secret.
    fn write_url(&self, number: u32) {
        let new = self.directory.path().join("new");
        std::fs::write(&new, self.url(number)).unwrap();
        std::fs::rename(new, self.directory.path().join("url")).unwrap();
    }

    async fn alter_role(&self, number: u32) {
        let alter = format!("ALTER ROLE shop PASSWORD 'password-{number}'");
        self.admin.batch_execute(&alter).await.unwrap();
    }

    fn service(&self) -> Service {
        let file = self.directory.path().join("url");
        Service::on("")
            .with("DATABASE_URL_FILE", file.to_str().unwrap())
            // New connections are opened all the time.
            .with("POOL_MAX_LIFETIME", "1s")
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_password_of_the_database_is_rotated() {
    Experiment::run("rotated password", async |experiment| {
        let scene = Scene::new().await;
        let server = scene.service().start().await;
        let mut options = Options::new(&server.api);
        options.retries = false;
        let traffic = Traffic::start(experiment, &options);
        let rotations = experiment.either(2, 15);
        for number in 1..=rotations {
            tokio::time::sleep(Duration::from_millis(1200)).await;
            traffic.timeline.mark("ALTER ROLE");
            scene.alter_role(number).await;
            // The file changes later than the role.
            tokio::time::sleep(Duration::from_millis(300)).await;
            scene.write_url(number);
        }
        tokio::time::sleep(Duration::from_millis(1200)).await;
        // The old password is rejected, so the connections of the service are new.
        let old = tokio_postgres::connect(&scene.url(0), tokio_postgres::NoTls).await;
        assert!(old.is_err());
        experiment.figure("rotations", rotations);
        traffic
            .expect_nothing_failed(experiment, &scene.database)
            .await;
    })
    .await;
}

/// The control: without the new file, requests fail as soon as a connection is replaced.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "only in `make chaos`"]
async fn without_the_new_file_requests_fail_after_a_rotation() {
    let name = "rotated password without the new file";
    Experiment::run(name, async |experiment| {
        let scene = Scene::new().await;
        let service = scene.service().with("POOL_ACQUIRE_TIMEOUT", "1s");
        let server = service.start().await;
        let mut options = Options::new(&server.api);
        options.retries = false;
        let traffic = Traffic::start(experiment, &options);
        tokio::time::sleep(Duration::from_millis(500)).await;
        traffic.timeline.mark("ALTER ROLE");
        scene.alter_role(1).await;
        let timeline = &traffic.timeline;
        eventually("a request fails", Duration::from_secs(30), async || {
            timeline.counts().unavailable > 0
        })
        .await;
        let (timeline, _) = traffic.stop().await;
        let counts = timeline.counts();
        experiment.figure("failed", counts.failed);
        assert!(counts.wrong.is_empty(), "{counts:?}");
    })
    .await;
}
