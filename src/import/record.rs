//! One line of an import: a new order with its past.

use chrono::{DateTime, Utc};
use serde::de::MapAccess;
use sha2::{Digest as _, Sha256};
use uuid::Uuid;

use crate::domain::{Draft, History, HistoryDraft, NewOrder, Order, Tenant, Violation};
use crate::json::{self, Rejected};
use crate::order_json::integer::Integer;
use crate::order_json::members::{OtherMembers, WithOthers, read_once};
use crate::store::{has_time_of, imported_order_id};

/// The members that a line has besides those of a new order. An order as it is exported has all of them.
#[derive(Default)]
struct ImportMembers {
    id: Option<Option<String>>,
    status: Option<String>,
    version: Option<Integer>,
    created_at: Option<String>,
    updated_at: Option<Option<String>>,
    total_amount: Option<Option<Integer>>,
    /// Exports have these besides `items`.
    product_id: Option<Option<String>>,
    quantity: Option<Option<Integer>>,
}

impl OtherMembers for ImportMembers {
    const NAMES: &'static [&'static str] = &[
        "id",
        "status",
        "version",
        "created_at",
        "updated_at",
        "total_amount",
        "product_id",
        "quantity",
    ];

    fn read<'de, A: MapAccess<'de>>(
        &mut self,
        name: &'static str,
        values: &mut A,
    ) -> Result<(), A::Error> {
        match name {
            "id" => read_once(&mut self.id, name, values),
            "status" => read_once(&mut self.status, name, values),
            "version" => read_once(&mut self.version, name, values),
            "created_at" => read_once(&mut self.created_at, name, values),
            "updated_at" => read_once(&mut self.updated_at, name, values),
            "total_amount" => read_once(&mut self.total_amount, name, values),
            "product_id" => read_once(&mut self.product_id, name, values),
            _ => read_once(&mut self.quantity, name, values),
        }
    }
}

/// Where a line comes from. With its text, this determines the id of an order without one.
pub(super) struct Origin<'a> {
    pub(super) tenant: &'a Tenant,
    /// The number of the line.
    pub(super) line: u64,
}

/// Parses and validates a line.
///
/// # Errors
/// Every violation found.
pub(super) fn parse(
    text: &[u8],
    origin: &Origin<'_>,
    now: DateTime<Utc>,
) -> Result<Order, Vec<Violation>> {
    let WithOthers { mut order, others } =
        json::parse::<WithOthers<ImportMembers>>(text).map_err(|rejected| {
            vec![match rejected {
                Rejected::Malformed(why) => Violation::new("", format!("is not JSON: {why}")),
                Rejected::Invalid(violation) => violation,
            }]
        })?;
    let mut violations = Vec::new();
    let integer = |number: Option<Integer>| number.map(|number| number.0);
    let only_line = order.add_only_line(
        others.product_id.flatten(),
        integer(others.quantity.flatten()),
    );
    let new = only_line
        .and_then(|()| Draft::try_from(order))
        .and_then(NewOrder::parse_imported)
        .map_err(|found| violations.extend(found));
    if let (Ok(new), Some(claimed)) = (&new, others.total_amount) {
        violations.extend(new.check_total(integer(claimed)).err());
    }
    let draft = HistoryDraft {
        status: others.status,
        version: integer(others.version),
        created_at: others.created_at,
        updated_at: others.updated_at.flatten(),
    };
    let history = History::parse(&draft, now).map_err(|found| violations.extend(found));
    let id = match (others.id.flatten(), &history) {
        (Some(id), history) => {
            let created_at = history.as_ref().ok().map(|history| history.created_at);
            parse_id(&id, created_at)
                .map_err(|violation| violations.push(violation))
                .ok()
        }
        (None, Ok(history)) => Some(derived_id(text, origin, history.created_at)),
        (None, Err(())) => None,
    };
    match (new, history, id) {
        (Ok(new), Ok(history), Some(id)) if violations.is_empty() => Ok(new.import(id, &history)),
        _ => Err(violations),
    }
}

/// Parses an id. Without a valid time of creation, its time is not checked.
fn parse_id(text: &str, created_at: Option<DateTime<Utc>>) -> Result<Uuid, Violation> {
    let id = Uuid::try_parse(text).map_err(|_| Violation::new("/id", "must be a UUID"))?;
    if created_at.is_none_or(|created_at| has_time_of(id, created_at)) {
        return Ok(id);
    }
    let detail = "must be a UUIDv7 with the milliseconds of created_at";
    Err(Violation::new("/id", detail))
}

