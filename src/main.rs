//! The order-service binary.

use std::process::ExitCode;

use order_service::commands;
use order_service::config::Cli;
use order_service::store::check_database_url;

fn main() -> ExitCode {
    let (command, settings) = Cli::read(check_database_url);
    commands::run(command, settings)
}
