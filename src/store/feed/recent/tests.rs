use super::*;
use crate::store::cursor::EventKey;
use crate::store::event::Event;
use uuid::Uuid;

const PAGE: PageSize = PageSize {
    events: 10,
    bytes: 10_000,
};

fn tenant(name: &str) -> Tenant {
    Tenant::parse(name).unwrap()
}

fn key() -> CursorKey {
    CursorKey::new(vec![1; 32].into()).unwrap()
}

fn at(position: i64) -> Position {
    Position(Some(EventKey {
        position,
        seq: 1,
        order_id: Uuid::from_u128(1),
        version: 1,
        occurred_at: 1,
    }))
}

fn event(tenant: &str, position: i64, length: usize) -> TenantEvent {
    TenantEvent {
        tenant: tenant.to_owned(),
        event: Event {
            event_type: crate::domain::EventType::Created,
            order_id: Uuid::from_u128(1),
            version: 1,
            occurred_at: chrono::Utc::now(),
            data: "x".repeat(length),
            traceparent: None,
            authtype: "unauthenticated".to_owned(),
            authid: None,
            key: at(position).0.unwrap(),
        },
    }
}

/// Appends events, the last of which becomes the head.
fn extend(recent: &RecentEvents, events: Vec<TenantEvent>) {
    let head = Position(Some(events.last().unwrap().event.key));
    recent.extend(events, head, &key()).unwrap();
}

fn start(recent: &RecentEvents, position: i64) {
    recent.start(at(position), &Arc::new(key()));
}

fn after(events: &TenantEvents, position: i64) -> Lookup {
    events.events_after(at(position).sort_key(), &key(), PAGE)
}

fn positions(found: Lookup) -> Vec<i64> {
    let Lookup::Events(events) = found else {
        panic!("{found:?}");
    };
    let position = |event: &Arc<StreamEvent>| event.event.key.position;
    events.iter().map(position).collect()
}

#[test]
fn readers_get_the_events_of_their_tenant_after_their_position() {
    let recent = RecentEvents::default();
    let acme = recent.join(&tenant("acme"));
    assert_eq!(after(&acme, 5), Lookup::Missing, "nothing is read yet");
    start(&recent, 5);
    start(&recent, 6);
    assert_eq!(recent.head(), Some(at(5)), "the first start counts");
    assert_eq!(after(&acme, 5), Lookup::Head);
    assert_eq!(after(&acme, 4), Lookup::Missing);
    // A reader may have read more from the database than the task at the head.
    assert_eq!(after(&acme, 6), Lookup::Head);
    let events = (6..=40).map(|n| event(if n % 2 == 0 { "acme" } else { "other" }, n, 10));
    extend(&recent, events.collect());
    assert_eq!(
        positions(after(&acme, 5)),
        [6, 8, 10, 12, 14, 16, 18, 20, 22, 24]
    );
    assert_eq!(positions(after(&acme, 37)), [38, 40]);
    assert_eq!(after(&acme, 40), Lookup::Head);
    assert_eq!(recent.head(), Some(at(40)));
    assert!(acme.contains(at(8)) && !acme.contains(at(9)));
    let other_history = Position(Some(EventKey {
        version: 2,
        ..at(8).0.unwrap()
    }));
    assert!(!acme.contains(other_history));
    // The events that `other` missed before its first reader came are not kept.
    let other = recent.join(&tenant("other"));
    assert_eq!(after(&other, 39), Lookup::Missing);
    assert_eq!(after(&other, 40), Lookup::Head);
    recent.clear();
    assert_eq!(after(&acme, 40), Lookup::Missing);
}

#[test]
fn each_event_wakes_the_readers_of_its_tenant_only() {
    let recent = RecentEvents::default();
    let (acme, other) = (recent.join(&tenant("acme")), recent.join(&tenant("other")));
    let (acme, other) = (acme.subscribe(), other.subscribe());
    start(&recent, 0);
    extend(&recent, vec![event("acme", 1, 10), event("nobody", 2, 10)]);
    assert!(acme.has_changed().unwrap());
    assert!(!other.has_changed().unwrap());
    assert_eq!(recent.0.lock().kept.len(), 1, "no reader, no event");
    recent.clear();
    assert!(other.has_changed().unwrap());
}

