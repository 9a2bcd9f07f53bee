//! The order-operator binary: a switch over the subcommands.

use std::process::ExitCode;

use clap::Parser as _;
use order_operator::cli::{Cli, Command};
use order_operator::{commands, controller, logging};

#[expect(clippy::print_stderr, reason = "the last word of a failed command")]
fn main() -> ExitCode {
    let cli = Cli::parse();
    let result = match cli.command.unwrap_or(Command::Run) {
        Command::Run => {
            logging::init(&cli.settings);
            logging::log_panics();
            // Logged, and not printed: every line of standard error is a log line.
            return controller::run(&cli.settings).map_or_else(
                |error| {
                    log::error!("{error}");
                    ExitCode::FAILURE
                },
                |()| ExitCode::SUCCESS,
            );
        }
        Command::Crd => commands::definition(),
        Command::Render(args) => commands::render(&args.file),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("order-operator: {error}");
            ExitCode::FAILURE
        }
    }
}
