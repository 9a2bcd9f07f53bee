//! The commands of the binary.

use std::io::{Write as _, pipe};
use std::process::{Command, Output, Stdio};

use crate::directory;

fn command(args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_order-operator"));
    command.args(args).env_clear().stdin(Stdio::null());
    command
}

/// Runs `render` with this standard input.
fn render(text: &str) -> Output {
    let mut child = command(&["render", "-f", "-"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    child
        .stdin
        .take()
        .unwrap()
        .write_all(text.as_bytes())
        .unwrap();
    child.wait_with_output().unwrap()
}

fn sample() -> String {
    std::fs::read_to_string(directory("golden").join("fixed.yaml")).unwrap()
}

#[test]
fn one_order_service_is_rendered() {
    for text in [
        sample(),
        format!("---\n{}\n---\n", sample()),
        format!("# a sample\n---\n{}...\n", sample()),
        sample().replacen("v1alpha1", "v1beta1", 1),
    ] {
        let out = render(&text);
        assert!(out.status.success(), "{out:?}");
        assert!(
            String::from_utf8(out.stdout)
                .unwrap()
                .contains("kind: Deployment")
        );
    }
}

#[test]
fn input_other_than_one_order_service_is_rejected() {
    let other = sample();
    let changed = |from: &str, to: &str| {
        assert!(other.contains(from));
        other.replacen(from, to, 1)
    };
    for (text, named) in [
        (
            changed("kind: OrderService", "kind: Deployment"),
            "Deployment",
        ),
        (changed("v1alpha1", "v2"), "orders.example.com/v2"),
        (
            changed("orders.example.com/v1alpha1", "v1"),
            "OrderService of v1",
        ),
        (changed("kind: OrderService\n", ""), "names no kind"),
        (
            format!(
                "apiVersion: v1\nkind: List\nitems:\n- {}",
                sample().trim_end().replace('\n', "\n  ")
            ),
            "List",
        ),
        ("kind: ConfigMap".to_owned(), "ConfigMap"),
        ("- 1".to_owned(), "names no kind"),
        ("words".to_owned(), "names no kind"),
        (String::new(), "0 objects"),
        ("# nothing\n---\n".to_owned(), "0 objects"),
        (format!("{}\n---\n{}", sample(), sample()), "2 objects"),
        ("kind: [".to_owned(), "-: "),
    ] {
        let out = render(&text);
        let message = String::from_utf8(out.stderr).unwrap();
        assert_eq!(out.status.code(), Some(1), "{text}: {message}");
        assert!(message.contains(named), "{text}: {message}");
        assert!(out.stdout.is_empty(), "{text}");
    }
    let out = command(&["render", "-f", "/no/such/file"])
        .output()
        .unwrap();
    assert_eq!(out.status.code(), Some(1));
    assert!(
        String::from_utf8(out.stderr)
            .unwrap()
            .contains("/no/such/file")
    );
}

#[test]
fn a_closed_pipe_is_no_error_and_a_full_disk_is() {
    let file = directory("golden").join("fixed.yaml");
    let file = file.to_str().unwrap();
    for args in [["crd"].as_slice(), &["render", "-f", file], &["--help"]] {
        let (reader, writer) = pipe().unwrap();
        drop(reader);
        let out = command(args).stdout(writer).output().unwrap();
        assert_eq!(out.status.code(), Some(0), "{args:?}: {out:?}");
        assert!(out.stderr.is_empty(), "{args:?}: {out:?}");
    }
    for args in [["crd"].as_slice(), &["render", "-f", file]] {
        let full = std::fs::File::options().write(true).open("/dev/full");
        let out = command(args).stdout(full.unwrap()).output().unwrap();
        assert_eq!(out.status.code(), Some(1), "{args:?}: {out:?}");
    }
}

#[test]
fn a_failure_is_logged_and_standard_error_need_not_be_read() {
    // There is no cluster to connect to.
    let run = || {
        let mut command = command(&[
            "--health-address",
            "127.0.0.1:0",
            "--metrics-address",
            "127.0.0.1:0",
        ]);
        command
            .env("KUBECONFIG", "/no/such/file")
            .env("LOG_FORMAT", "");
        command
    };
    let out = run().output().unwrap();
    assert_eq!(out.status.code(), Some(1));
    let text = String::from_utf8(out.stderr).unwrap();
    let last: serde_json::Value = serde_json::from_str(text.lines().last().unwrap()).unwrap();
    assert_eq!(last["level"], "ERROR", "{text}");
    let (reader, writer) = pipe().unwrap();
    drop(reader);
    let out = run().stderr(writer).output().unwrap();
    assert_eq!(out.status.code(), Some(1));
    // A full pipe that is open and not read.
    let (_reader, mut writer) = pipe().unwrap();
    writer.write_all(&[b'x'; 65_536]).unwrap();
    let out = run().stderr(writer).output().unwrap();
    assert_eq!(out.status.code(), Some(1));
}

const CHILD: &str = "ORDER_OPERATOR_TEST_PANICS";

/// The child process of the test below: a panic hook is process-wide.
#[test]
fn child_process_that_panics() {
    if std::env::var_os(CHILD).is_none() {
        return;
    }
    let cli = order_operator::cli::Cli::read_from(["order-operator", "--log-format", "json"]);
    let settings = cli.unwrap().settings;
    let log = order_operator::logging::init(settings.log_format(), &settings.rust_log).unwrap();
    log.catch_panics();
    let _ = std::panic::catch_unwind(|| panic!("planted\npanic"));
    // The profile `operator` aborts on a panic.
    std::process::abort();
}

#[test]
fn a_panic_is_one_log_line_even_if_it_ends_the_process() {
    let out = Command::new(std::env::current_exe().unwrap())
        .args([
            "--exact",
            "commands::child_process_that_panics",
            "--nocapture",
        ])
        .env(CHILD, "1")
        .output()
        .unwrap();
    assert_eq!(out.status.code(), None, "{out:?}");
    let text = String::from_utf8(out.stderr).unwrap();
    let lines: Vec<_> = text
        .lines()
        .filter(|line| line.contains("planted"))
        .collect();
    assert_eq!(lines.len(), 1, "{text}");
    let line: serde_json::Value = serde_json::from_str(lines[0]).unwrap();
    assert_eq!(line["msg"], "panic: planted\npanic");
}
