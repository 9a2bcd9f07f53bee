//! Positions in the feed of events, and cursors, which are positions encrypted for clients
//! ([`super::cursor_key`]).
//!
//! A position names the last event that was delivered: position, sequence, order, version and time. Reading
//! continues after exactly that event or not at all. If a failover or a recovery has lost it, or another event has
//! taken its position, the reader has seen another history, and the events after the position do not include all
//! that the reader lacks. The time distinguishes two copies of a database that updated the same order in different
//! ways: both continue positions, sequences and versions from the same numbers.
//!
//! Retention is the only reason why the event of a valid cursor may be missing. It records the last event that it
//! has removed of each tenant, the floor. A reader that has read everything up to the floor has a cursor at exactly
//! this event, because no event of the tenant lies between. The reader of an earlier cursor lacks events that are
//! removed. A cursor at another event below the floor comes from another history. So a cursor need not record how
//! far past its last event its reader has read.

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

/// How events are sorted: by position, then by sequence.
pub(super) type SortKey = (i64, i64);

impl EventKey {
    /// Before every event that may be written.
    pub(super) const BEGINNING: Self = Self {
        position: i64::MIN,
        seq: i64::MIN,
        order_id: Uuid::nil(),
        version: 0,
        occurred_at: 0,
    };

    pub(super) fn sort_key(&self) -> SortKey {
        (self.position, self.seq)
    }
}

/// A position in the feed: after an event, or before the first event ever written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Position(pub(super) Option<EventKey>);

/// What the database holds for a position, in the snapshot from which it reads the events after the position.
#[derive(Clone, Copy, Debug)]
pub(super) struct Evidence {
    /// The last event that retention has removed.
    pub(super) floor: Option<EventKey>,
    /// Whether the database has the event of the position, and it is the same.
    pub(super) present: bool,
}

impl Position {
    /// The event after which events are read. Without a position, before the first event.
    pub(super) fn event_of(position: Option<Self>) -> EventKey {
        position
            .and_then(|position| position.0)
            .unwrap_or(EventKey::BEGINNING)
    }

    pub(super) fn sort_key(self) -> SortKey {
        self.0.unwrap_or(EventKey::BEGINNING).sort_key()
    }

    /// Whether reading may continue here.
    pub(super) fn is_valid(self, evidence: Evidence) -> bool {
        let Evidence { floor, present } = evidence;
        // Everything up to the floor was delivered; or nothing was delivered, and nothing was removed.
        self.0 == floor || present && self.sort_key() > Self(floor).sort_key()
    }
}

/// The number of bytes of a cursor. As text they are 80 characters without padding.
pub(super) const CURSOR_BYTES: usize = 60;
const CURSOR_CHARACTERS: usize = CURSOR_BYTES / 3 * 4;

/// A position in the feed of a tenant, encrypted for its clients: equal positions have equal cursors.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Cursor(pub(super) [u8; CURSOR_BYTES]);

impl fmt::Debug for Cursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Cursor({self})")
    }
}

impl fmt::Display for Cursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut text = [0; CURSOR_CHARACTERS];
        let encoded = URL_SAFE_NO_PAD.encode_slice(self.0, &mut text);
        let text = encoded.ok().and_then(|length| text.get(..length));
        let text = text.and_then(|text| str::from_utf8(text).ok());
        f.write_str(text.ok_or(fmt::Error)?)
    }
}

impl FromStr for Cursor {
    type Err = InvalidCursor;

    fn from_str(text: &str) -> Result<Self, InvalidCursor> {
        // Before decoding, so that long texts cost nothing.
        if text.len() != CURSOR_CHARACTERS {
            return Err(InvalidCursor);
        }
        let mut bytes = [0; CURSOR_BYTES];
        let decoded = URL_SAFE_NO_PAD.decode_slice(text, &mut bytes);
        if decoded == Ok(CURSOR_BYTES) {
            Ok(Self(bytes))
        } else {
            Err(InvalidCursor)
        }
    }
}

/// The text does not have the form of a cursor.
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
    fn positions_compare_as_numbers() {
        assert!(Position(None) < Position(Some(event(i64::MIN, 0))));
        assert!(event(9, 1) < event(10, 0) && event(9, 9) < event(9, 10));
    }

    #[test]
    fn a_text_of_another_length_or_alphabet_is_no_cursor() {
        let cursor = Cursor(std::array::from_fn(|i| u8::try_from(i * 4).unwrap()));
        let text = cursor.to_string();
        assert_eq!(text.len(), 80);
        assert_eq!(text.parse(), Ok(cursor));
        for end in 0..text.len() {
            assert_eq!(
                text.get(..end).unwrap().parse::<Cursor>(),
                Err(InvalidCursor)
            );
        }
        for bad in [
            format!("{text}AAAA"),
            format!("{}=", "A".repeat(79)),
            format!("+{}", "A".repeat(79)),
            format!("\u{e9}{}", "A".repeat(78)),
        ] {
            assert_eq!(bad.parse::<Cursor>(), Err(InvalidCursor), "{bad}");
        }
    }

    #[test]
    fn a_position_is_valid_when_every_later_event_is_still_there() {
        let valid = |at, floor, present| Position(at).is_valid(Evidence { floor, present });
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
