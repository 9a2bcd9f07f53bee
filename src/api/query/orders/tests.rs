use actix_web::test::TestRequest;
use arbtest::arbitrary::{Result, Unstructured};
use arbtest::arbtest;

use super::*;

fn request(query: &str) -> HttpRequest {
    TestRequest::with_uri(&format!("/api/v1/orders?{query}")).to_http_request()
}

fn parsed(query: &str) -> std::result::Result<OrdersQuery, Problem> {
    orders(&request(query))
}

fn list(query: &str) -> ListQuery {
    match parsed(query) {
        Ok(OrdersQuery::List(list)) => list,
        other => panic!("{query}: {other:?}"),
    }
}

/// The pointer and the detail for parameters that are valid and cannot be combined.
fn violation(query: &str) -> (String, String) {
    let Violation { pointer, detail } = given(&request(query)).unwrap().combine().unwrap_err();
    (pointer, detail)
}

fn id(number: u128) -> Uuid {
    Uuid::from_u128(number)
}

#[test]
fn parameters_that_change_nothing_are_the_first_page() {
    let all = "status=pending&status=confirmed&status=shipped&status=delivered&status=cancelled";
    for query in [
        "",
        "limit=100",
        "limit=999",
        "order=desc",
        all,
        &format!("{all}&{all}"),
    ] {
        assert_eq!(list(query), ListQuery::FIRST_PAGE, "{query}");
    }
}

#[test]
fn several_statuses_are_a_set() {
    let expected: StatusSet = [Status::Shipped, Status::Cancelled].into_iter().collect();
    for query in [
        "status=shipped&status=cancelled",
        "status=cancelled&status=shipped&status=cancelled",
    ] {
        assert_eq!(list(query).statuses, expected, "{query}");
    }
    assert!(parsed("status=shipped&status=").is_err());
    assert!(parsed("status=shipped,cancelled").is_err());
}

#[test]
fn an_inverted_range_is_rejected_and_an_empty_one_is_not() {
    let (early, late) = ("2026-11-22T06:00:00Z", "2026-11-22T06:00:00.0000001Z");
    let range = |from, to| format!("created_from={from}&created_to={to}");
    let (pointer, _) = violation(&range(late, early));
    assert_eq!(pointer, "/created_to");
    for (from, to) in [(early, early), (early, late)] {
        let CreatedRange {
            from: begin,
            to: end,
        } = list(&range(from, to)).created;
        assert!(begin <= end);
    }
    // The same time in two zones.
    let zones = range("2026-11-22T06:00:00Z", "2026-11-22T07:00:00%2B01:00");
    assert!(parsed(&zones).is_ok());
}

#[test]
fn at_most_one_of_product_customer_and_external_id_is_accepted() {
    for (first, second) in [
        ("product_id", "customer_id"),
        ("product_id", "external_id"),
        ("customer_id", "external_id"),
    ] {
        for query in [
            format!("{first}=a&{second}=b"),
            format!("{second}=b&status=pending&{first}=a"),
        ] {
            let (pointer, detail) = violation(&query);
            assert_eq!(pointer, format!("/{second}"));
            assert!(
                detail.starts_with(&format!("must not be combined with {first}")),
                "{detail}"
            );
            assert!(detail.contains(LIST_COMBINATIONS), "{detail}");
        }
    }
}

#[test]
fn ids_are_unique_and_keep_their_order() {
    let query = format!("id={}&id={}&id={}", id(7), id(3), id(7));
    assert_eq!(
        parsed(&query).unwrap(),
        OrdersQuery::Ids(vec![id(7), id(3)])
    );
    let upper = id(0xABC).to_string().to_uppercase();
    let query = format!("id={upper}&id={}", id(0xABC));
    assert_eq!(parsed(&query).unwrap(), OrdersQuery::Ids(vec![id(0xABC)]));
}

#[test]
fn at_most_a_hundred_different_ids_are_accepted() {
    let query = |count| {
        let ids: Vec<_> = (0..count)
            .map(|number| format!("id={}", id(number)))
            .collect();
        ids.join("&")
    };
    assert!(parsed(&query(100)).is_ok());
    assert!(parsed(&format!("{}&id={}", query(100), id(0))).is_ok());
    let (pointer, detail) = violation(&query(101));
    assert_eq!(pointer, "/id");
    assert!(detail.contains("100") && detail.contains("101"), "{detail}");
    for bad in ["id=", "id=7", &format!("id={}&id=x", id(1))] {
        assert!(parsed(bad).is_err(), "{bad}");
    }
}

