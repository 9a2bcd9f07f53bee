//! What a tenant has done, and the responses that it got.

use std::collections::HashMap;
use std::fmt::Write as _;
use std::sync::Arc;

use chrono::{DateTime, Utc};
use order_service::domain::Caller;
use order_service::store::{CreateOutcome, Cursor, Event, FeedReader, Store, UpdateOutcome};
use serde_json::Value;
use uuid::Uuid;

use super::requests::{Request, Target};
use super::responses::Response;
use crate::tenants::caller_of;

/// A tenant: what it has done, and the responses that it got.
pub(super) struct Session {
    pub(super) store: Store,
    pub(super) caller: Arc<Caller>,
    pub(super) created: Vec<Uuid>,
    /// How many events it has, and the cursors after the pages that it has read.
    pub(super) events: usize,
    versions: HashMap<Uuid, usize>,
    /// Each cursor with the number of events before it.
    pub(super) cursors: Vec<(Cursor, usize)>,
    feed: Vec<Event>,
    pub(super) stream: Option<FeedReader>,
    pub(super) streamed: usize,
    transcript: String,
}

/// What a request needs of the other tenant.
#[derive(Clone, Default)]
pub(super) struct Others {
    pub(super) created: Vec<Uuid>,
    pub(super) cursors: Vec<(Cursor, usize)>,
}

pub(super) fn pick<T: Copy>(from: &[T], number: u64) -> Option<T> {
    let length = u64::try_from(from.len()).unwrap();
    let at = number.checked_rem(length)?;
    from.get(usize::try_from(at).unwrap()).copied()
}

impl Session {
    pub(super) fn new(store: &Store, tenant: &str) -> Self {
        let caller = caller_of(tenant);
        Self {
            store: store.clone(),
            stream: Some(store.follow(&caller, None).unwrap()),
            caller,
            created: Vec::new(),
            events: 0,
            versions: HashMap::new(),
            cursors: Vec::new(),
            feed: Vec::new(),
            streamed: 0,
            transcript: String::new(),
        }
    }

    /// The id of a target. An order that does not exist if the tenant has none.
    pub(super) fn id(&self, target: Target, others: &Others) -> Uuid {
        let found = match target {
            Target::Own(number) => pick(&self.created, number),
            Target::Other(number) => pick(&others.created, number),
        };
        found.unwrap_or_else(Uuid::now_v7)
    }

    /// The time of creation of a target, which its id contains.
    pub(super) fn created_at(&self, target: Target, others: &Others) -> DateTime<Utc> {
        let [a, b, c, d, e, f, high, low, ..] = self.id(target, others).into_bytes();
        let millis = i64::from_be_bytes([0, 0, a, b, c, d, e, f]);
        let fraction = i64::from(u16::from_be_bytes([high & 0x0F, low]));
        // Rounded up, because the fraction was rounded down.
        let micros = (fraction * 1_000 + 4_095) / 4_096;
        DateTime::from_timestamp_micros(millis * 1_000 + micros).unwrap()
    }

    /// A JSON text without ids and times: an id becomes the number of the order.
    fn normalized(&self, json: &[u8]) -> String {
        let mut value: Value = serde_json::from_slice(json).unwrap();
        let orders = match &mut value {
            Value::Array(orders) => orders.iter_mut().collect(),
            order => vec![order],
        };
        for order in orders {
            order["id"] = self.number(order["id"].as_str().unwrap().parse().unwrap());
            order["created_at"] = Value::Null;
            order["updated_at"] = Value::Null;
        }
        value.to_string()
    }

    /// The number of an order that the tenant has created.
    fn number(&self, id: Uuid) -> Value {
        let number = self.created.iter().position(|created| *created == id);
        number.map_or_else(|| "the order of another".into(), Value::from)
    }

    fn normalized_event(&self, event: &Event) -> String {
        format!(
            "{} {} {} {:?} {}",
            self.number(event.order_id),
            event.version,
            event.authtype,
            event.authid,
            self.normalized(event.data.as_bytes())
        )
    }
}

impl Session {
    pub(super) fn record(&mut self, request: &Request, response: Response) {
        let text = match response {
            Response::Created(CreateOutcome::New(document)) => {
                self.created.push(document.id);
                self.events += 1;
                format!("new {}", self.normalized(&document.json))
            }
            Response::Created(CreateOutcome::Replay(document)) => {
                format!("replay {}", self.normalized(&document.json))
            }
            Response::Created(CreateOutcome::KeyReused) => "key reused".to_owned(),
            Response::Created(CreateOutcome::ExternalIdTaken { order_id }) => {
                format!("taken by {}", self.number(order_id))
            }
            Response::Got(document) => match document {
                Some(document) => self.normalized(&document.json),
                None => "none".to_owned(),
            },
            Response::Updated(outcome) => match outcome {
                UpdateOutcome::Current(document) => {
                    let version = usize::try_from(document.version).unwrap();
                    let versions = self.versions.entry(document.id).or_insert(1);
                    self.events += version - *versions;
                    *versions = version;
                    self.normalized(&document.json)
                }
                other => format!("{other:?}"),
            },
            Response::Page(page) => {
                let next = page.next.map(|id| self.number(id));
                format!("{} {next:?}", self.normalized(&page.json))
            }
            Response::Events(events) => self.normalized_events(&events),
            Response::Feed(first, events, cursors) => {
                let text = format!("{} pages after {first}", cursors.len());
                self.cursors.extend(cursors);
                self.expect_in_feed(first, events);
                text
            }
            Response::Expired => "expired".to_owned(),
            Response::Streamed(reader, events) => {
                let text = format!("{} events", events.len());
                let before = self.streamed;
                self.stream = Some(reader);
                self.streamed += events.len();
                self.expect_in_feed(before, events);
                text
            }
        };
        writeln!(self.transcript, "{request:?}\n    {text}").unwrap();
    }

    /// Checks that the events are those of the feed after the first `before`, as in earlier reads.
    fn expect_in_feed(&mut self, before: usize, events: Vec<Event>) {
        let id = |event: &Event| (event.order_id, event.version);
        for (at, event) in events.into_iter().enumerate() {
            match self.feed.get(before + at) {
                Some(earlier) => assert_eq!(id(earlier), id(&event)),
                None => self.feed.push(event),
            }
        }
    }

    /// Ends the transcript with all events.
    pub(super) fn end(mut self) -> String {
        let mut events: Vec<_> = self
            .feed
            .iter()
            .map(|event| self.normalized_event(event))
            .collect();
        events.sort();
        assert_eq!(events.len(), self.events);
        self.transcript.push_str(&events.join("\n"));
        self.transcript
    }

    fn normalized_events(&self, events: &[Event]) -> String {
        let events = events.iter().map(|event| self.normalized_event(event));
        events.collect::<Vec<_>>().join("\n    ")
    }
}
