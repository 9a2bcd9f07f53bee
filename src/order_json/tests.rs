use super::*;
use crate::domain::{Draft, ItemsDraft, LineDraft, MAX_QUANTITY, MAX_UNIT_AMOUNT};

/// The longest text of this many characters, which begins with a number.
fn text(number: usize, chars: usize) -> String {
    let number = number.to_string();
    "\u{1F600}".repeat(chars - number.len()) + &number
}

#[test]
fn no_order_is_longer_than_the_longest() {
    let line = |number| LineDraft {
        product_id: text(number, ShortText::MAX_CHARS),
        quantity: MAX_QUANTITY.into(),
        // With the same number of positive amounts, the total is 0.
        unit_amount: Some(if number % 2 == 0 { -1 } else { 1 } * MAX_UNIT_AMOUNT),
    };
    let value = "\u{1}".repeat(Metadata::MAX_VALUE_CHARS);
    let entry = |number| (text(number, Metadata::MAX_KEY_CHARS), value.clone());
    let draft = Draft {
        items: ItemsDraft::Listed((0..MAX_LINES).map(line).collect()),
        currency: Some("EUR".to_owned()),
        external_id: Some(text(0, ShortText::MAX_CHARS)),
        customer_id: Some(text(0, ShortText::MAX_CHARS)),
        metadata: (0..Metadata::MAX_ENTRIES).map(entry).collect(),
    };
    let longest = NewOrder::parse(draft).unwrap();
    let mut longest = longest.create(Uuid::max(), DateTime::UNIX_EPOCH);
    longest.version = i32::MAX;
    longest.status = crate::domain::Status::Cancelled;
    let length = order(&longest).unwrap().len();
    assert!(length <= LONGEST_ORDER, "{length}");
    // The number at the end of a text is shorter than other characters.
    let slack = 4 * 2 * (MAX_LINES + Metadata::MAX_ENTRIES + 2) + OTHER_MEMBERS;
    assert!(LONGEST_ORDER - length < slack, "{length}");
}
