use kube::core::Status;

use super::*;

#[test]
fn the_content_of_an_unreadable_response_is_not_reported() {
    let source = serde_json::from_str::<u8>("\"postgres://u:password@h\"").unwrap_err();
    assert!(source.to_string().contains("password"));
    let error = Error::Api {
        what: "get Secret db".to_owned(),
        source: kube::Error::SerdeError(source),
    };
    assert_eq!(
        error.message(),
        "get Secret db: the response cannot be read, line 1 column 25"
    );
}

#[test]
fn errors_are_classified_by_code_and_type() {
    for (code, class) in [
        (400, ErrorClass::Permanent),
        (403, ErrorClass::Permanent),
        (409, ErrorClass::Conflict),
        (422, ErrorClass::Permanent),
        (429, ErrorClass::Transient),
        (500, ErrorClass::Transient),
        (503, ErrorClass::Transient),
    ] {
        let status = Status {
            code,
            ..Status::failure("", "")
        };
        assert_eq!(classify(&kube::Error::Api(status.boxed())), class, "{code}");
    }
    assert_eq!(
        classify(&kube::Error::Service(Fenced.into())),
        ErrorClass::Fenced
    );
    let broken = std::io::Error::other("connection reset");
    assert_eq!(
        classify(&kube::Error::Service(broken.into())),
        ErrorClass::Transient
    );
}
