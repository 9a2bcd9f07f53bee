//! Batches that fail, as a whole or because of some of their items.

use super::*;

#[tokio::test]
async fn a_bad_item_fails_alone() {
    let harness = Harness::new(ONE, 100);
    harness.gate.add_permits(100);
    let submitted: Vec<_> = [1, BAD, 3].map(|i| harness.submit(i)).into_iter().collect();
    let mut responses = Vec::new();
    for response in submitted {
        responses.push(response.await.unwrap());
    }
    assert_eq!(responses, [Ok(2), Err(StoreError::internal("bad")), Ok(6)]);
    assert_eq!(harness.batches(), [3, 1, 2, 1, 1]);
}

#[tokio::test]
async fn an_item_that_succeeds_alone_does_not_wait_for_the_others() {
    let harness = Harness::new(ONE, 100);
    let [one, bad, last] = [1, BAD, 3].map(|i| harness.submit(i));
    // The whole batch, then its first item alone.
    harness.gate.add_permits(2);
    assert_eq!(one.await.unwrap(), Ok(2));
    assert!(!bad.is_finished() && !last.is_finished());
}

#[tokio::test]
async fn an_outage_while_a_batch_is_split_fails_the_rest_without_statements() {
    let harness = Harness::new(ONE, 100);
    harness.gate.add_permits(100);
    let submitted = [1, BAD, DOWN, 3, 4].map(|i| harness.submit(i));
    let mut responses = Vec::new();
    for response in submitted {
        responses.push(response.await.unwrap().map_err(|error| error.kind()));
    }
    assert_eq!(
        responses,
        [
            Ok(2),
            Err("internal"),
            Err("unavailable"),
            Err("unavailable"),
            Err("unavailable")
        ]
    );
    assert_eq!(harness.batches(), [5, 2, 1, 1, 3]);
}

#[tokio::test]
async fn an_outage_fails_the_whole_batch_after_one_statement() {
    let harness = Harness::new(ONE, 100);
    let first = harness.submit(0);
    harness.begun(1).await;
    let submitted: Vec<_> = [1, DOWN, 3]
        .map(|i| harness.submit(i))
        .into_iter()
        .collect();
    settle().await;
    harness.gate.add_permits(2);
    assert_eq!(first.await.unwrap(), Ok(0));
    for response in submitted {
        assert_eq!(
            response.await.unwrap(),
            Err(StoreError::unavailable("down"))
        );
    }
    assert_eq!(harness.batches(), [1, 3]);
}

#[tokio::test]
async fn a_panic_fails_its_item_alone_and_the_worker_continues() {
    let harness = Harness::new(ONE, 100);
    harness.gate.add_permits(100);
    let submitted: Vec<_> = [1, PANICS, 3]
        .map(|i| harness.submit(i))
        .into_iter()
        .collect();
    let mut responses = Vec::new();
    for response in submitted {
        responses.push(response.await.unwrap().is_ok());
    }
    assert_eq!(responses, [true, false, true]);
    assert_eq!(harness.submit(4).await.unwrap(), Ok(8));
    assert_eq!(harness.batches(), [3, 1, 2, 1, 1, 1]);
}

#[tokio::test]
async fn a_missing_response_is_an_error_and_no_response_goes_to_another_item() {
    let harness = Harness::new(ONE, 100);
    harness.gate.add_permits(100);
    let submitted: Vec<_> = [1, LEFT_OUT, 3]
        .map(|i| harness.submit(i))
        .into_iter()
        .collect();
    let mut responses = Vec::new();
    for response in submitted {
        responses.push(response.await.unwrap().ok());
    }
    assert_eq!(responses, [Some(2), None, Some(6)]);
    assert_eq!(harness.batches(), [3, 1, 2, 1, 1]);
}

#[tokio::test]
async fn a_fault_of_all_items_is_not_repeated_for_each() {
    let large = QueueLimits {
        workers: 1,
        limit: 1_024,
    };
    let harness = Harness::new(large, 2_000);
    let first = harness.submit(0);
    harness.begun(1).await;
    let submitted: Vec<_> = (0..1_024).map(|_| harness.submit(BAD)).collect();
    settle().await;
    harness.gate.add_permits(2_000);
    assert_eq!(first.await.unwrap(), Ok(0));
    for response in submitted {
        assert_eq!(response.await.unwrap().unwrap_err().kind(), "internal");
    }
    assert_eq!(harness.batches().len(), 1 + 64);
}

#[tokio::test]
async fn three_bad_items_among_a_thousand_fail_alone() {
    let large = QueueLimits {
        workers: 1,
        limit: 1_024,
    };
    let harness = Harness::new(large, 2_000);
    let first = harness.submit(0);
    harness.begun(1).await;
    let items = (0..1_024).map(|i| if [5, 500, 1_000].contains(&i) { BAD } else { 1 });
    let submitted: Vec<_> = items.map(|item| harness.submit(item)).collect();
    settle().await;
    harness.gate.add_permits(2_000);
    assert_eq!(first.await.unwrap(), Ok(0));
    let mut failed = Vec::new();
    for (i, response) in submitted.into_iter().enumerate() {
        if response.await.unwrap().is_err() {
            failed.push(i);
        }
    }
    assert_eq!(failed, [5, 500, 1_000]);
}