#[test]
fn ids_cannot_be_combined_with_any_other_parameter() {
    for other in [
        "limit=100",
        "starting_after=0199a3c4-5d6e-7f80-9a1b-2c3d4e5f6071",
        "order=desc",
        "status=pending",
        "created_from=2026-11-22T06:00:00Z",
        "created_to=2026-11-22T06:00:00Z",
        "product_id=a",
        "customer_id=a",
        "external_id=a",
    ] {
        let (pointer, detail) = violation(&format!("{other}&id={}", id(1)));
        let (name, _) = other.split_once('=').unwrap();
        assert_eq!(pointer, "/id");
        assert!(
            detail.starts_with(&format!("must not be combined with {name};")),
            "{detail}"
        );
    }
}

#[test]
fn the_link_to_the_next_page_keeps_every_parameter() {
    let query = OrdersQuery::List(ListQuery {
        limit: 7,
        direction: Direction::OldestFirst,
        statuses: [Status::Pending, Status::Shipped].into_iter().collect(),
        created: CreatedRange {
            from: Some("2026-11-22T06:00:00+01:00".parse().unwrap()),
            to: Some("2026-11-22T06:00:00.0000001Z".parse().unwrap()),
        },
        filter: Some(ListFilter::Product("a&b d".to_owned())),
        starting_after: None,
    });
    assert_eq!(
        next_page(&query, Uuid::nil()).unwrap(),
        "/api/v1/orders?limit=7&order=asc&status=pending&status=shipped\
         &created_from=2026-11-22T05%3A00%3A00Z&created_to=2026-11-22T06%3A00%3A00.000000100Z\
         &product_id=a%26b+d&starting_after=00000000-0000-0000-0000-000000000000"
    );
}

#[test]
fn the_link_of_a_query_by_id_has_the_remaining_ids() {
    let query = OrdersQuery::Ids(vec![id(7), id(3), id(5)]);
    assert_eq!(
        next_page(&query, id(7)).unwrap(),
        format!("/api/v1/orders?id={}&id={}", id(3), id(5))
    );
    assert_eq!(next_page(&query, id(5)), None);
}

fn random_list(u: &mut Unstructured<'_>) -> Result<ListQuery> {
    let time = |u: &mut Unstructured<'_>| -> Result<Option<DateTime<Utc>>> {
        Ok(match u.int_in_range(0..=2)? {
            0 => None,
            _ => {
                let seconds = u.int_in_range(0..=super::super::LATEST_SECONDS - 1)?;
                let nanos = if u.arbitrary()? {
                    u.int_in_range(0..=999_999_999)?
                } else {
                    0
                };
                DateTime::from_timestamp(seconds, nanos)
            }
        })
    };
    let (mut from, mut to) = (time(u)?, time(u)?);
    if from.is_some() && to.is_some() && from > to {
        (from, to) = (to, from);
    }
    let mut statuses = StatusSet::NONE;
    for status in Status::ALL {
        if u.arbitrary()? {
            statuses.insert(status);
        }
    }
    if statuses.is_empty() {
        statuses = StatusSet::ALL;
    }
    let text = format!(
        "{}=&+%{}",
        u.int_in_range(0..=9)?,
        u.choose(&["é", " ", "\u{1F600}", "x"])?
    );
    Ok(ListQuery {
        limit: u.int_in_range(1..=100)?,
        starting_after: None,
        direction: *u.choose(&[Direction::NewestFirst, Direction::OldestFirst])?,
        statuses,
        created: CreatedRange { from, to },
        filter: match u.int_in_range(0..=3)? {
            0 => Some(ListFilter::Product(text)),
            1 => Some(ListFilter::Customer(text)),
            2 => Some(ListFilter::External(text)),
            _ => None,
        },
    })
}

#[test]
fn the_link_is_the_query_of_the_same_list_behind_the_last_order() {
    arbtest(|u| {
        let expected = random_list(u)?;
        let last = id(u.arbitrary()?);
        let link = next_page(&OrdersQuery::List(expected.clone()), last).unwrap();
        let (_, query) = link.split_once('?').unwrap();
        let expected = ListQuery {
            starting_after: Some(last),
            ..expected
        };
        assert_eq!(list(query), expected, "{link}");
        Ok(())
    })
    .budget_ms(500);
}
