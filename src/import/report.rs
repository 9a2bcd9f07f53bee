//! The result of an import, which is printed as JSON.

use std::path::PathBuf;

use serde::Serialize;

use super::rejects::Reject;
use crate::store::ImportOutcome;

/// The result of an import.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub(crate) struct Report {
    /// The lines that were read, without blank ones.
    pub(crate) read: u64,
    /// The orders that were imported.
    pub(crate) imported: u64,
    /// The orders that were stored already. They are as they were.
    pub(crate) already_present: u64,
    /// The lines that were not imported.
    pub(crate) rejected: u64,
    /// The valid orders of a dry run, which writes none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) valid: Option<u64>,
    /// Whether the input was read to its end.
    pub(crate) complete: bool,
    /// The file with the rejected lines, if there are any.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) rejects: Option<PathBuf>,
}

impl Report {
    /// Adds the rejects of a chunk.
    pub(super) fn add_rejects(&mut self, rejects: &[Reject]) {
        let rejects = u64::try_from(rejects.len()).unwrap_or_default();
        self.read += rejects;
        self.rejected += rejects;
    }

    /// Adds an order that was written, or that was there. The others become rejects.
    pub(super) fn add(&mut self, outcome: &ImportOutcome) {
        match outcome {
            ImportOutcome::Imported => self.imported += 1,
            ImportOutcome::AlreadyPresent => self.already_present += 1,
            ImportOutcome::ExternalIdTaken { .. } | ImportOutcome::IllegalTransition { .. } => {
                return;
            }
        }
        self.read += 1;
    }

    /// Adds a valid order of a dry run.
    pub(super) fn add_valid(&mut self) {
        self.read += 1;
        *self.valid.get_or_insert_default() += 1;
    }
}
