//! Others that change the same thing again and again.
//!
//! What is changed by hand is set back at once. What another controller changes whenever it is set back
//! would be changed for ever, as fast as the API server can. So who does not give in within a few rounds
//! is answered later and later, up to five minutes, and that is told.

use std::collections::BTreeMap;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::Instant;

use super::drift::Drift;
use crate::backoff::longer;
use crate::cluster::Kind;

/// So many times the same is set back at once.
const AT_ONCE: u32 = 3;
/// Then there is a pause before the next time, longer each time.
const FIRST: Duration = Duration::from_secs(5);
/// What was left alone for so long is contested no more. Longer than the longest pause.
const QUIET: Duration = Duration::from_secs(600);
/// As many fields as one sentence should name.
const NAMED: usize = 3;

/// The identity of the OrderService, the object, and the field in it: none is the whole object.
type Thing = (Box<str>, Kind, Box<str>, Box<str>);

/// What others have changed lately.
#[derive(Debug, Default)]
pub struct Contests(Mutex<BTreeMap<Thing, Contest>>);

#[derive(Debug)]
struct Contest {
    rounds: u32,
    /// When it was last set back, and how long it is left so at least.
    since: Instant,
    pause: Duration,
    /// When it was last found changed, and by whom.
    seen: Instant,
    by: Box<str>,
    told: bool,
}

impl Contest {
    fn new(now: Instant) -> Self {
        Self {
            rounds: 0,
            since: now,
            pause: Duration::ZERO,
            seen: now,
            by: Box::default(),
            told: false,
        }
    }

    /// Somebody changed it.
    fn found(&mut self, now: Instant, by: &str) {
        self.seen = now;
        self.by = by.into();
        self.told = self.rounds >= AT_ONCE;
    }

    fn left(&self) -> Duration {
        self.pause.saturating_sub(self.since.elapsed())
    }

    fn set_back(&mut self, now: Instant) {
        self.rounds = self.rounds.saturating_add(1);
        self.since = now;
        self.pause = match self.rounds.checked_sub(AT_ONCE) {
            None => Duration::ZERO,
            Some(more) => longer(FIRST, more),
        };
    }
}

impl Contests {
    /// Whether what others changed in an object may be set back now; else how long that has to wait.
    ///
    /// # Errors
    /// With the time to wait.
    pub fn set_back(
        &self,
        owner: &str,
        kind: Kind,
        name: &str,
        drift: &[Drift],
    ) -> Result<(), Duration> {
        let now = Instant::now();
        let mut contests = self.0.lock();
        contests.retain(|_, contest| contest.seen.elapsed() < QUIET);
        let things: Vec<Thing> = drift
            .iter()
            .map(|drift| (owner.into(), kind, name.into(), drift.field.as_str().into()))
            .collect();
        for (thing, drift) in things.iter().zip(drift) {
            let contest = contests
                .entry(thing.clone())
                .or_insert_with(|| Contest::new(now));
            contest.found(now, &drift.manager);
        }
        let left = |thing| contests.get(thing).map_or(Duration::ZERO, Contest::left);
        // An object is set back as a whole: what is new in it is not kept waiting by what is not.
        if let Some(left) = things.iter().map(left).min().filter(|left| !left.is_zero()) {
            return Err(left);
        }
        for thing in &things {
            if let Some(contest) = contests.get_mut(thing) {
                contest.set_back(now);
            }
        }
        Ok(())
    }

    /// Somebody deleted an object.
    pub fn deleted(&self, owner: &str, kind: Kind, name: &str) {
        let thing = (owner.into(), kind, name.into(), Box::default());
        let now = Instant::now();
        let mut contests = self.0.lock();
        contests.retain(|_, contest| contest.seen.elapsed() < QUIET);
        let contest = contests.entry(thing).or_insert_with(|| Contest::new(now));
        contest.found(now, "");
    }

