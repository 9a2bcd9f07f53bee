//! The options of the command `import`.

use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::Args;

use super::values::any_duration;
use crate::domain::Tenant;

/// What to import.
///
/// Each line is an order as exports write it, or the body of POST /api/v1/orders with `created_at` and perhaps `id`,
/// `status`, `version`, `updated_at` and `total_amount`. Orders that are stored already are skipped, so an import that
/// was interrupted is continued by starting it again with the same file.
///
/// Exits with 0 if every order is stored now, with 1 if lines were rejected or the import ended early, with 2 if FILE
/// cannot be opened, and with 3 if the database cannot be reached.
#[derive(Clone, Debug, Args)]
pub struct ImportArgs {
    /// The file with one JSON object on each line (NDJSON); `-` is standard input
    pub(crate) file: PathBuf,
    /// The tenant that the orders belong to [default: default]
    #[arg(long, value_parser = Tenant::parse)]
    pub(crate) tenant: Option<Tenant>,
    /// Where rejected lines are written, with the reasons [default: FILE.rejects.ndjson, or stdin.rejects.ndjson]
    #[arg(long, value_name = "PATH")]
    rejects: Option<PathBuf>,
    /// Only check the lines; writes nothing to the database, and does not connect to it
    #[arg(long)]
    pub(crate) dry_run: bool,
    /// How long to retry while the database is not available
    #[arg(long, value_name = "DURATION", default_value = "60s", value_parser = any_duration)]
    pub(crate) retry: Duration,
}

impl ImportArgs {
    /// Whether the lines are those of standard input.
    pub(crate) fn is_stdin(&self) -> bool {
        self.file == Path::new("-")
    }

    /// The file for rejected lines.
    pub(crate) fn rejects(&self) -> PathBuf {
        if let Some(path) = &self.rejects {
            return path.clone();
        }
        let mut name = if self.is_stdin() {
            "stdin".into()
        } else {
            self.file.clone().into_os_string()
        };
        name.push(".rejects.ndjson");
        name.into()
    }
}
