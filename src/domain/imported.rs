//! Orders from another system, or from an archive of this one.

use chrono::{DateTime, TimeDelta, Utc};
use uuid::Uuid;

use super::{
    Currency, Draft, NewOrder, Order, PatchError, ShortText, Status, UnknownStatus, Violation,
};

/// The maximum version of an imported order. It leaves more than a hundred million versions for changes. The archive has
/// no later version, so that each of its lines can be imported.
pub const MAX_IMPORTED_VERSION: i32 = 2_000_000_000;

/// How far in the future a time may be, because the clocks of two systems differ.
const CLOCK_TOLERANCE: TimeDelta = TimeDelta::seconds(60);

/// The past of an order, not validated yet.
#[derive(Clone, Debug, Default)]
pub struct HistoryDraft {
    /// The status; without one, the order is pending.
    pub status: Option<String>,
    /// The version; without one, it is 1.
    pub version: Option<i64>,
    /// When the order was created (RFC 3339). Required, because ids and ranges of time depend on it.
    pub created_at: Option<String>,
    /// When the order changed last; without a time, when it was created.
    pub updated_at: Option<String>,
}

/// The past of an order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct History {
    /// The status. Every status may have every version: an order that was imported before began with the version that
    /// it had then, and other systems do not count versions.
    pub status: Status,
    /// From 1 to [`MAX_IMPORTED_VERSION`].
    pub version: i32,
    /// When the order was created, in whole microseconds, from 1970 on.
    pub created_at: DateTime<Utc>,
    /// When the order changed last, in whole microseconds. Not before it was created.
    pub updated_at: DateTime<Utc>,
}

impl History {
    /// Validates a draft. `now` is the latest time that is not in the future.
    ///
    /// # Errors
    /// Every violation found.
    pub fn parse(draft: &HistoryDraft, now: DateTime<Utc>) -> Result<Self, Vec<Violation>> {
        let mut violations = Vec::new();
        let mut reject = |pointer, detail: String| {
            violations.push(Violation::new(pointer, detail));
        };
        let status = match draft.status.as_deref() {
            None => Some(Status::Pending),
            Some(text) => text
                .parse()
                .map_err(|error: UnknownStatus| reject("/status", error.to_string()))
                .ok(),
        };
        let number = draft.version.unwrap_or(1);
        let version = i32::try_from(number)
            .ok()
            .filter(|version| (1..=MAX_IMPORTED_VERSION).contains(version));
        if version.is_none() {
            let detail = format!("must be from 1 to {MAX_IMPORTED_VERSION}, is {number}");
            reject("/version", detail);
        }
        let mut time = |pointer, text: &str| {
            parse_time(text, now)
                .map_err(|detail| reject(pointer, detail))
                .ok()
        };
        let created_at = draft.created_at.as_deref();
        let created_at = created_at.and_then(|text| time("/created_at", text));
        let updated_at = match draft.updated_at.as_deref() {
            None => created_at,
            Some(text) => time("/updated_at", text),
        };
        if draft.created_at.is_none() {
            reject("", "must have created_at".to_owned());
        }
        if let (Some(created), Some(updated)) = (created_at, updated_at)
            && updated < created
        {
            reject("/updated_at", "must not be before created_at".to_owned());
        }
        match (status, version, created_at, updated_at) {
            (Some(status), Some(version), Some(created_at), Some(updated_at))
                if violations.is_empty() =>
            {
                Ok(Self {
                    status,
                    version,
                    created_at,
                    updated_at,
                })
            }
            _ => Err(violations),
        }
    }
}

fn parse_time(text: &str, now: DateTime<Utc>) -> Result<DateTime<Utc>, String> {
    let time = DateTime::parse_from_rfc3339(text).map_err(
        |_| "must be a date and a time with its zone (RFC 3339), such as 2026-11-22T06:19:00Z",
    )?;
    // In whole microseconds, as times are stored. A leap second becomes the second after it.
    let time = DateTime::from_timestamp_micros(time.timestamp_micros())
        .filter(|time| *time >= DateTime::UNIX_EPOCH)
        .ok_or("must not be before 1970")?;
    if time > now + CLOCK_TOLERANCE {
        return Err("must not be in the future".to_owned());
    }
    Ok(time)
}

