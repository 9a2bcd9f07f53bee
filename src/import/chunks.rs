//! Reads the input on a thread of its own, and combines its orders to chunks.

use std::io::{self, BufReader, Read};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use chrono::Utc;
use tokio::sync::mpsc;

use super::ImportError;
use super::lines::{Line, Lines, MAX_LINE_BYTES, Text};
use super::record::{self, Origin};
use super::rejects::Reject;
use crate::domain::{Tenant, Violation};
use crate::store::ImportRow;

/// The bytes of the input that are read at once.
const BUFFER_BYTES: usize = 256 * 1024;

/// A chunk ends when its lines have this many bytes.
const MAX_BYTES: usize = 1024 * 1024;

/// A chunk ends when its orders have this many lines for each order that it may have. Most orders have fewer.
const MAX_LINES_PER_ORDER: usize = 4;

/// A line that is an order.
pub(super) struct OrderLine {
    pub(super) number: u64,
    /// For the reject, if the database has a reason to skip the order.
    pub(super) text: Box<[u8]>,
}

/// Some lines of the input.
#[derive(Default)]
pub(super) struct Chunk {
    /// The valid orders.
    pub(super) rows: Vec<ImportRow>,
    /// Their lines, in the same order.
    pub(super) lines: Vec<OrderLine>,
    pub(super) rejects: Vec<Reject>,
    /// The number of bytes of the input up to the end of the chunk.
    pub(super) position: u64,
}

/// How many orders a chunk may have. The transaction of a chunk holds back the readers of the feed, so it must be short
/// on a slow database, too.
#[derive(Clone)]
pub(super) struct ChunkSize(Arc<AtomicUsize>);

impl ChunkSize {
    const MIN: usize = 50;
    const MAX: usize = 2_000;
    /// How long the transaction of a chunk should take.
    const TARGET: Duration = Duration::from_millis(50);

    pub(super) fn new() -> Self {
        Self(Arc::new(AtomicUsize::new(500)))
    }

    fn get(&self) -> usize {
        self.0.load(Ordering::Relaxed)
    }

    /// Adapts the size: a chunk of this many orders took so long.
    pub(super) fn adapt(&self, orders: usize, took: Duration) {
        let current = self.get();
        // A chunk that ended at its bytes says little about the time of one with more orders.
        if orders * 2 < current && took < Self::TARGET {
            return;
        }
        let micros = took.as_micros().max(1);
        let target = u128::try_from(orders).unwrap_or_default() * Self::TARGET.as_micros() / micros;
        let target = usize::try_from(target).unwrap_or(Self::MAX);
        // One slow chunk may be an exception, so the size changes by at most a half.
        let next = target.clamp(current / 2, current + current / 2);
        self.0
            .store(next.clamp(Self::MIN, Self::MAX), Ordering::Relaxed);
    }
}

/// Starts the thread that reads. While the database writes a chunk, the next one waits in the channel, and the thread
/// makes the one after it. The thread ends with the receiver, or with the process if the input blocks.
pub(super) fn read(
    input: Box<dyn Read + Send>,
    tenant: Tenant,
    size: ChunkSize,
) -> io::Result<mpsc::Receiver<Result<Chunk, ImportError>>> {
    let (sender, receiver) = mpsc::channel(1);
    let work = move || {
        let mut reader = ChunkReader {
            lines: Lines::new(BufReader::with_capacity(BUFFER_BYTES, input)),
            tenant,
            size,
        };
        while let Some(chunk) = reader.next().transpose() {
            let failed = chunk.is_err();
            if sender.blocking_send(chunk).is_err() || failed {
                break;
            }
        }
    };
    thread::Builder::new()
        .name("import-reader".to_owned())
        .spawn(work)?;
    Ok(receiver)
}

struct ChunkReader<R> {
    lines: Lines<R>,
    tenant: Tenant,
    size: ChunkSize,
}

