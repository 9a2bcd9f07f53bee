//! The time of requests in each stage (`request_stage_seconds`).

use std::time::Duration;

use parking_lot::Mutex;
use prometheus::local::LocalHistogram;
use prometheus::{Histogram, HistogramVec, Registry};

use super::declare::{Declaration, Metric};

/// The time of one request in each stage of the store.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct StoreTimes {
    /// Waiting for anything but a connection, from admission to the response.
    pub queue: Duration,
    /// Acquiring database connections.
    pub pool: Duration,
    /// Statements.
    pub database: Duration,
}

/// The series of all stages. Each is looked up once, because a look-up takes a lock.
#[derive(Debug)]
pub(in crate::telemetry) struct RequestStages {
    queue: Histogram,
    pool: Histogram,
    database: Histogram,
    pub(in crate::telemetry) write: Histogram,
}

impl Metric for RequestStages {
    fn register(registry: &Registry, declaration: &Declaration) -> Result<Self, prometheus::Error> {
        let family = HistogramVec::register(registry, declaration)?;
        let stage = |name: &str| family.with_label_values(&[name]);
        Ok(Self {
            queue: stage("queue"),
            pool: stage("pool"),
            database: stage("database"),
            write: stage("write"),
        })
    }
}

impl RequestStages {
    /// Returns the stages of the store, for one queue.
    pub(super) fn of_store(&self) -> StoreStages {
        let stages = [&self.queue, &self.pool, &self.database].map(Histogram::clone);
        StoreStages {
            locals: Mutex::new(stages.each_ref().map(Histogram::local)),
            stages,
        }
    }
}

/// The stages of the store, for the requests of one queue.
#[derive(Debug)]
pub struct StoreStages {
    stages: [Histogram; 3],
    /// Sums up the requests of one batch, so that the counters that all threads share change once for a batch. Empty
    /// while it is not locked.
    locals: Mutex<[LocalHistogram; 3]>,
}

impl StoreStages {
    /// Records the requests that one batch has served. Each request counts, so that the stages have as many
    /// observations as there are requests, whatever the sizes of the batches.
    pub fn observe(&self, mut requests: impl ExactSizeIterator<Item = StoreTimes>) {
        if requests.len() == 1 {
            for (stage, time) in self
                .stages
                .iter()
                .zip(requests.next().map(seconds).unwrap_or_default())
            {
                stage.observe(time);
            }
            return;
        }
        let locals = self.locals.lock();
        for times in requests {
            for (stage, time) in locals.iter().zip(seconds(times)) {
                stage.observe(time);
            }
        }
        for stage in &*locals {
            stage.flush();
        }
    }
}

fn seconds(times: StoreTimes) -> [f64; 3] {
    [times.queue, times.pool, times.database].map(|time| time.as_secs_f64())
}
