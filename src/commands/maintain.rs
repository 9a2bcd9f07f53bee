//! `order-service maintain`: prepares partitions, applies retention, archives old orders.

use tokio_util::sync::CancellationToken;

use super::{CommandError, CommandResult, print};
use crate::config::{MaintainArgs, Settings};
use crate::server::block_on;
use crate::shutdown;
use crate::store::{Connector, MaintainOptions};
use crate::telemetry::logging;

/// Maintains the database once. Prints a report as JSON, also if a part has failed.
pub(super) fn maintain(settings: &Settings, args: MaintainArgs) -> CommandResult {
    let log = logging::init(settings.log_format(), &settings.rust_log)?;
    let result = maintain_logged(settings, args);
    log.finish();
    result
}

fn maintain_logged(settings: &Settings, args: MaintainArgs) -> CommandResult {
    let stop = CancellationToken::new();
    shutdown::listen(stop.clone())?;
    let connector = Connector::existing(settings)?;
    let options = MaintainOptions {
        retention: settings.retention,
        archive_to: args.archive_to,
        stop,
    };
    let maintained = block_on(async {
        let pending = connector.pending(std::time::Duration::ZERO).await?;
        if !pending.is_empty() {
            return Err(CommandError::PendingMigrations(pending));
        }
        Ok(connector.maintain(options).await?)
    })??;
    if maintained.report.already_running {
        log::info!("another process maintains this database; nothing was done");
    }
    print(&serde_json::to_string(&maintained.report)?)?;
    match maintained.error {
        Some(error) => Err(error.into()),
        None => Ok(()),
    }
}
