use arbtest::arbtest;
use chrono::TimeDelta;

use super::*;
use crate::store::list::CreatedRange;

fn at(micros: i64) -> DateTime<Utc> {
    DateTime::from_timestamp_micros(micros).unwrap()
}

/// A time of these microseconds and nanoseconds.
fn at_nanos(micros: i64, nanos: u32) -> DateTime<Utc> {
    at(micros) + chrono::TimeDelta::nanoseconds(i64::from(nanos))
}

const NOW: i64 = 1_764_000_000_000_000;

#[test]
fn ids_increase_with_the_time_and_do_not_count() {
    let mut last = Uuid::nil();
    for micros in [0, 1, 2, 999, 1_000, 1_001, 999_999, 1_000_000] {
        let id = new_order_id(at(NOW + micros));
        assert!(id > last, "{micros}");
        assert_eq!(id.get_version_num(), 7);
        assert_eq!(id.get_variant(), uuid::Variant::RFC4122);
        let (seconds, nanos) = id.get_timestamp().unwrap().to_unix();
        let millis = u64::try_from((NOW + micros) / 1_000).unwrap();
        assert_eq!(seconds * 1_000 + u64::from(nanos / 1_000_000), millis);
        last = id;
    }
    // Of the same time, an id says nothing about the next one.
    let random = |id: Uuid| id.as_u128() & ((1 << 62) - 1);
    let ids: Vec<_> = (0..100).map(|_| random(new_order_id(at(NOW)))).collect();
    let near = ids
        .windows(2)
        .filter(|pair| pair[0].abs_diff(pair[1]) < 1 << 40);
    assert_eq!(near.count(), 0);
}

#[test]
fn an_order_is_created_at_or_after_a_time_exactly_if_its_id_is_not_below_the_first_id() {
    arbtest(|u| {
        let bound = NOW + u.int_in_range(-3_000..=3_000)?;
        let created = bound + u.int_in_range(-3..=3)?;
        // The rest of the clock's reading, which neither the id nor the stored time contain.
        let rest = u.int_in_range(0..=999)?;
        let order = new_order_id(at_nanos(created, rest));
        assert_eq!(created >= bound, order >= first_id(at(bound)));
        // The bound may have nanoseconds; the time of an order has none.
        let nanos = u.int_in_range(0..=999)?;
        assert_eq!(
            at(created) >= at_nanos(bound, nanos),
            order >= first_id(at_nanos(bound, nanos)),
        );
        Ok(())
    })
    .size_min(64)
    .budget_ms(500);
    // Each microsecond of a millisecond, against its neighbours.
    for micros in NOW..NOW + 1_000 {
        let order = new_order_id(at_nanos(micros, 999));
        assert!(first_id(at(micros)) <= order && order < first_id(at(micros + 1)));
    }
}

#[test]
fn a_bound_between_two_microseconds_counts_as_the_later_one() {
    for nanos in [1, 500, 999] {
        assert_eq!(first_id(at_nanos(NOW, nanos)), first_id(at(NOW + 1)));
        // Before 1970 as well, where the fraction is still added.
        assert_eq!(first_id(at_nanos(-1, nanos)), first_id(at(0)));
    }
}

#[test]
fn times_that_an_id_cannot_have_are_before_or_after_all_orders() {
    let oldest = first_id(at(0));
    for early in [DateTime::<Utc>::MIN_UTC, at(-1), at(0)] {
        assert_eq!(first_id(early), oldest);
        assert!(new_order_id(early) >= oldest && new_order_id(early) < first_id(at(1)));
    }
    let newest = new_order_id(DateTime::<Utc>::MAX_UTC);
    assert!(newest >= first_id(at(END_MICROS - 1)) && newest < Uuid::max());
    for late in [
        DateTime::<Utc>::MAX_UTC,
        at(END_MICROS),
        at_nanos(END_MICROS - 1, 1),
    ] {
        assert_eq!(first_id(late), Uuid::max());
    }
    assert!(first_id(at(END_MICROS - 1)) < Uuid::max());
}

#[test]
fn a_leap_second_counts_as_the_next_second() {
    let leap: DateTime<Utc> = "2016-12-31T23:59:60.5Z".parse().unwrap();
    let next: DateTime<Utc> = "2017-01-01T00:00:00.5Z".parse().unwrap();
    assert_eq!(first_id(leap), first_id(next));
}

#[test]
fn pages_continue_in_the_range_behind_the_last_order() {
    let range = |from, to, after: Option<Uuid>, direction| {
        IdRange::of(&ListQuery {
            created: CreatedRange { from, to },
            starting_after: after,
            direction,
            ..ListQuery::FIRST_PAGE
        })
    };
    let (from, to) = (at(NOW), at(NOW + 10));
    let id = |micros| first_id(at(NOW + micros));
    let next = |id: Uuid| Uuid::from_u128(id.as_u128() + 1);
    use Direction::{NewestFirst, OldestFirst};
    assert_eq!(range(None, None, None, NewestFirst), IdRange::ALL);
    for (after, direction, from_id, before) in [
        (None, NewestFirst, id(0), id(10)),
        (None, OldestFirst, id(0), id(10)),
        (Some(id(5)), NewestFirst, id(0), id(5)),
        (Some(id(5)), OldestFirst, next(id(5)), id(10)),
        (Some(id(20)), NewestFirst, id(0), id(10)),
        (Some(id(-5)), OldestFirst, id(0), id(10)),
        (Some(id(-5)), NewestFirst, id(0), id(-5)),
        (Some(Uuid::nil()), OldestFirst, id(0), id(10)),
    ] {
        let expected = IdRange {
            from: from_id,
            before,
        };
        assert_eq!(range(Some(from), Some(to), after, direction), expected);
    }
    let empty = range(None, None, Some(Uuid::max()), OldestFirst);
    assert!(empty.from >= empty.before);
}

#[test]
fn the_id_of_an_imported_order_has_its_time_and_its_digest() {
    let time = DateTime::from_timestamp_micros(1_234_567_890_123_456).unwrap();
    let id = imported_order_id(time, [7; 8]);
    assert_eq!(id, imported_order_id(time, [7; 8]));
    assert_ne!(id, imported_order_id(time, [8; 8]));
    assert!(has_time_of(id, time) && has_time_of(new_order_id(time), time));
    let range = first_id(time)..first_id(time + TimeDelta::microseconds(1));
    assert!(range.contains(&id));
    assert!(!has_time_of(id, time + TimeDelta::milliseconds(1)));
    assert!(!has_time_of(
        id,
        DateTime::UNIX_EPOCH - TimeDelta::seconds(1)
    ));
    let random = Builder::from_unix_timestamp_millis(1_234_567_890_123, &[255; 10]).into_uuid();
    assert!(has_time_of(random, time));
    // The bytes of the id with another version, and with another variant.
    for (index, byte) in [(6, 0x40), (8, 0xc0)] {
        let mut bytes = id.into_bytes();
        bytes[index] = byte;
        assert!(!has_time_of(Uuid::from_bytes(bytes), time), "{index}");
    }
}
