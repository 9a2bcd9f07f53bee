//! Which module imports which.

use std::collections::{BTreeMap, BTreeSet};

use super::sources;

/// Every top-level module with the modules that it imports. `main` is the binary. `concurrency`,
/// `domain`, `faults` and `shutdown` import none.
const IMPORTS: [(&str, &[&str]); 15] = [
    ("access", &["domain", "telemetry"]),
    (
        "api",
        &["access", "domain", "faults", "http", "order_json", "store"],
    ),
    ("audit", &["domain", "order_json"]),
    (
        "commands",
        &[
            "access",
            "api",
            "config",
            "import",
            "server",
            "shutdown",
            "store",
            "telemetry",
        ],
    ),
    ("config", &["access", "domain", "faults"]),
    // Only for fuzzing and tests.
    ("fuzz", &["access", "api", "http", "store"]),
    (
        "http",
        &[
            "access",
            "concurrency",
            "domain",
            "json",
            "shares",
            "telemetry",
        ],
    ),
    ("import", &["domain", "json", "order_json", "store"]),
    ("json", &["domain"]),
    ("main", &["commands", "config", "store"]),
    ("order_json", &["domain"]),
    (
        "server",
        &[
            "access",
            "api",
            "config",
            "http",
            "shutdown",
            "store",
            "telemetry",
        ],
    ),
    (
        "store",
        &[
            "audit",
            "concurrency",
            "config",
            "domain",
            "faults",
            "order_json",
            "shares",
            "telemetry",
        ],
    ),
    ("shares", &["concurrency"]),
    ("telemetry", &["domain"]),
];

/// The name at the beginning of `code`.
fn name(code: &str) -> &str {
    let end = code.find(|c: char| !(c.is_alphanumeric() || c == '_'));
    &code[..end.unwrap_or(code.len())]
}

/// The first name of each path in `tree`, which follows `crate::`: one name, or several in braces.
fn first_names(tree: &str) -> Vec<&str> {
    let Some(group) = tree.strip_prefix('{') else {
        return vec![name(tree)];
    };
    let mut names = vec![name(group.trim_start())];
    let mut depth = 0;
    for (at, c) in group.char_indices() {
        match c {
            '{' => depth += 1,
            '}' if depth == 0 => break,
            '}' => depth -= 1,
            ',' if depth == 0 => names.push(name(group[at + 1..].trim_start())),
            _ => {}
        }
    }
    names
}

/// The top-level modules that a file names in paths: in imports and inline, from the root or with
/// `super`. `depth` is the number of modules from the root to that of the file.
fn named_modules(code: &str, depth: usize) -> BTreeSet<&str> {
    let from_root = ["crate::".to_owned(), "order_service::".to_owned()];
    // One `super` for each module above it leads to the root.
    let mut prefixes = from_root.to_vec();
    prefixes.push("super::".repeat(depth));
    let mut names = BTreeSet::new();
    for prefix in prefixes {
        for (at, _) in code.match_indices(&prefix) {
            let before = code[..at].trim_end_matches("super::");
            // A quotation mark precedes the target of log lines, which looks like a path.
            let inside = before.ends_with(|c: char| c.is_alphanumeric() || "_:$\"".contains(c));
            if !inside {
                names.extend(first_names(&code[at + prefix.len()..]));
            }
        }
    }
    names.retain(|name| !name.is_empty() && *name != "super");
    names
}

/// The top-level module of a file, and how many modules lead from the root to that of the file.
fn module_of(file: &str) -> (&str, usize) {
    let path = file.trim_end_matches(".rs").trim_end_matches("/mod");
    (path.split('/').next().unwrap(), path.split('/').count())
}

/// The edges between top-level modules, with a file that has each.
fn edges() -> BTreeMap<(String, String), String> {
    let sources = sources();
    let modules: BTreeSet<_> = sources.iter().map(|(file, _)| module_of(file).0).collect();
    let mut edges = BTreeMap::new();
    for (file, code) in &sources {
        let (module, depth) = module_of(file);
        for named in named_modules(code, depth) {
            if named != module && module != "lib" && modules.contains(named) {
                edges.insert((module.to_owned(), named.to_owned()), file.clone());
            }
        }
    }
    edges
}

#[test]
fn modules_import_only_the_modules_that_the_list_allows() {
    let allowed: BTreeSet<_> = IMPORTS
        .iter()
        .flat_map(|(from, to)| to.iter().map(|to| ((*from).to_owned(), (*to).to_owned())))
        .collect();
    let edges = edges();
    for (edge, file) in &edges {
        let (from, to) = edge;
        assert!(
            allowed.contains(edge),
            "{file}: {from} must not import {to}"
        );
    }
    for (from, to) in allowed {
        let used = edges.contains_key(&(from.clone(), to.clone()));
        assert!(
            used,
            "{from} does not import {to} any more: remove the entry"
        );
    }
}

/// A cycle of files in different modules would be a cycle of their modules as well.
#[test]
fn no_cycle_exists_between_modules() {
    let mut edges: BTreeSet<_> = edges().into_keys().collect();
    assert!(!edges.is_empty());
    // Without a cycle there is always a module that imports none of the rest.
    loop {
        let importing: BTreeSet<_> = edges.iter().map(|(from, _)| from.clone()).collect();
        let before = edges.len();
        edges.retain(|(_, to)| importing.contains(to));
        if edges.len() == before {
            break;
        }
    }
    assert!(edges.is_empty(), "a cycle is among {edges:?}");
}

#[test]
fn imports_are_found_in_every_form() {
    for (code, depth, expected) in [
        ("use crate::store::Store;", 1, vec!["store"]),
        (
            "use crate::{api, config::{A, b::C}, http};",
            1,
            vec!["api", "config", "http"],
        ),
        (
            "use crate::{\n    api::{a, b},\n    http,\n};",
            1,
            vec!["api", "http"],
        ),
        (
            "let a = crate::telemetry::Metrics::new();",
            1,
            vec!["telemetry"],
        ),
        ("use super::store::Store;", 1, vec!["store"]),
        ("use super::error::Kind;", 2, vec![]),
        ("use super::super::store::Store;", 2, vec!["store"]),
        ("use super::super::error;", 3, vec![]),
        ("pub(crate) fn a() {} mycrate::store::a()", 1, vec![]),
        ("use order_service::commands;", 1, vec!["commands"]),
        ("target: \"order_service::audit\"", 1, vec![]),
    ] {
        let found: Vec<_> = named_modules(code, depth).into_iter().collect();
        assert_eq!(found, expected, "{code}");
    }
}
