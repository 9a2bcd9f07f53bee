//! An output that is bounded and never blocks.
//!
//! Lines go into a queue that is bounded in bytes, and one thread writes them to the output. If the reader of the
//! output stops reading, the thread blocks, the queue fills, and further lines are dropped and counted. As soon as
//! the queue has capacity again, a line reports how many were dropped.

use std::collections::VecDeque;
use std::io::{self, ErrorKind, Write};
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex};

/// Bytes of memory that a line occupies in addition to its text.
const LINE_OVERHEAD: usize = 64;

/// How long the thread waits before it retries a non-blocking output that is full.
const RETRY_INTERVAL: Duration = Duration::from_millis(10);

/// A handle to the output, cheap to clone. Each call of [`Write::write`] is one line, which is written completely
/// or dropped.
#[derive(Clone)]
pub struct Output(Arc<Shared>);

struct Shared {
    state: Mutex<State>,
    /// Notified when a line enters the queue.
    filled: Condvar,
    /// Notified when all lines are written or dropped.
    done: Condvar,
    /// The maximum number of bytes that the queue may occupy.
    capacity: usize,
    notice: fn(u64) -> Vec<u8>,
}

#[derive(Default)]
struct State {
    lines: VecDeque<Vec<u8>>,
    /// Bytes that the lines occupy in memory.
    bytes: usize,
    /// Whether the thread is currently writing a line.
    writing: bool,
    /// Lines dropped since the last notice.
    unreported: u64,
    /// Lines dropped before a counter was set.
    uncounted: u64,
    counter: Option<Box<dyn Fn(u64) + Send>>,
}

impl Output {
    /// Starts the thread that writes to `out`. The queue occupies at most `capacity` bytes. `notice`
    /// returns the line that reports how many lines were dropped.
    ///
    /// # Errors
    /// When the thread cannot be started.
    pub fn start(
        out: impl Write + Send + 'static,
        capacity: usize,
        notice: fn(u64) -> Vec<u8>,
    ) -> io::Result<Self> {
        let output = Self(Arc::new(Shared {
            state: Mutex::default(),
            filled: Condvar::new(),
            done: Condvar::new(),
            capacity,
            notice,
        }));
        let shared = Arc::clone(&output.0);
        std::thread::Builder::new()
            .name("log".to_owned())
            .spawn(move || shared.write_to(out))?;
        Ok(output)
    }

    /// Calls `counter` with the number of lines dropped so far, and again for each line dropped later.
    /// `counter` runs under a lock and must not log.
    pub fn count_with(&self, counter: impl Fn(u64) + Send + 'static) {
        let mut state = self.0.state.lock();
        counter(std::mem::take(&mut state.uncounted));
        state.counter = Some(Box::new(counter));
    }

    /// Waits until all lines are written, or until `timeout`, because the output may never accept them. Returns
    /// whether all lines are written.
    pub fn flush(&self, timeout: Duration) -> bool {
        let deadline = Instant::now() + timeout;
        let mut state = self.0.state.lock();
        while !state.is_done() {
            if self.0.done.wait_until(&mut state, deadline).timed_out() {
                return state.is_done();
            }
        }
        true
    }
}

impl Write for Output {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        let mut state = self.0.state.lock();
        let notice = match state.unreported {
            0 => None,
            dropped => Some((self.0.notice)(dropped)),
        };
        let size = |line: &[u8]| line.len() + LINE_OVERHEAD;
        let needed = size(line) + notice.as_deref().map_or(0, size);
        if state.bytes + needed > self.0.capacity {
            state.unreported += 1;
            state.count_dropped(1);
        } else {
            state.bytes += needed;
            if let Some(notice) = notice {
                state.unreported = 0;
                state.lines.push_back(notice);
            }
            state.lines.push_back(line.to_vec());
            self.0.filled.notify_one();
        }
        Ok(line.len())
    }

    /// Returns at once: the thread flushes after every line. To wait for it, call [`Output::flush`].
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl State {
    fn is_done(&self) -> bool {
        self.lines.is_empty() && !self.writing && self.unreported == 0
    }

    fn count_dropped(&mut self, count: u64) {
        match &self.counter {
            Some(counter) => counter(count),
            None => self.uncounted += count,
        }
    }
}

impl Shared {
    fn write_to(&self, mut out: impl Write) {
        let mut state = self.state.lock();
        loop {
            let line = if let Some(line) = state.lines.pop_front() {
                state.bytes -= line.len() + LINE_OVERHEAD;
                line
            } else if state.unreported > 0 {
                (self.notice)(std::mem::take(&mut state.unreported))
            } else {
                self.done.notify_all();
                self.filled.wait(&mut state);
                continue;
            };
            state.writing = true;
            drop(state);
            let written = write_line(&mut out, &line);
            state = self.state.lock();
            state.writing = false;
            if written.is_err() {
                // The output is broken, so a notice could not be written either.
                state.count_dropped(1);
            }
        }
    }
}

fn write_line(out: &mut impl Write, mut line: &[u8]) -> io::Result<()> {
    while !line.is_empty() {
        match out.write(line) {
            Ok(0) => return Err(ErrorKind::WriteZero.into()),
            Ok(written) => line = line.get(written..).unwrap_or_default(),
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            // Another process that shares the file description can make it non-blocking.
            Err(error) if error.kind() == ErrorKind::WouldBlock => {
                std::thread::sleep(RETRY_INTERVAL)
            }
            Err(error) => return Err(error),
        }
    }
    out.flush()
}

#[cfg(test)]
mod tests;
