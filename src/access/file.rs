//! Reads small files without waiting for long: `AUTH_FILE` and the files that it names.

use std::fs::File;
use std::io::{self, Read as _};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use rustix::fs::{Mode, OFlags};
use tokio::sync::oneshot;

/// How long one read may take. Less than the timeout of a fetch, so that its error names the file, and short enough
/// for a change of `AUTH_FILE` to be in force within 10 s.
const TIMEOUT: Duration = Duration::from_secs(3);

/// Why a file cannot be used. Does not name the file.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ReadError {
    /// The system reports an error.
    // Not a source: the message contains it already.
    #[error("{0}")]
    System(io::Error),
    /// It is a folder, a FIFO or a device.
    #[error("not a regular file")]
    NotRegular,
    /// It is too large.
    #[error("more than {0} bytes")]
    TooLarge(u64),
    /// The file system does not respond.
    #[error("cannot be read within {} s", TIMEOUT.as_secs())]
    Timeout,
}

/// Reads one file after the other. A file system that does not respond holds one thread of each reader, however
/// often it reads.
#[derive(Default)]
pub(super) struct FileReader(Arc<tokio::sync::Mutex<()>>);

impl FileReader {
    /// Reads the text of a regular file of at most `max` bytes.
    ///
    /// # Errors
    /// [`ReadError`], within [`TIMEOUT`].
    pub(super) async fn read(&self, path: &Path, max: u64) -> Result<String, ReadError> {
        let path = path.to_owned();
        self.with_timeout(TIMEOUT, move || read(&path, max)).await
    }

    async fn with_timeout<T: Send + 'static>(
        &self,
        timeout: Duration,
        read: impl FnOnce() -> Result<T, ReadError> + Send + 'static,
    ) -> Result<T, ReadError> {
        let result = async {
            let turn = Arc::clone(&self.0).lock_owned().await;
            let done = in_thread(move || {
                let result = read();
                drop(turn);
                result
            });
            done.await.map_err(ReadError::System)?
        };
        let result = tokio::time::timeout(timeout, result).await;
        result.unwrap_or(Err(ReadError::Timeout))
    }
}

fn read(path: &Path, max: u64) -> Result<String, ReadError> {
    // Without NONBLOCK, a FIFO is not open until it has a writer.
    let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK;
    let file = rustix::fs::open(path, flags, Mode::empty());
    let file = File::from(file.map_err(|error| ReadError::System(error.into()))?);
    let metadata = file.metadata().map_err(ReadError::System)?;
    if !metadata.is_file() {
        return Err(ReadError::NotRegular);
    }
    let mut text = String::new();
    let bytes = file.take(max + 1).read_to_string(&mut text);
    let bytes = bytes.map_err(ReadError::System)?;
    if u64::try_from(bytes).is_ok_and(|bytes| bytes > max) {
        return Err(ReadError::TooLarge(max));
    }
    Ok(text)
}

/// Runs what may block in a thread of its own. A runtime waits at its end for the threads of `spawn_blocking`, so
/// that a file system that does not respond would keep the process from exiting.
///
/// # Errors
/// The system has no thread left, or `work` panics.
pub(super) async fn in_thread<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> io::Result<T> {
    let (sender, receiver) = oneshot::channel();
    std::thread::Builder::new()
        .name("access-file".to_owned())
        .spawn(move || {
            // Without a receiver, the timeout has passed.
            let _ = sender.send(work());
        })?;
    receiver.await.map_err(io::Error::other)
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;

    #[tokio::test]
    async fn only_regular_files_of_a_bounded_size_are_read() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("file");
        std::fs::write(&file, "12345").unwrap();
        assert_eq!(FileReader::default().read(&file, 5).await.unwrap(), "12345");
        let large = FileReader::default().read(&file, 4).await;
        assert!(matches!(large, Err(ReadError::TooLarge(4))));

        let fifo = folder.path().join("fifo");
        let made = std::process::Command::new("mkfifo").arg(&fifo).status();
        assert!(made.unwrap().success());
        for other in [fifo.as_path(), folder.path(), Path::new("/dev/zero")] {
            let result = FileReader::default().read(other, 5).await;
            assert!(
                matches!(result, Err(ReadError::NotRegular)),
                "{other:?} {result:?}"
            );
        }
        let missing = FileReader::default()
            .read(&folder.path().join("missing"), 5)
            .await;
        assert!(matches!(missing, Err(ReadError::System(_))));
    }

    #[tokio::test]
    async fn a_file_system_that_does_not_respond_holds_one_thread_until_it_does() {
        let files = FileReader::default();
        let short = Duration::from_millis(50);
        let (release, released) = mpsc::channel::<()>();
        let hung = files.with_timeout(short, move || {
            released.recv().unwrap();
            Ok(())
        });
        assert!(matches!(hung.await, Err(ReadError::Timeout)));
        let second: Result<(), _> = files
            .with_timeout(short, || panic!("a second thread reads"))
            .await;
        assert!(matches!(second, Err(ReadError::Timeout)));

        release.send(()).unwrap();
        let again = files.with_timeout(Duration::from_secs(10), || Ok(2)).await;
        assert_eq!(again.unwrap(), 2);
    }
}
