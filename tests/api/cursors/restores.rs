//! Cursors when the database's history changes: failovers, recoveries, retention.

use std::process::Command;
use std::time::Duration;

use serde_json::Value;

use crate::events::{confirm, feed};
use crate::lists::next;
use crate::support::database::{Cluster, Database};
use crate::support::eventually;
use crate::support::server::{Server, migrate, problem, slug};
use crate::support::sse::Stream;

crate::on_both!(
    what_retention_removed_after_it_was_delivered_expires_no_cursor,
    what_retention_removed_unseen_expires_a_cursor,
    an_event_that_is_missing_above_the_floor_expires_a_cursor,
    an_event_that_another_one_replaced_expires_a_cursor,
    an_event_of_the_same_order_and_version_that_happened_at_another_time_expires_a_cursor,
);

/// The link behind everything that there is, once that is `count` events.
async fn read_to_the_end(server: &Server, count: usize) -> String {
    let mut page = server.get("/api/v1/events").await;
    for _ in 0..1_500 {
        if page.json::<Vec<Value>>().len() == count {
            return next(&page).unwrap();
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
        page = server.get("/api/v1/events").await;
    }
    panic!("not {count} events: {page:?}");
}

/// The cursor of a link.
fn cursor(link: &str) -> &str {
    let (_, cursor) = link.split_once("after=").unwrap();
    cursor.split('&').next().unwrap()
}

/// Checks that neither a poller nor a stream may continue at this link, and returns the link to start
/// again from.
async fn expired(server: &Server, link: &str) -> String {
    let gone = problem(server.get(link).await);
    assert_eq!(
        (slug(&gone), gone["status"].as_u64()),
        ("cursor-expired", Some(410))
    );
    let oldest = gone["oldest"].as_str().unwrap();
    let stream = Stream::request(server, Some(cursor(link))).await;
    assert_eq!(stream.status(), 410, "before the stream begins");
    let body: Value = stream.json().await.unwrap();
    assert_eq!(body["oldest"], oldest);
    let head = server.client.head(server.url("/api/v1/events"));
    let head = head.header("accept", "text/event-stream");
    let head = head.header("last-event-id", cursor(link)).send().await;
    assert_eq!(head.unwrap().status(), 410, "HEAD as GET");
    format!("/api/v1/events?after={oldest}")
}

/// Checks that a poller and a stream may continue at this link: the next order, placed now, is what both
/// get.
async fn continues(server: &Server, link: &str) {
    assert_eq!(
        server.get(link).await.json::<Vec<Value>>(),
        Vec::<Value>::new()
    );
    let mut stream = Stream::open(server, Some(cursor(link))).await;
    let order = server.place("next").await;
    assert_eq!(stream.next().await.unwrap().data["data"], order);
    let events = feed(server, link).await;
    assert_eq!(events.len(), 1);
    assert_eq!(events[0]["data"], order);
}

/// Waits for the end of a stream, and returns the last id that came.
async fn ends(stream: &mut Stream) -> String {
    let end = tokio::time::timeout(Duration::from_secs(12), stream.next()).await;
    assert!(end.expect("an end in time").is_none(), "no event");
    stream.last_id.clone().unwrap()
}

/// Moves the floor to the last of the oldest `count` events, as whatever removes them does.
async fn raise_floor(database: &Database, count: usize) {
    let last = |columns: &str, order: &str| {
        format!(
            "SELECT {columns} FROM events ORDER BY {order} LIMIT 1 OFFSET {}",
            count - 1
        )
    };
    let sql = if database.is_postgres() {
        let last = last(
            "position, seq, order_id, version, occurred_at",
            "position, seq",
        );
        format!(
            "UPDATE feed SET (floor_position, floor_seq, floor_order_id, floor_version, floor_occurred_at) = ({last})"
        )
    } else {
        let last = last("seq, order_id, version, occurred_at", "seq");
        format!(
            "UPDATE feed SET (floor_seq, floor_order_id, floor_version, floor_occurred_at) = ({last})"
        )
    };
    database.execute(&sql).await;
}

async fn remove_below_floor(database: &Database) {
    let sql = if database.is_postgres() {
        "DELETE FROM events USING feed WHERE (position, seq) <= (floor_position, floor_seq)"
    } else {
        "DELETE FROM events WHERE seq <= (SELECT floor_seq FROM feed)"
    };
    database.execute(sql).await;
}

async fn what_retention_removed_after_it_was_delivered_expires_no_cursor(database: Database) {
    let server = Server::start(&database, &[]).await;
    for i in 0..5 {
        server.place(&format!("sku-{i}")).await;
    }
    let end = read_to_the_end(&server, 5).await;
    let mut stream = Stream::open(&server, Some(cursor(&end))).await;
    raise_floor(&database, 5).await;
    remove_below_floor(&database).await;
    // Long enough for the stream to look again.
    tokio::time::sleep(Duration::from_millis(1_500)).await;
    assert_eq!(feed(&server, "/api/v1/events").await, Vec::<Value>::new());
    // Where a reader without a cursor is told to continue is as good.
    let page = server.get("/api/v1/events").await;
    assert_eq!(cursor(&next(&page).unwrap()), cursor(&end));
    continues(&server, &end).await;
    assert_eq!(
        stream.next().await.unwrap().data["data"]["product_id"],
        "next"
    );
}

async fn what_retention_removed_unseen_expires_a_cursor(database: Database) {
    let server = Server::start(&database, &[]).await;
    let beginning = next(&server.get("/api/v1/events").await).unwrap();
    for i in 0..6 {
        server.place(&format!("sku-{i}")).await;
    }
    read_to_the_end(&server, 6).await;
    // One that has read two, one that has read four, and one that began when there was nothing.
    let two = next(&server.get("/api/v1/events?limit=2").await).unwrap();
    let four = next(&server.get("/api/v1/events?limit=4").await).unwrap();
    let rest = feed(&server, &four).await;
    raise_floor(&database, 3).await;
    // Also while some of them are still there.
    for _ in 0..2 {
        for link in [&two, &beginning] {
            let oldest = expired(&server, link).await;
            assert_eq!(feed(&server, &oldest).await[1..], rest);
        }
        assert_eq!(feed(&server, &four).await, rest);
        assert_eq!(feed(&server, "/api/v1/events").await[1..], rest);
        remove_below_floor(&database).await;
    }
}

async fn an_event_that_is_missing_above_the_floor_expires_a_cursor(database: Database) {
    let server = Server::start(&database, &[]).await;
    for i in 0..4 {
        server.place(&format!("sku-{i}")).await;
    }
    let end = read_to_the_end(&server, 4).await;
    raise_floor(&database, 2).await;
    remove_below_floor(&database).await;
    let mut stream = Stream::open(&server, Some(cursor(&end))).await;
    database
        .execute("DELETE FROM events WHERE seq = (SELECT max(seq) FROM events)")
        .await;
    // The stream at the head notices, and ends in order.
    assert_eq!(ends(&mut stream).await, cursor(&end));
    let oldest = expired(&server, &end).await;
    assert_eq!(feed(&server, &oldest).await.len(), 1);
}

async fn an_event_that_another_one_replaced_expires_a_cursor(database: Database) {
    let server = Server::start(&database, &[]).await;
    for i in 0..2 {
        server.place(&format!("sku-{i}")).await;
    }
    let end = read_to_the_end(&server, 2).await;
    // Same place, same version, another order: a transaction id that was given once more.
    let other = if database.is_postgres() {
        "gen_random_uuid()"
    } else {
        "randomblob(16)"
    };
    database
        .execute(&format!(
            "UPDATE events SET order_id = {other} WHERE seq = (SELECT max(seq) FROM events)"
        ))
        .await;
    let oldest = expired(&server, &end).await;
    assert_eq!(feed(&server, &oldest).await.len(), 2);
}

async fn an_event_of_the_same_order_and_version_that_happened_at_another_time_expires_a_cursor(
    database: Database,
) {
    let server = Server::start(&database, &[]).await;
    for i in 0..2 {
        server.place(&format!("sku-{i}")).await;
    }
    let end = read_to_the_end(&server, 2).await;
    // A copy of the database in which the same change was made a microsecond later.
    let later = if database.is_postgres() {
        "occurred_at + interval '1 microsecond'"
    } else {
        "occurred_at + 1"
    };
    database
        .execute(&format!(
            "UPDATE events SET occurred_at = {later} WHERE seq = (SELECT max(seq) FROM events)"
        ))
        .await;
    let oldest = expired(&server, &end).await;
    assert_eq!(feed(&server, &oldest).await.len(), 2);
    // The same below the floor: what was removed is not what the reader has seen.
    raise_floor(&database, 2).await;
    remove_below_floor(&database).await;
    expired(&server, &end).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn cursors_survive_a_switchover_that_loses_nothing() {
    let cluster = Cluster::start();
    let database = Database::postgres_in(cluster.url.clone()).await;
    let server = Server::start(&database, &[]).await;
    let standby = cluster.standby();
    let mut last = String::new();
    for i in 0..5 {
        let order = server.place(&format!("sku-{i}")).await;
        last = order["id"].as_str().unwrap().to_owned();
    }
    confirm(&server, &last).await;
    let end = read_to_the_end(&server, 6).await;
    drop(server);
    // The standby has everything when the primary has ended in order.
    cluster.shut_down();
    standby.promote();
    let database = database.same_in(&standby);
    let server = Server::start(&database, &[]).await;
    continues(&server, &end).await;
}

/// Stops a standby from receiving more.
async fn stop_receiving(standby: &Cluster) {
    let client = crate::support::database::connect(&standby.url).await;
    client
        .batch_execute("ALTER SYSTEM SET primary_conninfo = ''")
        .await
        .unwrap();
    client
        .batch_execute("SELECT pg_reload_conf()")
        .await
        .unwrap();
    eventually("nothing is received", Duration::from_secs(10), async || {
        let row = client.query_one("SELECT count(*) FROM pg_stat_wal_receiver", &[]);
        row.await.unwrap().get::<_, i64>(0) == 0
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn readers_of_events_that_a_failover_lost_are_told_so() {
    let cluster = Cluster::start();
    let database = Database::postgres_in(cluster.url.clone()).await;
    let urls = tempfile::tempdir().unwrap();
    let file = urls.path().join("url");
    std::fs::write(&file, database.url()).unwrap();
    let variables = [
        ("DATABASE_URL_FILE", file.to_str().unwrap()),
        ("POOL_MAX_LIFETIME", "1s"),
    ];
    let server = Server::start(&database, &variables).await;
    let kept = server.place("kept").await;
    let behind_kept = read_to_the_end(&server, 1).await;
    let standby = cluster.standby();
    let caught_up = database.same_in(&standby);
    eventually("the standby follows", Duration::from_secs(10), async || {
        caught_up.number("SELECT count(*) FROM events").await == 1
    })
    .await;
    stop_receiving(&standby).await;
    for i in 0..3 {
        server.place(&format!("lost-{i}")).await;
    }
    let behind_lost = read_to_the_end(&server, 4).await;
    let mut stream = Stream::open(&server, Some(cursor(&behind_kept))).await;
    for i in 0..3 {
        let event = stream.next().await.unwrap();
        assert_eq!(event.data["data"]["product_id"], format!("lost-{i}"));
    }

    // An asynchronous failover, while the stream is open.
    cluster.stop();
    standby.promote();
    let database = database.same_in(&standby);
    std::fs::write(&file, database.url()).unwrap();
    assert_eq!(ends(&mut stream).await, cursor(&behind_lost));
    eventually("served again", Duration::from_secs(10), async || {
        server.status("/readyz").await == 200
    })
    .await;
    let oldest = expired(&server, &behind_lost).await;

    // The new history grows beyond the place of the lost reader: still no silent gap.
    let mut all = vec![kept];
    for i in 0..20 {
        all.push(server.place(&format!("new-{i}")).await);
    }
    expired(&server, &behind_lost).await;
    let data = |events: Vec<Value>| -> Vec<Value> {
        events.iter().map(|event| event["data"].clone()).collect()
    };
    assert_eq!(data(feed(&server, &oldest).await), all);
    assert_eq!(data(feed(&server, &behind_kept).await), all[1..]);
}

/// Restores a dump into a young cluster, which counts transactions from the beginning again.
async fn restored(database: &Database, cluster: &Cluster) -> Database {
    let dump = Command::new("pg_dump")
        .arg(database.url())
        .output()
        .unwrap();
    assert!(dump.status.success(), "{dump:?}");
    let restored = Database::postgres_in(cluster.url.clone()).await;
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(&file, dump.stdout).unwrap();
    let load = [
        "-q",
        "-v",
        "ON_ERROR_STOP=1",
        "-f",
        file.path().to_str().unwrap(),
    ];
    let loaded = Command::new("psql").arg(restored.url()).args(load).output();
    let loaded = loaded.unwrap();
    assert!(loaded.status.success(), "{loaded:?}");
    migrate(&restored);
    restored
}

/// A database with many transactions behind it.
async fn old_database(cluster: &Cluster) -> Database {
    let client = crate::support::database::connect(&cluster.url).await;
    for _ in 0..2_000 {
        client
            .batch_execute("SELECT pg_current_xact_id()")
            .await
            .unwrap();
    }
    Database::postgres_in(cluster.url.clone()).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cursor_continues_in_a_database_restored_from_a_dump() {
    let (old, young) = (Cluster::start(), Cluster::start());
    let database = old_database(&old).await;
    let server = Server::start(&database, &[]).await;
    server.place("dumped").await;
    let surviving = read_to_the_end(&server, 1).await;
    let restored = restored(&database, &young).await;
    server.place("after the dump").await;
    let lost = read_to_the_end(&server, 2).await;
    drop(server);
    let server = Server::start(&restored, &[]).await;
    expired(&server, &lost).await;
    continues(&server, &surviving).await;
    expired(&server, &lost).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cursor_continues_in_a_database_restored_without_any_events() {
    let (old, young) = (Cluster::start(), Cluster::start());
    let database = old_database(&old).await;
    let server = Server::start(&database, &[]).await;
    server.place("removed").await;
    let end = read_to_the_end(&server, 1).await;
    raise_floor(&database, 1).await;
    remove_below_floor(&database).await;
    drop(server);
    let restored = restored(&database, &young).await;
    let server = Server::start(&restored, &[]).await;
    // New events stand behind those that were removed.
    continues(&server, &end).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cursor_of_an_older_copy_of_the_file_continues_and_a_newer_one_expires() {
    let database = Database::sqlite();
    let file = database.url().replace("sqlite://", "");
    let copy = format!("{file}.bak");
    let server = Server::start(&database, &[]).await;
    server.place("copied").await;
    let surviving = read_to_the_end(&server, 1).await;
    database.execute(&format!(".backup '{copy}'")).await;
    server.place("after the copy").await;
    let lost = read_to_the_end(&server, 2).await;
    drop(server);
    for suffix in ["-wal", "-shm"] {
        let _ = std::fs::remove_file(format!("{file}{suffix}"));
    }
    std::fs::copy(&copy, &file).unwrap();
    let server = Server::start(&database, &[]).await;
    expired(&server, &lost).await;
    // The sequence of the lost event is given to another one.
    continues(&server, &surviving).await;
    expired(&server, &lost).await;
}

/// Changes the status of an order.
async fn change(server: &Server, id: &str, status: &str) {
    let patch = server
        .client
        .patch(server.url(&format!("/api/v1/orders/{id}")))
        .json(&serde_json::json!({ "status": status }));
    let changed: Value = patch.send().await.unwrap().json();
    assert_eq!(
        (&changed["status"], &changed["version"]),
        (&Value::from(status), &Value::from(2))
    );
}

/// Where the last event stands in the feed.
async fn last_place(database: &Database) -> (i64, i64) {
    let position = if database.is_postgres() {
        "max(position)"
    } else {
        "max(0)"
    };
    let last = |what| format!("SELECT {what} FROM events");
    (
        database.number(&last(position)).await,
        database.number(&last("max(seq)")).await,
    )
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cursor_expires_when_a_restored_file_changes_the_same_order_otherwise() {
    let database = Database::sqlite();
    let file = database.url().replace("sqlite://", "");
    let copy = format!("{file}.bak");
    let server = Server::start(&database, &[]).await;
    let order = server.place("copied").await;
    let id = order["id"].as_str().unwrap();
    database.execute(&format!(".backup '{copy}'")).await;
    change(&server, id, "confirmed").await;
    let lost = read_to_the_end(&server, 2).await;
    let place = last_place(&database).await;
    drop(server);
    for suffix in ["-wal", "-shm"] {
        let _ = std::fs::remove_file(format!("{file}{suffix}"));
    }
    std::fs::copy(&copy, &file).unwrap();
    let server = Server::start(&database, &[]).await;
    change(&server, id, "cancelled").await;
    assert_eq!(last_place(&database).await, place);
    let oldest = expired(&server, &lost).await;
    let events = feed(&server, &oldest).await;
    assert_eq!(events[1]["data"]["status"], "cancelled");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cursor_expires_when_a_cold_copy_of_the_cluster_changes_the_same_order_otherwise() {
    // Nothing else takes transaction ids.
    let cluster = Cluster::start_with(&[("POSTGRES_CONF", "autovacuum = off")]);
    let database = Database::postgres_in(cluster.url.clone()).await;
    let server = Server::start(&database, &[]).await;
    let order = server.place("copied").await;
    let id = order["id"].as_str().unwrap();
    drop(server);
    cluster.shut_down();
    let copy = cluster.data().with_file_name("copy");
    copy_directory(&cluster.data(), &copy);
    cluster.start_again();
    let server = Server::start(&database, &[]).await;
    change(&server, id, "confirmed").await;
    let lost = read_to_the_end(&server, 2).await;
    let place = last_place(&database).await;
    drop(server);
    cluster.shut_down();
    std::fs::remove_dir_all(cluster.data()).unwrap();
    std::fs::rename(&copy, cluster.data()).unwrap();
    cluster.start_again();
    let server = Server::start(&database, &[]).await;
    change(&server, id, "cancelled").await;
    assert_eq!(last_place(&database).await, place);
    let oldest = expired(&server, &lost).await;
    let events = feed(&server, &oldest).await;
    assert_eq!(events[1]["data"]["status"], "cancelled");
}

fn copy_directory(from: &std::path::Path, to: &std::path::Path) {
    let copied = Command::new("cp").arg("-a").args([from, to]).status();
    assert!(copied.unwrap().success());
}
