use super::*;

#[test]
fn a_head_is_incomplete_from_its_first_byte_until_its_request_begins() {
    let activity = Rc::new(Activity::default());
    assert!(!activity.is_busy() && activity.head_since().is_none());
    activity.head_started();
    let started = activity.head_since().unwrap();
    activity.head_started();
    assert_eq!(
        activity.head_since(),
        Some(started),
        "the timeout starts with the first byte"
    );
    activity.head_forwarded(false, false);
    let request = activity.begin();
    assert!(activity.is_busy() && activity.head_since().is_none());
    drop(request);
    assert!(!activity.is_busy());
}
