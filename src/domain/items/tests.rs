use super::*;

fn line(product: &str, quantity: i64, unit_amount: Option<i64>) -> LineDraft {
    LineDraft {
        product_id: product.to_owned(),
        quantity,
        unit_amount,
    }
}

fn listed(lines: Vec<LineDraft>) -> Result<Items, Vec<Violation>> {
    Items::parse(ItemsDraft::Listed(lines))
}

fn pointers(result: Result<Items, Vec<Violation>>) -> Vec<String> {
    let violations = result.unwrap_err().into_iter();
    violations.map(|violation| violation.pointer).collect()
}

#[test]
fn an_order_has_one_to_a_hundred_lines() {
    for (count, legal) in [(0, false), (1, true), (100, true), (101, false)] {
        let lines = vec![line("a", 1, None); count];
        assert_eq!(listed(lines).is_ok(), legal, "{count}");
    }
}

#[test]
fn violations_point_to_the_member_in_the_request() {
    let wrong = vec![line("a", 1, Some(5)), line("", 0, None)];
    assert_eq!(
        pointers(listed(wrong)),
        [
            "/items/1/product_id",
            "/items/1/quantity",
            "/items/1/unit_amount"
        ]
    );
    let single = ItemsDraft::Single(line(" ", 0, Some(MAX_UNIT_AMOUNT + 1)));
    assert_eq!(
        pointers(Items::parse(single)),
        ["/product_id", "/quantity", "/unit_amount"]
    );
}

#[test]
fn the_limits_of_an_amount_are_inclusive_and_never_overflow() {
    let limit = MAX_UNIT_AMOUNT;
    for (amount, legal) in [
        (limit, true),
        (limit + 1, false),
        (-limit, true),
        (-limit - 1, false),
        (i64::MAX, false),
        (i64::MIN, false),
    ] {
        // The other line makes the total 0.
        let balance = line("b", 1, Some(amount.checked_neg().unwrap_or(0)));
        let lines = vec![line("a", 1, Some(amount)), balance];
        assert_eq!(listed(lines).is_ok(), legal, "{amount}");
    }
}

#[test]
fn the_total_is_exact_and_from_zero_to_what_javascript_counts() {
    let total = |lines| listed(lines).map(|items| items.total_amount());
    let basket = vec![line("a", 3, Some(250)), line("discount", 1, Some(-150))];
    assert_eq!(total(basket), Ok(Some(600)));
    assert_eq!(total(vec![line("a", 7, None)]), Ok(None));
    assert_eq!(total(vec![line("a", 1, Some(0))]), Ok(Some(0)));
    // 9007 * 10^12 is just below the maximum, 2^53 - 1 = 9007199254740991.
    let up_to = |rest| {
        let large = line("a", 9_007, Some(MAX_UNIT_AMOUNT));
        total(vec![large, line("b", 1, Some(rest))])
    };
    assert_eq!(up_to(199_254_740_991), Ok(Some(MAX_TOTAL_AMOUNT)));
    assert!(up_to(199_254_740_992).is_err());
    assert_eq!(pointers(listed(vec![line("a", 1, Some(-1))])), ["/items"]);
    // The sum of the positive lines exceeds 64 bits.
    let huge = line("a", 1_000_000, Some(MAX_UNIT_AMOUNT));
    let refund = line("b", 1_000_000, Some(-MAX_UNIT_AMOUNT));
    let mut lines = vec![huge; 50];
    lines.extend(vec![refund; 50]);
    assert_eq!(total(lines.clone()), Ok(Some(0)));
    lines.truncate(99);
    assert!(total(lines).is_err());
}

#[test]
fn only_the_first_line_of_a_product_is_listed() {
    let lines = ["a", "b", "a", "a", "c"].map(|product| line(product, 1, None));
    let items = listed(lines.to_vec()).unwrap();
    let first: Vec<_> = items.first_of_product().collect();
    assert_eq!(first, [true, true, false, false, true]);
}
