//! Converts errors of the store and of the domain to problems.

use uuid::Uuid;

use crate::domain::PatchError;
use crate::http::problem::Problem;
use crate::http::problem::kind::ProblemKind;
use crate::store::{Cursor, StoreError};

impl From<StoreError> for Problem {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::Overloaded => ProblemKind::Overloaded.into(),
            StoreError::ShareExceeded => ProblemKind::RateLimited.into(),
            StoreError::Unavailable(why) => Self::from(ProblemKind::Unavailable).because(why),
            StoreError::StatementTimeout | StoreError::LockTimeout => {
                Self::from(ProblemKind::Timeout).because(error)
            }
            StoreError::Internal(why) => Self::internal(why),
            // A batch of one is never too large.
            StoreError::BatchTooLarge => Self::internal(error),
        }
    }
}

impl From<PatchError> for Problem {
    fn from(error: PatchError) -> Self {
        match error {
            PatchError::IllegalTransition { from, to } => Self::new(
                ProblemKind::IllegalTransition,
                format!("A {} order cannot become {}.", from.as_str(), to.as_str()),
            )
            .with_allowed(from.next().iter().map(|status| status.as_str())),
            PatchError::NotEditable { status } => Self::new(
                ProblemKind::OrderNotEditable,
                format!("The items of a {} order cannot change.", status.as_str()),
            ),
            PatchError::Invalid(violations) => violations.into(),
        }
    }
}

/// The problem for a path whose id names no order.
pub(super) fn order_not_found() -> Problem {
    Problem::new(ProblemKind::NotFound, "There is no order with this id.")
}

/// The problem for a new order whose external id another order has.
pub(super) fn external_id_taken(order_id: Uuid) -> Problem {
    Problem::from(ProblemKind::ExternalIdTaken).with_order_id(order_id)
}

/// The problem for a cursor after which reading cannot continue. `oldest` is the first cursor after which the feed
/// is complete.
pub(super) fn cursor_expired(oldest: Cursor) -> Problem {
    Problem::from(ProblemKind::CursorExpired).with_oldest(oldest)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_store_error_has_its_problem_and_discloses_no_internals() {
        let secret = "relation \"orders\" does not exist".to_owned();
        for (error, kind) in [
            (StoreError::Overloaded, ProblemKind::Overloaded),
            (StoreError::ShareExceeded, ProblemKind::RateLimited),
            (
                StoreError::unavailable(secret.clone()),
                ProblemKind::Unavailable,
            ),
            (StoreError::StatementTimeout, ProblemKind::Timeout),
            (StoreError::LockTimeout, ProblemKind::Timeout),
            (StoreError::internal(secret.clone()), ProblemKind::Internal),
        ] {
            let problem = Problem::from(error);
            let text = problem.to_string();
            assert!(text.starts_with(kind.as_str()), "{text}");
            assert!(!text.contains("relation"), "{text}");
        }
    }
}