impl NewOrder {
    /// Validates the draft of an imported order. It may have a currency that has been withdrawn since.
    ///
    /// # Errors
    /// As [`Self::parse`].
    pub fn parse_imported(draft: Draft) -> Result<Self, Vec<Violation>> {
        Self::parse_with(draft, |code| {
            Currency::parse_imported(code).map_err(|error| error.to_string())
        })
    }

    /// Checks the total that an imported order claims to have.
    ///
    /// # Errors
    /// When its lines have another total.
    pub fn check_total(&self, claimed: Option<i64>) -> Result<(), Violation> {
        let total = self.items.total_amount();
        if claimed == total {
            return Ok(());
        }
        let detail = match total {
            Some(total) => format!("must be the sum of quantity times unit_amount, {total}"),
            None => "must be null, because the lines have no amounts".to_owned(),
        };
        Err(Violation::new("/total_amount", detail))
    }

    /// The order with this id and this past.
    pub fn import(self, id: Uuid, history: &History) -> Order {
        Order {
            id,
            items: self.items,
            currency: self.currency,
            external_id: self.external_id.map(ShortText::into_string),
            status: history.status,
            customer_id: self.customer_id.map(ShortText::into_string),
            metadata: self.metadata,
            version: history.version,
            created_at: history.created_at,
            updated_at: history.updated_at,
        }
    }
}

/// The last version of an order that was removed, as far as it is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LastVersion {
    /// Its number.
    pub version: i32,
    /// The status of the order, if the event of the version is still stored.
    pub status: Option<Status>,
    /// When the version was made.
    pub at: DateTime<Utc>,
}

impl LastVersion {
    /// The later of an order's last stored event and of its trace after archiving. The event says more if both have
    /// the same version.
    pub fn later(event: Option<Self>, trace: Option<Self>) -> Option<Self> {
        match (event, trace) {
            (Some(event), Some(trace)) if event.version < trace.version => Some(trace),
            (event, trace) => event.or(trace),
        }
    }
}

