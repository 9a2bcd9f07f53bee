//! Log output that is bounded and never blocks.
//!
//! Whoever logs puts a line into a queue, which is bounded in bytes; one thread writes it out. When
//! nobody reads what is written, the thread waits, the queue fills, and further lines are dropped and
//! counted. A line that says how many were dropped takes their place as soon as there is room.

use std::collections::VecDeque;
use std::io::{self, ErrorKind, Write};
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex};

/// What a line takes in memory besides its text.
const OVERHEAD: usize = 64;

/// How long the thread waits when the other side of a non-blocking output is full.
const PAUSE: Duration = Duration::from_millis(10);

/// The way to the output. Cheap to clone. Each call of [`Write::write`] is one line, whole or dropped.
#[derive(Clone)]
pub struct Output(Arc<Shared>);

struct Shared {
    state: Mutex<State>,
    /// A line was put into the queue.
    filled: Condvar,
    /// All lines are written, or given up.
    done: Condvar,
    /// The most that the queue may take, in bytes.
    capacity: usize,
    notice: fn(u64) -> Vec<u8>,
}

#[derive(Default)]
struct State {
    lines: VecDeque<Vec<u8>>,
    /// What the lines take in memory.
    bytes: usize,
    /// A line is being written.
    writing: bool,
    /// Lines dropped since the last notice.
    unreported: u64,
    /// Lines dropped since nobody has counted them.
    uncounted: u64,
    counter: Option<Box<dyn Fn(u64) + Send>>,
}

impl Output {
    /// Starts the thread that writes to `out`. The queue takes at most `capacity` bytes. `notice` makes
    /// the line that says how many lines were dropped.
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

    /// Has dropped lines counted by `counter`: those until now, and each one from now on. It is called
    /// under a lock, so it must not log.
    pub fn count_with(&self, counter: impl Fn(u64) + Send + 'static) {
        let mut state = self.0.state.lock();
        counter(std::mem::take(&mut state.uncounted));
        state.counter = Some(Box::new(counter));
    }

    /// Waits until all lines are written, but no longer than `limit`: nobody may be reading them.
    /// Returns whether they are.
    pub fn flush(&self, limit: Duration) -> bool {
        let end = Instant::now() + limit;
        let mut state = self.0.state.lock();
        while !state.is_done() {
            if self.0.done.wait_until(&mut state, end).timed_out() {
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
        let size = |line: &[u8]| line.len() + OVERHEAD;
        let needed = size(line) + notice.as_deref().map_or(0, size);
        if state.bytes + needed > self.0.capacity {
            state.unreported += 1;
            state.dropped(1);
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

    /// Returns at once: every line is flushed when it is written. See [`Output::flush`].
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl State {
    fn is_done(&self) -> bool {
        self.lines.is_empty() && !self.writing && self.unreported == 0
    }

    fn dropped(&mut self, count: u64) {
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
                state.bytes -= line.len() + OVERHEAD;
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
                // Nobody will ever read it, and a notice would fare no better.
                state.dropped(1);
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
            // Whoever shares the output with this process has made it non-blocking.
            Err(error) if error.kind() == ErrorKind::WouldBlock => std::thread::sleep(PAUSE),
            Err(error) => return Err(error),
        }
    }
    out.flush()
}

#[cfg(test)]
mod tests;
