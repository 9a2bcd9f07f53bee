//! Fields and objects that another field manager changes repeatedly.
//!
//! A manual change is reverted at once. A controller that repeats its change after each revert would cause endless
//! writes, as fast as the API server allows. Therefore, after a few immediate reverts, the pause before the next
//! revert grows up to five minutes, and the contention is reported.

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::Instant;

use super::drift::Drift;
use crate::backoff::backoff;
use crate::cluster::Kind;

/// The number of immediate reverts of the same field.
const IMMEDIATE_REVERTS: u32 = 3;
/// The pause before the next revert. It doubles each time.
const FIRST_PAUSE: Duration = Duration::from_secs(5);
/// Contention ends this long after the last change. It is longer than the longest pause.
const FORGET_AFTER: Duration = Duration::from_secs(600);
/// The maximum number of fields per object in the summary.
const MAX_NAMED_FIELDS: usize = 3;

/// UID of the OrderService, kind and name of the object, and path of the field. An empty path means the complete
/// object.
type FieldKey = (Box<str>, Kind, Box<str>, Box<str>);

/// Recent changes by other field managers.
#[derive(Debug, Default)]
pub struct Contention {
    fields: Mutex<BTreeMap<FieldKey, ContendedField>>,
    /// UIDs of the objects that the operator itself deletes, with the time of the request.
    own_deletions: Mutex<HashMap<Box<str>, Instant>>,
}

#[derive(Debug)]
struct ContendedField {
    rounds: u32,
    /// When the field was last reverted, and the pause after that.
    since: Instant,
    pause: Duration,
    /// When the field was last found changed, and who changed it.
    seen: Instant,
    by: Box<str>,
    reported: bool,
}

impl ContendedField {
    fn new(now: Instant) -> Self {
        Self {
            rounds: 0,
            since: now,
            pause: Duration::ZERO,
            seen: now,
            by: Box::default(),
            reported: false,
        }
    }

    /// Records a change by another field manager.
    fn changed(&mut self, now: Instant, by: &str) {
        self.seen = now;
        self.by = by.into();
        self.reported = self.rounds >= IMMEDIATE_REVERTS;
    }

    fn remaining(&self) -> Duration {
        self.pause.saturating_sub(self.since.elapsed())
    }

    fn reverted(&mut self, now: Instant) {
        self.rounds = self.rounds.saturating_add(1);
        self.since = now;
        self.pause = match self.rounds.checked_sub(IMMEDIATE_REVERTS) {
            None => Duration::ZERO,
            Some(more) => backoff(FIRST_PAUSE, more),
        };
    }
}

impl Contention {
    /// Records the drift of an object and decides whether it may be reverted now.
    ///
    /// # Errors
    /// The remaining pause.
    pub(crate) fn allow_revert(
        &self,
        owner: &str,
        kind: Kind,
        name: &str,
        drift: &[Drift],
    ) -> Result<(), Duration> {
        let now = Instant::now();
        let mut contention = self.fields.lock();
        contention.retain(|_, contest| contest.seen.elapsed() < FORGET_AFTER);
        let keys: Vec<FieldKey> = drift
            .iter()
            .map(|drift| (owner.into(), kind, name.into(), drift.field.as_str().into()))
            .collect();
        for (key, drift) in keys.iter().zip(drift) {
            let contest = contention
                .entry(key.clone())
                .or_insert_with(|| ContendedField::new(now));
            contest.changed(now, &drift.author.to_string());
        }
        let remaining = |key| {
            contention
                .get(key)
                .map_or(Duration::ZERO, ContendedField::remaining)
        };
        // Apply writes the complete object: new drift is reverted despite the pause of older drift.
        if let Some(remaining) = keys
            .iter()
            .map(remaining)
            .min()
            .filter(|remaining| !remaining.is_zero())
        {
            return Err(remaining);
        }
        for key in &keys {
            if let Some(contest) = contention.get_mut(key) {
                contest.reverted(now);
            }
        }
        Ok(())
    }

