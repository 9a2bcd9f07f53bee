//! Three processes behind a balancer are replaced one by one, with a migration in between.

use std::process::Command;
use std::time::Duration;

use super::balancer::Balancer;
use super::experiment::{Experiment, seconds};
use super::service::{Service, Tenant};
use super::timeline::{Counts, Timeline};
use super::traffic::{Options, Traffic};
use crate::support::binary::migrate;
use crate::support::client::Client;
use crate::support::database::Database;
use crate::support::event_stream::EventStream;
use crate::support::eventually;
use crate::support::server::Server;

const REPLICAS: usize = 3;

/// How long the balancer sends requests to a process after SIGTERM.
const LAG: Duration = Duration::from_millis(700);
/// More than the lag, also when the test is not scheduled for a second.
const DRAIN_DELAY: &str = "2500ms";

/// Starts a process and makes it an endpoint when it is ready.
async fn add(service: &Service, balancer: &Balancer) -> Server {
    let server = service.start().await;
    eventually(
        "the process is ready",
        Duration::from_secs(10),
        async || server.status("/readyz").await == 200,
    )
    .await;
    balancer.add(server.address());
    server
}

/// Applies a migration that the running processes do not have: it adds a column.
fn expand(database: &Database) {
    let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR"));
    let directory = tempfile::tempdir().unwrap();
    let copy = Command::new("cp")
        .arg("-r")
        .arg(root.join("migrations/postgres"))
        .arg(directory.path().join("migrations"))
        .status();
    assert!(copy.unwrap().success());
    let new = directory
        .path()
        .join("migrations/2099-01-01-000000_add_note");
    std::fs::create_dir(&new).unwrap();
    let up = "SET lock_timeout = '1s'; ALTER TABLE orders ADD COLUMN note text;";
    std::fs::write(new.join("up.sql"), up).unwrap();
    std::fs::write(new.join("down.sql"), "ALTER TABLE orders DROP COLUMN note;").unwrap();
    let diesel = root.join("target/tools/bin/diesel");
    assert!(diesel.exists(), "no {}: run `make tools`", diesel.display());
    let config = directory.path().join("diesel.toml");
    std::fs::write(&config, "").unwrap();
    let out = Command::new(diesel)
        .args(["migration", "run", "--migration-dir"])
        .arg(directory.path().join("migrations"))
        .env("DIESEL_CONFIG_FILE", config)
        .env("DATABASE_URL", database.url())
        .output()
        .unwrap();
    assert!(out.status.success(), "{out:?}");
}

/// Follows the feed of a tenant through the balancer, and opens the stream again when it ends. Returns the ids of the
/// events in the order in which they arrived, and how often the stream was opened.
async fn follow(
    url: String,
    tenant: Tenant,
    wanted: tokio::sync::watch::Receiver<Option<usize>>,
) -> (Vec<String>, usize) {
    let client = Client::new();
    let (mut last, mut seen, mut opened) = (None::<String>, Vec::new(), 0);
    let is_done = |seen: &Vec<String>| wanted.borrow().is_some_and(|wanted| seen.len() >= wanted);
    while !is_done(&seen) {
        let stream = EventStream::open_at(&client, &url, &tenant.key(), last.as_deref()).await;
        let Some(mut stream) = stream else {
            tokio::time::sleep(Duration::from_millis(50)).await;
            continue;
        };
        opened += 1;
        while !is_done(&seen) {
            let next = tokio::time::timeout(Duration::from_millis(200), stream.next()).await;
            match next {
                Ok(Some(event)) => seen.push(event.data["id"].as_str().unwrap().to_owned()),
                Ok(None) => break,
                Err(_) => {}
            }
        }
        last = stream.last_id.clone().or(last);
    }
    (seen, opened)
}

/// Waits until the clients have the responses to this number of requests.
async fn sent(timeline: &Timeline, requests: usize) {
    let what = format!("{requests} requests");
    eventually(&what, Duration::from_secs(120), async || {
        timeline.len() >= requests
    })
    .await;
}

/// Replaces the processes under load. Returns what the clients saw, of which at least `requests` are requests.
async fn roll(experiment: &mut Experiment, drain_delay: &str, requests: usize) -> Counts {
    let database = Database::postgres().await;
    migrate(&database);
    let service = Service::on(database.url())
        .with("DRAIN_DELAY", drain_delay)
        .with("POOL_MAX_SIZE", "10");
    let balancer = Balancer::start().await;
    let mut old = Vec::new();
    for _ in 0..REPLICAS {
        old.push(add(&service, &balancer).await);
    }
    let mut options = Options::new(&balancer.url);
    options.retries = false;
    let traffic = Traffic::start(experiment, &options);
    let (wanted, receiver) = tokio::sync::watch::channel(None);
    let follower = tokio::spawn(follow(balancer.url.clone(), Tenant::Acme, receiver));
    let timeline = &traffic.timeline;
    tokio::time::sleep(Duration::from_millis(500)).await;
    let mut new = Vec::new();
    for (number, mut leaving) in old.into_iter().enumerate() {
        sent(timeline, requests * (number + 1) / (REPLICAS + 1)).await;
        if number == 1 {
            timeline.mark("migration");
            expand(&database);
        }
        new.push(add(&service, &balancer).await);
        timeline.mark("SIGTERM");
        leaving.signal(libc::SIGTERM);
        tokio::time::sleep(LAG).await;
        balancer.remove(leaving.address());
        let status = leaving.wait_for_exit(Duration::from_secs(30)).await;
        assert_eq!(status.code(), Some(0));
    }
    sent(timeline, requests).await;
    let (timeline, ledger) = traffic.stop().await;
    let counts = timeline.counts();
    let verified = ledger.verify(&database).await;
    let events = "SELECT count(*) FROM events WHERE tenant = 'acme'";
    let events = usize::try_from(database.number(events).await).unwrap();
    wanted.send_replace(Some(events));
    let followed = tokio::time::timeout(Duration::from_secs(30), follower).await;
    let (seen, opened) = followed.expect("the follower sees all events").unwrap();
    let mut distinct = seen.clone();
    distinct.sort_unstable();
    distinct.dedup();
    experiment.figure("requests", timeline.len());
    experiment.figure("failed", counts.failed);
    experiment.figure("acknowledged orders", verified.acknowledged);
    experiment.figure("lost", verified.lost);
    experiment.figure("streamed events", seen.len());
    experiment.figure("streams", opened);
    experiment.figure("slowest response in seconds", seconds(counts.slowest));
    assert_eq!(verified.lost, 0, "{verified:?}");
    assert_eq!(
        (seen.len(), distinct.len()),
        (events, events),
        "each event arrives once"
    );
    assert!(opened > 1, "no stream was interrupted");
    counts
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rolling_update() {
    Experiment::run("rolling update", async |experiment| {
        let requests = experiment.either(1_500, 20_000);
        let counts = roll(experiment, DRAIN_DELAY, requests).await;
        assert!(counts.ok > 0 && counts.failed == 0, "{counts:?}");
    })
    .await;
}

/// The control: processes that end at once are still sent requests.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rolling_update_without_a_drain_delay_fails_requests() {
    let name = "rolling update without DRAIN_DELAY";
    Experiment::run(name, async |experiment| {
        let requests = experiment.either(500, 5_000);
        let counts = roll(experiment, "0s", requests).await;
        assert!(counts.failed > 0, "no request failed: {counts:?}");
    })
    .await;
}
