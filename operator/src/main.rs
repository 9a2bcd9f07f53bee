//! The order-operator binary: a switch over the subcommands.

use std::process::ExitCode;

use clap::Parser as _;
use order_operator::cli::{Cli, Command};
use order_operator::commands;

#[expect(clippy::print_stderr, reason = "the last word of a failed command")]
fn main() -> ExitCode {
    let cli = Cli::parse();
    let result = match cli.command.unwrap_or(Command::Run) {
        Command::Run | Command::Render(_) => Err("not built yet".into()),
        Command::Crd => commands::definition(),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("order-operator: {error}");
            ExitCode::FAILURE
        }
    }
}
