use super::*;

#[test]
fn the_table_is_that_of_the_contract() {
    let table: Vec<_> = ProblemKind::ALL
        .iter()
        .map(|kind| (kind.as_str(), kind.status().as_u16()))
        .collect();
    assert_eq!(
        table,
        [
            ("malformed-request", 400),
            ("unauthenticated", 401),
            ("forbidden", 403),
            ("not-found", 404),
            ("method-not-allowed", 405),
            ("request-timeout", 408),
            ("illegal-transition", 409),
            ("order-not-editable", 409),
            ("external-id-taken", 409),
            ("cursor-expired", 410),
            ("precondition-failed", 412),
            ("payload-too-large", 413),
            ("unsupported-media-type", 415),
            ("validation-failed", 422),
            ("idempotency-key-reused", 422),
            ("rate-limited", 429),
            ("internal", 500),
            ("overloaded", 503),
            ("unavailable", 503),
            ("keys-unavailable", 503),
            ("timeout", 503),
        ]
    );
}
