use super::*;

#[test]
fn a_head_is_under_way_from_its_first_byte_until_its_request_begins() {
    let activity = Rc::new(Activity::default());
    assert!(!activity.is_busy() && activity.head_since().is_none());
    activity.head_begins();
    let began = activity.head_since().unwrap();
    activity.head_begins();
    assert_eq!(
        activity.head_since(),
        Some(began),
        "the clock runs from the first byte"
    );
    activity.head_passes(false, false);
    let request = activity.begin();
    assert!(activity.is_busy() && activity.head_since().is_none());
    drop(request);
    assert!(!activity.is_busy());
}
