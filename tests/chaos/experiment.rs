//! One experiment: its length, its seed, its deadline, and its report.

use std::any::Any;
use std::fmt::Display;
use std::panic::{AssertUnwindSafe, resume_unwind};
use std::path::Path;
use std::process::Command;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use futures_util::FutureExt as _;
use serde_json::{Map, Value, json};
use tokio::time::timeout;
use uuid::Uuid;

use super::timeline::Timeline;
use crate::support::server::Server;

/// Experiments use the whole machine, so they run one at a time.
static MACHINE: Mutex<()> = Mutex::new(());

/// The time after which the short version of an experiment fails. It only ends experiments that hang: none takes a
/// fifth of it on a machine with two processors.
const SHORT_DEADLINE: Duration = Duration::from_secs(120);
/// The same for the long version, unless the experiment has a deadline of its own.
const LONG_DEADLINE: Duration = Duration::from_secs(180);

/// A running experiment.
pub(crate) struct Experiment {
    name: &'static str,
    pub(crate) seed: u64,
    is_long: bool,
    started: Instant,
    figures: Map<String, Value>,
    timeline: Arc<Timeline>,
    skipped: Option<&'static str>,
}

impl Experiment {
    /// Runs an experiment when no other one runs, prints its line, and writes its report for docs/RELIABILITY.md,
    /// also if it fails.
    ///
    /// The seed is that of the variable `CHAOS_SEED`, or a new one. The long version runs if `CHAOS` is `full`.
    pub(crate) async fn run(name: &'static str, body: impl AsyncFnOnce(&mut Self)) {
        Self::run_within(LONG_DEADLINE, name, body).await;
    }

    /// The same with another deadline of the long version.
    #[expect(
        clippy::await_holding_lock,
        reason = "each test has a runtime of its own, and no other task takes the lock"
    )]
    pub(crate) async fn run_within(
        long_deadline: Duration,
        name: &'static str,
        body: impl AsyncFnOnce(&mut Self),
    ) {
        let _machine = MACHINE.lock().unwrap_or_else(PoisonError::into_inner);
        let seed = std::env::var("CHAOS_SEED").ok();
        let mut experiment = Self {
            name,
            seed: seed.map_or_else(
                || u64::from(Uuid::new_v4().as_fields().0),
                |it| it.parse().unwrap(),
            ),
            is_long: std::env::var("CHAOS").is_ok_and(|it| it == "full"),
            started: Instant::now(),
            figures: Map::new(),
            timeline: Arc::new(Timeline::start()),
            skipped: None,
        };
        let deadline = experiment.either(SHORT_DEADLINE, long_deadline);
        let body = AssertUnwindSafe(timeout(deadline, body(&mut experiment)));
        let outcome = body.catch_unwind().await;
        let failure = match &outcome {
            Ok(Ok(())) => None,
            Ok(Err(_)) => Some(format!("does not end within {deadline:?}")),
            Err(panic) => Some(message(panic.as_ref())),
        };
        experiment.report(failure.as_deref());
        match outcome {
            Ok(_) => assert_eq!(failure, None),
            Err(panic) => resume_unwind(panic),
        }
    }

    /// The first value in the short version, the second one in the long version.
    pub(crate) fn either<T>(&self, short: T, long: T) -> T {
        if self.is_long { long } else { short }
    }

    pub(crate) fn seconds(&self, short: f64, long: f64) -> Duration {
        Duration::from_secs_f64(self.either(short, long))
    }

    /// What the clients see. It starts now, so that its picture has no empty beginning.
    pub(crate) fn new_timeline(&mut self) -> Arc<Timeline> {
        self.timeline = Arc::new(Timeline::start());
        Arc::clone(&self.timeline)
    }

    /// Adds a figure to the report.
    pub(crate) fn figure(&mut self, name: &str, value: impl Into<Value>) {
        self.figures.insert(name.to_owned(), value.into());
    }

    /// Fails if the kernel has killed the service because of its memory. Adds the peak in MiB to the report and returns
    /// it.
    pub(crate) fn peak_memory_mib(&mut self, server: &Server) -> usize {
        if !server.expect_within_memory_limit() {
            self.figure("enforced memory limit", "none");
        }
        let memory = server.peak_memory_mib();
        self.figure("memory in MiB", memory);
        memory
    }

    /// Reports that this machine cannot run the experiment.
    pub(crate) fn skip(&mut self, why: &'static str) {
        self.skipped = Some(why);
    }

    /// Prints the line of the experiment and writes its report.
    fn report(&self, failure: Option<&str>) {
        let figures = self
            .figures
            .iter()
            .map(|(name, value)| format!("{name} {value}"));
        let figures = figures.collect::<Vec<_>>().join(", ");
        let (outcome, text) = match (failure, self.skipped) {
            (Some(failure), _) => ("failed", format!("FAILED: {failure}")),
            (None, Some(why)) => ("skipped", format!("SKIPPED: {why}")),
            (None, None) => ("passed", figures),
        };
        let took = self.started.elapsed().as_secs_f64();
        eprintln!("{}: {text} ({took:.0} s, seed {})", self.name, self.seed);
        let report = json!({
            "name": self.name, "revision": revision(), "seed": self.seed, "seconds": took, "outcome": outcome,
            "why": failure.or(self.skipped), "figures": self.figures, "timeline": self.timeline.to_json(),
        });
        let length = self.either("short", "full");
        let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/chaos");
        let directory = directory.join(length);
        std::fs::create_dir_all(&directory).unwrap();
        let file = directory.join(format!("{}.json", self.name.replace(' ', "-")));
        std::fs::write(file, report.to_string()).unwrap();
    }
}

/// The commit, with a plus if files have changed since.
fn revision() -> String {
    let describe = [
        "describe",
        "--always",
        "--abbrev=12",
        "--exclude=*",
        "--dirty=+",
    ];
    let git = Command::new("git")
        .args(describe)
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output();
    let output = git.map(|it| it.stdout).unwrap_or_default();
    String::from_utf8_lossy(&output).trim().to_owned()
}

/// The message of a panic.
fn message(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().copied();
    let text = text.or_else(|| panic.downcast_ref::<String>().map(String::as_str));
    text.unwrap_or("panicked without a message").to_owned()
}

/// A duration in seconds with one decimal, for a figure.
pub(crate) fn seconds(duration: Duration) -> impl Display + Into<Value> {
    (duration.as_secs_f64() * 10.0).round() / 10.0
}