    /// Whether an object that is not there may be made now.
    ///
    /// # Errors
    /// With the time to wait.
    pub fn make(&self, owner: &str, kind: Kind, name: &str) -> Result<(), Duration> {
        let thing = (owner.into(), kind, name.into(), Box::default());
        let mut contests = self.0.lock();
        let Some(contest) = contests.get_mut(&thing) else {
            return Ok(());
        };
        let left = contest.left();
        if !left.is_zero() {
            return Err(left);
        }
        contest.set_back(Instant::now());
        Ok(())
    }

    /// What to tell of an OrderService. It does not change with each round.
    pub fn told(&self, owner: &str) -> Option<String> {
        let contests = self.0.lock();
        let mut objects: BTreeMap<(Kind, &str), Vec<String>> = BTreeMap::new();
        let of_owner = contests
            .range((owner.into(), Kind::FIRST, Box::default(), Box::default())..)
            .take_while(|((of, ..), _)| &**of == owner)
            .filter(|(_, contest)| contest.told && contest.seen.elapsed() < QUIET);
        for ((_, kind, name, field), contest) in of_owner {
            let what = match &**field {
                "" => "the whole object (deleted)".to_owned(),
                field => format!("{field} (changed by {})", contest.by),
            };
            objects.entry((*kind, &**name)).or_default().push(what);
        }
        let sentences: Vec<_> = objects
            .iter()
            .map(|((kind, name), fields)| {
                let named = fields.iter().take(NAMED).cloned().collect::<Vec<_>>();
                let more = match fields.len().saturating_sub(NAMED) {
                    0 => String::new(),
                    more => format!(" and {more} more"),
                };
                format!("{} {name}: {}{more}", kind.as_str(), named.join(", "))
            })
            .collect();
        (!sentences.is_empty()).then(|| {
            format!(
                "changed again and again, and set back later and later: {}",
                sentences.join("; ")
            )
        })
    }

    /// Forgets an OrderService that is gone.
    pub fn forget(&self, owner: &str) {
        self.0.lock().retain(|(of, ..), _| &**of != owner);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backoff::LONGEST;

    fn drift(field: &str) -> [Drift; 1] {
        [Drift {
            field: field.to_owned(),
            manager: "other".to_owned(),
        }]
    }

    #[tokio::test(start_paused = true)]
    async fn the_same_field_is_set_back_later_and_later_and_another_at_once() {
        let contests = Contests::default();
        let set_back = |field| contests.set_back("u", Kind::Service, "a", &drift(field));
        for _ in 0..AT_ONCE {
            assert_eq!(set_back("spec.a"), Ok(()));
            assert_eq!(contests.told("u"), None);
        }
        let mut pause = FIRST;
        for _ in 0..12 {
            let left = set_back("spec.a").unwrap_err();
            assert!(left <= pause && left >= pause / 2, "{left:?} of {pause:?}");
            assert_eq!(
                set_back("spec.b"),
                Ok(()),
                "another field is not kept waiting"
            );
            contests.forget_field("spec.b");
            tokio::time::advance(left).await;
            assert_eq!(set_back("spec.a"), Ok(()));
            pause = (pause * 2).min(LONGEST);
        }
        assert_eq!(pause, LONGEST);
        let told = contests.told("u").unwrap();
        assert!(
            told.ends_with("Service a: spec.a (changed by other)"),
            "{told}"
        );
        assert_eq!(contests.told("v"), None);
        tokio::time::advance(QUIET).await;
        assert_eq!(contests.told("u"), None, "it ended");
        assert_eq!(set_back("spec.a"), Ok(()), "and is forgotten");
    }

    impl Contests {
        fn forget_field(&self, field: &str) {
            self.0.lock().retain(|(.., of), _| &**of != field);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_deleted_is_made_later_and_later() {
        let contests = Contests::default();
        for round in 0..=AT_ONCE {
            contests.deleted("u", Kind::Service, "a");
            assert_eq!(
                contests.make("u", Kind::Service, "a").is_ok(),
                round < AT_ONCE
            );
        }
        assert!(contests.told("u").unwrap().ends_with("(deleted)"));
        assert_eq!(contests.make("u", Kind::Service, "b"), Ok(()));
        contests.forget("u");
        assert_eq!(contests.make("u", Kind::Service, "a"), Ok(()));
        assert_eq!(contests.told("u"), None);
    }
}
