//! Who may know what in the operator.

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

/// The code of each file, without comments and the unit tests at its end.
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
        .map(|(name, text)| (name, code(text)))
        .collect()
}

fn only_in(words: &[&str], rooms: &[&str]) {
    for (name, code) in sources() {
        if !rooms
            .iter()
            .any(|room| name.starts_with(&format!("src/{room}")))
        {
            for word in words {
                assert!(!code.contains(word), "{name} must not know {word}");
            }
        }
    }
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
            assert!(!code.contains(word), "{name} must not know {word}");
        }
    }
}

#[test]
fn the_api_server_is_asked_in_one_place() {
    // What is watched is watched in the runtime; the lease is the election's.
    only_in(
        &["Api::<", "Api<", ".patch("],
        &["cluster/", "leader/", "controller.rs"],
    );
    only_in(
        &["Patch::", "DeleteParams", "PostParams"],
        &["cluster/", "leader/"],
    );
}

#[test]
fn the_environment_is_read_in_one_place() {
    only_in(&["std::env::", "env::var"], &["cli.rs"]);
    only_in(&["clap::"], &["cli.rs", "main.rs"]);
}

#[test]
fn metric_names_are_in_one_file() {
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
