//! The service's binary as a process.

use std::process::{Command, Output, Stdio};

use super::database::Database;

pub const BINARY: &str = env!("CARGO_BIN_EXE_order-service");

/// The binary with these variables and nothing else from the environment of the test.
pub fn command(args: &[&str], variables: &[(&str, &str)]) -> Command {
    let mut command = Command::new(BINARY);
    command
        .args(args)
        .env_clear()
        .envs(variables.iter().copied())
        .stdin(Stdio::null());
    command
}

/// Runs the binary until it exits.
pub fn run(args: &[&str], variables: &[(&str, &str)]) -> Output {
    command(args, variables).output().unwrap()
}

/// Runs the binary with `DATABASE_URL` alone.
pub fn run_on(url: &str, args: &[&str]) -> Output {
    run(args, &[("DATABASE_URL", url)])
}

/// Applies the migrations to a database.
pub fn migrate(database: &Database) {
    let out = run_on(&database.url(), &["migrate"]);
    assert!(out.status.success(), "{out:?}");
}

/// Standard error as text.
pub fn stderr(out: &Output) -> String {
    String::from_utf8_lossy(&out.stderr).into_owned()
}

/// Sends a signal to one process.
pub fn kill(pid: i32, signal: i32) {
    let status = Command::new("kill")
        .args([format!("-{signal}"), pid.to_string()])
        .status()
        .unwrap();
    assert!(status.success());
}
