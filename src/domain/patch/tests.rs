use super::*;
use crate::domain::{Draft, NewOrder};

fn order(status: Status) -> Order {
    let draft = Draft {
        product_id: "a".to_owned(),
        quantity: 3,
        metadata: BTreeMap::from([("k".to_owned(), "v".to_owned())]),
        ..Draft::default()
    };
    let mut order = NewOrder::parse(draft)
        .unwrap()
        .create(uuid::Uuid::now_v7(), Utc::now());
    order.status = status;
    order
}

#[test]
fn exactly_the_declared_transitions_are_legal() {
    for from in Status::ALL {
        for to in Status::ALL {
            let patch = Patch {
                status: Some(to),
                ..Patch::default()
            };
            let result = order(from).patched(&patch, Utc::now());
            if from == to {
                assert_eq!(result, Ok(None));
            } else if from.next().contains(&to) {
                let next = result.unwrap().unwrap();
                assert_eq!((next.status, next.version), (to, 2));
            } else {
                assert_eq!(result, Err(PatchError::IllegalTransition { from, to }));
            }
        }
    }
}

#[test]
fn the_quantity_can_only_change_while_the_order_is_pending() {
    let patch = |n| Patch {
        quantity: Some(Quantity::parse(n).unwrap()),
        ..Patch::default()
    };
    let changed = order(Status::Pending).patched(&patch(5), Utc::now());
    assert_eq!(changed.unwrap().unwrap().quantity, 5);
    for status in Status::ALL.into_iter().filter(|s| *s != Status::Pending) {
        let order = order(status);
        assert_eq!(
            order.patched(&patch(5), Utc::now()),
            Err(PatchError::NotEditable { status })
        );
        assert_eq!(order.patched(&patch(3), Utc::now()), Ok(None));
    }
}

#[test]
fn metadata_is_merged_and_cleared() {
    let merge = |entries: &[(&str, Option<&str>)]| Patch {
        metadata: Some(MetadataPatch::Merge(
            entries
                .iter()
                .map(|(k, v)| ((*k).to_owned(), v.map(str::to_owned)))
                .collect(),
        )),
        ..Patch::default()
    };
    let order = order(Status::Delivered);
    let merged = order
        .patched(&merge(&[("k", None), ("new", Some("1"))]), Utc::now())
        .unwrap()
        .unwrap();
    let expected = BTreeMap::from([("new".to_owned(), "1".to_owned())]);
    assert_eq!(merged.metadata.entries(), &expected);
    assert_eq!(
        order.patched(&merge(&[("k", Some("v"))]), Utc::now()),
        Ok(None)
    );
    assert_eq!(order.patched(&merge(&[("x", None)]), Utc::now()), Ok(None));
    let clear = Patch {
        metadata: Some(MetadataPatch::Clear),
        ..Patch::default()
    };
    let cleared = order.patched(&clear, Utc::now()).unwrap().unwrap();
    assert!(cleared.metadata.entries().is_empty());
}

#[test]
fn merging_beyond_the_limit_is_rejected() {
    let fifty = (0..50)
        .map(|i| (i.to_string(), Some(String::new())))
        .collect();
    let patch = Patch {
        metadata: Some(MetadataPatch::Merge(fifty)),
        ..Patch::default()
    };
    let result = order(Status::Pending).patched(&patch, Utc::now());
    assert!(matches!(result, Err(PatchError::Invalid(_))));
}

#[test]
fn the_time_of_the_last_update_never_goes_backwards() {
    let order = order(Status::Pending);
    let patch = Patch {
        status: Some(Status::Cancelled),
        ..Patch::default()
    };
    let early = order.updated_at - chrono::TimeDelta::hours(1);
    let next = order.patched(&patch, early).unwrap().unwrap();
    assert_eq!(next.updated_at, order.updated_at);
}
