//! Data to audit: a database that was used in every way.

use std::process::Output;

use reqwest::Method;
use serde_json::{Value, json};

use super::run_on;
use crate::support::auth_file::{AuthFile, api_key, bearer};
use crate::support::binary::stderr;
use crate::support::database::Database;
use crate::support::orders::order_id;
use crate::support::server::Server;

/// The report of an audit that was not stopped by an error.
pub(super) fn report_of(out: &Output) -> Value {
    let text = String::from_utf8(out.stdout.clone()).unwrap();
    assert_eq!(text.lines().count(), 1, "{text} {}", stderr(out));
    serde_json::from_str(&text).unwrap()
}

/// A database with orders of two tenants.
pub(super) struct Stored<'a> {
    pub(super) database: &'a Database,
    /// Three lines with amounts, two of one product; four versions; a key, a customer and an external id.
    pub(super) shipped: String,
    /// One line without an amount; one version; nothing else.
    pub(super) plain: String,
    /// Cancelled, with a key.
    pub(super) cancelled: String,
}

const TENANTS: [&str; 2] = ["default", "acme"];

impl<'a> Stored<'a> {
    pub(super) async fn new(database: &'a Database) -> Self {
        let scopes: &[&str] = &["orders:read", "orders:write"];
        let file = AuthFile::with_keys(&TENANTS.map(|tenant| (tenant, scopes, tenant)));
        let server = Server::start(database, &[("AUTH_FILE", &file.path())]).await;
        let mut ids = Vec::new();
        for tenant in TENANTS {
            let send = async |method: Method, path: &str, key: Option<&str>, body: Value| {
                let mut request = server
                    .client
                    .request(method, server.url(&format!("/api/v1/orders{path}")))
                    .header("authorization", bearer(&api_key(tenant)))
                    .json(&body);
                if let Some(key) = key {
                    request = request.header("idempotency-key", key);
                }
                let response = request.send().await.unwrap();
                assert!(response.status() < 300, "{response:?}");
                response.json::<Value>()
            };
            let full = json!({
                "currency": "EUR", "customer_id": "Zoë", "external_id": "shop-1",
                "metadata": {"note": "\u{1}\"é\\", "b": "", "a": "1"},
                "items": [
                    {"product_id": "sku-1", "quantity": 3, "unit_amount": 250},
                    {"product_id": "sku-2", "quantity": 1, "unit_amount": 1000},
                    {"product_id": "sku-1", "quantity": 1, "unit_amount": -50},
                ],
            });
            let post = async |key: Option<&str>, body: Value| {
                let order = send(Method::POST, "", key, body).await;
                order_id(&order).to_owned()
            };
            let patch = async |id: &str, body: Value| {
                send(Method::PATCH, &format!("/{id}"), None, body).await;
            };
            let shipped = post(Some("key-1"), full.clone()).await;
            assert_eq!(post(Some("key-1"), full).await, shipped);
            patch(&shipped, json!({"metadata": {"b": null, "c": "2"}})).await;
            patch(&shipped, json!({"status": "confirmed"})).await;
            patch(&shipped, json!({"status": "shipped"})).await;
            let plain = post(None, json!({"product_id": "sku-1", "quantity": 2})).await;
            let cancelled =
                post(Some("key-2"), json!({"product_id": "sku-3", "quantity": 1})).await;
            patch(&cancelled, json!({"quantity": 5})).await;
            patch(
                &cancelled,
                json!({"items": [
                {"product_id": "sku-4", "quantity": 1}, {"product_id": "sku-4", "quantity": 1},
            ], "status": "cancelled"}),
            )
            .await;
            let batch = json!({"orders": [
                {"product_id": "sku-1", "quantity": 1, "idempotency_key": "batch-1"},
                {"product_id": "sku-1", "quantity": 1, "external_id": "shop-2"},
                {"product_id": "", "quantity": 1},
                {"product_id": "sku-1", "quantity": 1, "unit_amount": 7, "currency": "JPY"},
            ]});
            send(Method::POST, "/batch", None, batch).await;
            ids.push((shipped, plain, cancelled));
        }
        let (shipped, plain, cancelled) = ids.swap_remove(0);
        Self {
            database,
            shipped,
            plain,
            cancelled,
        }
    }

