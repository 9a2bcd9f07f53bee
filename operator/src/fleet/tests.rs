use tokio::sync::mpsc::unbounded_channel;

use super::permit::COUNTED_FOR;
use super::*;

fn fleet(concurrent: usize, failures: usize) -> Fleet {
    let fleet = Fleet::default();
    fleet.limit(Limits {
        concurrent,
        failures,
    });
    fleet
}

impl Fleet {
    fn ask(&self, uid: &str, cause: Cause) -> Result<(), Wait> {
        self.request(uid, ("shop".to_owned(), uid.to_owned()), cause)
    }
}

#[test]
fn the_others_wait_for_the_canary_and_then_start_in_order() {
    let fleet = fleet(2, 3);
    let (sender, mut woken) = unbounded_channel();
    fleet.wake(sender);
    assert_eq!(fleet.ask("a", Cause::Template), Ok(()));
    for uid in ["b", "c", "d", "e"] {
        assert_eq!(fleet.ask(uid, Cause::Template), Err(Wait::Queued));
        assert_eq!(fleet.ask(uid, Cause::Template), Err(Wait::Queued), "once");
    }
    let mut next = || woken.try_recv().ok().map(|(_, name)| name);
    assert_eq!(next(), None);
    fleet.complete("a");
    assert_eq!(
        (next(), next(), next()),
        (Some("b".to_owned()), Some("c".to_owned()), None)
    );
    assert_eq!(fleet.ask("b", Cause::Template), Ok(()), "the permit stays");
    // One that does not need it any more, and one that is deleted.
    fleet.release("b");
    fleet.forget("c");
    assert_eq!(
        (next(), next()),
        (Some("d".to_owned()), Some("e".to_owned()))
    );
    assert_eq!(fleet.ask("f", Cause::Template), Err(Wait::Queued));
    fleet.release("f");
    fleet.complete("d");
    fleet.complete("e");
    assert_eq!(next(), None);
    let nothing = Counts {
        running: 0,
        waiting: 0,
        failed: 0,
        is_held: false,
    };
    assert_eq!(fleet.counts(), nothing);
}

#[test]
fn failures_stop_further_rollouts_until_they_are_solved() {
    let fleet = fleet(5, 2);
    let (sender, mut woken) = unbounded_channel();
    fleet.wake(sender);
    assert_eq!(fleet.ask("a", Cause::Template), Ok(()));
    fleet.complete("a");
    for uid in ["b", "c"] {
        assert_eq!(fleet.ask(uid, Cause::Template), Ok(()));
    }
    fleet.record("b", true);
    fleet.release("b");
    assert_eq!(
        fleet.ask("d", Cause::Template),
        Err(Wait::Queued),
        "after a failure, one at a time"
    );
    fleet.record("c", true);
    fleet.record("c", true);
    fleet.release("c");
    assert_eq!(fleet.ask("d", Cause::Template), Err(Wait::Held));
    assert!(fleet.counts().is_held);
    assert_eq!(fleet.ask("s", Cause::Secret), Ok(()), "a changed secret");
    assert_eq!(fleet.ask("c", Cause::Template), Ok(()), "a retry");
    fleet.record("c", false);
    assert_eq!(woken.try_recv().ok(), None, "the retry is the canary");
    fleet.complete("c");
    assert_eq!(woken.try_recv().unwrap().1, "d");
}

#[test]
fn changed_secrets_are_limited_only_by_the_number() {
    let fleet = fleet(2, 1);
    assert_eq!(fleet.ask("a", Cause::Secret), Ok(()));
    assert_eq!(fleet.ask("b", Cause::Secret), Ok(()));
    assert_eq!(fleet.ask("c", Cause::Secret), Err(Wait::Queued));
    fleet.release("a");
    assert_eq!(fleet.counts().running, 2);
    // Those of an earlier leader count as well.
    fleet.resume("d", Cause::Template);
    fleet.release("b");
    assert_eq!(fleet.ask("e", Cause::Secret), Err(Wait::Queued));
}

#[tokio::test(start_paused = true)]
async fn a_rollout_that_takes_too_long_does_not_block_the_others() {
    let fleet = fleet(1, 3);
    assert_eq!(fleet.ask("a", Cause::Template), Ok(()));
    tokio::time::advance(COUNTED_FOR / 2).await;
    assert_eq!(fleet.ask("b", Cause::Template), Err(Wait::Queued));
    tokio::time::advance(COUNTED_FOR / 2).await;
    assert_eq!(fleet.ask("b", Cause::Template), Ok(()));
    assert_eq!(fleet.ask("a", Cause::Template), Ok(()), "it continues");
    assert_eq!(fleet.ask("c", Cause::Template), Err(Wait::Queued));
}

#[test]
fn a_changed_secret_does_not_wait_with_its_template_and_leaves_it_in_the_queue() {
    let fleet = fleet(2, 3);
    let (sender, mut woken) = unbounded_channel();
    fleet.wake(sender);
    assert_eq!(fleet.ask("a", Cause::Template), Ok(()));
    assert_eq!(fleet.ask("b", Cause::Template), Err(Wait::Queued));
    assert_eq!(fleet.ask("b", Cause::Secret), Ok(()));
    assert_eq!(
        fleet.ask("b", Cause::Template),
        Err(Wait::Queued),
        "another permit"
    );
    assert_eq!(fleet.ask("c", Cause::Template), Err(Wait::Queued));
    assert_eq!(fleet.ask("c", Cause::Secret), Err(Wait::Queued));
    assert_eq!((fleet.counts().running, fleet.counts().waiting), (2, 2));
    fleet.finish_url("b");
    assert_eq!(woken.try_recv().unwrap().1, "c", "its secret");
    assert_eq!((fleet.counts().running, fleet.counts().waiting), (2, 2));
    fleet.finish_url("c");
    fleet.complete("a");
    let mut next = || woken.try_recv().unwrap().1;
    assert_eq!(
        (next(), next()),
        ("b".to_owned(), "c".to_owned()),
        "in the order of the requests"
    );
    assert_eq!(
        fleet.ask("b", Cause::Secret),
        Ok(()),
        "the template includes it"
    );
    fleet.finish_url("b");
    assert_eq!(
        fleet.counts().running,
        2,
        "the permit of the template stays"
    );
}