    /// Removes fields that are not contended: admission changes them.
    pub(crate) fn forget_fields(&self, owner: &str, kind: Kind, name: &str, fields: &[String]) {
        let mut contention = self.fields.lock();
        for field in fields {
            let key = (owner.into(), kind, name.into(), field.as_str().into());
            contention.remove(&key);
        }
    }

    /// Records that the operator deletes an object, before the request. The event of the watch may arrive before the
    /// response.
    pub fn record_own_deletion(&self, uid: &str) {
        let mut deletions = self.own_deletions.lock();
        // The event of an object that a finalizer keeps is late, and a watch that is restarted delivers none.
        deletions.retain(|_, at| at.elapsed() < FORGET_AFTER);
        deletions.insert(uid.into(), Instant::now());
    }

    /// Whether the operator itself deleted the object with this UID.
    pub fn is_own_deletion(&self, uid: &str) -> bool {
        self.own_deletions.lock().remove(uid).is_some()
    }

    /// Records that another client deleted an object.
    pub fn record_deletion(&self, owner: &str, kind: Kind, name: &str) {
        let key = (owner.into(), kind, name.into(), Box::default());
        let now = Instant::now();
        let mut contention = self.fields.lock();
        contention.retain(|_, contest| contest.seen.elapsed() < FORGET_AFTER);
        let contest = contention
            .entry(key)
            .or_insert_with(|| ContendedField::new(now));
        contest.changed(now, "");
    }

    /// Decides whether a missing object may be created now.
    ///
    /// # Errors
    /// The remaining pause.
    pub(crate) fn allow_create(&self, owner: &str, kind: Kind, name: &str) -> Result<(), Duration> {
        let key = (owner.into(), kind, name.into(), Box::default());
        let mut contention = self.fields.lock();
        let Some(contest) = contention.get_mut(&key) else {
            return Ok(());
        };
        let remaining = contest.remaining();
        if !remaining.is_zero() {
            return Err(remaining);
        }
        contest.reverted(Instant::now());
        Ok(())
    }

    /// Describes the contention for an OrderService, or returns `None` without contention. The text does not
    /// change with each revert, so that it does not cause a status update each time.
    pub(crate) fn summary(&self, owner: &str) -> Option<String> {
        let contention = self.fields.lock();
        let mut objects: BTreeMap<(Kind, &str), Vec<String>> = BTreeMap::new();
        let of_owner = contention
            .range((owner.into(), Kind::FIRST, Box::default(), Box::default())..)
            .take_while(|((of, ..), _)| &**of == owner)
            .filter(|(_, contest)| contest.reported && contest.seen.elapsed() < FORGET_AFTER);
        for ((_, kind, name, field), contest) in of_owner {
            let description = match &**field {
                "" => "the whole object (deleted)".to_owned(),
                field => format!("{field} ({})", contest.by),
            };
            objects
                .entry((*kind, &**name))
                .or_default()
                .push(description);
        }
        let sentences: Vec<_> = objects
            .iter()
            .map(|((kind, name), fields)| {
                let named = fields
                    .iter()
                    .take(MAX_NAMED_FIELDS)
                    .cloned()
                    .collect::<Vec<_>>();
                let more = match fields.len().saturating_sub(MAX_NAMED_FIELDS) {
                    0 => String::new(),
                    more => format!(" and {more} more"),
                };
                format!("{} {name}: {}{more}", kind.as_str(), named.join(", "))
            })
            .collect();
        (!sentences.is_empty()).then(|| {
            format!(
                "changed repeatedly by other field managers, and reverted with growing pauses: {}",
                sentences.join("; ")
            )
        })
    }

    /// Removes a deleted OrderService.
    pub(crate) fn forget(&self, owner: &str) {
        self.fields.lock().retain(|(of, ..), _| &**of != owner);
    }
}

#[cfg(test)]
mod tests;
