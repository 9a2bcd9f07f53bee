use super::*;
use crate::store::cursor::EventKey;
use uuid::Uuid;

const PAGE: PageSize = PageSize {
    events: 10,
    bytes: 10_000,
};

fn cursor(position: i64) -> Cursor {
    Cursor(Some(EventKey {
        position,
        seq: 1,
        order_id: Uuid::from_u128(1),
        version: 1,
        occurred_at: 1,
    }))
}

fn event(position: i64, length: usize) -> Event {
    Event {
        order_id: Uuid::from_u128(1),
        version: 1,
        occurred_at: chrono::Utc::now(),
        data: "x".repeat(length),
        traceparent: None,
        cursor: cursor(position),
    }
}

fn positions(found: Lookup) -> Vec<i64> {
    let Lookup::Events(events) = found else {
        panic!("{found:?}");
    };
    let position = |event: &Arc<Event>| event.cursor.0.unwrap().position;
    events.iter().map(position).collect()
}

#[test]
fn readers_get_the_events_behind_their_position() {
    let recent = RecentEvents::new();
    assert_eq!(recent.events_after(cursor(5), PAGE), Lookup::Missing);
    assert!(recent.start(cursor(5)) && !recent.start(cursor(6)));
    assert_eq!(recent.events_after(cursor(5), PAGE), Lookup::Head);
    assert_eq!(recent.events_after(cursor(4), PAGE), Lookup::Missing);
    assert_eq!(recent.events_after(cursor(6), PAGE), Lookup::PastHead);
    recent.extend((6..=20).map(|position| event(position, 10)).collect());
    assert_eq!(
        positions(recent.events_after(cursor(5), PAGE)),
        (6..=15).collect::<Vec<_>>()
    );
    assert_eq!(positions(recent.events_after(cursor(19), PAGE)), [20]);
    assert_eq!(recent.events_after(cursor(20), PAGE), Lookup::Head);
    assert_eq!(recent.head(), Some(cursor(20)));
    // A cursor between two events comes from another history.
    let other = Cursor(Some(EventKey {
        version: 2,
        ..cursor(9).0.unwrap()
    }));
    assert_eq!(recent.events_after(other, PAGE), Lookup::Missing);
    recent.clear();
    assert_eq!(recent.events_after(cursor(20), PAGE), Lookup::Missing);
}

#[test]
fn bytes_are_bounded_and_the_events_kept_have_no_gap() {
    let recent = RecentEvents::new();
    recent.start(cursor(0));
    recent.extend(vec![event(1, 20_000), event(2, 9_000), event(3, 9_000)]);
    assert_eq!(
        positions(recent.events_after(cursor(0), PAGE)),
        [1],
        "at least one"
    );
    assert_eq!(positions(recent.events_after(cursor(1), PAGE)), [2]);
    for position in 4..100 {
        recent.extend(vec![event(position, 100_000)]);
    }
    assert_eq!(recent.events_after(cursor(0), PAGE), Lookup::Missing);
    let run = recent.run.lock();
    let run = run.as_ref().unwrap();
    assert!(run.bytes <= MAX_BYTES && run.events.len() > 30);
    let first = run.events.front().unwrap().cursor.0.unwrap().position;
    assert_eq!(run.start, cursor(first - 1));
}
