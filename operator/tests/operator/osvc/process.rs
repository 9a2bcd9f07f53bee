//! The plugin as a program: its name, its exit codes, and errors without a cluster.

use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::{Command, Output};

fn run(program: &Path, args: &[&str], kubeconfig: &Path) -> (Option<i32>, String, String) {
    let Output {
        status,
        stdout,
        stderr,
    } = Command::new(program)
        .args(args)
        .env_clear()
        .env("KUBECONFIG", kubeconfig)
        .output()
        .unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (status.code(), text(stdout), text(stderr))
}

const OPERATOR: &str = env!("CARGO_BIN_EXE_order-operator");

#[test]
fn a_link_with_the_name_of_the_plugin_is_the_plugin() {
    let directory =
        Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("osvc-{}", std::process::id()));
    std::fs::create_dir_all(&directory).unwrap();
    let link = directory.join("kubectl-osvc");
    symlink(OPERATOR, &link).unwrap();
    let missing = Path::new("/no/such/file");
    let (code, out, _) = run(&link, &["--help"], missing);
    assert!(
        code == Some(0) && out.contains("Usage: kubectl osvc"),
        "{out}"
    );
    let (code, out, _) = run(Path::new(OPERATOR), &["osvc", "status", "--help"], missing);
    assert!(
        code == Some(0) && out.contains("Usage: order-operator osvc status"),
        "{out}"
    );
    let (code, out, _) = run(Path::new(OPERATOR), &["--help"], missing);
    assert!(
        code == Some(0) && out.contains("order-operator osvc --help"),
        "{out}"
    );
    let (code, _, err) = run(&link, &["retry"], missing);
    assert!(
        code == Some(2) && err.contains("kubectl osvc retry"),
        "{err}"
    );
    let (code, out, err) = run(&link, &["status"], missing);
    assert!(code == Some(1) && out.is_empty(), "{out}");
    assert!(
        err.starts_with("error: no cluster: ") && err.contains("--kubeconfig"),
        "{err}"
    );
    assert_eq!(err.lines().count(), 1, "{err}");
    std::fs::remove_dir_all(&directory).unwrap();
}

#[test]
fn a_cluster_that_is_not_reachable_is_named() {
    let file =
        Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("kubeconfig-{}", std::process::id()));
    let text = r#"{"apiVersion": "v1", "kind": "Config", "current-context": "a",
        "clusters": [{"name": "c", "cluster": {"server": "http://127.0.0.1:1"}}],
        "contexts": [{"name": "a", "context": {"cluster": "c", "user": "u"}}], "users": [{"name": "u", "user": {}}]}"#;
    std::fs::write(&file, text).unwrap();
    let (code, _, err) = run(Path::new(OPERATOR), &["osvc", "pause", "orders"], &file);
    assert_eq!(code, Some(1), "{err}");
    assert!(
        err.contains("http://127.0.0.1:1/: ") && err.contains("refused"),
        "{err}"
    );
    let (code, _, err) = run(
        Path::new(OPERATOR),
        &["osvc", "pause", "orders", "--context", "b"],
        &file,
    );
    assert_eq!(code, Some(1), "{err}");
    assert!(err.starts_with("error: kubeconfig: "), "{err}");
    std::fs::remove_file(&file).unwrap();
}
