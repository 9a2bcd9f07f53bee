//! The most recent events, which all readers at the head of the feed share.
//!
//! One task reads the events of all tenants. The events of each tenant that has a reader are kept for its readers,
//! and only they are woken. The events of other tenants are not kept.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use parking_lot::Mutex;
use tokio::sync::watch;

use crate::domain::{EventType, Tenant};
use crate::store::StoreError;
use crate::store::cursor::{Position, SortKey};
use crate::store::cursor_key::CursorKey;
use crate::store::event::{Event, PageSize, StreamEvent, TenantEvent};

/// The maximum number of events, and of bytes of events, that are kept. A reader that falls further behind reads
/// pages from the database.
const MAX_EVENTS: usize = 4096;
const MAX_BYTES: usize = 4 << 20;

/// The most recent events, without a gap up to the last event that was read. Empty while no stream is at the
/// head.
#[derive(Default)]
pub(super) struct RecentEvents(Mutex<State>);

#[derive(Default)]
struct State {
    /// The position up to which the events of all tenants have been read.
    head: Option<Position>,
    /// The key of the database from which they were read.
    key: Option<Arc<CursorKey>>,
    tenants: HashMap<Tenant, Arc<TenantEvents>>,
    /// For each event that is kept, from the oldest on: the tenant that keeps it.
    kept: VecDeque<Arc<TenantEvents>>,
    bytes: usize,
}

/// The most recent events of a tenant.
pub(super) struct TenantEvents {
    run: Mutex<Run>,
    changed: watch::Sender<()>,
}

/// Consecutive events of a tenant.
struct Run {
    /// How many readers follow them.
    readers: usize,
    /// All later events that have been read are kept. `None` while nothing is read.
    after: Option<SortKey>,
    /// The key of the database from which they were read.
    key: Option<Arc<CursorKey>>,
    events: VecDeque<Arc<StreamEvent>>,
}

/// The result of looking up a position in the recent events.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Lookup {
    /// The events after the position, at least one.
    Events(Vec<Arc<StreamEvent>>),
    /// The reader has read all of the events.
    Head,
    /// Events after the position may not be among those that are kept.
    Missing,
}

impl RecentEvents {
    /// The events of a tenant, for one more reader.
    pub(super) fn join(&self, tenant: &Tenant) -> Arc<TenantEvents> {
        let mut state = self.0.lock();
        let after = state.head.map(Position::sort_key);
        let key = state.key.clone();
        let events = state.tenants.entry(tenant.clone());
        let events = Arc::clone(events.or_insert_with(|| Arc::new(TenantEvents::new(after, key))));
        events.run.lock().readers += 1;
        events
    }

    /// Ends what [`Self::join`] began.
    pub(super) fn leave(&self, tenant: &Tenant, events: &TenantEvents) {
        let mut state = self.0.lock();
        let mut run = events.run.lock();
        run.readers -= 1;
        if run.readers == 0 {
            state.tenants.remove(tenant);
        }
    }

    /// Whether any reader follows the events.
    pub(super) fn has_readers(&self) -> bool {
        !self.0.lock().tenants.is_empty()
    }

    /// The position up to which the events have been read; `None` before the start.
    pub(super) fn head(&self) -> Option<Position> {
        self.0.lock().head
    }

    /// Whether events of the database with this key can be appended: none have been read, or they have this key. A
    /// position before the first event is valid in every database, so it does not show that the database was switched.
    pub(super) fn continues_with(&self, key: &CursorKey) -> bool {
        self.0.lock().key.as_deref().is_none_or(|own| own == key)
    }

    /// Starts at this position of the database with this key, unless they have been started.
    pub(super) fn start(&self, head: Position, key: &Arc<CursorKey>) {
        let mut state = self.0.lock();
        if state.head.is_some() {
            return;
        }
        state.head = Some(head);
        state.key = Some(Arc::clone(key));
        for tenant in state.tenants.values() {
            let mut run = tenant.run.lock();
            run.after = Some(head.sort_key());
            run.key = Some(Arc::clone(key));
        }
    }