#[test]
fn a_tenant_without_readers_is_forgotten() {
    let recent = RecentEvents::default();
    let acme = tenant("acme");
    let (first, second) = (recent.join(&acme), recent.join(&acme));
    assert!(Arc::ptr_eq(&first, &second));
    start(&recent, 0);
    extend(&recent, vec![event("acme", 1, 10)]);
    recent.leave(&acme, &first);
    assert_eq!(positions(after(&second, 0)), [1]);
    recent.leave(&acme, &second);
    assert!(recent.0.lock().tenants.is_empty());
    // A later reader does not get what may have a gap.
    extend(&recent, vec![event("acme", 2, 10)]);
    let third = recent.join(&acme);
    assert_eq!(after(&third, 1), Lookup::Missing);
    for position in 3..100 {
        extend(&recent, vec![event("acme", position, 100_000)]);
    }
    assert_eq!(after(&third, 99), Lookup::Head);
}

#[test]
fn bytes_are_bounded_and_the_events_kept_have_no_gap() {
    let recent = RecentEvents::default();
    let acme = recent.join(&tenant("acme"));
    let quiet = recent.join(&tenant("quiet"));
    start(&recent, 0);
    let events = vec![
        event("acme", 1, 20_000),
        event("acme", 2, 9_000),
        event("acme", 3, 9_000),
    ];
    extend(&recent, events);
    assert_eq!(positions(after(&acme, 0)), [1], "at least one");
    assert_eq!(positions(after(&acme, 1)), [2]);
    for position in 4..100 {
        extend(&recent, vec![event("acme", position, 100_000)]);
    }
    assert_eq!(after(&acme, 0), Lookup::Missing);
    assert_eq!(after(&quiet, 0), Lookup::Head, "nothing of it was removed");
    let state = recent.0.lock();
    assert!(state.bytes <= MAX_BYTES && state.kept.len() > 30);
    let run = acme.run.lock();
    assert_eq!(run.events.len(), state.kept.len());
    let first = run.events.front().unwrap().event.key.position;
    assert_eq!(run.after, Some(at(first - 1).sort_key()));
}

#[test]
fn events_of_another_database_are_not_those_after_a_position() {
    let recent = RecentEvents::default();
    let acme = recent.join(&tenant("acme"));
    let other_key = Arc::new(CursorKey::new(vec![2; 32].into()).unwrap());
    assert!(recent.continues_with(&key()) && recent.continues_with(&other_key));
    recent.start(at(5), &other_key);
    assert!(recent.continues_with(&other_key) && !recent.continues_with(&key()));
    assert_eq!(after(&acme, 7), Lookup::Missing);
    let of_other = acme.events_after(at(7).sort_key(), &other_key, PAGE);
    assert_eq!(of_other, Lookup::Head);
    recent.clear();
    assert!(recent.continues_with(&key()));
}

#[test]
fn an_erased_order_is_redacted_in_the_events_kept_and_no_other() {
    use crate::domain::EventType;

    let recent = RecentEvents::default();
    let acme = recent.join(&tenant("acme"));
    start(&recent, 0);
    let order = |position, customer_id: &str, number| {
        let mut event = event("acme", position, 0);
        event.event.order_id = Uuid::from_u128(number);
        event.event.data = format!(
            r#"{{"customer_id":"{customer_id}","metadata":{{"a":"b"}},"external_id":"c"}}"#
        );
        event.event.authid = Some("ann".to_owned());
        event.event.traceparent = Some("trace".to_owned());
        event
    };
    let mut erased = order(3, "erased-1", 1);
    erased.event.event_type = EventType::Erased;
    // The event before the erasure of its order is in the same page.
    extend(&recent, vec![order(1, "ann", 1)]);
    extend(
        &recent,
        vec![order(2, "ann", 2), order(4, "ann", 1), erased],
    );
    let Lookup::Events(events) = after(&acme, 0) else {
        panic!();
    };
    let redacted = r#"{"customer_id":"erased-1","metadata":{},"external_id":null}"#;
    let of_order = |number| {
        let id = Uuid::from_u128(number);
        events
            .iter()
            .filter(move |event| event.event.order_id == id)
    };
    for event in of_order(1).filter(|event| event.event.event_type != EventType::Erased) {
        assert_eq!(event.event.data, redacted);
        assert_eq!(
            (&event.event.authid, &event.event.traceparent),
            (&None, &None)
        );
    }
    for event in of_order(2) {
        assert_eq!(event.event.data, order(2, "ann", 2).event.data);
        assert_eq!(event.event.authid.as_deref(), Some("ann"));
    }
    let bytes: usize = events.iter().map(|event| event.event.json_bytes()).sum();
    assert_eq!(recent.0.lock().bytes, bytes);
}