impl Order {
    /// The imported order as the version after the last one of the same order. The import is a change like any other,
    /// so it has the next version, at `now`.
    ///
    /// # Errors
    /// [`PatchError::IllegalTransition`] when the status cannot follow that of the last version.
    pub fn after(mut self, last: &LastVersion, now: DateTime<Utc>) -> Result<Self, PatchError> {
        if let Some(from) = last.status
            && from != self.status
            && !from.next().contains(&self.status)
        {
            return Err(PatchError::IllegalTransition {
                from,
                to: self.status,
            });
        }
        self.version = last.version.saturating_add(1);
        self.updated_at = now.max(last.at).max(self.updated_at);
        Ok(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::{ItemsDraft, LineDraft};

    fn now() -> DateTime<Utc> {
        "2026-11-22T06:19:00Z".parse().unwrap()
    }

    fn created(at: &str) -> HistoryDraft {
        HistoryDraft {
            created_at: Some(at.to_owned()),
            ..HistoryDraft::default()
        }
    }

    fn pointers(draft: &HistoryDraft) -> Vec<String> {
        let violations = History::parse(draft, now()).unwrap_err().into_iter();
        violations.map(|violation| violation.pointer).collect()
    }

    #[test]
    fn an_order_is_pending_with_version_one_unless_the_draft_says_otherwise() {
        let history = History::parse(&created("2020-02-03T04:05:06.1234567+01:00"), now()).unwrap();
        let at: DateTime<Utc> = "2020-02-03T03:05:06.123456Z".parse().unwrap();
        assert_eq!((history.status, history.version), (Status::Pending, 1));
        assert_eq!((history.created_at, history.updated_at), (at, at));
    }

    #[test]
    fn every_violation_is_reported() {
        let draft = HistoryDraft {
            status: Some("lost".to_owned()),
            version: Some(0),
            created_at: Some("2020-01-01".to_owned()),
            updated_at: Some("2020-01-01T00:00:00".to_owned()),
        };
        assert_eq!(
            pointers(&draft),
            ["/status", "/version", "/created_at", "/updated_at"]
        );
        assert_eq!(pointers(&HistoryDraft::default()), [""]);
    }

    #[test]
    fn times_are_between_1970_and_now_and_do_not_go_back() {
        for (at, legal) in [
            ("1970-01-01T00:00:00Z", true),
            ("1970-01-01T00:00:00+00:01", false),
            ("1969-12-31T23:59:59.999999Z", false),
            ("2026-11-22T06:20:00Z", true),
            ("2026-11-22T06:20:00.000001Z", false),
            ("9999-12-31T23:59:59Z", false),
            ("2016-12-31T23:59:60.5Z", true),
        ] {
            assert_eq!(History::parse(&created(at), now()).is_ok(), legal, "{at}");
        }
        let draft = HistoryDraft {
            updated_at: Some("2019-12-31T23:59:59Z".to_owned()),
            ..created("2020-01-01T00:00:00Z")
        };
        assert_eq!(pointers(&draft), ["/updated_at"]);
    }

    #[test]
    fn a_leap_second_becomes_the_second_after_it() {
        let history = History::parse(&created("2016-12-31T23:59:60.5Z"), now()).unwrap();
        let text = history.created_at.to_rfc3339();
        assert_eq!(text, "2017-01-01T00:00:00.500+00:00");
    }

    fn order(unit_amount: Option<i64>, currency: Option<&str>) -> Result<NewOrder, Vec<Violation>> {
        NewOrder::parse_imported(Draft {
            items: ItemsDraft::Single(LineDraft {
                product_id: "sku-1".to_owned(),
                quantity: 3,
                unit_amount,
            }),
            currency: currency.map(str::to_owned),
            ..Draft::default()
        })
    }

    #[test]
    fn withdrawn_currencies_and_true_totals_are_accepted() {
        let marks = order(Some(5), Some("DEM")).unwrap();
        assert!(marks.check_total(Some(15)).is_ok());
        for wrong in [Some(14), None] {
            let violation = marks.check_total(wrong).unwrap_err();
            assert_eq!(violation.pointer, "/total_amount");
        }
        assert!(order(Some(5), Some("XXX")).is_err());
        let without = order(None, None).unwrap();
        assert!(without.check_total(None).is_ok());
        assert!(without.check_total(Some(0)).is_err());
    }

    #[test]
    fn an_order_continues_after_its_last_version() {
        let history = HistoryDraft {
            status: Some("delivered".to_owned()),
            version: Some(4),
            ..created("2020-01-01T00:00:00Z")
        };
        let history = History::parse(&history, now()).unwrap();
        let order = order(None, None).unwrap().import(Uuid::max(), &history);
        let mut last = LastVersion {
            version: 5,
            status: Some(Status::Delivered),
            at: now() + TimeDelta::seconds(1),
        };
        let continued = order.clone().after(&last, now()).unwrap();
        assert_eq!((continued.version, continued.updated_at), (6, last.at));
        assert_eq!(continued.created_at, order.created_at);
        let trace = LastVersion {
            version: 6,
            status: None,
            ..last
        };
        assert_eq!(LastVersion::later(Some(last), Some(trace)), Some(trace));
        let trace = LastVersion {
            version: 5,
            ..trace
        };
        assert_eq!(LastVersion::later(Some(last), Some(trace)), Some(last));
        assert_eq!(LastVersion::later(None, Some(trace)), Some(trace));
        last.status = None;
        assert!(order.clone().after(&last, now()).is_ok());
        last.status = Some(Status::Cancelled);
        let error = order.after(&last, now()).unwrap_err();
        assert_eq!(
            error,
            PatchError::IllegalTransition {
                from: Status::Cancelled,
                to: Status::Delivered
            }
        );
    }
}