    /// Appends the events of all tenants that were read after the head, up to `head`, and wakes the readers of their
    /// tenants. Each cursor is encrypted once for all readers.
    ///
    /// An event `order.erased` redacts the earlier events of its order, as the database does it.
    ///
    /// # Errors
    /// When a cursor cannot be encrypted.
    pub(super) fn extend(
        &self,
        events: Vec<TenantEvent>,
        head: Position,
        key: &CursorKey,
    ) -> Result<(), StoreError> {
        let mut state = self.0.lock();
        let State {
            tenants,
            kept,
            bytes,
            ..
        } = &mut *state;
        let mut woken: Vec<&Arc<TenantEvents>> = Vec::new();
        for TenantEvent { tenant, event } in events {
            let Some((tenant, events)) = tenants.get_key_value(tenant.as_str()) else {
                continue;
            };
            let cursor = key.seal(tenant, Position(Some(event.key)))?;
            let mut run = events.run.lock();
            if event.event_type == EventType::Erased {
                run.redact_order(&event, bytes);
            }
            *bytes += event.json_bytes();
            run.events
                .push_back(Arc::new(StreamEvent { event, cursor }));
            drop(run);
            kept.push_back(Arc::clone(events));
            if !woken.iter().any(|woken| Arc::ptr_eq(woken, events)) {
                woken.push(events);
            }
        }
        while kept.len() > MAX_EVENTS || *bytes > MAX_BYTES {
            let Some(oldest) = kept.pop_front() else {
                break;
            };
            let mut run = oldest.run.lock();
            if let Some(removed) = run.events.pop_front() {
                *bytes -= removed.event.json_bytes();
                run.after = Some(removed.event.key.sort_key());
            }
        }
        for events in woken {
            events.changed.send_replace(());
        }
        state.head = Some(head);
        Ok(())
    }

    /// Removes all events: the head has expired, or no stream is left.
    pub(super) fn clear(&self) {
        let mut state = self.0.lock();
        state.head = None;
        state.key = None;
        state.kept.clear();
        state.bytes = 0;
        for events in state.tenants.values() {
            let mut run = events.run.lock();
            run.after = None;
            run.key = None;
            run.events.clear();
            events.changed.send_replace(());
        }
    }
}

impl Run {
    /// Redacts the earlier events of the order that was erased with this event. `bytes` is the length of all events that
    /// are kept.
    fn redact_order(&mut self, erased: &Event, bytes: &mut usize) {
        let of_order = self
            .events
            .iter_mut()
            .filter(|kept| kept.event.order_id == erased.order_id);
        for kept in of_order {
            let event = kept.event.redacted_by(erased);
            *bytes = (*bytes + event.json_bytes()).saturating_sub(kept.event.json_bytes());
            let cursor = kept.cursor;
            *kept = Arc::new(StreamEvent { event, cursor });
        }
    }
}

impl TenantEvents {
    fn new(after: Option<SortKey>, key: Option<Arc<CursorKey>>) -> Self {
        Self {
            run: Mutex::new(Run {
                readers: 0,
                after,
                key,
                events: VecDeque::new(),
            }),
            changed: watch::Sender::new(()),
        }
    }

    /// A receiver that changes whenever the readers of the tenant should read again.
    pub(super) fn subscribe(&self) -> watch::Receiver<()> {
        self.changed.subscribe()
    }

    /// The events after those that a reader has read from the database with this key, at most a page of this size.
    pub(super) fn events_after(
        &self,
        read_up_to: SortKey,
        key: &CursorKey,
        size: PageSize,
    ) -> Lookup {
        let run = self.run.lock();
        let same_database = run.key.as_deref() == Some(key);
        if !same_database || run.after.is_none_or(|after| after > read_up_to) {
            return Lookup::Missing;
        }
        let read = |event: &Arc<StreamEvent>| event.event.key.sort_key() <= read_up_to;
        let start = run.events.partition_point(read);
        let mut bytes = 0;
        let budget = usize::try_from(size.bytes).unwrap_or(usize::MAX);
        let events: Vec<_> = run
            .events
            .range(start..)
            .take(usize::try_from(size.events).unwrap_or(usize::MAX))
            .take_while(|event| {
                // The first event always fits.
                let fits = bytes == 0 || bytes + event.event.json_bytes() <= budget;
                bytes += event.event.json_bytes();
                fits
            })
            .map(Arc::clone)
            .collect();
        if events.is_empty() {
            Lookup::Head
        } else {
            Lookup::Events(events)
        }
    }

    /// Whether the event of this position is one of those that are kept.
    pub(super) fn contains(&self, position: Position) -> bool {
        let run = self.run.lock();
        let same = run
            .events
            .binary_search_by_key(&position.sort_key(), |event| event.event.key.sort_key());
        same.is_ok_and(|at| {
            let event = run.events.get(at);
            event.is_some_and(|event| Some(event.event.key) == position.0)
        })
    }
}

#[cfg(test)]
mod tests;
