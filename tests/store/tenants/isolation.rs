//! Two tenants send random requests to one store, and the same requests each to a store of its own. Every response is
//! the same apart from ids, times and cursors, and cursors have the same effect.
//!
//! Orders that are created at the same time may get their events in any order, so the feeds are compared as sets. Within
//! a run, all reads of a feed have its events in the same order.

use std::collections::{BTreeMap, HashMap};
use std::fmt::Write as _;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use order_service::domain::{Caller, Draft, MetadataPatch, NewOrder, Patch, Quantity, Status};
use order_service::store::{
    CreateOrder, CreateOutcome, Cursor, Event, Feed, FeedReader, Idempotency, IfMatch, ListFilter,
    ListQuery, NextEvents, Store, UpdateOrder, UpdateOutcome,
};
use serde_json::Value;
use uuid::Uuid;

use super::caller_of;
use crate::contract::{new_order, store, update};
use crate::state_machine::Random;
use crate::support::database::Database;

crate::on_both!(responses_are_the_same_whether_or_not_another_tenant_exists);

const TENANTS: [&str; 2] = ["acme", "acme2"];
const ROUNDS: usize = 150;

/// Which order a request names.
#[derive(Clone, Copy, Debug)]
enum Target {
    /// One of the orders that the tenant has created.
    Own(u64),
    /// One of the other tenant's. Alone, an order that does not exist.
    Other(u64),
}

#[derive(Clone, Debug)]
enum Request {
    Create(Draft, Option<String>),
    Get(Target),
    Update(Target, Patch, IfMatch),
    FirstPage,
    List(ListQuery, Option<Target>),
    OrderEvents(Target),
    /// Reads the feed from a cursor that an earlier page returned, in pages of this size.
    Feed(u64, u32),
    /// Reads the feed from a cursor of the other tenant.
    FeedOfOther(u64),
    Stream,
}

fn random_draft(random: &mut Random) -> Draft {
    Draft {
        product_id: format!("p{}", random.below(2)),
        quantity: 1,
        customer_id: (random.below(2) == 0).then(|| format!("c{}", random.below(2))),
        metadata: BTreeMap::new(),
    }
}

fn random_target(random: &mut Random) -> Target {
    if random.below(3) == 0 {
        Target::Other(random.below(1_000))
    } else {
        Target::Own(random.below(1_000))
    }
}

fn random_list(random: &mut Random) -> Request {
    let status = usize::try_from(random.below(5)).unwrap();
    let query = ListQuery {
        limit: u32::try_from(1 + random.below(20)).unwrap(),
        starting_after: None,
        status: (random.below(2) == 0).then_some(Status::ALL[status]),
        filter: match random.below(3) {
            0 => Some(ListFilter::Product(format!("p{}", random.below(2)))),
            1 => Some(ListFilter::Customer(format!("c{}", random.below(2)))),
            _ => None,
        },
    };
    let after = (random.below(2) == 0).then(|| Target::Own(random.below(1_000)));
    Request::List(query, after)
}

fn random_update(random: &mut Random) -> Request {
    let status = usize::try_from(random.below(5)).unwrap();
    let patch = Patch {
        status: (random.below(3) > 0).then_some(Status::ALL[status]),
        quantity: (random.below(4) == 0).then(|| Quantity::parse(2).unwrap()),
        metadata: (random.below(3) == 0).then(|| {
            let note = Some(random.below(3).to_string());
            MetadataPatch::Merge(BTreeMap::from([("note".to_owned(), note)]))
        }),
    };
    let if_match = match random.below(4) {
        0 => IfMatch::Versions(vec![1]),
        _ => IfMatch::Any,
    };
    Request::Update(random_target(random), patch, if_match)
}

/// The requests of one tenant that are sent at the same time. They do not depend on each other.
fn random_round(random: &mut Random) -> Vec<Request> {
    let burst = 1 + random.below(6);
    match random.below(10) {
        0 | 1 => {
            let first = random.below(8);
            let create = |i| {
                let draft = random_draft(random);
                // The tenants have only eight keys, and reuse them.
                let key = (random.below(3) > 0).then(|| format!("key-{}", (first + i) % 8));
                Request::Create(draft, key)
            };
            (0..burst).map(create).collect()
        }
        2 | 3 => (0..burst)
            .map(|_| Request::Get(random_target(random)))
            .collect(),
        4 => vec![Request::FirstPage; usize::try_from(burst).unwrap()],
        5 => (0..burst).map(|_| random_list(random)).collect(),
        6 => vec![random_update(random)],
        7 => vec![Request::OrderEvents(random_target(random))],
        8 => {
            let limit = u32::try_from(1 + random.below(30)).unwrap();
            vec![
                Request::Feed(random.below(1_000), limit),
                Request::FeedOfOther(random.below(1_000)),
            ]
        }
        _ => vec![Request::Stream],
    }
}

