//! Imports orders from NDJSON: an export, or the orders of another system.
//!
//! A thread reads, parses and validates while the database writes the chunk before. Each chunk is one transaction, and
//! an order is recognized by its id, so an import that was interrupted at any moment is continued by starting it again.

mod chunks;
mod lines;
mod progress;
mod record;
mod rejects;
mod report;

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::domain::{Tenant, Violation};
use crate::store::{ImportOutcome, ImportRow, OrderImport, StoreError};
use chunks::{Chunk, ChunkSize};
use progress::Progress;
use rejects::{Reject, RejectFile};
pub(crate) use report::Report;

/// The pause before the first retry of a chunk. It doubles with each retry.
const FIRST_PAUSE: Duration = Duration::from_millis(100);
const MAX_PAUSE: Duration = Duration::from_secs(2);

/// Why an import ended before the end of its input. Everything up to there is imported.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ImportError {
    /// The database reported an error, or was not available for too long.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The input cannot be read any further.
    #[error("the input: {0}")]
    Read(#[source] io::Error),
    /// The rejects cannot be written.
    #[error("{}: {source}", path.display())]
    Rejects {
        /// The file.
        path: PathBuf,
        /// The error that the file system reports.
        source: io::Error,
    },
    /// A line cannot be written as JSON.
    #[error("a line cannot be written as JSON: {0}")]
    Json(#[from] serde_json::Error),
    /// The thread that reads cannot be started.
    #[error("the thread that reads: {0}")]
    Thread(#[source] io::Error),
    /// A signal stopped the import after a chunk.
    #[error("stopped by a signal")]
    Stopped,
}

/// An input that is open.
pub(crate) struct Input {
    reader: Box<dyn Read + Send>,
    /// Its size, if it is a file.
    bytes: Option<u64>,
}

impl Input {
    /// Standard input.
    pub(crate) fn stdin() -> Self {
        Self {
            reader: Box::new(io::stdin()),
            bytes: None,
        }
    }

    /// Opens a file.
    ///
    /// # Errors
    /// When it cannot be read.
    pub(crate) fn open(path: &Path) -> io::Result<Self> {
        let file = File::open(path)?;
        let found = file.metadata()?;
        if found.is_dir() {
            return Err(io::ErrorKind::IsADirectory.into());
        }
        Ok(Self {
            reader: Box::new(file),
            bytes: found.is_file().then_some(found.len()),
        })
    }
}

/// An import.
pub(crate) struct Import {
    /// The lines.
    pub(crate) input: Input,
    /// The tenant that the orders belong to.
    pub(crate) tenant: Tenant,
    /// Where to write the orders; without it, they are only checked.
    pub(crate) database: Option<Box<dyn OrderImport>>,
    /// The file for rejected lines.
    pub(crate) rejects: PathBuf,
    /// How long to retry a chunk while the database is not available.
    pub(crate) retry: Duration,
    /// Stops the import after the current chunk.
    pub(crate) stop: CancellationToken,
}

impl Import {
    /// Imports until the end of the input. The report is that of the chunks that are done, also after an error.
    pub(crate) async fn run(self) -> (Report, Result<(), ImportError>) {
        let is_trial = self.database.is_none();
        let rejects = match RejectFile::new(self.rejects.clone()) {
            Ok(rejects) => rejects,
            Err(source) => {
                let path = self.rejects;
                return (
                    Report::default(),
                    Err(ImportError::Rejects { path, source }),
                );
            }
        };
        let mut run = Run {
            progress: Progress::start(self.input.bytes),
            report: Report::default(),
            rejects,
            size: ChunkSize::new(),
            database: self.database,
            retry: self.retry,
            stop: self.stop,
        };
        let result = run.run(self.input.reader, self.tenant).await;
        run.progress.finish();
        let Run {
            mut report,
            rejects,
            ..
        } = run;
        if report.rejected > 0 {
            report.rejects = Some(rejects.path().to_owned());
        }
        let result = result.and_then(|()| {
            let path = rejects.path().to_owned();
            rejects
                .finish(is_trial)
                .map_err(|source| ImportError::Rejects { path, source })
        });
        report.complete = result.is_ok();
        (report, result)
    }
}

/// A running import.
struct Run {
    database: Option<Box<dyn OrderImport>>,
    retry: Duration,
    stop: CancellationToken,
    rejects: RejectFile,
    size: ChunkSize,
    report: Report,
    progress: Progress,
}

impl Run {
    async fn run(
        &mut self,
        input: Box<dyn Read + Send>,
        tenant: Tenant,
    ) -> Result<(), ImportError> {
        let mut chunks =
            chunks::read(input, tenant, self.size.clone()).map_err(ImportError::Thread)?;
        loop {
            let chunk = tokio::select! {
                biased;
                () = self.stop.cancelled() => return Err(ImportError::Stopped),
                chunk = chunks.recv() => chunk,
            };
            match chunk {
                None => return Ok(()),
                Some(chunk) => self.import(chunk?).await?,
            }
        }
    }

    async fn import(&mut self, chunk: Chunk) -> Result<(), ImportError> {
        let Chunk {
            rows,
            lines,
            mut rejects,
            position,
        } = chunk;
        if self.database.is_none() {
            for _ in rows {
                self.report.add_valid();
            }
        } else if !rows.is_empty() {
            for (outcome, line) in self.write(rows.into()).await?.iter().zip(&lines) {
                self.report.add(outcome);
                rejects.extend(reject(outcome, line)?);
            }
            rejects.sort_by_key(|reject| reject.line);
        }
        self.rejects
            .write(&rejects)
            .map_err(|source| ImportError::Rejects {
                path: self.rejects.path().to_owned(),
                source,
            })?;
        self.report.add_rejects(&rejects);
        self.progress.update(&self.report, position);
        Ok(())
    }

    /// Writes the orders of a chunk, and retries while the database is not available. The outcome of a failed attempt
    /// may be unknown; an attempt that succeeded has left orders that count as present.
    async fn write(&mut self, rows: Arc<[ImportRow]>) -> Result<Vec<ImportOutcome>, StoreError> {
        let Some(database) = &mut self.database else {
            return Ok(Vec::new());
        };
        let mut first_failure = None;
        let mut pause = FIRST_PAUSE;
        loop {
            let start = Instant::now();
            let error = match database.import(Arc::clone(&rows)).await {
                Ok(outcomes) => {
                    let took = start.elapsed();
                    self.size.adapt(rows.len(), took);
                    log::debug!(orders = rows.len(), took:?; "wrote a chunk");
                    return Ok(outcomes);
                }
                Err(error) => error,
            };
            let deadline = *first_failure.get_or_insert_with(Instant::now) + self.retry;
            if !may_pass(&error) || Instant::now() + pause > deadline {
                return Err(error);
            }
            log::warn!(error:%; "a chunk was not imported; retrying");
            tokio::select! {
                () = tokio::time::sleep(pause) => {}
                () = self.stop.cancelled() => return Err(error),
            }
            pause = (pause * 2).min(MAX_PAUSE);
        }
    }
}

/// Whether a retry may succeed.
fn may_pass(error: &StoreError) -> bool {
    match error {
        StoreError::Unavailable(_) | StoreError::StatementTimeout | StoreError::LockTimeout => true,
        StoreError::Overloaded
        | StoreError::ShareExceeded
        | StoreError::BatchTooLarge
        | StoreError::Internal(_) => false,
    }
}

/// The reject of a valid order that the database has a reason to skip.
fn reject(
    outcome: &ImportOutcome,
    line: &chunks::OrderLine,
) -> Result<Option<Reject>, serde_json::Error> {
    let (pointer, detail, order_id) = match outcome {
        ImportOutcome::Imported | ImportOutcome::AlreadyPresent => return Ok(None),
        ImportOutcome::ExternalIdTaken { order_id } => {
            let detail = format!("is that of the order {order_id}");
            ("/external_id", detail, Some(*order_id))
        }
        ImportOutcome::IllegalTransition { from } => {
            let detail = format!(
                "cannot follow {}, the last status of the order",
                from.as_str()
            );
            ("/status", detail, None)
        }
    };
    let violations = vec![Violation::new(pointer, detail)];
    let reject = Reject::new(line.number, &line.text, violations)?;
    Ok(Some(match order_id {
        Some(order_id) => reject.with_order_id(order_id),
        None => reject,
    }))
}
