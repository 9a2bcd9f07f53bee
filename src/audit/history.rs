//! Checks the events of one order, one after another.

mod change;
mod recording;

use super::clock::{Clock, TOLERANCE};
use super::document::{Document, Lines, same_json};
use super::kind::Kind;
use super::report::Report;
use super::rows::{EventRow, FloorRow, IdempotencyRow, Key};
use crate::domain::{EventType, Status};
use change::{check_change, check_total};
use recording::check_recording;

/// What the events of an order so far say.
#[derive(Debug, Default)]
pub(super) struct History {
    first: Option<First>,
    last: Option<Last>,
    /// What the documents so far have in common. `None` before the first one that can be parsed.
    facts: Option<Facts>,
    /// Whether an event could not be read. Then nothing is known about its version.
    unreadable: bool,
    /// Whether the order was imported again after it was archived.
    imported: bool,
}

#[derive(Clone, Copy, Debug)]
struct First {
    version: i32,
    event_type: EventType,
}

#[derive(Debug)]
struct Last {
    version: i32,
    position: (i64, i64),
    occurred_at: i64,
    /// Whether the order is archived. `None` if the events that decide it are not retained.
    archived: Option<bool>,
    data: String,
}

/// The contents of the last document.
#[derive(Debug)]
struct Facts {
    status: Status,
    created_at: i64,
    updated_at: i64,
    customer_id: Option<String>,
    external_id: Option<String>,
    currency: Option<String>,
    /// Whether a document since the last erasure has metadata.
    has_metadata: bool,
    lines: Option<Lines>,
}

/// What an event is compared with, besides those before it.
pub(super) struct Surroundings<'a> {
    pub(super) key: &'a Key,
    /// Events have positions before this one.
    pub(super) end_of_feed: Option<i64>,
    pub(super) clock: Clock,
    /// The floor of the tenant.
    pub(super) floor: Option<&'a FloorRow>,
    /// Whether older events still have personal data, which will be redacted.
    pub(super) being_erased: bool,
    /// The document of the order's idempotency key.
    pub(super) idempotency: Option<&'a IdempotencyRow>,
}

impl History {
    /// Records that an event could not be read.
    pub(super) fn skip(&mut self) {
        self.last = None;
        self.facts = None;
        self.unreadable = true;
    }

    /// The version and the document of the last event, if it could be read.
    pub(super) fn last(&self) -> Option<(i32, &str)> {
        self.last
            .as_ref()
            .map(|last| (last.version, last.data.as_str()))
    }

    /// Whether the order may have been imported over its archive, and may differ from the order before. Such an import
    /// is at least the third version; the events before the first one that is retained are not known.
    pub(super) fn may_be_imported(&self) -> bool {
        self.imported || self.first.is_some_and(|first| first.version > 3)
    }

    /// Whether the last event leaves the order archived. `None` if that is not known.
    pub(super) fn archived(&self) -> Option<bool> {
        self.last.as_ref().and_then(|last| last.archived)
    }

    /// Whether retention may have removed the events after the last one, up to the current version: it may have left
    /// some below the floor.
    pub(super) fn may_end_below(&self, key: &Key, current: Current, floor: &FloorRow) -> bool {
        let last = self.last.as_ref();
        last.is_some_and(|last| last.position <= (floor.position, floor.seq))
            && is_removed(key, floor, current.version, current.updated_at)
    }

    /// Whether the order has no event.
    pub(super) fn is_empty(&self) -> bool {
        self.first.is_none() && !self.unreadable
    }

