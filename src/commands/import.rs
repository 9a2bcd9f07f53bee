//! `order-service import`.

use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use super::{CommandError, CommandResult, print};
use crate::config::{ImportArgs, Settings};
use crate::import::{Import, Input};
use crate::server::block_on;
use crate::shutdown;
use crate::store::Connector;
use crate::telemetry::logging;

/// Imports orders, and prints a report on standard output.
pub(super) fn import(settings: &Settings, args: &ImportArgs) -> CommandResult {
    let log = logging::init(settings.log_format(), &settings.rust_log)?;
    let result = import_logged(settings, args);
    log.finish();
    result
}

fn import_logged(settings: &Settings, args: &ImportArgs) -> CommandResult {
    let unreadable = |source| CommandError::Input {
        path: args.file.clone(),
        source,
    };
    let rejects = args.rejects();
    let input = if args.is_stdin() {
        Input::stdin()
    } else {
        if is_same_file(&args.file, &rejects) {
            return Err(CommandError::RejectsAreInput(rejects));
        }
        Input::open(&args.file).map_err(unreadable)?
    };
    let stop = CancellationToken::new();
    shutdown::listen(stop.clone())?;
    let tenant = args.tenant.clone().unwrap_or_default();
    let import = async {
        let database = if args.dry_run {
            None
        } else {
            let connector = Connector::existing(settings)?;
            let pending = connector.pending(Duration::ZERO).await?;
            if !pending.is_empty() {
                return Err(CommandError::PendingMigrations(pending));
            }
            Some(connector.import(tenant.clone()))
        };
        let import = Import {
            input,
            tenant,
            database,
            rejects,
            retry: args.retry,
            stop,
        };
        Ok(import.run().await)
    };
    let (report, result) = block_on(import)??;
    print(&serde_json::to_string(&report)?)?;
    result?;
    match report.rejects {
        None => Ok(()),
        Some(path) => Err(CommandError::RejectedLines {
            count: report.rejected,
            path,
        }),
    }
}

fn is_same_file(a: &Path, b: &Path) -> bool {
    let identity = |path: &Path| -> io::Result<_> {
        let found = fs::metadata(path)?;
        Ok((found.dev(), found.ino()))
    };
    matches!((identity(a), identity(b)), (Ok(a), Ok(b)) if a == b)
}
