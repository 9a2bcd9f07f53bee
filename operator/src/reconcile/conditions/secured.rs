//! Whether requests need credentials.

use super::{Verdict, condition_false, condition_true, unchanged};
use crate::build::Target;
use crate::build::access::{Access, Anonymous, template_is_secured};
use crate::crd::{ConditionStatus, OrderServiceStatus};
use crate::reconcile::status::{Observation, find};

/// Decides by the spec and by the pods: after a rollback, or before the end of a rollout, pods may be open although
/// the spec is not.
pub(in crate::reconcile) fn secured(
    before: &OrderServiceStatus,
    observation: &Observation,
    target: Option<&Target>,
) -> Verdict {
    let before = find(before, "Secured");
    let Some(target) = target else {
        return unchanged(before);
    };
    let Access { secret, anonymous } = &target.access;
    let Anonymous::Scopes(scopes) = anonymous else {
        return if *anonymous == Anonymous::Unset {
            let message = "spec.auth is not set: requests without credentials may do everything";
            condition_false("AuthNotConfigured", message)
        } else {
            let message = "spec.auth.anonymous allows everything to requests without credentials";
            condition_false("AnonymousAll", message)
        };
    };
    let Some(secret) = secret else {
        let message = "spec.auth has no secretRef: no request can have credentials";
        return condition_false("NoCredentials", message);
    };
    let Some(rollout) = &observation.rollout else {
        let is_unobserved = observation.failing.is_some() || observation.refused.is_some();
        return unchanged(before.filter(|_| is_unobserved));
    };
    let current = rollout.current.as_ref();
    if !current.is_some_and(|current| template_is_secured(&current.0)) {
        let message = "the pods run with earlier settings, which allow everything";
        return condition_false("RollingOut", message);
    }
    let was_secured = before.is_some_and(|before| before.status == ConditionStatus::True);
    if !was_secured && !rollout.is_complete() {
        let message = "pods with earlier settings may still run";
        return condition_false("RollingOut", message);
    }
    let scopes: Vec<_> = scopes.iter().map(|scope| scope.as_str()).collect();
    let anonymous = if scopes.is_empty() {
        "nothing".to_owned()
    } else {
        scopes.join(", ")
    };
    condition_true(
        "CredentialsRequired",
        format!(
            "credentials: Secret {}; allowed without: {anonymous}",
            secret.name
        ),
    )
}