    /// Checks an event that comes after those so far.
    pub(super) fn add(&mut self, row: EventRow, around: &Surroundings<'_>, report: &mut Report) {
        let mut add = |kind, detail: &dyn Fn() -> String| {
            report.add(kind, Some(around.key), Some(row.version), detail);
        };
        self.imported |= row.event_type == EventType::Imported;
        let before = self.last.as_ref();
        if let Some(last) = before {
            if row.version == last.version {
                add(Kind::EventDuplicate, &|| {
                    "another event has this version".to_owned()
                });
                return;
            }
            if i64::from(row.version) != i64::from(last.version) + 1 {
                // Retention may have left events below the floor, and removed later ones.
                let floor = around.floor;
                if floor.is_some_and(|floor| last.position <= (floor.position, floor.seq)) {
                    self.first = None;
                } else {
                    add(Kind::EventGap, &|| {
                        format!("the event before it has version {}", last.version)
                    });
                }
                // What happened between the two is not known.
                self.facts = None;
            }
            if (row.position, row.seq) <= last.position {
                add(Kind::PositionOrder, &|| {
                    "is before the previous version in the feed".to_owned()
                });
            }
            if row.occurred_at < last.occurred_at {
                add(Kind::TimeOrder, &|| {
                    "occurred_at is before that of the previous version".to_owned()
                });
            }
        }
        check_recording(&row, around, &mut add);
        if around.end_of_feed.is_some_and(|end| row.position >= end) {
            add(Kind::PositionBeyondFeed, &|| {
                format!("the position is {}", row.position)
            });
        }
        let archived = before.map_or(Some(false), |last| last.archived);
        // The events before the first retained one are not known.
        let begins = before.is_none() && !self.unreadable;
        if !may_follow(
            row.event_type,
            row.version,
            archived.filter(|_| !begins),
            begins,
        ) {
            add(Kind::EventType, &|| {
                format!("{} cannot follow here", row.event_type.as_str())
            });
        }
        if usize::try_from(row.data_bytes) != Ok(row.data.len()) {
            add(Kind::LengthMismatch, &|| {
                format!(
                    "data_bytes is {}, the length is {}",
                    row.data_bytes,
                    row.data.len()
                )
            });
        }
        self.facts = match Document::parse(&row.data) {
            Ok(document) => {
                check_columns(&row, &document, around, &mut add);
                let facts = self.facts.take();
                Some(check_document(facts, &row, &document, around, &mut add))
            }
            Err(error) => {
                add(Kind::UnreadableValue, &|| format!("events.data {error}"));
                None
            }
        };
        self.first = self.first.or(Some(First {
            version: row.version,
            event_type: row.event_type,
        }));
        self.last = Some(Last {
            version: row.version,
            position: (row.position, row.seq),
            occurred_at: row.occurred_at,
            archived: match row.event_type {
                EventType::Archived => Some(true),
                EventType::Erased if begins => None,
                EventType::Erased => archived,
                EventType::Created | EventType::Updated | EventType::Imported => Some(false),
            },
            data: row.data,
        });
    }

    /// Checks that the events that are missing at the beginning, up to and including the current version if all are
    /// missing, have been removed by retention. They are not older than `created_at`; the last one not older than
    /// `updated_at`.
    pub(super) fn check_beginning(
        &self,
        key: &Key,
        current: Current,
        floor: Option<&FloorRow>,
        report: &mut Report,
    ) {
        let (missing, not_before) = match self.first {
            None if self.unreadable => return,
            None => (current.version, current.updated_at),
            Some(first) if first.version == 1 || first.event_type == EventType::Imported => return,
            Some(first) => (first.version.saturating_sub(1), current.created_at),
        };
        let removed = floor.is_some_and(|floor| is_removed(key, floor, missing, not_before));
        if !removed {
            report.add(Kind::EventMissing, Some(key), Some(missing), || {
                "is missing, and retention has not removed it".to_owned()
            });
        }
    }
}

/// The current version of an order, as its row says. Times that are not known are 0.
#[derive(Clone, Copy, Debug)]
pub(super) struct Current {
    pub(super) version: i32,
    pub(super) created_at: i64,
    pub(super) updated_at: i64,
}

/// Whether retention may have removed the event of this version, and those before it. The event was recorded at or
/// after `not_before`.
fn is_removed(key: &Key, floor: &FloorRow, version: i32, not_before: i64) -> bool {
    // The events of the tenant after the floor are complete. The first of them was recorded after all that are removed.
    let after_floor = floor
        .next_recorded_at
        .is_some_and(|next| not_before > next.saturating_add(TOLERANCE));
    let after_last_removed = floor.order_id == key.id && version > floor.version;
    !after_floor && !after_last_removed
}

