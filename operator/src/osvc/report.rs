//! What `status` reports: the objects of an OrderService as a tree, with causes. This is also its JSON.

use jiff::Timestamp;
use serde::Serialize;

use crate::pods;

/// An OrderService and the objects below it.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Service {
    pub(crate) namespace: String,
    pub(crate) name: String,
    pub(crate) created: Option<Timestamp>,
    /// The image of the spec.
    pub(crate) image: String,
    /// The image of the pods.
    pub(crate) running_image: Option<String>,
    pub(crate) paused: bool,
    pub(crate) conditions: Vec<Condition>,
    /// The newest first.
    pub(crate) migrations: Vec<Migration>,
    pub(crate) deployment: Option<Deployment>,
}

/// A condition of an OrderService.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Condition {
    #[serde(rename = "type")]
    pub(crate) type_: String,
    pub(crate) status: String,
    pub(crate) reason: String,
    pub(crate) message: String,
    pub(crate) since: Option<Timestamp>,
    /// Whether it refers to an older spec.
    pub(crate) outdated: bool,
}

/// A Job that migrates.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Migration {
    pub(crate) name: String,
    /// `Running`, `Complete`, `Failed` or `Suspended`.
    pub(crate) state: &'static str,
    pub(crate) created: Option<Timestamp>,
    pub(crate) image: String,
    /// The number of pods that failed.
    pub(crate) failed_pods: i64,
    pub(crate) cause: Option<Cause>,
    pub(crate) pods: Vec<Pod>,
}

/// The Deployment.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Deployment {
    pub(crate) name: String,
    pub(crate) created: Option<Timestamp>,
    pub(crate) desired: i64,
    pub(crate) updated: i64,
    pub(crate) available: i64,
    /// The newest first.
    pub(crate) replica_sets: Vec<ReplicaSet>,
}

/// A version of the Deployment.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct ReplicaSet {
    pub(crate) name: String,
    pub(crate) created: Option<Timestamp>,
    pub(crate) revision: i64,
    pub(crate) image: String,
    /// Whether it has rolled out completely.
    pub(crate) proven: bool,
    pub(crate) desired: i64,
    pub(crate) ready: i64,
    pub(crate) cause: Option<Cause>,
    pub(crate) pods: Vec<Pod>,
}

/// A pod.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Pod {
    pub(crate) name: String,
    pub(crate) created: Option<Timestamp>,
    /// `Ready`, `Terminating`, or the phase.
    pub(crate) state: String,
    pub(crate) restarts: i64,
    pub(crate) node: Option<String>,
    pub(crate) cause: Option<Cause>,
}

/// Why a pod does not run, or could not be created.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(crate) struct Cause {
    /// In one word.
    pub(crate) reason: String,
    pub(crate) message: String,
    pub(crate) since: Option<Timestamp>,
}

impl From<pods::PodFailure> for Cause {
    fn from(failure: pods::PodFailure) -> Self {
        Self {
            reason: failure.reason.to_owned(),
            message: failure.message,
            since: failure.since,
        }
    }
}
