//! Tests of the operator without a cluster: the CRD, the built objects, and every path of a reconcile.

#![cfg(test)]
#![allow(
    clippy::string_slice,
    missing_docs,
    unreachable_pub,
    reason = "test code has no callers outside of this crate"
)]

mod api_server;
mod architecture;
mod commands;
mod crd;
mod election;
mod fence_layer;
mod field_tables;
mod golden;
mod hardening;
mod osvc;
mod pod_options;
mod reconcile;
mod test_cluster;

use std::path::{Path, PathBuf};

pub fn directory(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests")
        .join(name)
}

/// The YAML files of a directory, by name, with their text.
pub fn files(name: &str) -> Vec<(String, String)> {
    let mut found: Vec<_> = std::fs::read_dir(directory(name))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| {
            path.extension()
                .is_some_and(|extension| extension == "yaml")
        })
        .map(|path| {
            let name = path.file_stem().unwrap().to_string_lossy().into_owned();
            (name, std::fs::read_to_string(&path).unwrap())
        })
        .collect();
    found.sort();
    found
}
