//! Items whose locks another transaction holds.

use super::*;

const LARGE: QueueLimits = QueueLimits {
    workers: 1,
    limit: 1_024,
};

#[tokio::test(start_paused = true)]
async fn a_locked_item_waits_in_a_lane_and_delays_no_other_item() {
    let harness = Harness::new(ONE, 100);
    harness.gate.add_permits(1_000);
    let locked = [LOCKED, LOCKED].map(|item| harness.submit(item));
    let others: Vec<_> = (1..=6).map(|i| harness.submit(i)).collect();
    for (i, response) in (1..=6).zip(others) {
        assert_eq!(response.await.unwrap(), Ok(i * 2));
    }
    // The lock is found held, and its lane pauses between two statements.
    tokio::time::sleep(Duration::from_millis(250)).await;
    let before = harness.batches().len();
    // The lock is known to be held: later items with it go to the lane directly.
    let late = harness.submit(LOCKED);
    assert_eq!(harness.submit(7).await.unwrap(), Ok(14));
    assert_eq!(
        harness.batches().get(before..),
        Some(&[1][..]),
        "one statement, for the other item"
    );
    assert!(locked.iter().all(|response| !response.is_finished()));
    harness.free.close();
    for response in locked.into_iter().chain([late]) {
        assert_eq!(response.await.unwrap(), Ok(2 * LOCKED));
    }
    assert!(
        harness.admission.close(Duration::from_secs(1)).await,
        "all permits are released"
    );
}

#[tokio::test(start_paused = true)]
async fn an_item_past_its_deadline_in_a_lane_is_not_served() {
    let harness = Harness::new(ONE, 100);
    harness.gate.add_permits(1_000);
    let first = harness.submit(LOCKED);
    tokio::time::sleep(Duration::from_millis(250)).await;
    let late = harness.submit_until(LOCKED, Instant::now());
    settle().await;
    harness.free.close();
    assert_eq!(first.await.unwrap(), Ok(2 * LOCKED));
    assert_eq!(late.await.unwrap(), Err(StoreError::LockTimeout));
}

/// Submits these items as one batch, after the batch that runs.
async fn submit_together(
    harness: &Harness,
    items: impl Iterator<Item = u32>,
) -> Vec<tokio::task::JoinHandle<Result<u32, StoreError>>> {
    let first = harness.submit(0);
    harness.begun(1).await;
    let submitted = items.map(|item| harness.submit(item)).collect();
    settle().await;
    harness.gate.add_permits(100_000);
    first.await.unwrap().unwrap();
    submitted
}

#[tokio::test(start_paused = true)]
async fn many_locked_items_delay_no_other_item_of_their_batch_for_long() {
    let harness = Harness::new(LARGE, 2_000);
    let others = (1..50)
        .chain(OTHER_TENANT..OTHER_TENANT + 50)
        .chain(UNLOCKED..UNLOCKED + 50);
    let others: Vec<_> = others.collect();
    let items = (LOCKED..LOCKED + 300).chain(others.iter().copied());
    let start = Instant::now();
    let mut submitted = submit_together(&harness, items).await;
    let served = submitted.split_off(300);
    for (item, response) in others.into_iter().zip(served) {
        assert_eq!(response.await.unwrap(), Ok(2 * item));
        let took = start.elapsed();
        let limit = match item {
            ..UNLOCKED => 110,
            OTHER_TENANT.. => 150,
            // 300 items are locked, and each is found with a statement that waits for 10 ms.
            _ => 4_000,
        };
        assert!(took < Duration::from_millis(limit), "{item}: {took:?}");
        if item < UNLOCKED {
            // The worker serves other items while the locked ones are found.
            assert_eq!(harness.submit(3).await.unwrap(), Ok(6));
            assert!(start.elapsed() < Duration::from_millis(110));
        }
    }
    assert!(submitted.iter().all(|response| !response.is_finished()));
    harness.free.close();
    for (item, response) in (LOCKED..).zip(submitted) {
        assert_eq!(response.await.unwrap(), Ok(2 * item));
    }
    assert!(harness.admission.close(Duration::from_secs(1)).await);
}

#[tokio::test(start_paused = true)]
async fn bad_items_among_locked_ones_fail_alone() {
    let harness = Harness::new(LARGE, 2_000);
    let items = [LOCKED, UNLOCKED, BAD_WITH_LOCK, UNLOCKED + 1, BAD, 1];
    let submitted = submit_together(&harness, items.into_iter()).await;
    let mut submitted = submitted.into_iter();
    let locked = submitted.next().unwrap();
    let mut responses = Vec::new();
    for response in submitted {
        responses.push(response.await.unwrap().map_err(|error| error.kind()));
    }
    let bad = Err("internal");
    let (one, two) = (Ok(2 * UNLOCKED), Ok(2 * (UNLOCKED + 1)));
    assert_eq!(responses, [one, bad, two, bad, Ok(2)]);
    assert!(!locked.is_finished());
    harness.free.close();
    assert_eq!(locked.await.unwrap(), Ok(2 * LOCKED));
}

#[tokio::test(start_paused = true)]
async fn bad_items_among_those_that_wait_for_a_lock_without_a_name_fail_alone() {
    let harness = Harness::new(LARGE, 2_000);
    let submitted = submit_together(&harness, [1, WAITS, BAD, 2].into_iter()).await;
    // The batch has failed, and all of its items wait for the lock together.
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert!(submitted.iter().all(|response| !response.is_finished()));
    harness.free.close();
    let mut responses = Vec::new();
    for response in submitted {
        responses.push(response.await.unwrap().map_err(|error| error.kind()));
    }
    assert_eq!(responses, [Ok(2), Ok(2 * WAITS), Err("internal"), Ok(4)]);
    assert!(harness.admission.close(Duration::from_secs(1)).await);
}

#[tokio::test(start_paused = true)]
async fn suspects_past_their_deadline_are_not_served() {
    let harness = Harness::new(LARGE, 2_000);
    let soon = Instant::now() + Duration::from_millis(50);
    let first = harness.submit(0);
    harness.begun(1).await;
    let late = harness.submit_until(UNLOCKED, soon);
    let locked = harness.submit(LOCKED);
    settle().await;
    harness.gate.add_permits(1_000);
    first.await.unwrap().unwrap();
    assert_eq!(late.await.unwrap(), Err(StoreError::LockTimeout));
    harness.free.close();
    assert_eq!(locked.await.unwrap(), Ok(2 * LOCKED));
}

#[tokio::test(start_paused = true)]
async fn a_lane_waits_for_one_lane_of_another_tenant_at_most() {
    let harness = Harness::new(LARGE, 2_000);
    let many = submit_together(&harness, LOCKED..LOCKED + 300).await;
    tokio::time::sleep(Duration::from_secs(10)).await;
    let other = harness.submit(LOCKED_OTHER);
    tokio::time::sleep(Duration::from_millis(1_050)).await;
    let tried = harness.tried(LOCKED_OTHER);
    assert!(tried >= 8, "{tried} times in a second");
    harness.free.close();
    for response in many.into_iter().chain([other]) {
        response.await.unwrap().unwrap();
    }
}
