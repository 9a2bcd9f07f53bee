//! The ids of orders. An id contains the time of creation, so a range of time is a range of ids.
//!
//! An id is a UUIDv7 (RFC 9562, section 5.7) whose first 60 bits are the time of creation in whole microseconds:
//! 48 bits of milliseconds, and 12 bits of the fraction of a millisecond (section 6.2, method 3), which distinguish
//! 4096 parts of it. The stored time of creation is in whole microseconds as well, so both are the same time.
//!
//! The other bits are random. A counter, which would order ids of the same time, is common to all tenants, so the
//! difference between two ids of a tenant would show how many orders others have created meanwhile.

use chrono::{DateTime, Utc};
use uuid::{Builder, Uuid, Variant, Version};

use super::list::{Direction, ListQuery};

/// The number of microseconds of the times that the 48 bits of milliseconds distinguish: from 1970 to the year 10889.
const END_MICROS: i64 = (1 << 48) * 1_000;

/// Returns a new id for an order that is created at this time. Ids of one process increase like its clock. A clock
/// before 1970 or after 10889 is wrong; the id has the nearest time that it can have.
pub(super) fn new_order_id(created_at: DateTime<Utc>) -> Uuid {
    let micros = created_at.timestamp_micros().clamp(0, END_MICROS - 1);
    let [_, _, _, _, _, _, _, _, random @ ..] = Uuid::new_v4().into_bytes();
    with_time(micros, random)
}

/// Returns the id of an imported order without one, which was created at this time. The other bits are those of
/// `digest`, so that the same order has the same id when it is imported again.
pub fn imported_order_id(created_at: DateTime<Utc>, digest: [u8; 8]) -> Uuid {
    with_time(
        created_at.timestamp_micros().clamp(0, END_MICROS - 1),
        digest,
    )
}

/// Whether an order that was created at this time may have the id: a UUIDv7 with the same milliseconds. Other systems
/// put anything into its other bits, so ranges of time have the precision of a millisecond for such an order.
pub fn has_time_of(id: Uuid, created_at: DateTime<Utc>) -> bool {
    let millis = id.as_u128() >> 80;
    id.get_version() == Some(Version::SortRand)
        && id.get_variant() == Variant::RFC4122
        && u128::try_from(created_at.timestamp_millis()) == Ok(millis)
}

/// Returns the smallest id of the orders that are created at or after `time`. The times of orders are whole
/// microseconds, so a time between two of them counts as the later one. No order is created at or after the end of the
/// times that an id can have; for these, the result is [`Uuid::max`], which is larger than every id.
pub(super) fn first_id(time: DateTime<Utc>) -> Uuid {
    let between = !time.timestamp_subsec_nanos().is_multiple_of(1_000);
    let micros = time.timestamp_micros().saturating_add(i64::from(between));
    if micros >= END_MICROS {
        return Uuid::max();
    }
    with_time(micros.max(0), [0; 8])
}

/// The time of creation in an id; 1970 for an id that has none.
pub(super) fn time_of(id: Uuid) -> DateTime<Utc> {
    let timestamp = id.get_timestamp().map(|timestamp| timestamp.to_unix());
    timestamp
        .and_then(|(seconds, nanos)| DateTime::from_timestamp(seconds.try_into().ok()?, nanos))
        .unwrap_or_default()
}

fn with_time(micros: i64, random: [u8; 8]) -> Uuid {
    let (millis, micros) = (micros / 1_000, micros % 1_000);
    let [.., high, low] = (micros * 4_096 / 1_000).to_be_bytes();
    let [a, b, c, d, e, f, g, h] = random;
    Builder::from_unix_timestamp_millis(millis.unsigned_abs(), &[high, low, a, b, c, d, e, f, g, h])
        .into_uuid()
}

/// The ids from one on, and before another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct IdRange {
    pub(super) from: Uuid,
    pub(super) before: Uuid,
}

impl IdRange {
    /// The ids of all orders.
    pub(super) const ALL: Self = Self {
        from: Uuid::nil(),
        before: Uuid::max(),
    };

    const EMPTY: Self = Self {
        from: Uuid::max(),
        before: Uuid::nil(),
    };

    /// The ids that a list still has: those of its range of time, without those of earlier pages.
    pub(super) fn of(list: &ListQuery) -> Self {
        let mut range = Self::ALL;
        if let Some(from) = list.created.from {
            range.from = first_id(from);
        }
        if let Some(to) = list.created.to {
            range.before = first_id(to);
        }
        let Some(after) = list.starting_after else {
            return range;
        };
        match list.direction {
            Direction::NewestFirst => range.before = range.before.min(after),
            Direction::OldestFirst => {
                let Some(next) = after.as_u128().checked_add(1) else {
                    return Self::EMPTY;
                };
                range.from = range.from.max(Uuid::from_u128(next));
            }
        }
        range
    }
}

#[cfg(test)]
mod tests;
