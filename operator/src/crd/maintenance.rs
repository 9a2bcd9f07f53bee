//! When the data of an OrderService is maintained, and where removed orders go.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::schema;

/// The runs of `order-service maintain`, which creates partitions and applies the retention.
#[derive(Clone, Debug, Deserialize, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Maintenance {
    /// Whether a CronJob is created.
    pub enabled: bool,
    /// When a run starts, in the format of cron and in UTC. The API server validates it more strictly.
    #[schemars(length(max = 100), regex(pattern = schema::SCHEDULE))]
    pub schedule: String,
    /// While true, no run starts.
    pub suspend: bool,
    /// Where the orders go that `settings.orderRetention` removes, which it needs.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub archive: Option<Archive>,
}

impl Default for Maintenance {
    fn default() -> Self {
        Self {
            enabled: true,
            // At night in Europe, and not on the hour, when many other jobs start.
            schedule: "17 3 * * *".to_owned(),
            suspend: false,
            archive: None,
        }
    }
}

/// Where removed orders go.
#[derive(Clone, Debug, Deserialize, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Archive {
    /// PersistentVolumeClaim in the same namespace that receives the files.
    #[schemars(length(min = 1, max = 253), regex(pattern = schema::SUBDOMAIN))]
    pub claim_name: String,
}
