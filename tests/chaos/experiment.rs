//! One experiment: its length, its seed, and its report.

use std::fmt::Display;
use std::path::Path;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use serde_json::{Map, Value, json};
use uuid::Uuid;

use super::timeline::Timeline;

/// Experiments use the whole machine, so they run one at a time.
static MACHINE: Mutex<()> = Mutex::new(());

/// A running experiment.
pub(crate) struct Experiment {
    name: &'static str,
    pub(crate) seed: u64,
    is_long: bool,
    started: Instant,
    figures: Map<String, Value>,
    _machine: MutexGuard<'static, ()>,
}

impl Experiment {
    /// Waits for the end of other experiments. The seed is that of the variable `CHAOS_SEED`, or a new one.
    pub(crate) fn start(name: &'static str) -> Self {
        let machine = MACHINE.lock().unwrap_or_else(PoisonError::into_inner);
        let seed = std::env::var("CHAOS_SEED").ok();
        let seed = seed.map_or_else(
            || u64::from(Uuid::new_v4().as_fields().0),
            |it| it.parse().unwrap(),
        );
        // A failure is reproduced with it.
        eprintln!("{name}: seed {seed}");
        Self {
            name,
            seed,
            is_long: std::env::var("CHAOS").is_ok_and(|it| it == "full"),
            started: Instant::now(),
            figures: Map::new(),
            _machine: machine,
        }
    }

    /// The first value in the short version, the second one in the long version.
    pub(crate) fn either<T>(&self, short: T, long: T) -> T {
        if self.is_long { long } else { short }
    }

    pub(crate) fn seconds(&self, short: u64, long: u64) -> Duration {
        Duration::from_secs(self.either(short, long))
    }

    /// Adds a figure to the report.
    pub(crate) fn figure(&mut self, name: &str, value: impl Into<Value>) {
        self.figures.insert(name.to_owned(), value.into());
    }

    /// Prints the line of the experiment, and writes its report for docs/RELIABILITY.md.
    pub(crate) fn finish(self, timeline: &Timeline) {
        let figures = self
            .figures
            .iter()
            .map(|(name, value)| format!("{name} {value}"));
        let figures = figures.collect::<Vec<_>>().join(", ");
        let took = self.started.elapsed().as_secs_f64();
        eprintln!("{}: {figures} ({took:.0} s, seed {})", self.name, self.seed);
        let report = json!({
            "name": self.name, "seed": self.seed, "long": self.is_long, "seconds": took,
            "figures": self.figures, "timeline": timeline.to_json(),
        });
        let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/chaos");
        std::fs::create_dir_all(&directory).unwrap();
        let file = directory.join(format!("{}.json", self.name.replace(' ', "-")));
        std::fs::write(file, report.to_string()).unwrap();
    }
}

/// A duration in seconds with one decimal, for a figure.
pub(crate) fn seconds(duration: Duration) -> impl Display + Into<Value> {
    (duration.as_secs_f64() * 10.0).round() / 10.0
}
