//! The `order-operator` binary.

use std::process::ExitCode;

use order_operator::cli::{Cli, Command};
use order_operator::commands;

fn main() -> ExitCode {
    let cli = Cli::read();
    let result = match cli.command.unwrap_or(Command::Run) {
        Command::Run => commands::run(&cli.settings),
        Command::Crd => commands::print_crd(),
        Command::Render(args) => commands::render(&args.file),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            commands::report_error(&error);
            ExitCode::FAILURE
        }
    }
}
