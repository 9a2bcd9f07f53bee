use super::*;

#[test]
fn a_limit_is_a_positive_integer_and_capped() {
    for (text, limit) in [
        ("1", Some(1)),
        ("100", Some(100)),
        ("101", Some(100)),
        ("007", Some(7)),
        ("99999999999999999999", Some(100)),
        ("0", None),
        ("00", None),
        ("", None),
        ("-1", None),
        ("+1", None),
        ("1.5", None),
        ("ten", None),
    ] {
        assert_eq!(parse_limit(text).ok(), limit, "{text:?}");
    }
}

#[test]
fn an_id_has_the_hyphenated_form_only() {
    let id = "0199a3c4-5d6e-7f80-9a1b-2c3d4e5f6071";
    assert!(order_id(id).is_some());
    assert!(order_id(&id.to_uppercase()).is_some());
    for bad in [
        "",
        "1",
        &id.replace('-', ""),
        &format!("{{{id}}}"),
        &format!("urn:uuid:{id}"),
    ] {
        assert_eq!(order_id(bad), None, "{bad}");
    }
}

#[test]
fn a_time_has_a_zone_and_is_written_in_utc() {
    for (text, utc) in [
        ("2026-11-22T06:19:00Z", "2026-11-22T06:19:00Z"),
        ("2026-11-22t06:19:00z", "2026-11-22T06:19:00Z"),
        ("2026-11-22T06:19:00-00:00", "2026-11-22T06:19:00Z"),
        ("2026-11-22T06:19:00.5+02:30", "2026-11-22T03:49:00.500Z"),
        ("2026-11-22T06:19:00.123456Z", "2026-11-22T06:19:00.123456Z"),
        (
            "2026-11-22T06:19:00.1234567Z",
            "2026-11-22T06:19:00.123456700Z",
        ),
        ("2016-12-31T23:59:60Z", "2016-12-31T23:59:60Z"),
        // Outside of the times that orders can have, or that can be written in UTC.
        ("1969-12-31T23:59:59Z", "1970-01-01T00:00:00Z"),
        ("0000-01-01T00:00:00+23:59", "1970-01-01T00:00:00Z"),
        ("9999-12-31T23:59:59.9Z", "9999-12-31T23:59:59Z"),
        ("9999-12-31T23:59:59-23:59", "9999-12-31T23:59:59Z"),
    ] {
        let time = bound(parse_time(text).unwrap());
        assert_eq!(time_text(time), utc, "{text}");
        assert_eq!(parse_time(utc).map(bound), Ok(time), "{text}");
    }
}

#[test]
fn a_time_without_a_zone_or_in_another_form_is_rejected() {
    for text in [
        "",
        "now",
        "2026-11-22",
        "2026-11-22T06:19:00",
        "2026-11-22T06:19Z",
        // A plus sign that is not encoded.
        "2026-11-22T06:19:00 02:00",
        "2026-13-01T00:00:00Z",
        "2026-02-30T00:00:00Z",
        "2026-11-22T25:00:00Z",
        "2026-11-22T06:19:00+99:00",
        "-0001-01-01T00:00:00Z",
        "+12026-11-22T06:19:00Z",
        "10000-01-01T00:00:00Z",
        "1764000000",
        "2026-11-22T06:19:00Z ",
        "2026-11-22T06:19:00Zx",
    ] {
        assert!(parse_time(text).is_err(), "{text:?}");
    }
}