/// Whether an event of this type may follow. `archived` says whether the order is archived, as far as it is known, and
/// `begins` whether the event is the first retained one.
fn may_follow(event_type: EventType, version: i32, archived: Option<bool>, begins: bool) -> bool {
    match event_type {
        EventType::Created => version == 1 && begins,
        EventType::Imported => begins || archived != Some(false),
        EventType::Updated | EventType::Archived => version > 1 && archived != Some(true),
        EventType::Erased => version > 1,
    }
}

type Add<'a> = dyn FnMut(Kind, &dyn Fn() -> String) + 'a;

/// Compares the document of an event with its columns.
fn check_columns(
    row: &EventRow,
    document: &Document<'_>,
    around: &Surroundings<'_>,
    add: &mut Add<'_>,
) {
    let mut mismatch = |what: &'static str| {
        add(Kind::EventMismatch, &|| format!("data has another {what}"));
    };
    if document.id != around.key.id {
        mismatch("id");
    }
    if document.version != row.version {
        mismatch("version");
    }
    match row.event_type {
        // The other changes are not made by a client, and need not change the time of the last update.
        EventType::Imported | EventType::Archived | EventType::Erased => {}
        EventType::Created | EventType::Updated => {
            if document.updated_at != row.occurred_at {
                mismatch("updated_at than occurred_at");
            }
        }
    }
    if let Some(key) = around.idempotency
        && !around.being_erased
        && row.event_type == EventType::Created
        && !same_json(&key.document, &row.data)
    {
        add(Kind::IdempotencyDocument, &|| {
            "the document of the idempotency key is not that of the first version".to_owned()
        });
    }
}

/// Checks the document of an event by itself, and as a change of the one before.
fn check_document(
    before: Option<Facts>,
    row: &EventRow,
    document: &Document<'_>,
    around: &Surroundings<'_>,
    add: &mut Add<'_>,
) -> Facts {
    if document.created_at > document.updated_at {
        add(Kind::TimeOrder, &|| {
            "created_at is after updated_at in data".to_owned()
        });
    }
    let status = document.status;
    let legal = match (row.event_type, &before) {
        (EventType::Created, _) => status == Status::INITIAL,
        (EventType::Archived, Some(before)) => status == before.status && status.is_final(),
        (EventType::Archived, None) => status.is_final(),
        (EventType::Erased, Some(before)) => status == before.status,
        (EventType::Updated, Some(before)) => {
            status == before.status || before.status.next().contains(&status)
        }
        (EventType::Imported, _) | (EventType::Updated | EventType::Erased, None) => true,
    };
    if !legal {
        add(Kind::IllegalTransition, &|| {
            let from = before
                .as_ref()
                .map_or("nothing", |before| before.status.as_str());
            format!(
                "{} from {from} to {}",
                row.event_type.as_str(),
                status.as_str()
            )
        });
    }
    let (mut facts, old_lines) = match before {
        // What is imported over an archived order may differ from it.
        Some(mut before) if row.event_type != EventType::Imported => {
            check_change(&mut before, row, document, around, add);
            let lines = before.lines.take();
            (before, Some(lines))
        }
        _ => (Facts::of(document), None),
    };
    facts.lines = match old_lines.flatten() {
        Some(lines) if lines.has_text(document.items) => {
            check_total(&lines, document, add);
            Some(lines)
        }
        old => {
            let new = Lines::parse(document.items);
            match (&new, &old) {
                (None, _) => add(Kind::UnreadableValue, &|| {
                    "events.data has lines that are not those of an order".to_owned()
                }),
                (Some(new), Some(old))
                    if !(new.means(old)
                        || row.event_type == EventType::Updated && facts.status.is_editable()) =>
                {
                    add(Kind::IllegalChange, &|| {
                        format!(
                            "the lines changed while the order was {}",
                            facts.status.as_str()
                        )
                    });
                }
                _ => {}
            }
            if let Some(new) = &new {
                check_total(new, document, add);
            }
            new
        }
    };
    facts.status = status;
    facts.updated_at = document.updated_at;
    facts
}
