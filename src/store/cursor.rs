//! Positions in the feed of events, and their text form for clients.
//!
//! A cursor names the last event that was delivered: position, sequence, order, version and time. Reading
//! continues after exactly that event or not at all. If a failover or a recovery has lost it, or another event has
//! taken its position, the reader has seen another history, and the events after the position do not include all
//! that the reader lacks. The time distinguishes two copies of a database that updated the same order in different
//! ways: both continue positions, sequences and versions from the same numbers.
//!
//! Retention is the only reason why the event of a valid cursor may be missing. It records the last event that it
//! has removed, the floor. A reader that has read everything up to the floor has a cursor at exactly this event,
//! because no event lies between. The reader of an earlier cursor lacks events that are removed. A cursor at
//! another event below the floor comes from another history. So a cursor need not record how far past its last
//! event its reader has read.

use std::fmt;
use std::str::FromStr;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use uuid::Uuid;

/// What identifies an event in the feed. Its ordering is that of the feed: position, then sequence, which no
/// two events of one history share.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct EventKey {
    /// The writing transaction; always 0 on SQLite.
    pub(super) position: i64,
    pub(super) seq: i64,
    pub(super) order_id: Uuid,
    pub(super) version: i32,
    /// When the event happened, in microseconds since 1970, which is as exact as both databases are.
    pub(super) occurred_at: i64,
}

impl EventKey {
    /// Before every event that may be written.
    pub(super) const BEGINNING: Self = Self {
        position: i64::MIN,
        seq: i64::MIN,
        order_id: Uuid::nil(),
        version: 0,
        occurred_at: 0,
    };
}

/// A position in the feed: after an event, or before the first event ever written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Cursor(pub(super) Option<EventKey>);

/// What the database holds for a cursor, in the snapshot from which it reads the events after the cursor.
#[derive(Clone, Copy, Debug)]
pub(super) struct Evidence {
    /// The last event that retention has removed.
    pub(super) floor: Option<EventKey>,
    /// Whether the database has the event of the cursor, and it is the same.
    pub(super) present: bool,
}

impl Cursor {
    /// The sort key after which events are read. Without a cursor, before the first event.
    pub(super) fn key_of(cursor: Option<Self>) -> EventKey {
        cursor
            .and_then(|cursor| cursor.0)
            .unwrap_or(EventKey::BEGINNING)
    }

    /// Its sort key in the feed.
    pub(super) fn ordering_key(self) -> Option<(i64, i64)> {
        self.0.map(|event| (event.position, event.seq))
    }

    /// Whether reading may continue here.
    pub(super) fn is_valid(self, evidence: Evidence) -> bool {
        let Evidence { floor, present } = evidence;
        // Everything up to the floor was delivered; or nothing was delivered, and nothing was removed.
        self.0 == floor || present && self.ordering_key() > Self(floor).ordering_key()
    }
}

/// The first byte of the binary form of a cursor before the first event. A changed form gets another number.
const BEFORE_ALL: u8 = 0;
/// The first byte of the binary form of a cursor after an event. The form with the number 1 had no time.
const AFTER_EVENT: u8 = 2;

impl fmt::Display for Cursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut bytes = Vec::new();
        if let Some(event) = self.0 {
            bytes.push(AFTER_EVENT);
            bytes.extend(event.position.to_be_bytes());
            bytes.extend(event.seq.to_be_bytes());
            bytes.extend(event.order_id.as_bytes());
            bytes.extend(event.version.to_be_bytes());
            bytes.extend(event.occurred_at.to_be_bytes());
        } else {
            bytes.push(BEFORE_ALL);
        }
        f.write_str(&URL_SAFE_NO_PAD.encode(bytes))
    }
}

impl FromStr for Cursor {
    type Err = InvalidCursor;

