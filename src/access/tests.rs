use super::*;

#[test]
fn a_bearer_header_has_one_visible_credential() {
    for (header, credential) in [
        ("Bearer abc", Some("abc")),
        ("bearer abc", Some("abc")),
        ("BEARER  abc ", Some("abc")),
        ("Bearer", None),
        ("Bearer ", None),
        ("Bearer a b", None),
        ("Bearer a\tb", None),
        ("Basic abc", None),
        ("Bearerabc", None),
        ("", None),
    ] {
        assert_eq!(bearer(header.as_bytes()), credential, "{header:?}");
    }
    assert_eq!(bearer(b"Bearer \xff"), None);
}
