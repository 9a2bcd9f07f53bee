//! Ages and the judgement of conditions.

use super::*;

fn condition_of(type_: &str, status: &str, reason: &str) -> Condition {
    Condition {
        type_: type_.to_owned(),
        status: status.to_owned(),
        reason: reason.to_owned(),
        message: String::new(),
        since: None,
        outdated: false,
    }
}

#[test]
fn ages_have_one_unit() {
    let now: Timestamp = "2026-01-10T00:00:00Z".parse().unwrap();
    for (start, expected) in [
        ("2026-01-10T00:00:05Z", "0s"),
        ("2026-01-09T23:58:01Z", "119s"),
        ("2026-01-09T23:58:00Z", "2m"),
        ("2026-01-09T22:00:00Z", "2h"),
        ("2026-01-08T00:00:00Z", "2d"),
    ] {
        assert_eq!(age(Some(start.parse().unwrap()), now), expected);
    }
}

#[test]
fn a_true_condition_is_good_or_bad_by_its_type() {
    for (type_, status, reason, expected) in [
        ("Ready", "True", "Available", Mood::Good),
        ("Ready", "False", "Migrating", Mood::Waiting),
        ("Ready", "False", "RolledBack", Mood::Bad),
        ("Ready", "Unknown", "ReconcileFailing", Mood::Waiting),
        ("Degraded", "True", "MigrationFailed", Mood::Bad),
        ("Degraded", "False", "AsExpected", Mood::Neutral),
        ("Secured", "False", "AuthNotConfigured", Mood::Waiting),
        ("Paused", "True", "Paused", Mood::Waiting),
        ("SomethingNew", "True", "Yes", Mood::Neutral),
    ] {
        assert_eq!(
            mood(&condition_of(type_, status, reason)),
            expected,
            "{type_} {status}"
        );
    }
}
