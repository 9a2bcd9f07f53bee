//! The settings of `order-service maintain`: how long data is kept.

use std::time::Duration;

use clap::Args;

use super::values::retention;

/// How long data is kept. Data without a setting is kept indefinitely.
#[derive(Clone, Copy, Debug, Args)]
#[group(skip)]
pub struct Retention {
    /// How long events are kept, such as 90d; `maintain` removes whole months [default: indefinitely]
    #[arg(long = "event-retention", env = "EVENT_RETENTION", value_name = "DURATION", value_parser = retention)]
    pub(crate) events: Option<Duration>,
    /// How long idempotency keys are kept, such as 30d [default: as long as their orders]
    #[arg(long = "idempotency-retention", env = "IDEMPOTENCY_RETENTION", value_name = "DURATION",
        value_parser = retention)]
    pub(crate) idempotency_keys: Option<Duration>,
    /// Delivered and cancelled orders that did not change for so long, such as 2y, are archived and removed by
    /// `maintain` [default: never]
    #[arg(long = "order-retention", env = "ORDER_RETENTION", value_name = "DURATION", value_parser = retention)]
    pub(crate) orders: Option<Duration>,
}

impl Retention {
    /// The settings, with their names, for the log of the start.
    pub(super) fn resolved(&self) -> [(&'static str, String); 3] {
        let show = |retention: Option<Duration>| {
            retention.map_or_else(
                || "indefinitely".to_owned(),
                |retention| humantime::format_duration(retention).to_string(),
            )
        };
        let Self {
            events,
            idempotency_keys,
            orders,
        } = *self;
        [
            ("event_retention", show(events)),
            ("idempotency_retention", show(idempotency_keys)),
            ("order_retention", show(orders)),
        ]
    }
}
