//! What the service has acknowledged, and whether it is still true.

use std::collections::HashMap;
use std::process::Command;
use std::sync::Mutex;

use serde_json::Value;

use super::service::Tenant;
use crate::support::binary::{run_on, stderr};
use crate::support::database::Database;

/// An acknowledged order.
struct Acknowledged {
    /// The hexadecimal digits of the id.
    id: String,
    tenant: Tenant,
    /// The version of the last acknowledged change.
    version: i64,
}

/// The acknowledged orders by idempotency key, and the keys that were sent.
#[derive(Default)]
pub(crate) struct Ledger {
    orders: Mutex<HashMap<String, Acknowledged>>,
    sent: Mutex<usize>,
}

/// What a verification found.
#[derive(Debug)]
pub(crate) struct Verified {
    pub(crate) acknowledged: usize,
    /// Acknowledged orders or changes that are not in the database.
    pub(crate) lost: usize,
    pub(crate) stored: usize,
}

impl Ledger {
    /// Records that a new idempotency key is about to be sent.
    pub(crate) fn will_send(&self) {
        *self.sent.lock().unwrap() += 1;
    }

    /// Records a response to a creation. Returns an error if the key had another order before.
    pub(crate) fn created(&self, key: &str, tenant: Tenant, order: &Value) -> Result<(), String> {
        let id = order["id"].as_str().unwrap().replace('-', "");
        let mut orders = self.orders.lock().unwrap();
        if let Some(before) = orders.get(key).filter(|before| before.id != id) {
            return Err(format!("{key} has the orders {} and {id}", before.id));
        }
        let order = Acknowledged {
            id,
            tenant,
            version: 1,
        };
        orders.entry(key.to_owned()).or_insert(order);
        Ok(())
    }

    /// Records a response to a change.
    pub(crate) fn changed(&self, key: &str, version: i64) {
        let mut orders = self.orders.lock().unwrap();
        let order = orders.get_mut(key).unwrap();
        order.version = order.version.max(version);
    }

    /// Compares the acknowledged orders with the database. Panics when a key has two orders or `audit` finds
    /// something.
    pub(crate) async fn verify(&self, database: &Database) -> Verified {
        let verified = self.verify_beside_others(database).await;
        let keys = usize::try_from(database.count("idempotency_keys").await).unwrap();
        assert_eq!(keys, verified.stored, "each key has one order");
        let sent = *self.sent.lock().unwrap();
        assert!(verified.stored <= sent, "{verified:?}, {sent} keys");
        verified
    }

    /// The same if clients without a ledger have created orders, too.
    pub(crate) async fn verify_beside_others(&self, database: &Database) -> Verified {
        let stored = stored(database).await;
        let audit = run_on(&database.url(), &["audit"]);
        let report = String::from_utf8_lossy(&audit.stdout).into_owned();
        assert!(audit.status.success(), "{report} {}", stderr(&audit));
        let orders = self.orders.lock().unwrap();
        let is_lost = |it: &&Acknowledged| {
            let version = stored.get(&(it.tenant.name().to_owned(), it.id.clone()));
            version.is_none_or(|version| *version < it.version)
        };
        Verified {
            acknowledged: orders.len(),
            lost: orders.values().filter(is_lost).count(),
            stored: stored.len(),
        }
    }
}

/// The version of each order in the database, by tenant and id.
async fn stored(database: &Database) -> HashMap<(String, String), i64> {
    let lines: Vec<String> = match database {
        Database::Postgres { .. } => {
            let sql =
                "SELECT tenant || ' ' || replace(id::text, '-', '') || ' ' || version FROM orders";
            let rows = database.client().await.query(sql, &[]).await.unwrap();
            rows.iter().map(|row| row.get(0)).collect()
        }
        Database::Sqlite(_) => {
            let sql = "SELECT tenant || ' ' || lower(hex(id)) || ' ' || version FROM orders";
            let mut sqlite3 = Command::new("sqlite3");
            let out = sqlite3
                .args([database.file().as_str(), sql])
                .output()
                .unwrap();
            assert!(out.status.success(), "{out:?}");
            let text = String::from_utf8(out.stdout).unwrap();
            text.lines().map(str::to_owned).collect()
        }
    };
    let parse = |line: &String| {
        let mut parts = line.split(' ');
        let mut next = || parts.next().unwrap();
        let key = (next().to_owned(), next().to_owned());
        (key, next().parse().unwrap())
    };
    lines.iter().map(parse).collect()
}
