//! Sends the requests of a tenant.

use std::sync::Arc;
use std::time::Duration;

use order_service::domain::{Caller, ItemsDraft, NewOrder};
use order_service::store::{
    CreateOrder, CreateOutcome, CreatedRange, Cursor, Event, Feed, FeedReader, Idempotency,
    ListQuery, NextEvents, Store, UpdateOrder, UpdateOutcome,
};
use uuid::Uuid;

use super::requests::{ListBounds, Request};
use super::session::{Others, Session, pick};
use crate::contract::{new_order, update};

/// A response, before it is compared.
pub(super) enum Response {
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
pub(super) async fn send(
    session: &Session,
    request: Request,
    others: &Others,
    stream: Option<FeedReader>,
) -> Response {
    let Session { store, caller, .. } = session;
    match request {
        Request::Create(draft, key) => {
            let mut hash = [0; 32];
            let ItemsDraft::Single(line) = &draft.items else {
                panic!("{draft:?}");
            };
            hash[0] =
                u8::try_from(line.product_id.len() + draft.customer_id.as_ref().map_or(0, |_| 1))
                    .unwrap();
            hash[1] = line.product_id.as_bytes()[1];
            hash[2] = draft
                .customer_id
                .as_ref()
                .map_or(0, |customer| customer.as_bytes()[1]);
            hash[3] = draft
                .external_id
                .as_ref()
                .map_or(0, |external_id| external_id.as_bytes()[1]);
            let command = CreateOrder {
                caller: Arc::clone(caller),
                new: NewOrder::parse(draft).unwrap(),
                idempotency: key.map(|key| Idempotency::new(&key, hash)),
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
        Request::List(query, ListBounds { after, from, to }) => {
            let created_at = |target: Option<_>| Some(session.created_at(target?, others));
            let query = ListQuery {
                starting_after: after.map(|target| session.id(target, others)),
                created: CreatedRange {
                    from: created_at(from),
                    to: created_at(to),
                },
                ..query
            };
            Response::Page(store.list(caller, query).await.unwrap().page)
        }
        Request::ListById(targets) => {
            let mut ids: Vec<Uuid> = Vec::new();
            for target in targets {
                let id = session.id(target, others);
                if !ids.contains(&id) {
                    ids.push(id);
                }
            }
            Response::Page(store.list_by_id(caller, ids).await.unwrap().page)
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
pub(super) async fn read_feed(
    session: &Session,
    from: Option<(Cursor, usize)>,
    limit: u32,
) -> Response {
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
