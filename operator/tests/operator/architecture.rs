//! Which module of the operator may use what.

use std::path::{Path, PathBuf};

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn rust_files(directory: &str) -> Vec<(String, String)> {
    let mut found = Vec::new();
    let mut directories = vec![root().join(directory)];
    while let Some(directory) = directories.pop() {
        for entry in std::fs::read_dir(directory).unwrap() {
            let path: PathBuf = entry.unwrap().path();
            if path.is_dir() {
                directories.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let name = path.strip_prefix(root()).unwrap().display().to_string();
                found.push((name, std::fs::read_to_string(&path).unwrap()));
            }
        }
    }
    assert!(found.len() > 8);
    found
}

/// The code of each file, without comments and without the unit tests at its end.
fn sources() -> Vec<(String, String)> {
    let code = |text: String| {
        let code = text
            .split("#[cfg(test)]\nmod tests {")
            .next()
            .unwrap()
            .to_owned();
        let lines: Vec<_> = code
            .lines()
            .filter(|line| !line.trim_start().starts_with("//"))
            .collect();
        lines.join("\n")
    };
    rust_files("src")
        .into_iter()
        .filter(|(name, _)| !name.ends_with("/tests.rs"))
        .map(|(name, text)| (name, code(text)))
        .collect()
}

fn only_in(words: &[&str], modules: &[&str]) {
    for (name, code) in sources() {
        if !modules
            .iter()
            .any(|module| name.starts_with(&format!("src/{module}")))
        {
            for word in words {
                assert!(!code.contains(word), "{name} must not use {word}");
            }
        }
    }
}

/// The allowed edges between top-level modules: a module and those that it uses. A new edge must not make a
/// cycle, which `modules_have_no_cycle` checks.
const EDGES: [(&str, &[&str]); 22] = [
    ("backoff", &[]),
    ("build", &["crd", "quantity"]),
    ("cli", &[]),
    ("cluster", &["build", "crd", "leader", "metrics"]),
    (
        "commands",
        &[
            "build",
            "cli",
            "cluster",
            "crd",
            "logging",
            "reconcile",
            "serve",
        ],
    ),
    ("controller", &["cluster", "crd", "reconcile", "watch"]),
    ("crd", &[]),
    ("diff", &["backoff", "build", "cluster", "quantity"]),
    ("fleet", &[]),
    (
        "health",
        &["cluster", "crd", "http", "leader", "metrics", "watch"],
    ),
    ("http", &[]),
    ("leader", &[]),
    ("lib", &[]),
    ("logging", &["metrics"]),
    ("main", &["cli", "commands", "osvc"]),
    ("metrics", &["fleet"]),
    ("osvc", &["build", "cli", "cluster", "metrics", "pods"]),
    ("pods", &["cluster"]),
    ("quantity", &[]),
    (
        "reconcile",
        &[
            "backoff", "build", "cluster", "crd", "diff", "fleet", "metrics", "pods", "watch",
        ],
    ),
    (
        "serve",
        &[
            "cli",
            "cluster",
            "controller",
            "fleet",
            "health",
            "http",
            "leader",
            "logging",
            "metrics",
            "reconcile",
            "watch",
        ],
    ),
    (
        "watch",
        &[
            "backoff", "build", "cluster", "crd", "diff", "fleet", "metrics",
        ],
    ),
];

/// The top-level modules that the code of a module names by a path from the root of the crate.
fn used_modules(code: &str) -> Vec<String> {
    let first_segment = |text: &str| -> String {
        text.chars()
            .take_while(|c| c.is_ascii_alphanumeric() || *c == '_')
            .collect()
    };
    let mut found = Vec::new();
    for root in ["crate::", "order_operator::"] {
        for (at, _) in code.match_indices(root) {
            // A string, such as the target of a log line.
            if code[..at].ends_with('"') {
                continue;
            }
            let rest = &code[at + root.len()..];
            // `use crate::{a, b::c};` names several modules.
            match rest.strip_prefix('{') {
                Some(list) => {
                    let mut depth = 0;
                    let mut item = String::new();
                    for c in list.chars() {
                        match c {
                            '{' => depth += 1,
                            '}' if depth == 0 => break,
                            '}' => depth -= 1,
                            ',' if depth == 0 => {
                                found.push(first_segment(item.trim()));
                                item.clear();
                                continue;
                            }
                            _ => {}
                        }
                        item.push(c);
                    }
                    found.push(first_segment(item.trim()));
                }
                None => found.push(first_segment(rest)),
            }
        }
    }
    found.retain(|module| !module.is_empty());
    found
}

