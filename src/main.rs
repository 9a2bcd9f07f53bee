//! The order-service binary: dispatches to the subcommands.

use std::process::ExitCode;

use order_service::commands;
use order_service::config::{Cli, Command};
use order_service::store::check_database_url;

fn main() -> ExitCode {
    let (command, settings) = Cli::read(check_database_url);
    let result = match command {
        Command::Serve => commands::serve(settings),
        Command::Migrate(args) => commands::migrate(&settings, &args),
        Command::Healthcheck => commands::healthcheck(&settings),
        Command::Openapi => commands::openapi(),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            commands::report(&*error);
            ExitCode::FAILURE
        }
    }
}
