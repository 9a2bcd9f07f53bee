//! The primary crashes and a standby is promoted.

use std::time::{Duration, Instant};

use super::experiment::{Experiment, seconds};
use super::service::{Service, Tenant};
use super::traffic::{Options, Traffic};
use crate::support::binary::migrate;
use crate::support::client::{Client, Response};
use crate::support::cluster::Cluster;
use crate::support::database::{Database, connect};
use crate::support::eventually;

/// The longest time without a successful request after a promotion.
const RECOVERY: Duration = Duration::from_secs(5);

/// The URL with both servers.
fn url_of_both(primary: &Cluster, standby: &Cluster, database: &Database) -> String {
    format!(
        "postgres://postgres@127.0.0.1:{},127.0.0.1:{}/{}?target_session_attrs=read-write",
        primary.port(),
        standby.port(),
        database.name()
    )
}

async fn configure(cluster: &Cluster, setting: &str, value: &str) {
    let client = connect(&cluster.url).await;
    let set = format!("ALTER SYSTEM SET {setting} = '{value}'");
    client.batch_execute(&set).await.unwrap();
    let reload = "SELECT pg_reload_conf()";
    client.batch_execute(reload).await.unwrap();
}

/// Waits until the standby is attached with this state of `pg_stat_replication`.
async fn attached(primary: &Cluster, state: &str) {
    let client = connect(&primary.url).await;
    let sql =
        "SELECT count(*) FROM pg_stat_replication WHERE sync_state = $1 AND state = 'streaming'";
    eventually(state, Duration::from_secs(10), async || {
        let row = client.query_one(sql, &[&state]).await.unwrap();
        row.get::<_, i64>(0) == 1
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn synchronous_failover() {
    Experiment::run("synchronous failover", async |experiment| {
        let cluster = Cluster::start();
        let database = cluster.database().await;
        migrate(&database);
        let standby = cluster.standby();
        configure(&cluster, "synchronous_standby_names", "*").await;
        attached(&cluster, "sync").await;
        // After the promotion the standby has no standby of its own.
        configure(&standby, "synchronous_standby_names", "").await;
        let url = url_of_both(&cluster, &standby, &database);
        let server = Service::on(url).start().await;
        let traffic = Traffic::start(experiment, &Options::new(&server.api));
        tokio::time::sleep(experiment.seconds(1.0, 10.0)).await;
        traffic.timeline.mark("primary crashes");
        cluster.crash();
        tokio::time::sleep(Duration::from_secs(1)).await;
        standby.promote();
        traffic.timeline.mark("standby promoted");
        let promoted = Instant::now();
        // The short version ends while requests may still fail. It then fails unless they succeed in time.
        tokio::time::sleep(experiment.either(Duration::from_secs(1), 2 * RECOVERY)).await;
        let (timeline, ledger) = traffic.stop().await;
        let copy = database.in_copy(&standby);
        let verified = ledger.verify(&copy).await;
        let counts = timeline.counts();
        let recovery = timeline.last_failure_after(promoted).unwrap_or_default();
        experiment.figure("acknowledged orders", verified.acknowledged);
        experiment.figure("lost", verified.lost);
        experiment.figure(
            "last failed request after the promotion in seconds",
            seconds(recovery),
        );
        assert!(counts.wrong.is_empty(), "{counts:?}");
        assert_eq!(
            (verified.lost, verified.stored),
            (0, verified.acknowledged),
            "{verified:?}"
        );
        assert!(timeline.ok_since(promoted) > 0, "{counts:?}");
        assert!(recovery < RECOVERY, "{recovery:?} after the promotion");
    })
    .await;
}

/// The response of the feed behind a cursor.
async fn feed_behind(client: &Client, url: &str, cursor: &str) -> Response {
    let request = client.get(format!("{url}/api/v1/events?after={cursor}"));
    let request = request.header("authorization", Tenant::Acme.credential());
    request.send().await.unwrap()
}

/// The cursor of the last event so far.
async fn end_of_feed(client: &Client, url: &str) -> String {
    // The longest page.
    let limit = 100;
    let mut next = format!("{url}/api/v1/events?limit={limit}");
    loop {
        let request = client
            .get(&next)
            .header("authorization", Tenant::Acme.credential());
        let page = request.send().await.unwrap();
        assert_eq!(page.status(), 200, "{page:?}");
        let link = page.next_link().unwrap();
        // So many of these events have less than 1 MiB, so a page that is not full is the last one.
        if page.json::<Vec<serde_json::Value>>().len() < limit {
            let (_, after) = link.split_once("after=").unwrap();
            return after.split('&').next().unwrap().to_owned();
        }
        next = format!("{url}{link}");
    }
}

/// Waits until the standby has replayed what the primary has written so far.
async fn caught_up(primary: &Cluster, standby: &Cluster) {
    let (primary, standby) = (connect(&primary.url).await, connect(&standby.url).await);
    let written = primary
        .query_one("SELECT pg_current_wal_lsn()::text", &[])
        .await
        .unwrap();
    let sql = "SELECT pg_last_wal_replay_lsn() >= $1::text::pg_lsn";
    let written: String = written.get(0);
    eventually(
        "the standby catches up",
        Duration::from_secs(10),
        async || {
            let row = standby.query_one(sql, &[&written]).await.unwrap();
            row.get(0)
        },
    )
    .await;
}

/// What an asynchronous failover loses is known: the cursors of followers expire. This is also the control of the
/// synchronous failover.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn asynchronous_failover() {
    Experiment::run("asynchronous failover", async |experiment| {
        let cluster = Cluster::start();
        let database = cluster.database().await;
        migrate(&database);
        let standby = cluster.standby();
        attached(&cluster, "async").await;
        let url = url_of_both(&cluster, &standby, &database);
        let server = Service::on(url).start().await;
        let mut options = Options::new(&server.api);
        options.only_creates = true;
        let traffic = Traffic::start(experiment, &options);
        tokio::time::sleep(experiment.seconds(1.0, 5.0)).await;
        let client = Client::new();
        let kept = end_of_feed(&client, &server.api).await;
        caught_up(&cluster, &standby).await;
        traffic.timeline.mark("replication stops");
        configure(&standby, "primary_conninfo", "").await;
        tokio::time::sleep(experiment.seconds(1.0, 5.0)).await;
        let lost = end_of_feed(&client, &server.api).await;
        traffic.timeline.mark("primary crashes");
        cluster.crash();
        standby.promote();
        traffic.timeline.mark("standby promoted");
        tokio::time::sleep(experiment.seconds(1.0, 10.0)).await;
        let (timeline, ledger) = traffic.stop().await;
        let copy = database.in_copy(&standby);
        let verified = ledger.verify(&copy).await;
        let counts = timeline.counts();
        experiment.figure("acknowledged orders", verified.acknowledged);
        experiment.figure("lost by replication", verified.lost);
        assert!(counts.wrong.is_empty(), "{counts:?}");
        assert!(
            verified.lost > 0,
            "replication was interrupted, {verified:?}"
        );
        let behind_kept = feed_behind(&client, &server.api, &kept).await;
        assert_eq!(behind_kept.status(), 200, "{behind_kept:?}");
        let behind_lost = feed_behind(&client, &server.api, &lost).await;
        experiment.figure("status of a cursor of a lost event", behind_lost.status());
        assert_eq!(behind_lost.status(), 410, "{behind_lost:?}");
    })
    .await;
}
