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
fn the_link_to_the_next_page_keeps_every_parameter() {
    let list = ListQuery {
        limit: 7,
        status: Some(crate::domain::Status::Pending),
        filter: Some(ListFilter::Product("a&b d".to_owned())),
        starting_after: None,
    };
    assert_eq!(
        next_page(&list, Uuid::nil()),
        "/api/v1/orders?limit=7&status=pending&product_id=a%26b+d\
         &starting_after=00000000-0000-0000-0000-000000000000"
    );
}
