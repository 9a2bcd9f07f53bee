//! What exports take from other requests.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::time::{Duration, Instant};

use tokio::task::JoinSet;

use super::{A_PART, LARGE, ORDERS, create_all, exports};
use crate::response_budget::{buffered_bytes, create_large_orders};
use crate::support::database::Database;
use crate::support::event_stream::EventStream;
use crate::support::eventually;
use crate::support::export::{End, Export, request};
use crate::support::orders::order;
use crate::support::principals::{credential, get_as, with_principals};
use crate::support::server::Server;

crate::on_both!(
    exports_and_event_streams_share_max_streams,
    exports_of_one_principal_read_their_pages_in_turn,
    lists_of_others_are_served_during_many_exports,
);

async fn exports_and_event_streams_share_max_streams(database: Database) {
    let (server, _file) = with_principals(&database, &[("MAX_STREAMS", "6")]).await;
    create_large_orders(&server, LARGE).await;
    let mut open = Vec::new();
    let mut streams = Vec::new();
    // Alone, a principal may open half of them, and less when others are active.
    for (principal, accepted, next) in [("a", 3, 429), ("b", 2, 429), ("c", 1, 429), ("d", 0, 503)]
    {
        for _ in 0..accepted {
            if principal == "b" {
                let stream = EventStream::request_as(&server, principal).await;
                assert_eq!(stream.status(), 200);
                streams.push(stream);
            } else {
                let mut export = Export::open_as(&server, principal, ORDERS).await;
                assert_eq!(export.status().await, 200, "{principal}");
                open.push(export);
            }
        }
        let mut rejected = Export::open_as(&server, principal, ORDERS).await;
        assert_eq!(rejected.status().await, next, "{principal}");
        let rejected = EventStream::request_as(&server, principal).await;
        assert_eq!(rejected.status(), next, "{principal}");
    }
    let metrics = (
        exports(&server).await,
        server.metric::<i64>("event_streams").await,
    );
    assert_eq!(metrics, (4, 2));
    // HEAD and pages do not count as streams.
    let head = request(
        ORDERS,
        "1.1",
        &format!("Authorization: {}\r\n", credential("d")),
    );
    let mut head = Export::send(&server, &head.replace("GET", "HEAD")).await;
    assert_eq!(head.status().await, 200);
    assert_eq!(
        get_as(&server, "d", "/api/v1/orders?limit=1")
            .await
            .status(),
        200
    );
    // An export that is complete releases its permit although its connection stays open.
    let complete = open.pop().unwrap().end().await;
    assert_eq!(complete.complete().len(), LARGE);
    eventually(
        "another export is accepted",
        Duration::from_secs(5),
        async || Export::open_as(&server, "d", ORDERS).await.status().await == 200,
    )
    .await;
    drop(streams);
    drop(open);
    eventually("all have ended", Duration::from_secs(5), async || {
        exports(&server).await == 0
    })
    .await;
}

async fn exports_of_one_principal_read_their_pages_in_turn(database: Database) {
    const EXPORTS: usize = 12;
    // The share of the only principal is two pages.
    let variables = [("RESPONSE_BUFFER_BYTES", "4000000")];
    let server = Server::start(&database, &variables).await;
    create_large_orders(&server, LARGE).await;
    create_all(&server, (0..100).map(|i| order(&format!("small-{i}")))).await;
    // The first pages are small, so all exports begin.
    let begin = async || {
        let mut export = Export::open(&server, ORDERS).await;
        (export.status().await == 200).then_some(export)
    };
    let mut open = Vec::new();
    for _ in 0..EXPORTS {
        open.push(begin());
    }
    let open = futures_util::future::join_all(open).await;
    let open: Vec<_> = open.into_iter().flatten().collect();
    assert!(open.len() > EXPORTS / 2, "{} exports", open.len());
    let received: Arc<[_]> = open.iter().map(|_| AtomicUsize::new(0)).collect();
    let mut reading = JoinSet::new();
    for (number, mut export) in open.into_iter().enumerate() {
        let received = Arc::clone(&received);
        reading.spawn(async move {
            while !export.is_complete() {
                export.read_bytes(export.received() + 1).await;
                received[number].store(export.received(), Relaxed);
            }
            export.end().await
        });
    }
    let first = reading.join_next().await.unwrap().unwrap();
    let least = received.iter().map(|bytes| bytes.load(Relaxed)).min();
    assert_eq!(first.complete().len(), LARGE + 100);
    // The others are about a page behind at most, and have received one of the three large pages or more.
    assert!(least.unwrap() > 1_000_000, "{received:?}");
    while let Some(ended) = reading.join_next().await {
        assert_eq!(ended.unwrap().complete().len(), LARGE + 100);
    }
}

