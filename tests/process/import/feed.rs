//! Readers of the feed see each imported order once, while clients create orders.

use std::collections::HashMap;
use std::time::Duration;

use serde_json::Value;

use super::{Input, small_orders};
use crate::support::binary::command;
use crate::support::database::Database;
use crate::support::server::Server;

crate::on_both!(readers_of_the_feed_see_each_imported_order_once);

const IMPORTED: i64 = 6_000;

async fn readers_of_the_feed_see_each_imported_order_once(database: Database) {
    let server = Server::start(&database, &[]).await;
    let input = Input::new(small_orders(IMPORTED));
    let url = database.url();
    let path = input.path();
    #[expect(
        clippy::zombie_processes,
        reason = "the loop ends when the import has ended"
    )]
    let mut child = command(
        &["import", path.to_str().unwrap()],
        &[("DATABASE_URL", &url)],
    )
    .stdout(std::process::Stdio::null())
    .spawn()
    .unwrap();
    let mut created = 0;
    let mut seen: HashMap<String, u32> = HashMap::new();
    let mut types: HashMap<String, i64> = HashMap::new();
    let mut next = "/api/v1/events".to_owned();
    let mut code = None;
    loop {
        // Everything that was committed before the import ended is readable afterwards.
        let ended = code.is_some();
        if code.is_none() {
            code = child.try_wait().unwrap();
            server.create("meanwhile").await;
            created += 1;
        }
        let page = server.get(&next).await;
        assert_eq!(page.status(), 200, "{}", page.text());
        let events: Vec<Value> = page.json();
        if ended && events.is_empty() {
            break;
        }
        for event in &events {
            let key = format!("{} {}", event["subject"], event["sequence"]);
            *seen.entry(key).or_default() += 1;
            *types.entry(event["type"].to_string()).or_default() += 1;
        }
        next = page.next_link().unwrap();
        if events.is_empty() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }
    assert!(code.unwrap().success());
    assert!(created > 1, "the import ended before the first order");
    assert!(seen.values().all(|count| *count == 1));
    assert_eq!(types["\"order.imported\""], IMPORTED);
    assert_eq!(types["\"order.created\""], created);
}
