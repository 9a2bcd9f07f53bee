//! Who may know what. The rules are those of docs/ARCHITECTURE.md.

#![allow(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::print_stderr,
    clippy::string_slice,
    clippy::unwrap_used,
    missing_docs,
    unreachable_pub,
    reason = "a test that fails panics, and nobody calls a test"
)]

use std::path::{Path, PathBuf};

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Every Rust file below `src`, as a path from there, with its code. Comments and the unit tests
/// at the end of a file do not count.
fn sources() -> Vec<(String, String)> {
    let mut found = Vec::new();
    let mut dirs = vec![root().join("src")];
    while let Some(dir) = dirs.pop() {
        for entry in std::fs::read_dir(dir).unwrap() {
            let path: PathBuf = entry.unwrap().path();
            if path.is_dir() {
                dirs.push(path);
            } else if path.ends_with("tests.rs") {
                // Unit tests in a file of their own.
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let name = path
                    .strip_prefix(root().join("src"))
                    .unwrap()
                    .display()
                    .to_string();
                let text = std::fs::read_to_string(&path).unwrap();
                let code = text.split("#[cfg(test)]\nmod tests {").next().unwrap();
                let code: Vec<_> = code
                    .lines()
                    .filter(|line| !line.trim_start().starts_with("//"))
                    .collect();
                found.push((name, code.join("\n")));
            }
        }
    }
    assert!(found.len() > 20);
    found
}

/// Whether one of the words stands in the code as a path or a macro of its own.
fn mentions(code: &str, words: &[&str]) -> bool {
    words.iter().any(|word| {
        code.match_indices(word)
            .any(|(at, _)| !code[..at].ends_with(|c: char| c.is_alphanumeric() || c == '_'))
    })
}

fn only_in(words: &[&str], rooms: &[&str]) {
    for (name, code) in sources() {
        if !rooms.iter().any(|room| name.starts_with(room)) {
            assert!(!mentions(&code, words), "{name} must not know {words:?}");
        }
    }
}

#[test]
fn actix_is_known_at_the_edge_only() {
    only_in(
        &[
            "actix_web::",
            "actix_rt::",
            "actix_http::",
            "actix_server::",
        ],
        &["api/", "http/", "server/", "telemetry/access.rs"],
    );
}

#[test]
fn diesel_is_known_in_the_store_only() {
    only_in(
        &[
            "diesel::",
            "diesel_async::",
            "diesel_migrations::",
            "tokio_postgres::",
            "deadpool::",
        ],
        &["store/"],
    );
}

#[test]
fn the_environment_is_read_in_config_only() {
    only_in(&["std::env", "env::var", "clap::"], &["config/"]);
}

#[test]
fn metric_names_are_in_one_file() {
    only_in(&["prometheus::"], &["telemetry/metrics.rs"]);
    for (name, code) in sources() {
        if name != "telemetry/metrics.rs" {
            for metric in ["_total\"", "\"http_requests", "\"db_", "\"queue_depth"] {
                assert!(!code.contains(metric), "{name} names a metric: {metric}");
            }
        }
    }
}

#[test]
fn kubernetes_is_unknown_to_the_service() {
    only_in(&["kube::", "k8s_openapi::"], &[]);
}

#[test]
fn the_domain_knows_nobody() {
    for (name, code) in sources() {
        if name.starts_with("domain/") {
            let others = ["crate::", "serde", "tokio::", "log::"];
            assert!(!mentions(&code, &others), "{name} must be pure");
        }
    }
}

#[test]
fn nothing_is_global() {
    for (name, code) in sources() {
        let global = [
            "static mut ",
            "static ref ",
            "OnceLock<",
            "LazyLock<",
            "thread_local!",
            "lazy_static!",
        ];
        assert!(!mentions(&code, &global), "{name} has global state");
        for line in code.lines().filter(|line| line.contains("static ")) {
            let changes = ["Cell<", "Mutex<", "RwLock<", "Atomic"];
            assert!(!mentions(line, &changes), "{name} has global state: {line}");
        }
    }
}

#[test]
fn legality_is_decided_in_the_domain_only() {
    // Who may follow whom, and the limits of an order, are spelled out nowhere else.
    for (name, code) in sources() {
        if !name.starts_with("domain/") {
            for decision in [
                "Status::Pending",
                "Status::Shipped",
                "is_control()",
                "MAX_QUANTITY",
            ] {
                assert!(!code.contains(decision), "{name} decides: {decision}");
            }
        }
    }
}

#[test]
fn files_are_short() {
    let mut lengths = Vec::new();
    for (name, _) in sources() {
        let lines = std::fs::read_to_string(root().join("src").join(&name))
            .unwrap()
            .lines()
            .count();
        assert!(lines <= 400, "{name} has {lines} lines");
        lengths.push((lines, name));
    }
    let short = lengths.iter().filter(|(lines, _)| *lines <= 200).count();
    assert!(
        short * 4 >= lengths.len() * 3,
        "most files have at most 200 lines: {lengths:?}"
    );
    let main = std::fs::read_to_string(root().join("src/main.rs")).unwrap();
    assert!(main.lines().count() <= 40);
}

#[test]
fn migrations_have_the_same_names_on_both_databases() {
    let names = |dir: &str| {
        let mut names: Vec<_> = std::fs::read_dir(root().join("migrations").join(dir))
            .unwrap()
            .map(|entry| entry.unwrap().file_name())
            .collect();
        names.sort();
        names
    };
    assert_eq!(names("postgres"), names("sqlite"));
}