    /// One of two texts of SQL.
    pub(super) fn either(&self, postgres: &'static str, sqlite: &'static str) -> &'static str {
        if self.database.is_postgres() {
            postgres
        } else {
            sqlite
        }
    }

    /// SQL for an id.
    pub(super) fn id(&self, id: &str) -> String {
        if self.database.is_postgres() {
            format!("'{id}'::uuid")
        } else {
            format!("x'{}'", id.replace('-', ""))
        }
    }

    /// SQL for whether a row that is not in `orders` belongs to an order of the tenant `default`.
    pub(super) fn of(&self, id: &str) -> String {
        format!("tenant = 'default' AND order_id = {}", self.id(id))
    }

    /// SQL for whether a row of `orders` is an order of the tenant `default`.
    pub(super) fn is(&self, id: &str) -> String {
        format!("tenant = 'default' AND id = {}", self.id(id))
    }

    /// SQL that casts a text to the type of documents.
    pub(super) fn document(&self, text: &str) -> String {
        if self.database.is_postgres() {
            format!("({text})::json")
        } else {
            text.to_owned()
        }
    }

    /// SQL for the length of a text in bytes.
    pub(super) fn length(&self, text: &str) -> String {
        if self.database.is_postgres() {
            format!("octet_length({text})")
        } else {
            format!("length(CAST({text} AS BLOB))")
        }
    }

    /// Replaces a part of the documents of events, and their lengths.
    pub(super) async fn replace_in_events(&self, condition: &str, old: &str, new: &str) {
        let text = self.either("data::text", "data");
        let text = format!("replace({text}, '{old}', '{new}')");
        let (data, bytes) = (self.document(&text), self.length(&text));
        self.changes(&format!(
            "UPDATE events SET data = {data}, data_bytes = {bytes} WHERE {condition}"
        ))
        .await;
    }

    /// Runs a statement that changes something.
    pub(super) async fn changes(&self, sql: &str) {
        let rows = match self.database {
            Database::Postgres { .. } => {
                let client = self.database.client().await;
                i64::try_from(client.execute(sql, &[]).await.unwrap()).unwrap()
            }
            Database::Sqlite(_) => {
                self.database
                    .number(&format!("{sql}; SELECT changes()"))
                    .await
            }
        };
        assert!(rows > 0, "{sql}");
    }

    /// Writes an event with the next version of an order. `old` is replaced by `new` in its document.
    async fn add_event(&self, id: &str, event_type: &str, old: &str, new: &str) {
        let text = self.either("data::text", "data");
        let versions = self.either(
            "'\"version\":' || version || ',', '\"version\":' || (version + 1) || ','",
            "'\"version\":' || version || ',', '\"version\":' || (version + 1) || ','",
        );
        let text = format!("replace(replace({text}, {versions}), '{old}', '{new}')");
        let (data, bytes) = (self.document(&text), self.length(&text));
        let (position, next) = (
            self.either(", position", ""),
            self.either(", pg_current_xact_id()::text::bigint", ""),
        );
        let (recorded, now) = (
            self.either("", ", recorded_at"),
            self.either("", ", recorded_at"),
        );
        let order = self.of(id);
        self.changes(&format!(
            "INSERT INTO events (tenant, order_id, version, event_type, occurred_at, data, data_bytes, authtype
                {position}{recorded})
            SELECT tenant, order_id, version + 1, '{event_type}', occurred_at, {data}, {bytes}, authtype
                {next}{now}
            FROM events WHERE {order} ORDER BY version DESC LIMIT 1"
        ))
        .await;
    }

    /// Does to orders of the tenant `default` what the other commands do: one is imported, one erased, one archived and
    /// then erased, one archived and imported again, and the first events are removed.
    pub(super) async fn import_erase_archive_and_prune(&self) {
        // Imported with version 3.
        let imported = &self.plain;
        self.changes(&format!(
            "UPDATE orders SET version = 3 WHERE {}",
            self.is(imported)
        ))
        .await;
        let event = self.of(imported);
        self.changes(&format!(
            "UPDATE events SET version = 3, event_type = 'imported' WHERE {event}"
        ))
        .await;
        self.replace_in_events(&event, "\"version\":1,", "\"version\":3,")
            .await;
        // Erased.
        let erased = &self.shipped;
        self.replace_in_events(&self.of(erased), "Zoë", "erased-7f")
            .await;
        self.replace_in_events(&self.of(erased), "\"shop-1\"", "null")
            .await;
        self.clear_metadata(erased).await;
        self.add_event(erased, "erased", "x", "x").await;
        self.changes(&format!(
            "UPDATE orders SET version = version + 1, customer_id = 'erased-7f', external_id = NULL,
                metadata = '{{}}',
                json_bytes = (SELECT data_bytes FROM events WHERE {} ORDER BY version DESC LIMIT 1)
            WHERE {}",
            self.of(erased),
            self.is(erased)
        ))
        .await;
        // Archived, then erased.
        self.archive(&self.cancelled).await;
        self.add_event(&self.cancelled, "erased", "x", "x").await;
        let order = self.of(&self.cancelled);
        self.changes(&format!(
            "UPDATE archived_orders SET version = version + 1 WHERE {order}"
        ))
        .await;
        // Retention has removed the first event of the erased order, which is the oldest of the tenant.
        let position = self.either("position, ", "");
        self.changes(&format!(
            "INSERT INTO feed_floors (tenant, {position}seq, order_id, version, occurred_at)
            SELECT tenant, {position}seq, order_id, version, occurred_at FROM events
            WHERE {} AND version = 1",
            self.of(erased)
        ))
        .await;
        self.changes(&format!(
            "DELETE FROM events WHERE {} AND version = 1",
            self.of(erased)
        ))
        .await;
    }

    /// Empties the metadata in the events of an order, and copies its first document to its idempotency key.
    async fn clear_metadata(&self, id: &str) {
        let order = self.of(id);
        let text = self.either("data::text", "data");
        // Metadata has no braces, and the version follows.
        let data = if self.database.is_postgres() {
            format!("regexp_replace({text}, '\"metadata\":{{[^}}]*}}', '\"metadata\":{{}}')")
        } else {
            let start = "instr(data, '\"metadata\":{') + 11";
            let end = "instr(data, '},\"version\"')";
            format!("substr(data, 1, {start}) || substr(data, {end})")
        };
        let (data, bytes) = (self.document(&data), self.length(&data));
        self.changes(&format!(
            "UPDATE events SET data = {data}, data_bytes = {bytes} WHERE {order}"
        ))
        .await;
        self.changes(&format!(
            "UPDATE idempotency_keys SET document = (SELECT data FROM events WHERE {order} AND version = 1)
            WHERE {order}"
        ))
        .await;
    }

    /// Archives and removes an order.
    pub(super) async fn archive(&self, id: &str) {
        self.add_event(id, "archived", "x", "x").await;
        let order = self.of(id);
        let now = self.either("now()", "1764000000000000");
        self.changes(&format!(
            "INSERT INTO archived_orders (tenant, order_id, version, archived_at)
            SELECT tenant, order_id, max(version), {now} FROM events WHERE {order} GROUP BY tenant, order_id"
        ))
        .await;
        self.changes(&format!("DELETE FROM order_items WHERE {order}"))
            .await;
        self.changes(&format!("DELETE FROM orders WHERE {}", self.is(id)))
            .await;
    }

    /// Adds versions to an order that differ in nothing but their numbers.
    pub(super) async fn add_versions(&self, id: &str, versions: u32) {
        let (order, plain) = (self.of(id), self.is(id));
        let text = self.either("data::text", "data");
        let text = format!("replace({text}, '\"version\":1,', '\"version\":' || n || ',')");
        let (data, bytes) = (self.document(&text), self.length(&text));
        let numbers = if self.database.is_postgres() {
            format!("generate_series(2, {versions}) AS n")
        } else {
            format!(
                "(WITH RECURSIVE c(n) AS (SELECT 2 UNION ALL SELECT n + 1 FROM c WHERE n < {versions})
                SELECT n FROM c) AS numbers"
            )
        };
        let position = self.either(", position", "");
        let recorded = self.either("", ", recorded_at");
        self.changes(&format!(
            "INSERT INTO events (tenant, order_id, version, event_type, occurred_at, data, data_bytes, authtype
                {position}{recorded})
            SELECT tenant, order_id, n, 'updated', occurred_at, {data}, {bytes}, authtype{position}{recorded}
            FROM (SELECT * FROM events WHERE {order} AND version = 1) AS first, {numbers} ORDER BY n"
        ))
        .await;
        self.changes(&format!(
            "UPDATE orders SET version = {versions}, json_bytes = (SELECT data_bytes FROM events
                WHERE {order} AND version = {versions}) WHERE {plain}"
        ))
        .await;
    }

    /// Adds copies of the order `plain` with ids that end in other numbers.
    pub(super) async fn copy_orders(&self, copies: u32) {
        let (order, plain) = (self.of(&self.plain), self.is(&self.plain));
        let number = if self.database.is_postgres() {
            format!(
                "(overlay(id::text placing lpad(to_hex(n), 12, '0') from 25))::uuid AS id,
                    overlay(id::text placing lpad(to_hex(n), 12, '0') from 25) AS text
                FROM generate_series(1, {copies}) AS n"
            )
        } else {
            format!(
                "CAST(substr(id, 1, 10) || printf('%06d', n) AS BLOB) AS id
                FROM (WITH RECURSIVE c(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM c WHERE n < {copies})
                    SELECT n FROM c) AS numbers"
            )
        };
        let copies = format!("(SELECT {number}, orders WHERE {plain}) AS copies");
        let hex = "lower(substr(hex(copies.id), 1, 8) || '-' || substr(hex(copies.id), 9, 4) || '-'
            || substr(hex(copies.id), 13, 4) || '-' || substr(hex(copies.id), 17, 4) || '-'
            || substr(hex(copies.id), 21))";
        let text = if self.database.is_postgres() {
            "copies.text"
        } else {
            hex
        };
        let data = self.either("data::text", "data");
        let data = self.document(&format!("replace({data}, '{}', {text})", self.plain));
        let position = self.either(", position", "");
        let recorded = self.either("", ", recorded_at");
        for sql in [
            format!(
                "INSERT INTO order_items SELECT tenant, copies.id, line, product_id, quantity, unit_amount, status
                FROM order_items, {copies} WHERE {order}"
            ),
            format!(
                "INSERT INTO events (tenant, order_id, version, event_type, occurred_at, data, data_bytes, authtype
                    {position}{recorded})
                SELECT tenant, copies.id, version, event_type, occurred_at, {data}, data_bytes, authtype
                    {position}{recorded}
                FROM events, {copies} WHERE {order}"
            ),
            format!(
                "INSERT INTO orders SELECT tenant, copies.id, status, customer_id, external_id, currency,
                    total_amount, metadata, version, created_at, updated_at, json_bytes
                FROM orders, {copies} WHERE tenant = 'default' AND orders.id = {}",
                self.id(&self.plain)
            ),
        ] {
            self.changes(&sql).await;
        }
    }

    /// Runs an audit. Panics unless it finds violations of exactly these kinds. Returns the report.
    pub(super) fn finds(&self, kinds: &[&str]) -> Value {
        let out = run_on(&self.database.url(), &["audit"]);
        let report = report_of(&out);
        assert_eq!(out.status.code(), Some(1), "{report:#} {}", stderr(&out));
        assert_eq!(report["consistent"], false);
        let found: Vec<_> = report["kinds"].as_object().unwrap().keys().collect();
        let mut kinds = kinds.to_vec();
        kinds.sort_unstable();
        assert_eq!(found, kinds, "{report:#}");
        report
    }
}