/// Every edge between two top-level modules, with the file that has it.
fn edges() -> Vec<(String, String, String)> {
    let mut edges = Vec::new();
    for (name, code) in sources() {
        let path = name.trim_start_matches("src/").trim_end_matches(".rs");
        let module = path.split('/').next().unwrap().to_owned();
        for used in used_modules(&code) {
            if used != module {
                edges.push((module.clone(), used, name.clone()));
            }
        }
    }
    assert!(edges.len() > 50, "the paths are not recognized any more");
    edges
}

#[test]
fn modules_use_only_the_modules_that_are_allowed() {
    let edges = edges();
    for (module, used, file) in &edges {
        let allowed = EDGES.iter().find(|(name, _)| name == module);
        assert!(
            allowed.is_some_and(|(_, allowed)| allowed.contains(&used.as_str())),
            "{file}: {module} must not use {used}"
        );
    }
    for (module, allowed) in EDGES {
        for used in allowed {
            assert!(
                edges
                    .iter()
                    .any(|(from, to, _)| from == module && to == used),
                "{module} does not use {used} any more: remove the edge"
            );
        }
    }
}

#[test]
fn modules_have_no_cycle() {
    let mut left: Vec<_> = EDGES.to_vec();
    while !left.is_empty() {
        let names: Vec<_> = left.iter().map(|(name, _)| *name).collect();
        let before = left.len();
        left.retain(|(_, used)| used.iter().any(|used| names.contains(used)));
        assert!(left.len() < before, "a cycle between {names:?}");
    }
}

#[test]
fn an_edge_is_found_in_every_form_of_a_path() {
    let code = "use crate::a::B;\nuse crate::{c, d::{E, F}};\nfn f() { crate::g::h(); }";
    assert_eq!(used_modules(code), ["a", "c", "d", "g"]);
}

#[test]
fn builders_are_pure() {
    for (name, code) in sources()
        .iter()
        .filter(|(name, _)| name.starts_with("src/build/"))
    {
        for word in [
            "kube::Client",
            "kube::Api",
            "kube::api",
            "async ",
            "::now()",
            "std::env",
            "log::",
        ] {
            assert!(!code.contains(word), "{name} must not use {word}");
        }
    }
}

#[test]
fn only_cluster_leader_and_watch_send_requests() {
    only_in(
        &["Api::<", "Api<", ".patch("],
        &["cluster/", "leader/", "watch/start.rs"],
    );
    only_in(
        &["Patch::", "DeleteParams", "PostParams"],
        &["cluster/", "leader/"],
    );
}

#[test]
fn only_the_command_line_reads_the_environment() {
    only_in(&["std::env::", "env::var"], &["cli.rs", "cli/"]);
    only_in(&["clap::"], &["cli.rs", "cli/", "main.rs"]);
}

#[test]
fn only_one_file_defines_metrics() {
    only_in(&["prometheus::", "order_operator_"], &["metrics.rs"]);
}

#[test]
fn files_are_short() {
    let files: Vec<_> = rust_files("src")
        .into_iter()
        .chain(rust_files("tests/operator"))
        .collect();
    let lengths: Vec<_> = files
        .iter()
        .map(|(name, text)| (text.lines().count(), name))
        .collect();
    for (lines, name) in &lengths {
        assert!(*lines <= 400, "{name} has {lines} lines");
    }
    let short = lengths.iter().filter(|(lines, _)| *lines <= 200).count();
    assert!(
        short * 4 >= lengths.len() * 3,
        "most files have at most 200 lines: {lengths:?}"
    );
    let main = std::fs::read_to_string(root().join("src/main.rs")).unwrap();
    assert!(main.lines().count() <= 40);
}
