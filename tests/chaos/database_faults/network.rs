//! The network between the service and the database server fails.

use std::time::Duration;

use super::{Expected, REQUEST_TIMEOUT, Scene, TOLERANCE, run};
use crate::experiment::Experiment;
use crate::link::Network;
use crate::support::cluster::Cluster;
use crate::traffic::{Options, Traffic};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "only in `make chaos`"]
async fn network_cut() {
    run(Expected::noticed("network cut"), async |scene, duration| {
        scene.link.set(Network::Cut);
        tokio::time::sleep(duration).await;
        scene.link.set(Network::Works);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn half_open_network() {
    run(
        Expected::noticed("network half-open"),
        async |scene, duration| {
            scene.link.set(Network::Silent);
            tokio::time::sleep(duration).await;
            scene.link.set(Network::Works);
        },
    )
    .await;
}

/// The control: without a timeout of requests that is shorter than the fault, clients see no response in time.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_a_timeout_of_requests_they_hang() {
    let name = "network half-open without REQUEST_TIMEOUT";
    Experiment::run(name, async |experiment| {
        let scene = Scene::on(
            Cluster::start(),
            &[
                ("REQUEST_TIMEOUT", "60s"),
                ("STATEMENT_TIMEOUT", "60s"),
                ("POOL_ACQUIRE_TIMEOUT", "60s"),
            ],
        )
        .await;
        let mut options = Options::new(&scene.server.api);
        options.deadline = REQUEST_TIMEOUT + TOLERANCE;
        let traffic = Traffic::start(experiment, &options);
        tokio::time::sleep(Duration::from_millis(300)).await;
        traffic.timeline.mark("network half-open");
        scene.link.set(Network::Silent);
        tokio::time::sleep(options.deadline + Duration::from_secs(1)).await;
        scene.link.set(Network::Works);
        traffic.timeline.mark("end");
        let (timeline, _) = traffic.stop().await;
        let counts = timeline.counts();
        let hang = |it: &&String| it.starts_with("no response in time");
        let hanging = counts.wrong.iter().filter(hang).count();
        experiment.figure("requests without a response in time", hanging);
        assert!(hanging > 0, "{counts:?}");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "only in `make chaos`"]
async fn latency_beyond_the_timeout() {
    run(
        Expected::noticed("5 s of latency"),
        async |scene, duration| {
            scene.link.set(Network::Slow(Duration::from_secs(5)));
            tokio::time::sleep(duration).await;
            scene.link.set(Network::Works);
        },
    )
    .await;
}
