//! The objects of an OrderService: one pure function per kind. No function reads a clock, a cluster or the
//! environment, so that `order-operator render` prints exactly what would be applied.

pub(crate) mod access;
mod config_map;
pub(crate) mod database_secret;
mod database_tls;
mod deployment;
mod horizontal_pod_autoscaler;
mod job;
pub(crate) mod labels;
mod maintenance_cron_job;
mod migration_job;
mod network_policy;
mod pod;
mod pod_disruption_budget;
mod pod_monitor;
mod pod_options;
mod resources;
mod service;
mod service_account;
mod target;

use std::fmt::Write as _;

use aws_lc_rs::digest::{SHA256, digest};
use serde::Serialize;

use config_map::build as config_map;
use deployment::{build as deployment, pod_template};
use horizontal_pod_autoscaler::build as horizontal_pod_autoscaler;
use maintenance_cron_job::build as maintenance_cron_job;
use migration_job::{build as migration_job, revision as migration_revision};
use network_policy::build as network_policy;
pub(crate) use pod::SECRET_VOLUME as DATABASE_VOLUME;
use pod_disruption_budget::{build as pod_disruption_budget, for_migration as migration_budget};
use pod_monitor::build as pod_monitor;
pub(crate) use resources::{Resources, SecretDigests, Workload, maintenance_of, resources};
use service::build as service;
use service_account::build as service_account;
pub use target::InvalidSpec;
pub(crate) use target::{Replicas, Target};

/// A hash of a value in ten hexadecimal digits, short enough for names and labels.
pub(crate) fn short_hash<T: Serialize + ?Sized>(value: &T) -> String {
    // Serializing these types cannot fail. If it did, all values would have the same hash.
    let bytes = serde_json::to_vec(value).unwrap_or_default();
    hex(digest(&SHA256, &bytes).as_ref(), 5)
}

/// Whether a text has the form of a [`short_hash`].
pub(crate) fn is_short_hash(text: &str) -> bool {
    text.len() == 10 && text.chars().all(|c| c.is_ascii_hexdigit())
}

/// The first `count` bytes in hexadecimal digits.
pub(crate) fn hex(bytes: &[u8], count: usize) -> String {
    bytes
        .iter()
        .take(count)
        .fold(String::with_capacity(2 * count), |mut text, byte| {
            // Writing to a string cannot fail.
            let _ = write!(text, "{byte:02x}");
            text
        })
}

/// Labels, annotations and similar fields.
pub(crate) type StringMap = std::collections::BTreeMap<String, String>;

/// Creates a map of these pairs.
pub(crate) fn string_map<const N: usize>(pairs: [(&str, &str); N]) -> StringMap {
    pairs
        .map(|(key, value)| (key.to_owned(), value.to_owned()))
        .into()
}