    fn from_str(text: &str) -> Result<Self, InvalidCursor> {
        // A valid cursor is never longer.
        if text.len() > 64 {
            return Err(InvalidCursor);
        }
        let bytes = URL_SAFE_NO_PAD.decode(text).map_err(|_| InvalidCursor)?;
        let rest = match bytes.split_first() {
            Some((&BEFORE_ALL, [])) => return Ok(Self(None)),
            Some((&AFTER_EVENT, rest)) => rest,
            _ => return Err(InvalidCursor),
        };
        let (position, rest) = number(rest).ok_or(InvalidCursor)?;
        let (seq, rest) = number(rest).ok_or(InvalidCursor)?;
        let (order_id, rest) = rest.split_first_chunk().ok_or(InvalidCursor)?;
        let (version, rest) = rest.split_first_chunk().ok_or(InvalidCursor)?;
        let (occurred_at, []) = number(rest).ok_or(InvalidCursor)? else {
            return Err(InvalidCursor);
        };
        Ok(Self(Some(EventKey {
            position,
            seq,
            order_id: Uuid::from_bytes(*order_id),
            version: i32::from_be_bytes(*version),
            occurred_at,
        })))
    }
}

fn number(bytes: &[u8]) -> Option<(i64, &[u8])> {
    let (number, rest) = bytes.split_first_chunk()?;
    Some((i64::from_be_bytes(*number), rest))
}

/// The text is not a cursor that a response contained.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct InvalidCursor;

#[cfg(test)]
mod tests {
    use super::*;

    fn event(position: i64, seq: i64) -> EventKey {
        EventKey {
            position,
            seq,
            order_id: Uuid::from_u128(7),
            version: 3,
            occurred_at: 1_764_000_000_123_456,
        }
    }

    #[test]
    fn cursors_round_trip_and_compare_as_numbers() {
        for cursor in [
            Cursor(None),
            Cursor(Some(event(12, 7))),
            Cursor(Some(event(0, i64::MAX))),
        ] {
            let text = cursor.to_string();
            assert!(text.len() <= 60, "{text}");
            assert_eq!(text.parse(), Ok(cursor));
            for cut in (0..text.len()).filter_map(|end| text.get(..end)) {
                assert_eq!(cut.parse::<Cursor>(), Err(InvalidCursor));
            }
            assert!(format!("{text}AAAA").parse::<Cursor>().is_err());
        }
        assert!(Cursor(None) < Cursor(Some(event(i64::MIN, 0))));
        assert!(event(9, 1) < event(10, 0) && event(9, 9) < event(9, 10));
        for bad in [
            "", "-", "1", "12-7", "AA=", "AA==", "AB", "AQ", "AAAA", "Aé",
        ] {
            assert_eq!(bad.parse::<Cursor>(), Err(InvalidCursor), "{bad}");
        }
    }

    #[test]
    fn a_cursor_is_valid_when_every_later_event_is_still_there() {
        let valid = |cursor, floor, present| Cursor(cursor).is_valid(Evidence { floor, present });
        let (one, two, three) = (Some(event(1, 1)), Some(event(2, 2)), Some(event(3, 3)));
        // Nothing was ever removed.
        assert!(valid(None, None, false), "from the beginning");
        assert!(valid(one, None, true));
        assert!(!valid(one, None, false), "lost");
        // Everything up to two was removed.
        assert!(!valid(None, two, false), "from a beginning that is gone");
        assert!(!valid(one, two, false), "two was removed unseen");
        assert!(!valid(one, two, true), "also if one is still there");
        assert!(valid(two, two, false), "removed after it was delivered");
        assert!(valid(two, two, true));
        assert!(valid(three, two, true));
        assert!(!valid(three, two, false), "lost");
        let version = EventKey {
            version: 4,
            ..event(2, 2)
        };
        let time = EventKey {
            occurred_at: 1_764_000_000_123_457,
            ..event(2, 2)
        };
        for other in [Some(version), Some(time)] {
            assert!(!valid(other, two, false), "another history");
            assert!(!valid(other, two, true));
        }
    }
}
