//! Every list walks an index, whatever the statistics of the planner say.

use std::time::Duration;

use chrono::{DateTime, Utc};
use diesel::connection::SimpleConnection as _;
use diesel::query_builder::{AstPass, QueryFragment, QueryId};
use diesel::sql_types::{Integer, Text};

use super::*;
use crate::config::DatabaseUrl;
use crate::domain::{Status, StatusSet};
use crate::store::list::{CreatedRange, Direction, ListFilter};
use crate::store::sqlite::handle::Handle;
use crate::store::sqlite::{MissingFile, SqliteConnector};

/// The number of orders of the tenant.
const ROWS: u32 = 200_000;
/// The limit of the instructions of a statement. A page from five walks takes about half of it, and a scan of half of the
/// orders several times as many.
const MAX_STEPS: u64 = 100_000;

/// A few orders of other tenants with other properties, whose statistics mislead the planner.
const FEW_ROWS: &str = "
    WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 100)
    INSERT INTO orders (tenant, id, status, customer_id, external_id, metadata, version, created_at, updated_at,
        json_bytes)
    SELECT 'tenant-' || i, CAST(printf('%016d', i) AS BLOB), 'pending', 'c' || i, 'e' || i, '{}', 1, i, i, 288 FROM n;
    INSERT INTO order_items (tenant, order_id, line, product_id, quantity, status)
    SELECT tenant, id, 1, 'p' || customer_id, 1, status FROM orders;";

/// SQL that inserts orders of which order `i` is created at `i` milliseconds. The older half is delivered, and of one
/// product and customer. Of the newer half, every second order is of another product and customer; the others have few
/// orders each.
fn many_rows() -> String {
    format!(
        "CREATE TEMP TABLE n AS WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < {ROWS})
         SELECT i, unhex(printf('%012x70008000000000000000', i)) AS id,
            CASE WHEN i <= {half} THEN 'large' WHEN i % 2 = 0 THEN 'recent' ELSE 's' || i % 1000 END AS name,
            CASE WHEN i <= {half} THEN 'delivered' WHEN i % 8 < 2 THEN 'pending' WHEN i % 8 < 4 THEN 'confirmed'
                WHEN i % 8 < 6 THEN 'shipped' ELSE 'cancelled' END AS status FROM n;
         INSERT INTO orders (tenant, id, status, customer_id, external_id, metadata, version, created_at, updated_at,
            json_bytes)
         SELECT 'default', id, status, name, 'e' || i, '{{}}', 1, i * 1000, i * 1000, 288 FROM n;
         INSERT INTO order_items (tenant, order_id, line, product_id, quantity, status)
         SELECT 'default', id, 1, name, 1, status FROM n;",
        half = ROWS / 2
    )
}

fn at_millis(millis: u32) -> Option<DateTime<Utc>> {
    DateTime::from_timestamp_millis(i64::from(millis))
}

/// Lists with each filter, with ranges at the beginning, in the middle and at the end, in both directions.
fn lists() -> Vec<ListQuery> {
    let statuses = |statuses: &[Status]| statuses.iter().copied().collect::<StatusSet>();
    let of = |filter: fn(String) -> ListFilter, names: &[&str]| {
        let names = names.iter().map(|name| Some(filter((*name).to_owned())));
        names.collect::<Vec<_>>()
    };
    let mut filters = vec![None];
    filters.extend(of(ListFilter::Product, &["large", "recent", "s1", "none"]));
    filters.extend(of(ListFilter::Customer, &["large", "recent", "s1", "none"]));
    filters.extend(of(ListFilter::External, &["e1", "e199999", "none"]));
    let ranges = [
        (None, None),
        (at_millis(ROWS - 10), None),
        (None, at_millis(10)),
        (at_millis(ROWS / 4), at_millis(ROWS / 4 + 5)),
        (at_millis(ROWS / 2 + 100), at_millis(ROWS - 100)),
    ];
    let mut lists = Vec::new();
    for filter in filters {
        for statuses in [
            StatusSet::ALL,
            statuses(&[Status::Delivered]),
            statuses(&[Status::Pending]),
            statuses(&[Status::Delivered, Status::Cancelled]),
        ] {
            for (from, to) in ranges {
                for direction in [Direction::NewestFirst, Direction::OldestFirst] {
                    lists.push(ListQuery {
                        direction,
                        statuses,
                        created: CreatedRange { from, to },
                        filter: filter.clone(),
                        ..ListQuery::FIRST_PAGE
                    });
                }
            }
        }
    }
    lists
}

