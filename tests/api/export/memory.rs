//! Exports that clients do not read take a bounded amount of memory.

use std::time::Duration;

use super::{ORDERS, create_all, exports};
use crate::response_budget::{buffered_bytes, create_large_orders};
use crate::support::database::Database;
use crate::support::eventually;
use crate::support::export::Export;
use crate::support::orders::order;
use crate::support::principals::{PRINCIPALS, with_principals};

crate::on_both!(unread_exports_take_a_bounded_amount_of_memory_and_all_are_completed);

/// The limit for a build without optimisation.
const MAX_MEMORY_MIB: usize = 160;

/// The second pages of all exports together would take 100 MiB. The first pages are small, so most exports begin, and
/// their second pages wait for the response budget.
async fn unread_exports_take_a_bounded_amount_of_memory_and_all_are_completed(database: Database) {
    const EXPORTS: usize = 100;
    const BUDGET: usize = 32 << 20;
    let (server, _file) = with_principals(&database, &[]).await;
    create_large_orders(&server, 25).await;
    create_all(&server, (0..100).map(|i| order(&format!("small-{i}")))).await;
    // All exports wait for their first page, and then for their second one, with the whole budget still free.
    let lock = if database.is_postgres() {
        let lock = "LOCK TABLE orders IN ACCESS EXCLUSIVE MODE";
        Some(database.begin(lock).await)
    } else {
        None
    };
    let requests = (0..EXPORTS).map(async |number| {
        let principal = PRINCIPALS[number % PRINCIPALS.len()];
        let mut export = Export::open_as(&server, principal, ORDERS).await;
        (export.status().await, export)
    });
    // Those that are late are rejected, because others have used up the budget with their second page.
    let unlock = async {
        if let Some(lock) = lock {
            eventually("all exports wait", Duration::from_secs(3), async || {
                usize::try_from(exports(&server).await) == Ok(EXPORTS)
            })
            .await;
            lock.batch_execute("COMMIT").await.unwrap();
        }
    };
    let (mut unread, ()) = tokio::join!(futures_util::future::join_all(requests), unlock);
    unread.retain(|(status, _)| *status == 200);
    let begun = unread.len();
    assert!(begun > 50, "{begun} exports");
    // Until no page is read any more.
    let mut buffered = 0;
    for second in 0.. {
        tokio::time::sleep(Duration::from_secs(1)).await;
        let now = buffered_bytes(&server).await;
        if now == std::mem::replace(&mut buffered, now) && now > BUDGET / 2 {
            break;
        }
        assert!(second < 30, "{now} bytes");
    }
    assert_eq!(exports(&server).await, i64::try_from(begun).unwrap());
    // Two pages may be read after the last check. Each of the two workers may then have a page whose permit it has
    // returned and which it has not counted yet.
    assert!(buffered <= BUDGET + (4 << 20), "{buffered} bytes");
    assert_eq!(server.status("/readyz").await, 200);
    // The exports of every principal wait, so its next one is rejected, as a large page would be.
    let mut rejected = Export::open_as(&server, "a", ORDERS).await;
    assert!([429, 503].contains(&rejected.status().await));
    eprintln!("{begun} exports, {buffered} bytes");
    let ended = unread
        .into_iter()
        .map(async |(_, mut export)| export.end().await);
    for export in futures_util::future::join_all(ended).await {
        assert_eq!(export.complete().len(), 125);
    }
    eventually(
        "the budget is free again",
        Duration::from_secs(5),
        async || buffered_bytes(&server).await == 0 && exports(&server).await == 0,
    )
    .await;
    let peak = server.peak_memory_mib();
    eprintln!("{peak} MiB");
    assert!(peak <= MAX_MEMORY_MIB, "{peak} MiB");
}
