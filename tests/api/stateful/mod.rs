//! Random sequences of requests, compared with a model of the API. A sequence that fails is shrunk to a minimal one.
//!
//! Each sequence is that of a tenant of its own, so that one service serves all of them. `PROPTEST_CASES` is the number
//! of sequences, and `PROPTEST_RNG_SEED` the seed, which each run prints.

mod commands;
mod feed;
mod lists;
mod model;
mod session;
mod writes;

use proptest::collection::vec;
use proptest::test_runner::{Config, RngSeed, TestError, TestRunner};
use tokio::runtime::Handle;
use tokio::task::block_in_place;

use crate::support::auth_file::{AuthFile, api_key};
use crate::support::cluster::Cluster;
use crate::support::database::Database;
use crate::support::random::Random;
use crate::support::server::Server;
use commands::command;
use session::{Outcomes, Session};

/// How many sequences run without `PROPTEST_CASES`.
const CASES: u32 = 40;
/// How many sequences are tried to shrink the one that failed.
const SHRINKS: u32 = 400;
/// The most commands of a sequence.
const COMMANDS: usize = 40;

/// Outcomes that occur in practically every run, so that no command is without effect.
const EXPECTED: [&str; 11] = [
    "200",
    "201",
    "201 replay",
    "202",
    "304",
    "400 malformed-request",
    "404 not-found",
    "409 illegal-transition",
    "412 precondition-failed",
    "422 idempotency-key-reused",
    "422 validation-failed",
];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn random_commands_have_the_results_of_the_model_on_sqlite() {
    run(&Database::sqlite()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn random_commands_have_the_results_of_the_model_on_postgres() {
    // In a cluster of its own, so that the feed does not wait for transactions of other tests.
    let cluster = Cluster::start();
    run(&cluster.database().await).await;
}

/// The configuration from the environment, with a seed that can be printed.
fn config() -> Config {
    let mut config = Config {
        failure_persistence: None,
        max_shrink_iters: SHRINKS,
        ..Config::default()
    };
    if std::env::var_os("PROPTEST_CASES").is_none() {
        config.cases = CASES;
    }
    if let RngSeed::Fixed(seed) = config.rng_seed {
        eprintln!("seed {seed}");
    } else {
        let Random(seed) = Random::seeded();
        config.rng_seed = RngSeed::Fixed(seed);
    }
    config
}

async fn run(database: &Database) {
    let config = config();
    let (cases, seed) = (config.cases, config.rng_seed);
    let names: Vec<_> = (0..=cases + SHRINKS).map(|i| format!("t{i}")).collect();
    let all: &[&str] = &["orders:read", "orders:write", "events:read", "admin"];
    let keys: Vec<_> = names.iter().map(|name| (&**name, all, &**name)).collect();
    let file = AuthFile::with_keys(&keys);
    let server = Server::start(database, &[("AUTH_FILE", &file.path())]).await;
    let outcomes = Outcomes::default();
    let tenants = std::cell::RefCell::new(names.iter());
    let mut runner = TestRunner::new(config);
    let sequences = vec(command(), 1..=COMMANDS);
    let result = block_in_place(|| {
        runner.run(&sequences, |commands| {
            let tenant = tenants.borrow_mut().next().expect("a tenant is left");
            let session = Session::new(&server, &api_key(tenant), &outcomes);
            Handle::current().block_on(session.run(&commands));
            Ok(())
        })
    });
    match result {
        Ok(()) => {
            let outcomes = outcomes.into_inner();
            eprintln!("{cases} sequences: {outcomes:?}");
            for outcome in EXPECTED {
                assert!(outcomes.contains_key(outcome), "never: {outcome}");
            }
        }
        Err(TestError::Fail(reason, minimal)) => {
            panic!("{seed:?}: {reason}\nminimal sequence: {minimal:#?}");
        }
        Err(error) => panic!("{seed:?}: {error}"),
    }
}
