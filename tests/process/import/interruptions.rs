//! An import that was interrupted is continued by starting it again.

use std::process::{Child, Stdio};
use std::time::Duration;

use serde_json::Value;

use super::{Imported, Input, assert_imported, small_orders};
use crate::support::binary::{command, kill, migrate};
use crate::support::database::Database;
use crate::support::eventually;
use crate::support::random::Random;

crate::on_both!(
    after_kills_at_random_moments_every_order_is_imported_once,
    a_signal_stops_the_import_after_a_chunk,
    a_signal_stops_an_import_that_waits_for_its_input,
    concurrent_imports_of_one_file_import_each_order_once
);

fn start(input: &Input, database: &Database) -> Child {
    let (path, url) = (input.path(), database.url());
    command(
        &["import", path.to_str().unwrap()],
        &[("DATABASE_URL", &url)],
    )
    .stdout(Stdio::piped())
    .stderr(Stdio::piped())
    .spawn()
    .unwrap()
}

fn pid(child: &Child) -> i32 {
    i32::try_from(child.id()).unwrap()
}

async fn after_kills_at_random_moments_every_order_is_imported_once(database: Database) {
    const ORDERS: i64 = 5_000;
    migrate(&database);
    let input = Input::new(small_orders(ORDERS));
    let mut random = Random::seeded();
    let (mut before, mut kills, mut partial) = (0, 0, 0);
    loop {
        let mut child = start(&input, &database);
        // Longer with each round, so that one of them is complete.
        let moment = 20 + random.below(150 + 40 * kills);
        tokio::time::sleep(Duration::from_millis(moment)).await;
        if child.try_wait().unwrap().is_some() {
            let ended = Imported(child.wait_with_output().unwrap());
            assert_eq!(ended.code(), 0, "{}", ended.stderr());
            let (imported, present, _) = ended.counts();
            // What the killed imports have written is skipped.
            assert_eq!((imported + present, present >= before), (5_000, true));
            break;
        }
        kill(pid(&child), libc::SIGKILL);
        child.wait().unwrap();
        kills += 1;
        let orders = u64::try_from(database.count("orders").await).unwrap();
        assert!(orders >= before, "no order is lost");
        partial += u32::from(orders > before && orders < 5_000);
        before = orders;
    }
    assert!(
        kills > 3 && partial > 0,
        "{kills} kills, {partial} in the middle"
    );
    assert_imported(&database, ORDERS).await;
}

async fn a_signal_stops_the_import_after_a_chunk(database: Database) {
    migrate(&database);
    let input = Input::new(small_orders(20_000));
    let child = start(&input, &database);
    eventually("a chunk is imported", Duration::from_secs(20), async || {
        database.count("orders").await > 0
    })
    .await;
    kill(pid(&child), libc::SIGTERM);
    let stopped = Imported(child.wait_with_output().unwrap());
    assert_eq!(stopped.code(), 1);
    assert!(
        stopped.stderr().contains("run the same command again"),
        "{}",
        stopped.stderr()
    );
    assert_eq!(stopped.report()["complete"], Value::Bool(false));
    let (imported, _, _) = stopped.counts();
    assert!(imported > 0 && imported < 20_000, "{imported}");
    // The report is that of the database.
    assert_imported(&database, i64::try_from(imported).unwrap()).await;
    let rest = input.import(&database);
    assert_eq!(
        (rest.code(), rest.counts()),
        (0, (20_000 - imported, imported, 0))
    );
}

async fn a_signal_stops_an_import_that_waits_for_its_input(database: Database) {
    migrate(&database);
    let url = database.url();
    let mut child = command(&["import", "-"], &[("DATABASE_URL", &url)])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let open = child.stdin.take();
    // Until the signal handlers are installed, the signal ends the process.
    tokio::time::sleep(Duration::from_secs(2)).await;
    kill(pid(&child), libc::SIGINT);
    let stopped = Imported(child.wait_with_output().unwrap());
    assert_eq!(stopped.code(), 1, "{}", stopped.stderr());
    assert_eq!(stopped.counts(), (0, 0, 0));
    drop(open);
}

async fn concurrent_imports_of_one_file_import_each_order_once(database: Database) {
    const ORDERS: i64 = 6_000;
    migrate(&database);
    let input = Input::new(small_orders(ORDERS));
    let children = [(); 3].map(|()| start(&input, &database));
    let mut imported = 0;
    for child in children {
        let ended = Imported(child.wait_with_output().unwrap());
        assert_eq!(ended.code(), 0, "{}", ended.stderr());
        imported += ended.counts().0;
    }
    assert_eq!(imported, 6_000);
    assert_imported(&database, ORDERS).await;
}
