use super::*;
use crate::backoff::MAX_BACKOFF;
use crate::diff::drift::Author;

fn drift(field: &str) -> [Drift; 1] {
    [Drift {
        field: field.to_owned(),
        author: Author::Owner("other".to_owned()),
        time: None,
    }]
}

#[tokio::test(start_paused = true)]
async fn the_pause_grows_for_the_same_field_and_not_for_another() {
    let contention = Contention::default();
    let revert = |field| contention.allow_revert("u", Kind::Service, "a", &drift(field));
    for _ in 0..IMMEDIATE_REVERTS {
        assert_eq!(revert("spec.a"), Ok(()));
        assert_eq!(contention.summary("u"), None);
    }
    let mut pause = FIRST_PAUSE;
    for _ in 0..12 {
        let remaining = revert("spec.a").unwrap_err();
        assert!(
            remaining <= pause && remaining >= pause / 2,
            "{remaining:?} of {pause:?}"
        );
        assert_eq!(revert("spec.b"), Ok(()), "another field has no pause");
        contention.forget_fields("u", Kind::Service, "a", &["spec.b".to_owned()]);
        tokio::time::advance(remaining).await;
        assert_eq!(revert("spec.a"), Ok(()));
        pause = (pause * 2).min(MAX_BACKOFF);
    }
    assert_eq!(pause, MAX_BACKOFF);
    let reported = contention.summary("u").unwrap();
    assert!(
        reported.ends_with("Service a: spec.a (changed by other)"),
        "{reported}"
    );
    assert_eq!(contention.summary("v"), None);
    tokio::time::advance(FORGET_AFTER).await;
    assert_eq!(contention.summary("u"), None, "the contest ended");
    assert_eq!(revert("spec.a"), Ok(()), "and its pause was removed");
}

#[tokio::test(start_paused = true)]
async fn the_pause_grows_before_a_deleted_object_is_created_again() {
    let contention = Contention::default();
    for round in 0..=IMMEDIATE_REVERTS {
        contention.record_deletion("u", Kind::Service, "a");
        assert_eq!(
            contention.allow_create("u", Kind::Service, "a").is_ok(),
            round < IMMEDIATE_REVERTS
        );
    }
    assert!(contention.summary("u").unwrap().ends_with("(deleted)"));
    assert_eq!(contention.allow_create("u", Kind::Service, "b"), Ok(()));
    contention.forget("u");
    assert_eq!(contention.allow_create("u", Kind::Service, "a"), Ok(()));
    assert_eq!(contention.summary("u"), None);
}
