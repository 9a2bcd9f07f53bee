//! Every metric of the operator, in a registry of its own.

use prometheus::process_collector::ProcessCollector;
use prometheus::{
    Encoder as _, Gauge, Histogram, HistogramOpts, IntCounter, IntCounterVec, IntGauge,
    IntGaugeVec, Opts, Registry, TextEncoder,
};

/// What is measured.
pub struct Metrics {
    registry: Registry,
    /// Reconciles by how they ended.
    pub reconciles: IntCounterVec,
    /// How long a reconcile took.
    pub reconcile_duration: Histogram,
    /// Objects with news that wait for their turn.
    pub queue_depth: IntGauge,
    /// Whether this process is the leader.
    pub leader: IntGauge,
    /// How long ago the quietest watch spoke.
    pub watch_age: Gauge,
    /// Watches that broke off and were started again.
    pub watch_errors: IntCounterVec,
    /// Objects by condition and status.
    pub objects: IntGaugeVec,
    /// Requests that write, by resource.
    pub writes: IntCounterVec,
    /// Fields that were set back, by kind.
    pub drift: IntCounterVec,
    /// Log lines that could not be written.
    pub log_lines_dropped: IntCounter,
}

impl Metrics {
    /// Registers all of them.
    ///
    /// # Errors
    /// When two have the same name.
    pub fn new() -> Result<Self, prometheus::Error> {
        let counters = |name: &str, help: &str, labels: &[&str]| {
            IntCounterVec::new(Opts::new(name, help), labels)
        };
        let metrics = Self {
            registry: Registry::new(),
            reconciles: counters(
                "order_operator_reconciles_total",
                "Reconciles by how they ended",
                &["outcome"],
            )?,
            reconcile_duration: Histogram::with_opts(
                HistogramOpts::new(
                    "order_operator_reconcile_duration_seconds",
                    "How long a reconcile took",
                )
                .buckets(vec![0.001, 0.005, 0.02, 0.1, 0.5, 2.0, 10.0, 60.0]),
            )?,
            queue_depth: IntGauge::new(
                "order_operator_queue_depth",
                "Objects with news that wait for their turn",
            )?,
            leader: IntGauge::new("order_operator_leader", "1 if this process is the leader")?,
            watch_age: Gauge::new(
                "order_operator_watch_age_seconds",
                "How long ago the quietest watch spoke",
            )?,
            watch_errors: counters(
                "order_operator_watch_errors_total",
                "WatchActivity that broke off and were started again",
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
                "Requests that write, by resource; the Lease is not counted",
                &["resource"],
            )?,
            drift: counters(
                "order_operator_drift_corrected_total",
                "Objects that somebody else had changed and that were set back, by kind",
                &["kind"],
            )?,
            log_lines_dropped: IntCounter::new(
                "order_operator_log_lines_dropped_total",
                "Log lines that were dropped because nobody read them in time",
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
        registry.register(Box::new(metrics.log_lines_dropped.clone()))?;
        registry.register(Box::new(ProcessCollector::for_self()))?;
        Ok(metrics)
    }

    /// The Prometheus text form.
    ///
    /// # Errors
    /// When a metric cannot be written.
    pub(crate) fn encode(&self) -> Result<Vec<u8>, prometheus::Error> {
        let mut text = Vec::new();
        TextEncoder::new().encode(&self.registry.gather(), &mut text)?;
        Ok(text)
    }
}