/// A tenant: what it has done, and the responses that it got.
struct Session {
    store: Store,
    caller: Arc<Caller>,
    created: Vec<Uuid>,
    /// How many events it has, and the cursors after the pages that it has read.
    events: usize,
    versions: HashMap<Uuid, usize>,
    /// Each cursor with the number of events before it.
    cursors: Vec<(Cursor, usize)>,
    feed: Vec<Event>,
    stream: Option<FeedReader>,
    streamed: usize,
    transcript: String,
}

/// What a request needs of the other tenant.
#[derive(Clone, Default)]
struct Others {
    created: Vec<Uuid>,
    cursors: Vec<(Cursor, usize)>,
}

fn pick<T: Copy>(from: &[T], number: u64) -> Option<T> {
    let length = u64::try_from(from.len()).unwrap();
    let at = number.checked_rem(length)?;
    from.get(usize::try_from(at).unwrap()).copied()
}

impl Session {
    fn new(store: &Store, tenant: &str) -> Self {
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
    fn id(&self, target: Target, others: &Others) -> Uuid {
        let found = match target {
            Target::Own(number) => pick(&self.created, number),
            Target::Other(number) => pick(&others.created, number),
        };
        found.unwrap_or_else(Uuid::now_v7)
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

/// A response, before it is compared.
enum Response {
    Created(CreateOutcome),
    Got(Option<order_service::store::Document>),
    Updated(UpdateOutcome),
    Page(order_service::store::Page),
    Events(Vec<Event>),
    /// The number of events before the first one; the events; and the cursors, with the number of events before each.
    Feed(usize, Vec<Event>, Vec<(Cursor, usize)>),
    Expired,
    Streamed(FeedReader, Vec<Event>),
}

/// Sends one request.
async fn send(
    session: &Session,
    request: Request,
    others: &Others,
    stream: Option<FeedReader>,
) -> Response {
    let Session { store, caller, .. } = session;
    match request {
        Request::Create(draft, key) => {
            let mut hash = [0; 32];
            hash[0] =
                u8::try_from(draft.product_id.len() + draft.customer_id.as_ref().map_or(0, |_| 1))
                    .unwrap();
            hash[1] = draft.product_id.as_bytes()[1];
            hash[2] = draft
                .customer_id
                .as_ref()
                .map_or(0, |customer| customer.as_bytes()[1]);
            let command = CreateOrder {
                caller: Arc::clone(caller),
                new: NewOrder::parse(draft).unwrap(),
                idempotency: key.map(|key| Idempotency { key, hash }),
                ..new_order("")
            };
            Response::Created(store.create(command).await.unwrap())
        }
        Request::Get(target) => {
            let id = session.id(target, others);
            Response::Got(store.get(caller, id).await.unwrap())
        }
        Request::Update(target, patch, if_match) => {
            let command = UpdateOrder {
                caller: Arc::clone(caller),
                if_match,
                ..update(session.id(target, others), patch)
            };
            Response::Updated(store.update(command).await.unwrap())
        }
        Request::FirstPage => {
            let page = store.list(caller, ListQuery::FIRST_PAGE).await;
            Response::Page(page.unwrap().page)
        }
        Request::List(query, after) => {
            let query = ListQuery {
                starting_after: after.map(|target| session.id(target, others)),
                ..query
            };
            Response::Page(store.list(caller, query).await.unwrap().page)
        }
        Request::OrderEvents(target) => {
            let id = session.id(target, others);
            let page = store.order_events(caller, id, 0, 100).await;
            Response::Events(page.unwrap().page.events)
        }
        Request::Feed(number, limit) => {
            let from = pick(&session.cursors, number);
            read_feed(session, from, limit).await
        }
        Request::FeedOfOther(number) => {
            // Alone: a cursor of no feed at all.
            let cursor = pick(&others.cursors, number).map(|(cursor, _)| cursor);
            let cursor = cursor.unwrap_or_else(|| "A".repeat(80).parse().unwrap());
            match store.feed(caller, Some(cursor), 100).await.unwrap().page {
                Feed::Page { page, next } => Response::Feed(0, page.events, vec![(next, 0)]),
                Feed::Expired { .. } => Response::Expired,
            }
        }
        Request::Stream => {
            let mut reader = stream.unwrap();
            let mut events = Vec::new();
            while session.streamed + events.len() < session.events {
                let next = tokio::time::timeout(Duration::from_secs(30), reader.next()).await;
                match next.expect("the events arrive").unwrap() {
                    NextEvents::Events(next) => {
                        events.extend(next.iter().map(|next| next.event.clone()));
                    }
                    NextEvents::Expired { .. } => return Response::Expired,
                }
            }
            Response::Streamed(reader, events)
        }
    }
}

/// Reads the feed to its end. On PostgreSQL, readers wait for every earlier transaction of the cluster, so it reads from
/// the beginning until all events of the tenant are there.
async fn read_feed(session: &Session, from: Option<(Cursor, usize)>, limit: u32) -> Response {
    let Session { store, caller, .. } = session;
    for _ in 0..1_500 {
        let (all, _) = read_pages(store, caller, None, 100).await;
        if all.len() >= session.events {
            let first = from.map_or(0, |(_, before)| before);
            let (events, cursors) = read_pages(store, caller, from, limit).await;
            return Response::Feed(first, events, cursors);
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    panic!("the events of the tenant do not arrive");
}

async fn read_pages(
    store: &Store,
    caller: &Arc<Caller>,
    mut from: Option<(Cursor, usize)>,
    limit: u32,
) -> (Vec<Event>, Vec<(Cursor, usize)>) {
    let (mut events, mut cursors) = (Vec::new(), Vec::new());
    let first = from.map_or(0, |(_, before)| before);
    loop {
        let after = from.map(|(cursor, _)| cursor);
        let feed = store.feed(caller, after, limit).await.unwrap().page;
        let Feed::Page { page, next } = feed else {
            panic!("an own cursor has expired");
        };
        let last = page.events.is_empty();
        events.extend(page.events);
        let next = (next, first + events.len());
        cursors.push(next);
        if last {
            return (events, cursors);
        }
        from = Some(next);
    }
}

impl Session {
    fn record(&mut self, request: &Request, response: Response) {
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
    fn end(mut self) -> String {
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

/// Runs the requests of some tenants at the same time, and returns the responses of each.
async fn run(store: &Store, seed: u64, tenants: &[&str]) -> HashMap<String, String> {
    let mut sessions: Vec<Session> = tenants
        .iter()
        .map(|tenant| Session::new(store, tenant))
        .collect();
    let mut scripts: Vec<Random> = tenants
        .iter()
        .map(|tenant| Random(seed.wrapping_add(u64::try_from(tenant.len()).unwrap())))
        .collect();
    for _ in 0..ROUNDS {
        let rounds: Vec<Vec<Request>> = scripts.iter_mut().map(random_round).collect();
        let others: Vec<Others> = sessions
            .iter()
            .map(|session| Others {
                created: session.created.clone(),
                cursors: session.cursors.clone(),
            })
            .collect();
        let mut streams: Vec<Option<FeedReader>> = sessions
            .iter_mut()
            .map(|session| session.stream.take())
            .collect();
        // The requests of all tenants alternate, so that batches are mixed.
        let longest = rounds.iter().map(Vec::len).max().unwrap_or_default();
        let mut pending = Vec::new();
        for at in 0..longest {
            for (tenant, round) in rounds.iter().enumerate() {
                if let Some(request) = round.get(at) {
                    let other = others.get((tenant + 1) % 2).filter(|_| tenants.len() == 2);
                    let other = other.cloned().unwrap_or_default();
                    let stream = matches!(request, Request::Stream)
                        .then(|| streams[tenant].take())
                        .flatten();
                    pending.push((tenant, request.clone(), other, stream));
                }
            }
        }
        let sent = pending.into_iter().map(|(tenant, request, other, stream)| {
            let session = &sessions[tenant];
            async move {
                let response = send(session, request.clone(), &other, stream).await;
                (tenant, request, response)
            }
        });
        let responses = join_all(sent).await;
        for (session, stream) in sessions.iter_mut().zip(streams) {
            session.stream = session.stream.take().or(stream);
        }
        for (tenant, request, response) in responses {
            sessions[tenant].record(&request, response);
        }
    }
    for session in &mut sessions {
        let all = read_feed(session, None, 100).await;
        session.record(&Request::Feed(0, 100), all);
    }
    let names = tenants.iter().map(|tenant| (*tenant).to_owned());
    let transcripts = sessions.into_iter().map(Session::end);
    names.zip(transcripts).collect()
}

async fn responses_are_the_same_whether_or_not_another_tenant_exists(database: Database) {
    let seed = u64::from(Uuid::new_v4().as_fields().0);
    eprintln!("seed {seed}");
    let together = run(&store(&database, &[]).await, seed, &TENANTS).await;
    for tenant in TENANTS {
        let own = if database.is_postgres() {
            Database::postgres().await
        } else {
            Database::sqlite()
        };
        let alone = run(&store(&own, &[]).await, seed, &[tenant]).await;
        let (together, alone) = (&together[tenant], &alone[tenant]);
        for (line, expected) in together.lines().zip(alone.lines()) {
            assert_eq!(line, expected, "{tenant}");
        }
        assert_eq!(together.len(), alone.len());
        for kind in ["replay", "key reused", "Missing", "none", "expired"] {
            let found = together.lines().any(|line| line.trim().starts_with(kind));
            assert!(found, "{tenant} never got: {kind}");
        }
    }
}
