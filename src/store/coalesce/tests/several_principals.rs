//! Batches while several principals send requests.

use super::*;

const LARGE: QueueLimits = QueueLimits {
    workers: 1,
    limit: 1_024,
};

fn later() -> Instant {
    Instant::now() + Duration::from_secs(60)
}

#[tokio::test]
async fn one_principal_alone_fills_a_batch() {
    let harness = Harness::new(LARGE, 2_000);
    let first = harness.submit(0);
    harness.begun(1).await;
    let rest: Vec<_> = (0..1_000).map(|_| harness.submit(1)).collect();
    harness.gate.add_permits(2);
    for response in rest {
        assert_eq!(response.await.unwrap(), Ok(2));
    }
    first.await.unwrap().unwrap();
    assert_eq!(harness.batches(), [1, 1_000]);
}

#[tokio::test]
async fn a_request_is_in_the_next_batch_however_many_of_another_principal_wait() {
    let harness = Harness::new(LARGE, 2_000);
    let first = harness.submit_as("flood", 0, later());
    harness.begun(1).await;
    let flood: Vec<_> = (0..1_000)
        .map(|_| harness.submit_as("flood", 1, later()))
        .collect();
    settle().await;
    let other = harness.submit_as("other", 2, later());
    settle().await;
    harness.gate.add_permits(2);
    assert_eq!(other.await.unwrap(), Ok(4), "it is in the second batch");
    assert_eq!(harness.batches(), [1, 64 + 1], "which is small");
    // Batches of one principal stay small while another is active.
    harness.gate.add_permits(100);
    for response in flood {
        assert_eq!(response.await.unwrap(), Ok(2));
    }
    first.await.unwrap().unwrap();
    let batches = harness.batches();
    assert_eq!(batches.iter().sum::<usize>(), 1_002);
    assert!(batches.iter().all(|size| *size <= 128), "{batches:?}");
}

#[tokio::test]
async fn every_principal_has_a_part_of_a_batch() {
    let harness = Harness::new(LARGE, 10_000);
    let first = harness.submit_as("0", 0, later());
    harness.begun(1).await;
    let mut waiting = Vec::new();
    for principal in 0..40 {
        for _ in 0..40 {
            waiting.push(harness.submit_as(&principal.to_string(), principal, later()));
        }
    }
    settle().await;
    harness.gate.add_permits(100);
    for response in waiting {
        response.await.unwrap().unwrap();
    }
    first.await.unwrap().unwrap();
    // 40 principals of which each has 25 requests in a batch of at most 1024.
    assert_eq!(harness.batches(), [1, 40 * 25, 40 * 15]);
}
