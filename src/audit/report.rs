//! The report of an audit. Its size is bounded, and it contains no personal data.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Serialize, Serializer};
use uuid::Uuid;

use super::kind::Kind;
use super::rows::Key;

/// The number of examples of each kind.
pub(crate) const MAX_EXAMPLES: usize = 10;
/// The maximum number of characters of a text in an example. Corrupt data may contain texts of any length.
const MAX_TEXT: usize = 200;

/// What an audit has checked and found.
#[derive(Clone, Debug, Default)]
pub(crate) struct Report {
    pub(crate) checked: Checked,
    violations: BTreeMap<Kind, Violations>,
}

/// The number of rows that were checked.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub(crate) struct Checked {
    /// Rows of `orders`.
    pub(crate) orders: u64,
    /// Rows of `order_items`.
    pub(crate) order_items: u64,
    /// Rows of `events`.
    pub(crate) events: u64,
    /// Rows of `idempotency_keys`.
    pub(crate) idempotency_keys: u64,
    /// Rows of `archived_orders`.
    pub(crate) archived_orders: u64,
    /// Primary keys and unique indexes.
    pub(crate) keys: u64,
}

/// The violations of one kind.
#[derive(Clone, Debug, Default, Serialize)]
struct Violations {
    count: u64,
    examples: Vec<Example>,
}

/// An example of a violation.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
struct Example {
    #[serde(skip_serializing_if = "Option::is_none")]
    tenant: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    order_id: Option<Uuid>,
    #[serde(skip_serializing_if = "Option::is_none")]
    version: Option<i32>,
    detail: String,
}

impl Report {
    /// The number of violations.
    pub(crate) fn violations(&self) -> u64 {
        self.violations.values().map(|found| found.count).sum()
    }

    /// The report as JSON.
    ///
    /// # Errors
    /// Never in practice: every value in a report can be written as JSON.
    pub(crate) fn to_json(
        &self,
        database: &str,
        tenant: Option<&str>,
        duration: Duration,
    ) -> Result<String, serde_json::Error> {
        let kinds = self.violations.iter();
        let kinds = kinds.map(|(kind, found)| (kind.as_str(), found));
        serde_json::to_string(&Json {
            consistent: self.violations.is_empty(),
            database,
            tenant,
            duration_seconds: duration,
            checked: self.checked,
            violations: self.violations(),
            kinds: kinds.collect(),
        })
    }

    /// Adds a violation. The detail is written only if the report still takes examples of the kind.
    pub(super) fn add(
        &mut self,
        kind: Kind,
        key: Option<&Key>,
        version: Option<i32>,
        detail: impl FnOnce() -> String,
    ) {
        let found = self.violations.entry(kind).or_default();
        found.count += 1;
        if found.examples.len() < MAX_EXAMPLES {
            found.examples.push(Example {
                tenant: key.map(|key| shorten(&key.tenant)),
                order_id: key.map(|key| key.id),
                version,
                detail: shorten(&detail()),
            });
        }
    }
}

fn shorten(text: &str) -> String {
    text.chars().take(MAX_TEXT).collect()
}

#[derive(Serialize)]
struct Json<'a> {
    consistent: bool,
    database: &'a str,
    tenant: Option<&'a str>,
    #[serde(serialize_with = "seconds")]
    duration_seconds: Duration,
    checked: Checked,
    violations: u64,
    kinds: BTreeMap<&'static str, &'a Violations>,
}

/// Whole milliseconds are precise enough.
fn seconds<S: Serializer>(duration: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
    let millis = duration.as_millis();
    serializer.serialize_f64(
        (Duration::from_millis(u64::try_from(millis).unwrap_or(u64::MAX))).as_secs_f64(),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_size_of_a_report_is_bounded() {
        let mut report = Report::default();
        let key = Key::new(&"t".repeat(100_000), Uuid::nil());
        for kind in Kind::ALL {
            for _ in 0..1_000 {
                report.add(kind, Some(&key), Some(1), || "d".repeat(100_000));
            }
        }
        let kinds = u64::try_from(Kind::ALL.len()).unwrap();
        assert_eq!(report.violations(), 1_000 * kinds);
        let json = report.to_json("sqlite", None, Duration::ZERO).unwrap();
        assert!(
            json.len() < Kind::ALL.len() * MAX_EXAMPLES * 600,
            "{}",
            json.len()
        );
    }

    #[test]
    fn every_kind_has_its_own_name() {
        let names: std::collections::BTreeSet<_> = Kind::ALL.map(Kind::as_str).into();
        assert_eq!(names.len(), Kind::ALL.len());
    }

    #[test]
    fn a_report_has_counts_and_examples() {
        let mut report = Report::default();
        report.checked.orders = 3;
        let json = report.to_json("sqlite", None, Duration::from_micros(1_234_567));
        assert_eq!(
            json.unwrap(),
            r#"{"consistent":true,"database":"sqlite","tenant":null,"duration_seconds":1.234,"checked":{"orders":3,"order_items":0,"events":0,"idempotency_keys":0,"archived_orders":0,"keys":0},"violations":0,"kinds":{}}"#
        );
        let key = Key::new("acme", Uuid::nil());
        report.add(Kind::EventGap, Some(&key), Some(2), || "why".to_owned());
        let json = report
            .to_json("sqlite", Some("acme"), Duration::ZERO)
            .unwrap();
        let json: serde_json::Value = serde_json::from_str(&json).unwrap();
        assert_eq!(json["consistent"], false);
        assert_eq!(
            json["kinds"],
            serde_json::json!({"event-gap": {"count": 1, "examples": [{
                "tenant": "acme", "order_id": Uuid::nil(), "version": 2, "detail": "why"
            }]}})
        );
    }
}
