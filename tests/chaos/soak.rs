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
/// The same for the memory in the short version, whose first measurement is before the caches of all connections are
/// filled.
const SHORT_ALLOWED_GROWTH: usize = 25;
/// The time until the first measurement in the long version.
const WARM_UP: Duration = Duration::from_secs(60);

/// The pause between two requests of a client if `CHAOS_SOAK` is set, so that other work can go on for an hour.
const LONG_PAUSE: Duration = Duration::from_millis(100);

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

/// Whether a value grew by more than so many percent, and by more than `allowed`.
fn grew(before: usize, after: usize, percent: usize, allowed: usize) -> bool {
    after > before + (before * percent / 100).max(allowed)
}

/// The length of the long version: five minutes, or the seconds in `CHAOS_SOAK`.
fn long_duration() -> Duration {
    let seconds = std::env::var("CHAOS_SOAK").ok();
    Duration::from_secs(seconds.map_or(300, |it| it.parse().unwrap()))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn soak() {
    let deadline = long_duration() + Duration::from_secs(120);
    Experiment::run_within(deadline, "soak", async |experiment| {
        let database = Database::postgres().await;
        migrate(&database);
        let server = Service::on(database.url()).start().await;
        let mut options = Options::new(&server.api);
        if std::env::var_os("CHAOS_SOAK").is_some() {
            options.pause = LONG_PAUSE;
        }
        let traffic = Traffic::start(experiment, &options);
        let short = Duration::from_secs(3);
        tokio::time::sleep(experiment.either(short, WARM_UP)).await;
        let before = held(&server, &database).await;
        let rest = long_duration().saturating_sub(WARM_UP);
        tokio::time::sleep(experiment.either(short, rest)).await;
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
        let percent = experiment.either(SHORT_ALLOWED_GROWTH, ALLOWED_GROWTH);
        assert!(
            !grew(before.memory_kib, after.memory_kib, percent, 0),
            "{before:?} {after:?}"
        );
        // A client may open a connection for a request while the previous one is being closed.
        assert!(
            !grew(before.descriptors, after.descriptors, ALLOWED_GROWTH, 2),
            "{before:?} {after:?}"
        );
        assert!(
            !grew(before.connections, after.connections, ALLOWED_GROWTH, 1),
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
