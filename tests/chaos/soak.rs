//! Mixed load for minutes: memory, file descriptors and connections to the database do not grow.

use std::time::Duration;

use super::experiment::Experiment;
use super::service::Service;
use super::traffic::{Options, Traffic};
use crate::support::binary::migrate;
use crate::support::database::Database;
use crate::support::server::Server;

/// Growth that is allowed, in percent.
const ALLOWED_GROWTH: usize = 5;
/// Memory that a page of the allocator may add to a small process, in KiB.
const ALLOWED_KIB: usize = 2048;

/// What the service holds.
#[derive(Clone, Copy, Debug)]
struct Held {
    memory_kib: usize,
    descriptors: usize,
    connections: usize,
}

async fn held(server: &Server, database: &Database) -> Held {
    let descriptors = std::fs::read_dir(format!("/proc/{}/fd", server.pid())).unwrap();
    let connections = "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'order-service' \
                       AND datname = current_database()";
    Held {
        memory_kib: server.resident_memory_kib(),
        descriptors: descriptors.count(),
        connections: usize::try_from(database.number(connections).await).unwrap(),
    }
}

fn grew(before: usize, after: usize, allowed: usize) -> bool {
    after > before + (before * ALLOWED_GROWTH / 100).max(allowed)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn soak() {
    let deadline = Duration::from_secs(420);
    Experiment::run_within(deadline, "soak", async |experiment| {
        let database = Database::postgres().await;
        migrate(&database);
        let server = Service::on(database.url()).start().await;
        let traffic = Traffic::start(experiment, &Options::new(&server.api));
        tokio::time::sleep(experiment.seconds(3.0, 60.0)).await;
        let before = held(&server, &database).await;
        tokio::time::sleep(experiment.seconds(3.0, 240.0)).await;
        let after = held(&server, &database).await;
        let (timeline, ledger) = traffic.stop().await;
        let counts = timeline.counts();
        let verified = ledger.verify(&database).await;
        experiment.figure("requests", timeline.len());
        experiment.figure("failed", counts.failed);
        experiment.figure("memory in KiB before", before.memory_kib);
        experiment.figure("memory in KiB after", after.memory_kib);
        experiment.figure("descriptors before", before.descriptors);
        experiment.figure("descriptors after", after.descriptors);
        experiment.figure("database connections before", before.connections);
        experiment.figure("database connections after", after.connections);
        assert_eq!(counts.failed, 0, "{counts:?}");
        assert!(
            !grew(before.memory_kib, after.memory_kib, ALLOWED_KIB),
            "{before:?} {after:?}"
        );
        // A client may open a connection for a request while the previous one is being closed.
        assert!(
            !grew(before.descriptors, after.descriptors, 2),
            "{before:?} {after:?}"
        );
        assert!(
            !grew(before.connections, after.connections, 1),
            "{before:?} {after:?}"
        );
        assert_eq!(
            (verified.lost, verified.stored),
            (0, verified.acknowledged),
            "{verified:?}"
        );
    })
    .await;
}
