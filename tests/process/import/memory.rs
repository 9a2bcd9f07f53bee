//! The memory of an import does not depend on the size of its input.

use std::process::Stdio;
use std::time::Duration;

use super::{Input, assert_imported, small_orders};
use crate::support::binary::{command, migrate};
use crate::support::database::Database;

crate::on_both!(memory_does_not_grow_with_the_input);

/// The largest resident set size of an import, in KiB.
async fn peak_memory(database: &Database, orders: i64) -> usize {
    let input = Input::new(small_orders(orders));
    let (path, url) = (input.path(), database.url());
    let mut child = command(
        &["import", path.to_str().unwrap()],
        &[("DATABASE_URL", &url)],
    )
    .stdout(Stdio::null())
    .spawn()
    .unwrap();
    let mut peak = 0;
    loop {
        let status = std::fs::read_to_string(format!("/proc/{}/status", child.id())).unwrap();
        // A process that has ended and is not waited for yet has no memory.
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
        let line = line.and_then(|line| line.trim().strip_suffix(" kB"));
        peak = line.map_or(peak, |kib| kib.parse().unwrap());
        if let Some(status) = child.try_wait().unwrap() {
            assert!(status.success());
            return peak;
        }
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

async fn memory_does_not_grow_with_the_input(database: Database) {
    migrate(&database);
    // As many as three chunks have, which are in memory at once.
    let small = peak_memory(&database, 8_000).await;
    // SQLite is several times slower in a debug build.
    let orders = if database.is_postgres() {
        50_000
    } else {
        25_000
    };
    let large = peak_memory(&database, orders).await;
    assert_imported(&database, orders).await;
    assert!(large < small + 8 * 1024, "{small} KiB and {large} KiB");
    assert!(large < 64 * 1024, "{large} KiB");
}
