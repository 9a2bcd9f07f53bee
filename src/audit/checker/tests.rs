//! Generated histories: an order that was changed by the rules has no violation, and every change of a row is found.

mod histories;

use arbtest::arbitrary::{Result, Unstructured};
use arbtest::arbtest;
use uuid::Uuid;

use super::super::clock::TOLERANCE;
use super::*;
use crate::domain::EventType;
use histories::{Rows, history};

const AFTER_ALL: i64 = 1_000;

/// A month after the histories, so that retention may have reached their events.
fn clock() -> Clock {
    Clock::postgres(1_764_000_000_000_000 + 31 * 86_400_000_000)
}

fn stored<T>(key: &Key, row: T) -> Stored<T> {
    Stored {
        key: key.clone(),
        row: Ok(row),
    }
}

fn check(rows: Vec<Rows>, floors: Vec<Stored<FloorRow>>) -> Report {
    let mut checker = Checker::default();
    let mut range = Range::new(Key::new("z", Uuid::max()), Some(AFTER_ALL), clock());
    let mut events = Vec::new();
    range.floors = floors;
    for Rows {
        key,
        order,
        lines,
        events: history,
        idempotency,
    } in rows
    {
        range.orders.push(stored(&key, order));
        range
            .lines
            .extend(lines.into_iter().map(|line| stored(&key, line)));
        range.idempotency.push(stored(&key, idempotency));
        events.extend(history.into_iter().map(|event| stored(&key, event)));
    }
    let through = range.through.clone();
    checker.begin(range);
    for event in events {
        checker.event(event);
    }
    checker.end(&through);
    checker.finish()
}

/// One change of one row that makes the history wrong, whatever the history.
fn corrupt(u: &mut Unstructured<'_>, rows: &mut Rows) -> Result<&'static str> {
    let event = u.choose_index(rows.events.len())?;
    let line = u.choose_index(rows.lines.len())?;
    let change = u.int_in_range(0..=21)?;
    let (event, line) = (&mut rows.events[event], &mut rows.lines[line]);
    Ok(match change {
        0 => {
            rows.order.version += 1;
            "version"
        }
        1 => {
            rows.order.total_amount = Some(rows.order.total_amount.unwrap_or(0) + 1);
            "total"
        }
        2 => {
            rows.order.created_at -= 1_000;
            "created_at"
        }
        3 => {
            rows.order.updated_at += 1;
            "updated_at"
        }
        4 => {
            rows.order.json_bytes += 1;
            "json_bytes"
        }
        5 => {
            rows.order.customer_id = Some("another".to_owned());
            "customer"
        }
        6 => {
            rows.order.external_id = Some("another".to_owned());
            "external id"
        }
        7 => {
            rows.order.metadata = r#"{"another":""}"#.to_owned();
            "metadata"
        }
        8 => {
            rows.order.metadata = "[".to_owned();
            "broken metadata"
        }
        9 => {
            line.line += 1;
            "line"
        }
        10 => {
            line.quantity += 1;
            "quantity"
        }
        11 => {
            line.product_id.push('x');
            "product"
        }
        12 => {
            line.status = if line.status.is_some() {
                None
            } else {
                Some(rows.order.status)
            };
            "status of a line"
        }
        13 => {
            event.data_bytes -= 1;
            "data_bytes"
        }
        14 => {
            event.data.truncate(event.data.len() - 1);
            "data"
        }
        15 => {
            event.version += 1;
            "version of an event"
        }
        16 => {
            event.position = AFTER_ALL;
            "position"
        }
        17 => {
            rows.events.pop();
            "last event"
        }
        18 => {
            rows.idempotency.document.push('}');
            "document"
        }
        19 => {
            event.recorded_at = clock().now + TOLERANCE + 1;
            "recorded in the future"
        }
        20 => {
            event.event_type = EventType::Updated;
            event.recorded_at = event.occurred_at - TOLERANCE - 1;
            "recorded before it occurred"
        }
        _ => {
            rows.idempotency.created_at += 1;
            "created_at of a key"
        }
    })
}

#[test]
fn legal_histories_have_no_violation() {
    arbtest(|u| {
        let mut rows: Vec<Rows> = (0..u.int_in_range(1..=4)?)
            .map(|_| history(u))
            .collect::<Result<_>>()?;
        rows.sort_by(|one, other| one.key.cmp(&other.key));
        rows.dedup_by(|one, other| one.key == other.key);
        let (orders, events) = (
            rows.len(),
            rows.iter().map(|rows| rows.events.len()).sum::<usize>(),
        );
        let report = check(rows, Vec::new());
        assert_eq!(report.violations(), 0, "{report:?}");
        let checked = report.checked;
        assert_eq!(checked.orders, u64::try_from(orders).unwrap());
        assert_eq!(checked.events, u64::try_from(events).unwrap());
        Ok(())
    });
}

#[test]
fn every_change_of_a_row_is_found() {
    arbtest(|u| {
        let mut rows = history(u)?;
        let change = corrupt(u, &mut rows)?;
        let report = check(vec![rows], Vec::new());
        assert!(report.violations() > 0, "{change}");
        Ok(())
    });
}

/// A floor at a version of an order.
fn floor(key: &Key, version: i32) -> Vec<Stored<FloorRow>> {
    vec![stored(
        &Key::new(&key.tenant, Uuid::max()),
        FloorRow {
            order_id: key.id,
            version,
            position: i64::from(version),
            seq: i64::from(version),
            next_recorded_at: None,
        },
    )]
}

#[test]
fn events_may_be_missing_up_to_the_floor_and_only_there() {
    arbtest(|u| {
        let mut rows = history(u)?;
        let last = rows.order.version;
        if rows.events.len() < 2 {
            return Ok(());
        }
        let at = u.int_in_range(1..=last)?;
        // Retention may have left some events at or below the floor.
        let left = u.int_in_range(1..=last)?;
        rows.events
            .retain(|event| event.version > at || event.version == left);
        let floors = floor(&rows.key, at);
        let above = rows.events.iter().position(|event| event.version > at);
        let mut missing = None;
        if u.arbitrary()?
            && let Some(above) = above
        {
            missing = Some(rows.events.remove(above).version);
        }
        let report = check(vec![rows], floors);
        assert_eq!(
            report.violations() > 0,
            missing.is_some(),
            "{at}, {left}: {report:?}"
        );
        Ok(())
    });
}

#[test]
fn a_range_that_is_abandoned_leaves_no_trace() {
    arbtest(|u| {
        let mut rows = history(u)?;
        corrupt(u, &mut rows)?;
        let mut checker = Checker::default();
        let mut range = Range::new(Key::new("z", Uuid::max()), None, clock());
        range.orders.push(stored(&rows.key, rows.order));
        checker.begin(range);
        for event in rows.events {
            checker.event(stored(&rows.key, event));
        }
        checker.abandon();
        let report = checker.finish();
        assert_eq!(
            (report.violations(), report.checked),
            (0, Checked::default())
        );
        Ok(())
    });
}

#[test]
fn rows_after_the_end_of_a_range_are_left_for_the_next() {
    let key = |n| Key::new("default", Uuid::from_u128(n));
    let line = || LineRow {
        line: 1,
        product_id: "a".to_owned(),
        quantity: 1,
        unit_amount: None,
        status: None,
    };
    let mut checker = Checker::default();
    let mut range = Range::new(key(9), None, clock());
    range.lines.extend((1..=9).map(|n| stored(&key(n), line())));
    checker.begin(range);
    checker.end(&key(4));
    let report = checker.finish();
    assert_eq!(report.checked.order_items, 4);
    assert_eq!(report.violations(), 4);
}
