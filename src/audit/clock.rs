//! The times with which the times of events are compared.

use chrono::{DateTime, Datelike as _, NaiveTime, Utc};

/// How much later than an event, by the clock of the service, the database may have recorded it, or how much its own
/// clock may differ, in microseconds. Far more than both ever are.
pub(super) const TOLERANCE: i64 = 3_600_000_000;

/// The time at which a range is read, in microseconds since 1970.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Clock {
    pub(super) now: i64,
    /// Events that were recorded before this time may come before the floor of their tenant.
    pub(super) removable_before: i64,
}

impl Clock {
    /// On PostgreSQL, retention removes whole months that are over. It raises the floors first, and the events are there
    /// until their partition is dropped. A transaction that began after the end of a month may have an earlier position
    /// than its last events.
    pub(crate) fn postgres(now: i64) -> Self {
        let month = DateTime::<Utc>::from_timestamp_micros(now)
            .and_then(|now| now.date_naive().with_day(1))
            .map(|day| day.and_time(NaiveTime::MIN).and_utc());
        Self {
            now,
            removable_before: month.map_or(i64::MAX, |start| {
                start.timestamp_micros().saturating_add(TOLERANCE)
            }),
        }
    }

    /// On SQLite, the transaction that raises a floor removes the events before it.
    pub(crate) fn sqlite() -> Self {
        Self {
            now: Utc::now().timestamp_micros(),
            removable_before: i64::MIN,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_events_of_this_month_are_not_removable() {
        let micros = |time: &str| time.parse::<DateTime<Utc>>().unwrap().timestamp_micros();
        for (now, removable_before) in [
            ("2026-11-27T17:00:00Z", "2026-11-01T01:00:00Z"),
            ("2026-12-01T00:00:00Z", "2026-12-01T01:00:00Z"),
            ("2026-11-30T23:59:59Z", "2026-11-01T01:00:00Z"),
        ] {
            let clock = Clock::postgres(micros(now));
            assert_eq!(clock.removable_before, micros(removable_before), "{now}");
        }
    }
}
