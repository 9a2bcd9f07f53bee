//! Declares each metric once, at its field: name, labels and help text.

use prometheus::core::Collector;
use prometheus::{
    Gauge, GaugeVec, Histogram, HistogramOpts, HistogramVec, IntCounter, IntCounterVec, IntGauge,
    IntGaugeVec, Opts, Registry,
};

/// Defines a struct whose fields are metrics, and its function `register`, which registers them with a new
/// registry. The doc comment of a field is the help text of its metric. Labels are in brackets, and the
/// upper bounds of the buckets of a histogram follow `in`.
macro_rules! metrics {
    (
        $(#[$meta:meta])*
        $vis:vis struct $name:ident {
            $(
                $(#[doc = $help:literal])+
                $field_vis:vis $field:ident: $type:ty = $metric:literal $([$($label:literal),+])? $(in $buckets:expr)?,
            )+
        }
    ) => {
        $(#[$meta])*
        $vis struct $name {
            registry: Registry,
            $($(#[doc = $help])+ $field_vis $field: $type,)+
        }

        impl $name {
            fn register() -> Result<Self, prometheus::Error> {
                let registry = Registry::new();
                Ok(Self {
                    $($field: Metric::register(
                        &registry,
                        &Declaration {
                            name: $metric,
                            help: concat!($($help),+).trim_start(),
                            labels: &[$($($label),+)?],
                            buckets: metrics!(@buckets $($buckets)?),
                        },
                    )?,)+
                    registry,
                })
            }
        }
    };
    (@buckets) => { &[] };
    (@buckets $buckets:expr) => { $buckets };
}
pub(super) use metrics;

/// The declaration of one metric.
pub(super) struct Declaration {
    pub(super) name: &'static str,
    pub(super) help: &'static str,
    pub(super) labels: &'static [&'static str],
    /// The upper bounds of the buckets of a histogram.
    pub(super) buckets: &'static [f64],
}

/// A type that [`metrics!`] can declare.
pub(super) trait Metric: Sized {
    /// Creates the metric and registers it.
    fn register(registry: &Registry, declaration: &Declaration) -> Result<Self, prometheus::Error>;
}

impl From<&Declaration> for Opts {
    fn from(declaration: &Declaration) -> Self {
        Self::new(declaration.name, declaration.help)
    }
}

impl From<&Declaration> for HistogramOpts {
    fn from(declaration: &Declaration) -> Self {
        Self::new(declaration.name, declaration.help).buckets(declaration.buckets.to_vec())
    }
}

fn registered<M: Collector + Clone + 'static>(
    registry: &Registry,
    metric: Result<M, prometheus::Error>,
) -> Result<M, prometheus::Error> {
    let metric = metric?;
    registry.register(Box::new(metric.clone()))?;
    Ok(metric)
}

/// Implements [`Metric`] for types of the library, with or without labels.
macro_rules! metric_types {
    ($($type:ident: $constructor:ident($($argument:ident),+);)+) => {
        $(impl Metric for $type {
            fn register(
                registry: &Registry,
                declaration: &Declaration,
            ) -> Result<Self, prometheus::Error> {
                registered(registry, $type::$constructor($(metric_types!(@$argument declaration)),+))
            }
        })+
    };
    (@opts $declaration:ident) => { $declaration.into() };
    (@labels $declaration:ident) => { $declaration.labels };
}

metric_types! {
    Gauge: with_opts(opts);
    GaugeVec: new(opts, labels);
    Histogram: with_opts(opts);
    HistogramVec: new(opts, labels);
    IntCounter: with_opts(opts);
    IntCounterVec: new(opts, labels);
    IntGauge: with_opts(opts);
    IntGaugeVec: new(opts, labels);
}