/// The plan of a statement.
struct Explain<'a>(&'a PageSql<SqliteDatabase>);

impl QueryFragment<SqliteDatabase> for Explain<'_> {
    fn walk_ast<'b>(&'b self, mut out: AstPass<'_, 'b, SqliteDatabase>) -> QueryResult<()> {
        out.push_sql("EXPLAIN QUERY PLAN ");
        self.0.walk_ast(out)
    }
}

impl QueryId for Explain<'_> {
    type QueryId = ();
    const HAS_STATIC_QUERY_ID: bool = false;
}

impl Query for Explain<'_> {
    type SqlType = (Integer, Integer, Integer, Text);
}

impl RunQueryDsl<SqliteConnection> for Explain<'_> {}

/// Checks that a page is found by searches in indexes alone, and with few instructions.
fn check(
    page: PageSql<SqliteDatabase>,
    what: &str,
    connection: &mut SqliteConnection,
    handle: &Handle,
) {
    let plan: Vec<(i32, i32, i32, String)> = Explain(&page).load(connection).unwrap();
    for (_, _, _, step) in &plan {
        let of_table = ["orders", "order_items", "item"]
            .iter()
            .any(|table| step.split(' ').nth(1) == Some(table));
        assert!(!of_table || step.starts_with("SEARCH"), "{what}: {step}");
        // The bounds of the ids are bounds of the search, and not checks of each row.
        let walk = step.contains("INDEX orders_") || step.contains("INDEX order_items_");
        let bounded = step.contains("id>? AND") || step.contains("external_id=?");
        assert!(!walk || bounded, "{what}: {step}");
    }
    handle.take_steps(connection);
    order_lines::orders::<OrderLine>(page.load(connection).unwrap()).unwrap();
    let steps = handle.take_steps(connection);
    assert!(
        0 < steps && steps <= MAX_STEPS,
        "{what}: {steps} instructions: {plan:#?}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn every_list_walks_an_index() {
    let url = DatabaseUrl::parse("sqlite::memory:").unwrap();
    let connector =
        SqliteConnector::new(&url, Duration::from_secs(60), MissingFile::Create).unwrap();
    connector.apply_migrations().await.unwrap();
    let mut connection = connector.connect_blocking().unwrap();
    let handle = Handle::of(&mut connection).unwrap();
    connection.batch_execute(FEW_ROWS).unwrap();
    connection.batch_execute("ANALYZE").unwrap();
    connection.batch_execute(&many_rows()).unwrap();
    let tenant = Tenant::default();
    for statistics in ["stale", "fresh"] {
        if statistics == "fresh" {
            connection.batch_execute("ANALYZE").unwrap();
        }
        for list in lists() {
            let what = format!("{statistics} statistics: {list:?}");
            check(
                PageSql::list(&tenant, &list),
                &what,
                &mut connection,
                &handle,
            );
        }
        let of_millis =
            |millis: u32| Uuid::from_u128(u128::from(millis) << 80 | 0x7000_8000 << 32 << 16);
        for ids in [
            vec![of_millis(1)],
            (1..=100).map(|i| of_millis(i * 1_999)).collect(),
        ] {
            let what = format!("{statistics} statistics: {} ids", ids.len());
            check(PageSql::ids(&tenant, &ids), &what, &mut connection, &handle);
        }
    }
}
