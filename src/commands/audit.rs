//! The command `audit`.

use std::io::{self, IsTerminal as _};
use std::sync::Arc;
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};

use super::{CommandError, CommandResult, print};
use crate::config::{AuditArgs, DatabaseKind, Settings};
use crate::server::block_on;
use crate::shutdown;
use crate::store::{AuditProgress, Connector};
use crate::telemetry::logging;

/// How often the progress bar is drawn.
const DRAW_INTERVAL: Duration = Duration::from_millis(200);
/// How often the progress is logged if there is no terminal.
const LOG_INTERVAL: Duration = Duration::from_secs(5);

/// Checks the stored data and prints a report.
pub(super) fn audit(settings: &Settings, args: AuditArgs) -> CommandResult {
    let log = logging::init(settings.log_format(), &settings.rust_log)?;
    let result = audit_logged(settings, args);
    log.finish();
    result
}

fn audit_logged(settings: &Settings, args: AuditArgs) -> CommandResult {
    shutdown::exit_on_signal()?;
    let connector = Connector::existing(settings)?;
    let tenant = args.tenant.as_ref().map(ToString::to_string);
    let start = Instant::now();
    let report = block_on(async {
        let pending = connector.pending(Duration::ZERO).await?;
        if !pending.is_empty() {
            return Err(CommandError::PendingMigrations(pending));
        }
        let progress = Arc::new(AuditProgress::default());
        tokio::select! {
            report = connector.audit(args.tenant, &progress) => Ok(report?),
            never = show(&progress) => match never {},
        }
    })??;
    let database = match connector.kind() {
        DatabaseKind::Postgres => "postgres",
        DatabaseKind::Sqlite => "sqlite",
    };
    print(&report.to_json(database, tenant.as_deref(), start.elapsed())?)?;
    match report.violations() {
        0 => Ok(()),
        violations => Err(CommandError::Inconsistent(violations)),
    }
}

/// Shows the progress on standard error, as a bar on a terminal, else as log lines.
async fn show(progress: &AuditProgress) -> std::convert::Infallible {
    if !io::stderr().is_terminal() {
        loop {
            tokio::time::sleep(LOG_INTERVAL).await;
            log::info!(
                orders = progress.orders(), events = progress.events(),
                expected_orders = progress.expected_orders();
                "auditing"
            );
        }
    }
    let bar = ProgressBar::new_spinner();
    let template =
        |text| ProgressStyle::with_template(text).unwrap_or_else(|_| ProgressStyle::default_bar());
    bar.set_style(template(
        "{spinner} {human_pos} orders, {per_sec}, {elapsed}",
    ));
    loop {
        let expected = progress.expected_orders();
        if expected > 0 && bar.length().is_none() {
            bar.set_length(expected);
            bar.set_style(template(
                "{wide_bar} {human_pos} of about {human_len} orders, {per_sec}, {eta} left",
            ));
        }
        bar.set_position(progress.orders());
        tokio::time::sleep(DRAW_INTERVAL).await;
    }
}
