use super::*;
use crate::domain::{Draft, ItemsDraft, LineDraft, NewOrder};

fn line(product: &str, quantity: i64, unit_amount: Option<i64>) -> LineDraft {
    LineDraft {
        product_id: product.to_owned(),
        quantity,
        unit_amount,
    }
}

fn order(status: Status) -> Order {
    let lines = vec![line("a", 3, None)];
    order_of(lines, None, status)
}

fn order_of(lines: Vec<LineDraft>, currency: Option<&str>, status: Status) -> Order {
    let draft = Draft {
        items: ItemsDraft::Listed(lines),
        currency: currency.map(str::to_owned),
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
        items: Some(ItemsPatch::Quantity(Quantity::parse(n).unwrap())),
        ..Patch::default()
    };
    let changed = order(Status::Pending).patched(&patch(5), Utc::now());
    let changed = changed.unwrap().unwrap();
    assert_eq!(changed.items.single().map(|line| line.quantity), Some(5));
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
fn lines_are_replaced_as_a_whole_while_the_order_is_pending() {
    let replace = |lines| Patch {
        items: Some(ItemsPatch::Replace(
            Items::parse(ItemsDraft::Listed(lines)).unwrap(),
        )),
        ..Patch::default()
    };
    let (a, b) = (line("a", 2, Some(50)), line("b", 1, Some(-30)));
    let both = replace(vec![a.clone(), b]);
    for status in Status::ALL {
        let order = order_of(vec![a.clone()], Some("EUR"), status);
        let same = order.patched(&replace(vec![a.clone()]), Utc::now());
        assert_eq!(same, Ok(None));
        let replaced = order.patched(&both, Utc::now());
        if status == Status::Pending {
            let replaced = replaced.unwrap().unwrap();
            assert_eq!(replaced.items.lines().len(), 2);
            assert_eq!(replaced.items.total_amount(), Some(70));
        } else {
            assert_eq!(replaced, Err(PatchError::NotEditable { status }));
        }
    }
}

#[test]
fn replaced_lines_have_amounts_exactly_if_the_order_has_a_currency() {
    for (currency, old, new) in [(Some("EUR"), Some(5), None), (None, None, Some(5))] {
        let order = order_of(vec![line("a", 1, old)], currency, Status::Pending);
        let lines = ItemsDraft::Listed(vec![line("b", 1, new)]);
        let patch = Patch {
            items: Some(ItemsPatch::Replace(Items::parse(lines).unwrap())),
            ..Patch::default()
        };
        let result = order.patched(&patch, Utc::now());
        assert!(matches!(result, Err(PatchError::Invalid(_))), "{result:?}");
    }
}

#[test]
fn the_quantity_of_several_lines_or_beyond_the_total_is_rejected() {
    let patch = |n| Patch {
        items: Some(ItemsPatch::Quantity(Quantity::parse(n).unwrap())),
        ..Patch::default()
    };
    let lines = vec![line("a", 1, None), line("b", 1, None)];
    let several = order_of(lines, None, Status::Pending).patched(&patch(5), Utc::now());
    assert!(matches!(several, Err(PatchError::Invalid(_))));
    let dear = line("a", 1, Some(crate::domain::MAX_UNIT_AMOUNT));
    let dear = order_of(vec![dear], Some("EUR"), Status::Pending);
    assert!(dear.patched(&patch(9_007), Utc::now()).is_ok());
    let above = dear.patched(&patch(9_008), Utc::now());
    assert!(matches!(above, Err(PatchError::Invalid(_))));
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
