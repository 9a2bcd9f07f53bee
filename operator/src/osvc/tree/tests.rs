//! Widths, colours and control characters.

use super::*;

fn node(name: &str, state: &str, mood: Mood, detail: &str, children: Vec<Node>) -> Node {
    Node {
        name: name.to_owned(),
        state: state.to_owned(),
        mood,
        age: "5m".to_owned(),
        detail: detail.to_owned(),
        children,
    }
}

fn sample() -> Node {
    let long = "QuotaExceeded: exceeded quota: compute, requested: limits.memory=128Mi, used: 1Gi, limited: 1Gi";
    let pod = node(
        "Pod orders-7c9-abcde",
        "Unschedulable",
        Mood::Bad,
        long,
        vec![],
    );
    let set = node(
        "ReplicaSet orders-7c9",
        "0/1",
        Mood::Waiting,
        "image x:2",
        vec![pod],
    );
    let old = node("ReplicaSet orders-5d1", "2/2", Mood::Good, "", vec![]);
    let deployment = node(
        "Deployment orders",
        "2/2",
        Mood::Good,
        "日本語 text",
        vec![set, old],
    );
    let ready = node("Ready", "True", Mood::Good, "", vec![]);
    node(
        "OrderService shop/orders",
        "Ready",
        Mood::Good,
        "image x:2",
        vec![ready, deployment],
    )
}

#[test]
fn a_wide_terminal_has_columns_and_wraps_the_detail() {
    let text = format(&[sample()], Some(100), false);
    assert_eq!(
        text,
        "\
OrderService shop/orders       Ready          5m  image x:2
├─ Ready                       True           5m
└─ Deployment orders           2/2            5m  日本語 text
   ├─ ReplicaSet orders-7c9    0/1            5m  image x:2
   │  └─ Pod orders-7c9-abcde  Unschedulable  5m  QuotaExceeded: exceeded quota: compute, requested:
   │                                              limits.memory=128Mi, used: 1Gi, limited: 1Gi
   └─ ReplicaSet orders-5d1    2/2            5m
"
    );
}

#[test]
fn a_narrow_terminal_has_the_detail_below_the_name() {
    let text = format(&[sample()], Some(40), false);
    assert_eq!(
        text,
        "\
OrderService shop/orders  Ready
│ image x:2
├─ Ready  True
└─ Deployment orders  2/2
   │ 日本語 text
   ├─ ReplicaSet orders-7c9  0/1
   │  │ image x:2
   │  └─ Pod orders-7c9-abcde
   │       Unschedulable
   │       QuotaExceeded: exceeded
   │       quota: compute, requested:
   │       limits.memory=128Mi, used:
   │       1Gi, limited: 1Gi
   └─ ReplicaSet orders-5d1  2/2
"
    );
}

#[test]
fn no_line_is_wider_than_the_terminal() {
    for width in 20..140 {
        let text = format(&[sample(), sample()], Some(width), false);
        for line in text.lines() {
            assert!(measure_text_width(line) <= width, "{width}: {line}");
        }
        let words = |text: &str| text.chars().filter(|c| c.is_alphanumeric()).count();
        let lost = words(&sample().children[1].children[0].children[0].detail);
        assert!(words(&text) > 2 * lost, "{width}: {text}");
    }
    assert_eq!(format(&[sample()], None, false).lines().count(), 6);
}

#[test]
fn colours_change_no_text() {
    let plain = format(&[sample()], Some(80), false);
    let colored = format(&[sample()], Some(80), true);
    assert!(!plain.contains('\u{1b}') && colored.contains("\u{1b}[32m"));
    let without_codes = colored.split('\u{1b}').enumerate().map(|(index, part)| {
        let code = if index == 0 {
            Some(part)
        } else {
            part.split_once('m').map(|(_, text)| text)
        };
        code.unwrap()
    });
    assert_eq!(without_codes.collect::<String>(), plain);
}

#[test]
fn control_characters_never_reach_the_terminal() {
    let root = node(
        "a\u{1b}[2J",
        "b\u{7}",
        Mood::Good,
        "c\r\n\u{9b}31md",
        vec![],
    );
    for width in [None, Some(20)] {
        let text = format(std::slice::from_ref(&root), width, false);
        assert!(
            text.chars().all(|c| c == '\n' || !c.is_control()),
            "{text:?}"
        );
    }
}
