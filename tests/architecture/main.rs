//! Which module imports which, and where each library is used. docs/ARCHITECTURE.md gives the reasons.

#![cfg(test)]
#![allow(
    clippy::string_slice,
    reason = "the indexes come from searches in the same text"
)]

mod imports;

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

/// Whether the code contains one of the words, and not as the end of a longer name.
fn mentions(code: &str, words: &[&str]) -> bool {
    words.iter().any(|word| {
        code.match_indices(word)
            .any(|(at, _)| !code[..at].ends_with(|c: char| c.is_alphanumeric() || c == '_'))
    })
}

fn only_in(words: &[&str], modules: &[&str]) {
    for (name, code) in sources() {
        if !modules.iter().any(|module| name.starts_with(module)) {
            assert!(!mentions(&code, words), "{name} must not use {words:?}");
        }
    }
}

#[test]
fn actix_is_used_at_the_edge_only() {
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
fn diesel_is_used_in_the_store_only() {
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
fn credentials_are_verified_in_access_only() {
    only_in(
        &[
            "jsonwebtoken::",
            "aws_lc_rs::rand",
            "aws_lc_rs::constant_time",
            "hyper_util::",
        ],
        &["access/"],
    );
}

#[test]
fn the_environment_is_read_in_config_only() {
    only_in(&["std::env", "env::var", "clap::"], &["config/"]);
}

#[test]
fn every_metric_is_named_in_one_file_only() {
    only_in(&["prometheus::"], &["telemetry/metrics"]);
    for (name, code) in sources() {
        if name != "telemetry/metrics.rs" {
            for metric in ["_total\"", "\"http_requests", "\"db_", "\"queue_depth"] {
                assert!(!code.contains(metric), "{name} names a metric: {metric}");
            }
        }
    }
}

#[test]
fn the_service_does_not_use_kubernetes() {
    only_in(&["kube::", "k8s_openapi::"], &[]);
}

#[test]
fn the_domain_is_pure() {
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
    // Which status may follow which, and the limits of an order, are declared nowhere else.
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

/// Debug assertions would bring the panics that tests cause (`src/faults.rs`) into images.
#[test]
fn no_release_build_has_debug_assertions() {
    for file in ["Cargo.toml", "Containerfile"] {
        let text = std::fs::read_to_string(root().join(file)).unwrap();
        let text = text.to_lowercase().replace('_', "-");
        assert!(text.contains("release"), "{file} builds no release");
        assert!(!text.contains("debug-assertions"), "{file}");
    }
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
