//! Checks when an event was recorded.

use super::super::clock::TOLERANCE;
use super::super::kind::Kind;
use super::super::rows::EventRow;
use super::{Add, Surroundings};
use crate::domain::EventType;

/// Compares the time at which the database recorded an event with the time of the event, the current time, and the floor
/// of the tenant. An imported order has the times of another system.
pub(super) fn check_recording(row: &EventRow, around: &Surroundings<'_>, add: &mut Add<'_>) {
    let clock = around.clock;
    if row.recorded_at > clock.now.saturating_add(TOLERANCE) {
        add(Kind::RecordedTime, &|| {
            "recorded_at is in the future".to_owned()
        });
    } else if row.event_type != EventType::Imported
        && row.recorded_at < row.occurred_at.saturating_sub(TOLERANCE)
    {
        add(Kind::RecordedTime, &|| {
            "recorded_at is more than an hour before occurred_at".to_owned()
        });
    }
    let is_below = |position| {
        let floor = around.floor;
        floor.is_some_and(|floor| position <= (floor.position, floor.seq))
    };
    if row.recorded_at >= clock.removable_before && is_below((row.position, row.seq)) {
        add(Kind::EventBelowFloor, &|| {
            "readers skip the event, which retention cannot have reached".to_owned()
        });
    }
}
