//! The order-service binary: a switch over the subcommands.

use std::process::ExitCode;

use order_service::config::{Cli, Command};
use order_service::telemetry::logging;
use order_service::{commands, server};

#[expect(clippy::print_stderr, reason = "the last word of a failed command")]
fn main() -> ExitCode {
    let (command, settings) = Cli::read();
    let result = match command {
        Command::Serve => {
            logging::init(&settings);
            // Logged, and not printed: every line of a server's standard error is a log line.
            return server::serve(settings).map_or_else(
                |error| {
                    log::error!("{error}");
                    ExitCode::FAILURE
                },
                |()| ExitCode::SUCCESS,
            );
        }
        Command::Migrate(args) => commands::migrate(&settings, &args),
        Command::Healthcheck => commands::healthcheck(&settings),
        Command::Openapi => commands::openapi(),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("order-service: {error}");
            ExitCode::FAILURE
        }
    }
}
