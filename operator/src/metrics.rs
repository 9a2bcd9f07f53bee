//! The metrics of the operator, in a registry of their own.

use prometheus::process_collector::ProcessCollector;
use prometheus::{
    Encoder as _, Gauge, Histogram, HistogramOpts, IntCounter, IntCounterVec, IntGauge,
    IntGaugeVec, Opts, Registry, TextEncoder,
};

use crate::fleet::Counts;

/// An error of the metrics library.
pub type MetricsError = prometheus::Error;

/// The metrics.
pub struct Metrics {
    registry: Registry,
    /// Reconciles by outcome.
    pub reconciles: IntCounterVec,
    /// Duration of a reconcile.
    pub reconcile_duration: Histogram,
    /// Objects that wait for a reconcile.
    pub queue_depth: IntGauge,
    /// Whether this process is the leader.
    pub leader: IntGauge,
    /// Time since the quietest watch delivered an event.
    pub watch_age: Gauge,
    /// Watches that failed and were restarted.
    pub watch_errors: IntCounterVec,
    /// Objects by condition and status.
    pub objects: IntGaugeVec,
    /// Write requests, by resource.
    pub writes: IntCounterVec,
    /// Objects whose drift was corrected, by kind.
    pub drift: IntCounterVec,
    /// Rollouts that no change of a spec requested, by state.
    pub rollouts: IntGaugeVec,
    /// Whether failures stop further ones.
    pub rollouts_held: IntGauge,
    /// Log lines that were dropped.
    pub log_lines_dropped: IntCounter,
}

impl Metrics {
    /// Registers the metrics.
    ///
    /// # Errors
    /// When two metrics have the same name.
    pub fn new() -> Result<Self, MetricsError> {
        let counters = |name: &str, help: &str, labels: &[&str]| {
            IntCounterVec::new(Opts::new(name, help), labels)
        };
        let metrics = Self {
            registry: Registry::new(),
            reconciles: counters(
                "order_operator_reconciles_total",
                "Reconciles by outcome",
                &["outcome"],
            )?,
            reconcile_duration: Histogram::with_opts(
                HistogramOpts::new(
                    "order_operator_reconcile_duration_seconds",
                    "Duration of a reconcile",
                )
                .buckets(vec![0.001, 0.005, 0.02, 0.1, 0.5, 2.0, 10.0, 60.0]),
            )?,
            queue_depth: IntGauge::new(
                "order_operator_queue_depth",
                "Objects that wait for a reconcile",
            )?,
            leader: IntGauge::new("order_operator_leader", "1 if this process is the leader")?,
            watch_age: Gauge::new(
                "order_operator_watch_age_seconds",
                "Time since the quietest watch delivered an event",
            )?,
            watch_errors: counters(
                "order_operator_watch_errors_total",
                "Watches that failed and were restarted",
                &["kind"],
            )?,
            objects: IntGaugeVec::new(
                Opts::new(
                    "order_operator_objects",
                    "OrderServices by condition and status",
                ),
                &["condition", "status"],
            )?,
            writes: counters(
                "order_operator_writes_total",
                "Write requests by resource, without those for the Lease",
                &["resource"],
            )?,
            drift: counters(
                "order_operator_drift_corrected_total",
                "Objects that another field manager had changed and that were reverted, by kind",
                &["kind"],
            )?,
            rollouts: IntGaugeVec::new(
                Opts::new(
                    "order_operator_rollouts",
                    "Rollouts that no change of a spec requested, by state",
                ),
                &["state"],
            )?,
            rollouts_held: IntGauge::new(
                "order_operator_rollouts_held",
                "1 if no further such rollout starts, because too many failed",
            )?,
            log_lines_dropped: IntCounter::new(
                "order_operator_log_lines_dropped_total",
                "Log lines that were dropped because standard error was not read in time",
            )?,
        };
        let registry = &metrics.registry;
        registry.register(Box::new(metrics.reconciles.clone()))?;
        registry.register(Box::new(metrics.reconcile_duration.clone()))?;
        registry.register(Box::new(metrics.queue_depth.clone()))?;
        registry.register(Box::new(metrics.leader.clone()))?;
        registry.register(Box::new(metrics.watch_age.clone()))?;
        registry.register(Box::new(metrics.watch_errors.clone()))?;
        registry.register(Box::new(metrics.objects.clone()))?;
        registry.register(Box::new(metrics.writes.clone()))?;
        registry.register(Box::new(metrics.drift.clone()))?;
        registry.register(Box::new(metrics.rollouts.clone()))?;
        registry.register(Box::new(metrics.rollouts_held.clone()))?;
        registry.register(Box::new(metrics.log_lines_dropped.clone()))?;
        registry.register(Box::new(ProcessCollector::for_self()))?;
        Ok(metrics)
    }

    /// Sets the numbers of rollouts that no change of a spec requested.
    pub(crate) fn set_rollouts(&self, counts: Counts) {
        for (state, count) in [
            ("running", counts.running),
            ("waiting", counts.waiting),
            ("failed", counts.failed),
        ] {
            let count = i64::try_from(count).unwrap_or(i64::MAX);
            self.rollouts.with_label_values(&[state]).set(count);
        }
        self.rollouts_held.set(counts.is_held.into());
    }

    /// Encodes the metrics in the Prometheus text format.
    ///
    /// # Errors
    /// When a metric cannot be written.
    pub(crate) fn encode(&self) -> Result<Vec<u8>, MetricsError> {
        let mut text = Vec::new();
        TextEncoder::new().encode(&self.registry.gather(), &mut text)?;
        Ok(text)
    }
}