async fn lists_of_others_are_served_during_many_exports(database: Database) {
    let variables = [("POOL_MAX_SIZE", "6"), ("MAX_STREAMS", "200")];
    let (server, _file) = with_principals(&database, &variables).await;
    create_large_orders(&server, LARGE).await;
    let server = Arc::new(server);
    let reading: Vec<_> = (0..24)
        .map(|_| {
            let server = Arc::clone(&server);
            tokio::spawn(async move {
                let mut export = Export::open_as(&server, "a", ORDERS).await;
                export.end().await
            })
        })
        .collect();
    eventually(
        "many exports are open",
        Duration::from_secs(5),
        async || exports(&server).await > 12,
    )
    .await;
    let mut slowest = Duration::ZERO;
    let mut lists = 0;
    while !reading.iter().all(tokio::task::JoinHandle::is_finished) {
        let start = Instant::now();
        let list = get_as(&server, "b", "/api/v1/orders?limit=5").await;
        assert_eq!(list.status(), 200);
        slowest = slowest.max(start.elapsed());
        lists += 1;
    }
    eprintln!("{lists} lists, the slowest in {slowest:?}");
    assert!(
        lists > 5 && slowest < Duration::from_secs(5),
        "{lists} {slowest:?}"
    );
    let mut complete = 0;
    for export in reading {
        let ended = export.await.unwrap();
        // While the share of response bytes is used up, a new export is rejected like a page.
        if ended.status == 200 {
            assert_eq!(ended.complete().len(), LARGE);
            complete += 1;
        } else {
            assert_eq!(ended.status, 429);
        }
    }
    assert!(complete > 10, "{complete} of 24");
}

#[tokio::test]
async fn an_export_that_is_not_read_is_cut_off_after_half_a_minute_and_a_slow_one_is_not() {
    let server = Server::on_sqlite(&[]).await;
    create_large_orders(&server, LARGE).await;
    let mut unread = Export::open(&server, ORDERS).await;
    let mut slow = Export::open(&server, ORDERS).await;
    unread.read_bytes(12).await;
    slow.read_bytes(A_PART).await;
    let start = Instant::now();
    assert!(buffered_bytes(&server).await > 1 << 20, "two pages");
    let mut bytes = A_PART;
    while start.elapsed() < Duration::from_secs(27) {
        tokio::time::sleep(Duration::from_secs(2)).await;
        bytes += 20_000;
        slow.read_bytes(bytes).await;
    }
    assert_eq!(exports(&server).await, 2, "both are open");
    eventually("one is cut off", Duration::from_secs(8), async || {
        exports(&server).await == 1
    })
    .await;
    let cut = unread.end().await;
    assert_ne!(cut.end, End::LastChunk);
    assert!(cut.lines().len() < LARGE);
    for _ in 0..3 {
        tokio::time::sleep(Duration::from_secs(2)).await;
        bytes += 20_000;
        slow.read_bytes(bytes).await;
    }
    assert_eq!(slow.end().await.complete().len(), LARGE);
}
