//! How often a queue begins a batch.
//!
//! A batch costs the threads that hand it on, and the database, as much as some ten requests, however
//! few are in it: each has to wake up for it. So while requests keep coming, the beginnings of two
//! batches are up to [`MOST`] apart, in proportion to how many come. It holds nobody up in vain:
//!
//! - who asks after a quiet moment, or alone, is served at once;
//! - a batch begins as soon as it is as large as the last ones were: clients who wait for an answer
//!   before they ask again are all there then, and nobody else will come;
//! - and it begins at once when the queue is behind, as a rest would cost throughput.
//!
//! docs/PERFORMANCE.md has the figures.

use std::time::Duration;

use tokio::time::Instant;

/// The most that the beginnings of two batches are kept apart.
const MOST: Duration = Duration::from_micros(1250);
/// With so many requests in [`MOST`] it is that; with fewer, as much less.
const BUSY: f64 = 25.0;
/// So many in a batch make it cheap; more are not waited for.
const ENOUGH: usize = 32;
/// How much of what was known counts beside a new batch.
const MEMORY: f64 = 7.0 / 8.0;

/// What the last batches say about the next.
#[derive(Default)]
pub(super) struct Pace {
    began: Option<Instant>,
    /// How many came, in how many seconds. The last batches count most.
    came: f64,
    seconds: f64,
    /// How large the last batches were.
    size: usize,
}

/// The next batch begins when so many wait, or at this moment.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Rest {
    pub(super) wanted: usize,
    pub(super) until: Instant,
}

impl Pace {
    /// A batch of so many began.
    pub(super) fn began(&mut self, size: usize, now: Instant) {
        if let Some(before) = self.began.replace(now) {
            let came = u32::try_from(size).unwrap_or(u32::MAX);
            self.came = self.came * MEMORY + f64::from(came);
            self.seconds = self.seconds * MEMORY + (now - before).as_secs_f64();
        }
        self.size = size.max(self.size - self.size.div_ceil(8));
    }

    /// What the next batch waits for; none when nobody is expected.
    pub(super) fn rest(&self) -> Option<Rest> {
        let wanted = self.size.min(ENOUGH);
        let began = self.began.filter(|_| wanted > 1 && self.seconds > 0.0)?;
        let in_most = self.came / self.seconds * MOST.as_secs_f64();
        let until = began + MOST.mul_f64((in_most / BUSY).min(1.0));
        Some(Rest { wanted, until })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The pace after batches of this size, so long apart; and when the last one began.
    fn after(batches: usize, size: usize, apart: Duration) -> (Pace, Instant) {
        let (mut pace, mut now) = (Pace::default(), Instant::now());
        for _ in 0..batches {
            now += apart;
            pace.began(size, now);
        }
        (pace, now)
    }

    #[test]
    fn nobody_is_expected_beside_a_lone_client() {
        let (pace, _) = after(100, 1, Duration::from_micros(200));
        assert_eq!(pace.rest(), None);
        assert_eq!(Pace::default().rest(), None);
    }

    #[test]
    fn the_more_come_the_further_batches_are_apart() {
        let apart = |size| {
            let (pace, began) = after(100, size, Duration::from_millis(1));
            let rest = pace.rest().unwrap();
            (rest.wanted, (rest.until - began).as_micros())
        };
        assert_eq!(apart(5), (5, 312));
        assert_eq!(apart(10), (10, 625));
        assert_eq!(apart(20), (20, 1250));
        assert_eq!(apart(90), (ENOUGH, 1250));
    }

    #[test]
    fn a_quiet_moment_ends_the_rest_before_it_begins() {
        let (mut pace, began) = after(100, 20, Duration::from_millis(1));
        let now = began + Duration::from_millis(500);
        pace.began(2, now);
        assert!(pace.rest().unwrap().until < now + Duration::from_micros(30));
    }

    #[test]
    fn clients_who_are_gone_are_soon_not_expected_any_more() {
        let (mut pace, mut now) = after(100, 16, Duration::from_micros(300));
        assert_eq!(pace.rest().unwrap().wanted, 16);
        for _ in 0..10 {
            now += Duration::from_micros(300);
            pace.began(4, now);
        }
        assert_eq!(pace.rest().unwrap().wanted, 4);
    }
}
