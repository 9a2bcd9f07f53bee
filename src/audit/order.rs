//! Checks an order with its lines, as stored in rows.

use std::collections::{BTreeMap, HashSet};

use chrono::{DateTime, Utc};

use super::kind::Kind;
use super::report::Report;
use super::rows::{Key, LineRow, OrderRow};
use crate::domain::{
    Currency, Items, ItemsDraft, Line, LineDraft, Metadata, Order, ShortText, Violation,
};
use crate::order_json;

/// Checks an order whose lines could all be read. Returns its document.
pub(super) fn check(
    key: &Key,
    row: &OrderRow,
    lines: &[&LineRow],
    report: &mut Report,
) -> Option<String> {
    let mut add = |kind, detail: &dyn Fn() -> String| {
        report.add(kind, Some(key), Some(row.version), detail);
    };
    if row.version < 1 {
        add(Kind::IllegalOrder, &|| {
            "the version is less than 1".to_owned()
        });
    }
    if row.created_at > row.updated_at {
        add(Kind::TimeOrder, &|| {
            "created_at is after updated_at".to_owned()
        });
    }
    // The first 48 bits of a UUIDv7 are milliseconds (RFC 9562, section 5.7).
    let id_millis = key.id.as_u128() >> 80;
    if i128::from(row.created_at.div_euclid(1_000)).cast_unsigned() != id_millis {
        add(Kind::IdTime, &|| {
            "the id and created_at have different milliseconds".to_owned()
        });
    }
    check_lines(row, lines, &mut add);
    let total = check_items(row, lines, &mut add);
    if total.is_some() != row.currency.is_some() {
        add(Kind::IllegalOrder, &|| {
            "has a currency without amounts, or amounts without a currency".to_owned()
        });
    }
    let metadata = check_texts(row, &mut add)?;
    let time = |column: &'static str, micros, report: &mut Report| {
        let time = DateTime::<Utc>::from_timestamp_micros(micros);
        if time.is_none() {
            unreadable(report, key, row.version, column, "is out of range");
        }
        time
    };
    let currency = match row.currency.as_deref().map(Currency::from_stored) {
        Some(None) => {
            unreadable(report, key, row.version, "currency", "is no currency");
            return None;
        }
        currency => currency.flatten(),
    };
    let lines = lines.iter().map(|line| Line {
        product_id: line.product_id.clone(),
        quantity: line.quantity,
        unit_amount: line.unit_amount,
    });
    let order = Order {
        id: key.id,
        items: Items::from_stored(lines.collect(), row.total_amount),
        currency,
        external_id: row.external_id.clone(),
        status: row.status,
        customer_id: row.customer_id.clone(),
        metadata,
        version: row.version,
        created_at: time("created_at", row.created_at, report)?,
        updated_at: time("updated_at", row.updated_at, report)?,
    };
    let json = order_json::order(&order).ok()?;
    if i32::try_from(json.len()) != Ok(row.json_bytes) {
        report.add(Kind::LengthMismatch, Some(key), Some(row.version), || {
            format!(
                "json_bytes is {}, the length is {}",
                row.json_bytes,
                json.len()
            )
        });
    }
    Some(json)
}

fn unreadable(report: &mut Report, key: &Key, version: i32, column: &str, reason: &str) {
    report.add(Kind::UnreadableValue, Some(key), Some(version), || {
        format!("orders.{column} {reason}")
    });
}

type Add<'a> = dyn FnMut(Kind, &dyn Fn() -> String) + 'a;

/// Checks the numbers of the lines, and the status that they repeat.
fn check_lines(row: &OrderRow, lines: &[&LineRow], add: &mut Add<'_>) {
    let numbered = (1..).zip(lines).all(|(number, line)| line.line == number);
    if lines.is_empty() || !numbered {
        add(Kind::LineNumber, &|| {
            format!(
                "the {} lines are not numbered from 1 without a gap",
                lines.len()
            )
        });
    }
    let mut products = HashSet::new();
    for line in lines {
        // The set costs more than the rest, and most orders have one line.
        let first = lines.len() == 1 || products.insert(line.product_id.as_str());
        if line.status != first.then_some(row.status) {
            add(Kind::LineStatus, &|| {
                let stored = line.status.map_or("no status", |status| status.as_str());
                let expected = if first {
                    row.status.as_str()
                } else {
                    "no status"
                };
                format!("line {} has {stored}, expected {expected}", line.line)
            });
        }
    }
}

/// Checks the lines against the rules for orders, and the total. Returns the total of the lines.
fn check_items(row: &OrderRow, lines: &[&LineRow], add: &mut Add<'_>) -> Option<i64> {
    let drafts = lines.iter().map(|line| LineDraft {
        product_id: line.product_id.clone(),
        quantity: line.quantity.into(),
        unit_amount: line.unit_amount,
    });
    match Items::parse(ItemsDraft::Listed(drafts.collect())) {
        Ok(items) => {
            let total = items.total_amount();
            if total != row.total_amount {
                add(Kind::TotalMismatch, &|| {
                    format!(
                        "total_amount is {:?}, the sum of the lines {total:?}",
                        row.total_amount
                    )
                });
            }
            total
        }
        Err(violations) => {
            add(Kind::IllegalOrder, &|| describe(&violations));
            row.total_amount
        }
    }
}

/// Checks the texts of the client. Returns the metadata.
fn check_texts(row: &OrderRow, add: &mut Add<'_>) -> Option<Metadata> {
    for (column, text) in [
        ("customer_id", &row.customer_id),
        ("external_id", &row.external_id),
    ] {
        if let Some(Err(error)) = text.clone().map(ShortText::parse) {
            add(Kind::IllegalOrder, &|| format!("{column} {error}"));
        }
    }
    let Ok(entries) = serde_json::from_str::<BTreeMap<String, String>>(&row.metadata) else {
        add(Kind::UnreadableValue, &|| {
            "orders.metadata is no JSON object of texts".to_owned()
        });
        return None;
    };
    if entries.is_empty() {
        return Some(Metadata::default());
    }
    if let Err(violations) = Metadata::parse(entries.clone()) {
        add(Kind::IllegalOrder, &|| {
            // A pointer has a key of the client.
            format!("metadata has {} illegal entries", violations.len())
        });
    }
    Some(Metadata::from_stored(entries))
}

/// The first violations, whose pointers and details have no text of a client.
fn describe(violations: &[Violation]) -> String {
    let texts = violations.iter().take(3);
    let texts = texts.map(|violation| format!("{} {}", violation.pointer, violation.detail));
    texts.collect::<Vec<_>>().join("; ")
}
