//! What the clients of an experiment saw, and when.

use std::sync::Mutex;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

/// The width of a point in the picture.
const BUCKET: Duration = Duration::from_millis(100);

/// The outcome of one attempt of a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    Ok,
    /// 503 as a problem with `Retry-After`, as the contract requires.
    Unavailable,
    /// The connection was refused, or it ended before the response.
    NoResponse,
    /// A response that no fault excuses.
    Wrong(String),
}

struct Attempt {
    /// The end of the attempt, since the start of the timeline.
    at: Duration,
    took: Duration,
    outcome: Outcome,
}

/// The attempts of all clients, and the faults.
pub(crate) struct Timeline {
    start: Instant,
    attempts: Mutex<Vec<Attempt>>,
    marks: Mutex<Vec<(Duration, String)>>,
}

/// The counts of a timeline.
#[derive(Debug)]
pub(crate) struct Counts {
    pub(crate) ok: usize,
    pub(crate) unavailable: usize,
    pub(crate) no_response: usize,
    /// The first ten that no fault excuses.
    pub(crate) wrong: Vec<String>,
    pub(crate) failed: usize,
    pub(crate) slowest: Duration,
}

impl Timeline {
    pub(crate) fn start() -> Self {
        Self {
            start: Instant::now(),
            attempts: Mutex::default(),
            marks: Mutex::default(),
        }
    }

    pub(crate) fn record(&self, sent: Instant, outcome: Outcome) {
        let attempt = Attempt {
            at: self.start.elapsed(),
            took: sent.elapsed(),
            outcome,
        };
        self.attempts.lock().unwrap().push(attempt);
    }

    /// Marks a fault, or its end, at the current time.
    pub(crate) fn mark(&self, text: impl Into<String>) {
        let at = self.start.elapsed();
        self.marks.lock().unwrap().push((at, text.into()));
    }

    pub(crate) fn counts(&self) -> Counts {
        let attempts = self.attempts.lock().unwrap();
        let count = |wanted: Outcome| attempts.iter().filter(|it| it.outcome == wanted).count();
        let wrong = attempts.iter().filter_map(|it| match &it.outcome {
            Outcome::Wrong(what) => Some(format!("{what} at {:?}", it.at)),
            _ => None,
        });
        Counts {
            ok: count(Outcome::Ok),
            unavailable: count(Outcome::Unavailable),
            no_response: count(Outcome::NoResponse),
            wrong: wrong.take(10).collect(),
            failed: attempts.len() - count(Outcome::Ok),
            slowest: attempts.iter().map(|it| it.took).max().unwrap_or_default(),
        }
    }

    /// The number of attempts so far.
    pub(crate) fn len(&self) -> usize {
        self.attempts.lock().unwrap().len()
    }

    /// The number of successful attempts that were sent after `since`.
    pub(crate) fn ok_since(&self, since: Instant) -> usize {
        let since = since.duration_since(self.start);
        let attempts = self.attempts.lock().unwrap();
        let is_ok =
            |it: &&Attempt| it.outcome == Outcome::Ok && it.at.saturating_sub(it.took) > since;
        attempts.iter().filter(is_ok).count()
    }

    /// The time from `since` to the end of the last attempt after it that failed.
    pub(crate) fn last_failure_after(&self, since: Instant) -> Option<Duration> {
        let since = since.duration_since(self.start);
        let attempts = self.attempts.lock().unwrap();
        let failed = attempts.iter().filter(|it| it.outcome != Outcome::Ok);
        failed.filter_map(|it| it.at.checked_sub(since)).max()
    }

    /// The points of the picture: for each bucket successful attempts, failed attempts, and the slowest in milliseconds.
    pub(crate) fn to_json(&self) -> Value {
        let attempts = self.attempts.lock().unwrap();
        let bucket = |at: Duration| usize::try_from(at.as_millis() / BUCKET.as_millis()).unwrap();
        let length = attempts
            .iter()
            .map(|it| bucket(it.at) + 1)
            .max()
            .unwrap_or(0);
        let mut points = vec![(0_u32, 0_u32, 0_u128); length];
        for attempt in attempts.iter() {
            let point = &mut points[bucket(attempt.at)];
            match attempt.outcome {
                Outcome::Ok => point.0 += 1,
                _ => point.1 += 1,
            }
            point.2 = point.2.max(attempt.took.as_millis());
        }
        let marks = self.marks.lock().unwrap();
        let marks: Vec<_> = marks
            .iter()
            .map(|(at, text)| json!({"at": at.as_secs_f64(), "text": text}))
            .collect();
        json!({"bucket_seconds": BUCKET.as_secs_f64(), "points": points, "marks": marks})
    }
}
