use std::path::Path;

use arbtest::arbtest;

use super::*;

/// How long each target runs on inputs that arbtest generates.
const BUDGET_MS: u64 = 200;

/// Runs a target on its committed corpus, on each of its inputs with a small change, and on random bytes.
fn run(name: &str, target: impl Fn(&[u8])) {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let corpus = std::fs::read_dir(root.join("fuzz/corpus").join(name)).unwrap();
    let inputs: Vec<Vec<u8>> = corpus
        .map(|entry| std::fs::read(entry.unwrap().path()).unwrap())
        .collect();
    assert!(!inputs.is_empty(), "the corpus of {name} is empty");
    for input in &inputs {
        target(input);
    }
    arbtest(|u| {
        let mut input = u.choose(&inputs)?.clone();
        for _ in 0..u.int_in_range(0..=3)? {
            let at = u.int_in_range(0..=input.len())?;
            match u.int_in_range(0..=3)? {
                0 => input.truncate(at),
                1 => input.insert(at, u.arbitrary()?),
                2 => {
                    if let Some(byte) = input.get_mut(at) {
                        *byte = u.arbitrary()?;
                    }
                }
                _ => {
                    let other = u.choose(&inputs)?;
                    let from = u.int_in_range(0..=other.len())?;
                    input.truncate(at);
                    input.extend_from_slice(&other[from..]);
                }
            }
        }
        target(&input);
        Ok(())
    })
    .budget_ms(BUDGET_MS)
    .run();
}

#[test]
fn new_orders_hold_their_properties() {
    run("new_order", new_order);
}

#[test]
fn batches_hold_their_properties() {
    run("order_batch", order_batch);
}

#[test]
fn merge_patches_hold_their_properties() {
    run("merge_patch", merge_patch);
}

#[test]
fn queries_hold_their_properties() {
    run("query", query);
}

#[test]
fn cursors_hold_their_properties() {
    run("cursor", cursor);
}

#[test]
fn conditions_hold_their_properties() {
    run("conditions", conditions);
}

#[test]
fn traceparents_hold_their_properties() {
    run("traceparent", traceparent);
}

#[test]
fn tokens_hold_their_properties() {
    let tokens = Tokens::new();
    run("token", |data| tokens.token(data));
}

#[test]
fn access_holds_its_properties() {
    run("access", access);
}

#[test]
fn database_urls_hold_their_properties() {
    run("database_url", database_url);
}