/// The id of an order that has none. A second import of the same file finds the same ids. Two equal lines are two
/// orders, so the number of the line is part of it.
fn derived_id(text: &[u8], origin: &Origin<'_>, created_at: DateTime<Utc>) -> Uuid {
    let mut hash = Sha256::new();
    hash.update(origin.tenant.as_str());
    // No name of a tenant contains it.
    hash.update([0]);
    hash.update(origin.line.to_be_bytes());
    hash.update(text);
    let digest: [u8; 32] = hash.finalize().into();
    let [a, b, c, d, e, f, g, h, ..] = digest;
    imported_order_id(created_at, [a, b, c, d, e, f, g, h])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::order_json;

    const NOW: &str = "2026-11-22T06:19:00Z";
    /// An order as it is exported, of several lines.
    const EXPORTED: &str = r#"{"id":"0199a3c4-5d6e-7f80-9a1b-2c3d4e5f6071","items":[{"product_id":"sku-1","quantity":2,"unit_amount":5},{"product_id":"sku-2","quantity":1,"unit_amount":-3}],"product_id":null,"quantity":null,"currency":"EUR","total_amount":7,"external_id":null,"status":"shipped","customer_id":"c-7","metadata":{"a":"b"},"version":3,"created_at":"2025-10-02T07:12:59.246000Z","updated_at":"2025-10-03T07:27:12.238001Z"}"#;

    fn parse_in(tenant: &str, line: u64, text: &str) -> Result<Order, Vec<Violation>> {
        let tenant = Tenant::parse(tenant).unwrap();
        let origin = Origin {
            tenant: &tenant,
            line,
        };
        parse(text.as_bytes(), &origin, NOW.parse().unwrap())
    }

    fn pointers(text: &str) -> Vec<String> {
        let violations = parse_in("default", 1, text).unwrap_err().into_iter();
        violations.map(|violation| violation.pointer).collect()
    }

    #[test]
    fn an_exported_order_is_imported_as_it_is() {
        let order = parse_in("default", 1, EXPORTED).unwrap();
        assert_eq!(order_json::order(&order).unwrap(), EXPORTED);
        let single = EXPORTED
            .replace(
                r#",{"product_id":"sku-2","quantity":1,"unit_amount":-3}"#,
                "",
            )
            .replace(
                r#""product_id":null,"quantity":null"#,
                r#""product_id":"sku-1","quantity":2"#,
            )
            .replace(r#""total_amount":7"#, r#""total_amount":10"#);
        let order = parse_in("default", 1, &single).unwrap();
        assert_eq!(order_json::order(&order).unwrap(), single);
    }

    #[test]
    fn the_body_of_a_request_needs_only_the_time_of_creation() {
        let text =
            r#"{"product_id":"sku-1","quantity":3,"created_at":"2020-01-02T03:04:05+01:00"}"#;
        let order = parse_in("default", 1, text).unwrap();
        assert!(has_time_of(order.id, order.created_at));
        assert_eq!((order.version, order.updated_at), (1, order.created_at));
        assert_eq!(pointers(r#"{"product_id":"sku-1","quantity":3}"#), [""]);
    }

    #[test]
    fn a_derived_id_is_that_of_the_tenant_the_line_and_its_text() {
        let text = r#"{"product_id":"sku-1","quantity":3,"created_at":"2020-01-02T03:04:05Z"}"#;
        let id = |tenant, line, text| parse_in(tenant, line, text).unwrap().id;
        let first = id("default", 1, text);
        assert_eq!(id("default", 1, text), first);
        assert_ne!(id("default", 2, text), first);
        assert_ne!(id("acme", 1, text), first);
        assert_ne!(id("default", 1, &text.replace("sku-1", "sku-2")), first);
    }

    #[test]
    fn what_an_export_repeats_must_be_consistent() {
        let inconsistent = [
            (
                r#""product_id":null,"#,
                r#""product_id":"sku-1","#,
                "/product_id",
            ),
            (r#""quantity":null,"#, r#""quantity":3,"#, "/quantity"),
            (
                r#""total_amount":7"#,
                r#""total_amount":8"#,
                "/total_amount",
            ),
            (
                r#""total_amount":7"#,
                r#""total_amount":null"#,
                "/total_amount",
            ),
            ("2025-10-02T07:12:59.246", "2025-10-02T07:12:59.247", "/id"),
            ("0199a3c4", "0199a3c5", "/id"),
            ("-7f80-", "-4f80-", "/id"),
            ("0199a3c4-5d6e", "0199a3c4", "/id"),
        ];
        for (from, to, pointer) in inconsistent {
            assert_eq!(pointers(&EXPORTED.replacen(from, to, 1)), [pointer], "{to}");
        }
    }

    #[test]
    fn lines_are_checked_as_requests_are() {
        for (text, expected) in [
            ("", ""),
            ("[]", ""),
            ("\0", ""),
            (r#"{"product_id":"sku-1""#, ""),
            (
                r#"{"product_id":"sku-1","quantity":0,"created_at":"2020-01-02T03:04:05Z"}"#,
                "/quantity",
            ),
            (
                r#"{"product_id":"sku-1","quantity":"1","created_at":"2020-01-02T03:04:05Z"}"#,
                "/quantity",
            ),
            (
                r#"{"items":[{"product_id":"sku-1","quantity":1,"colour":"red"}],"created_at":"2020-01-02T03:04:05Z"}"#,
                "/items/0/colour",
            ),
            (
                r#"{"product_id":"a","quantity":1,"idempotency_key":"k","created_at":"2020-01-02T03:04:05Z"}"#,
                "/idempotency_key",
            ),
            (
                r#"{"product_id":"a","quantity":1,"created_at":"2020-01-02T03:04:05Z","id":null,"id":null}"#,
                "",
            ),
            (
                r#"{"product_id":"a","quantity":1,"created_at":"2020-01-02T03:04:05Z","version":1.5}"#,
                "/version",
            ),
            (
                r#"{"product_id":"a","quantity":1,"created_at":"2020-01-02T03:04:05Z","status":null}"#,
                "/status",
            ),
            (
                r#"{"product_id":"a","quantity":1,"created_at":1577934245}"#,
                "/created_at",
            ),
            (
                r#"{"product_id":"a","quantity":1,"currency":"EUR","created_at":"2020-01-02T03:04:05Z"}"#,
                "/currency",
            ),
        ] {
            assert_eq!(pointers(text), [expected], "{text}");
        }
        let broken = [&EXPORTED.as_bytes()[..60], b"\xff"].concat();
        let tenant = Tenant::default();
        let origin = Origin {
            tenant: &tenant,
            line: 1,
        };
        assert!(parse(&broken, &origin, NOW.parse().unwrap()).is_err());
    }
}
