//! The `order-operator` binary.

use std::process::ExitCode;

use order_operator::cli::{Cli, Command, Invocation};
use order_operator::{commands, osvc};

fn main() -> ExitCode {
    match Invocation::read() {
        Invocation::Operator(cli) => run(cli),
        Invocation::Osvc(cli) => osvc::run(&cli),
    }
}

fn run(cli: Cli) -> ExitCode {
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
