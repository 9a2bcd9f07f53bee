//! The limits, and why a rollout needs a permit or has none.

use std::fmt;

/// The limits of rollouts that no change of a spec requested.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// The maximum number at the same time.
    pub concurrent: usize,
    /// The number of failures after which no further one starts.
    pub failures: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            concurrent: 5,
            failures: 3,
        }
    }
}

/// Why a rollout starts without a change of the spec.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Cause {
    /// The operator builds another pod template.
    Template,
    /// The digest of a secret differs: its data changed, or the key of the digests.
    Secret,
}

/// Why a rollout has no permit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Wait {
    /// Other rollouts are in progress.
    Queued,
    /// Too many rollouts of this version of the operator failed.
    Held,
}

impl fmt::Display for Wait {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The same for each object and at each time, so that the status is written once.
        out.write_str(match self {
            Self::Queued => {
                "the pods are to be replaced without a change of the spec, after those of other OrderServices"
            }
            Self::Held => {
                "the pods are not replaced, because rollouts that this version of the operator caused failed"
            }
        })
    }
}