impl<R: io::BufRead> ChunkReader<R> {
    /// The next chunk, or `None` at the end of the input.
    fn next(&mut self) -> Result<Option<Chunk>, ImportError> {
        let mut chunk = Chunk::default();
        let (mut bytes, mut order_lines) = (0, 0);
        let max_orders = self.size.get();
        while chunk.rows.len() < max_orders
            && bytes < MAX_BYTES
            && order_lines < max_orders * MAX_LINES_PER_ORDER
        {
            let Some(line) = self.lines.next().map_err(ImportError::Read)? else {
                break;
            };
            let origin = Origin {
                tenant: &self.tenant,
                line: line.number,
            };
            match parse(&line, &origin)? {
                Ok((row, text)) => {
                    bytes += text.len() + row.bytes();
                    order_lines += row.lines();
                    chunk.rows.push(row);
                    chunk.lines.push(OrderLine {
                        number: line.number,
                        text: text.into(),
                    });
                }
                Err(reject) => {
                    bytes += reject.bytes();
                    chunk.rejects.push(reject);
                }
            }
        }
        chunk.position = self.lines.bytes();
        let ended = chunk.rows.is_empty() && chunk.rejects.is_empty();
        Ok((!ended).then_some(chunk))
    }
}

/// The order of a line with its text, or the reject.
fn parse<'a>(
    line: &Line<'a>,
    origin: &Origin<'_>,
) -> Result<Result<(ImportRow, &'a [u8]), Reject>, ImportError> {
    let (text, violations) = match line.text {
        Text::Complete(text) => match record::parse(text, origin, Utc::now()) {
            Ok(order) => return Ok(Ok((ImportRow::new(order)?, text))),
            Err(violations) => (text, violations),
        },
        Text::TooLong(beginning) => {
            let detail = format!("must have at most {MAX_LINE_BYTES} bytes");
            (beginning, vec![Violation::new("", detail)])
        }
    };
    Ok(Err(Reject::new(line.number, text, violations)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chunks(input: &[u8]) -> Vec<Chunk> {
        let mut reader = ChunkReader {
            lines: Lines::new(input),
            tenant: Tenant::default(),
            size: ChunkSize::new(),
        };
        let mut chunks = Vec::new();
        while let Some(chunk) = reader.next().unwrap() {
            chunks.push(chunk);
        }
        chunks
    }

    #[test]
    fn a_chunk_ends_at_its_orders_its_lines_or_its_bytes() {
        let order = r#"{"product_id":"a","quantity":1,"created_at":"2020-01-02T03:04:05Z"}"#;
        let input = format!("{order}\n").repeat(1_100);
        let found = chunks(input.as_bytes());
        let sizes: Vec<_> = found.iter().map(|chunk| chunk.rows.len()).collect();
        assert_eq!(sizes, [500, 500, 100]);
        let bytes = u64::try_from(input.len()).unwrap();
        assert_eq!(found.last().unwrap().position, bytes);

        let lines = [r#"{"product_id":"a","quantity":1}"#; 100].join(",");
        let order = format!(r#"{{"items":[{lines}],"created_at":"2020-01-02T03:04:05Z"}}"#);
        let found = chunks(format!("{order}\n").repeat(25).as_bytes());
        assert_eq!(found[0].rows.len(), 20);

        let malformed = format!("{{{}\n", "x".repeat(MAX_BYTES / 4)).repeat(10);
        let found = chunks(malformed.as_bytes());
        assert!(found.len() > 1 && found[0].rejects.len() <= 4);
    }

    #[test]
    fn the_size_follows_the_time_of_the_transactions() {
        let size = ChunkSize::new();
        size.adapt(500, Duration::from_millis(160));
        assert_eq!(size.get(), 250);
        size.adapt(250, Duration::from_secs(10));
        assert_eq!(size.get(), 125);
        for _ in 0..20 {
            size.adapt(size.get(), Duration::from_millis(1));
        }
        assert_eq!(size.get(), ChunkSize::MAX);
        size.adapt(10, Duration::from_millis(1));
        assert_eq!(size.get(), ChunkSize::MAX);
        for _ in 0..20 {
            size.adapt(size.get(), Duration::from_secs(1));
        }
        assert_eq!(size.get(), ChunkSize::MIN);
    }
}
