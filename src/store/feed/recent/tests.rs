use super::*;
use crate::store::cursor::Place;
use uuid::Uuid;

const PAGE: PageSize = PageSize {
    events: 10,
    bytes: 10_000,
};

fn cursor(position: i64) -> Cursor {
    Cursor(Some(Place {
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

fn positions(found: Found) -> Vec<i64> {
    let Found::Events(events) = found else {
        panic!("{found:?}");
    };
    let position = |event: &Arc<Event>| event.cursor.0.unwrap().position;
    events.iter().map(position).collect()
}

#[test]
fn readers_find_what_is_behind_their_place() {
    let ring = Ring::new();
    assert_eq!(ring.behind(cursor(5), PAGE), Found::Elsewhere);
    assert!(ring.start(cursor(5)) && !ring.start(cursor(6)));
    assert_eq!(ring.behind(cursor(5), PAGE), Found::Head);
    assert_eq!(ring.behind(cursor(4), PAGE), Found::Elsewhere);
    assert_eq!(ring.behind(cursor(6), PAGE), Found::Ahead);
    ring.extend((6..=20).map(|position| event(position, 10)).collect());
    assert_eq!(
        positions(ring.behind(cursor(5), PAGE)),
        (6..=15).collect::<Vec<_>>()
    );
    assert_eq!(positions(ring.behind(cursor(19), PAGE)), [20]);
    assert_eq!(ring.behind(cursor(20), PAGE), Found::Head);
    assert_eq!(ring.head(), Some(cursor(20)));
    // Between two events that are there: another history.
    let other = Cursor(Some(Place {
        version: 2,
        ..cursor(9).0.unwrap()
    }));
    assert_eq!(ring.behind(other, PAGE), Found::Elsewhere);
    ring.clear();
    assert_eq!(ring.behind(cursor(20), PAGE), Found::Elsewhere);
}

#[test]
fn bytes_are_bounded_and_what_is_kept_has_no_gap() {
    let ring = Ring::new();
    ring.start(cursor(0));
    ring.extend(vec![event(1, 20_000), event(2, 9_000), event(3, 9_000)]);
    assert_eq!(positions(ring.behind(cursor(0), PAGE)), [1], "one at least");
    assert_eq!(positions(ring.behind(cursor(1), PAGE)), [2]);
    for position in 4..100 {
        ring.extend(vec![event(position, 100_000)]);
    }
    assert_eq!(ring.behind(cursor(0), PAGE), Found::Elsewhere);
    let tail = ring.tail.lock();
    let tail = tail.as_ref().unwrap();
    assert!(tail.bytes <= MAX_BYTES && tail.events.len() > 30);
    let first = tail.events.front().unwrap().cursor.0.unwrap().position;
    assert_eq!(tail.from, cursor(first - 1));
}
