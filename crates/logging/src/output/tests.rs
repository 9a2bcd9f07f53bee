use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc;

use super::*;

const TIMEOUT: Duration = Duration::from_secs(5);

/// An output that blocks until its reader reads.
struct Pipe(mpsc::SyncSender<Vec<u8>>);

impl Write for Pipe {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let sent = self.0.send(bytes.to_vec());
        sent.map_err(|_| ErrorKind::BrokenPipe)?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn notice(dropped: u64) -> Vec<u8> {
    format!("dropped {dropped}").into_bytes()
}

fn output(capacity: usize) -> (Output, mpsc::Receiver<Vec<u8>>) {
    let (sender, receiver) = mpsc::sync_channel(0);
    (
        Output::start(Pipe(sender), capacity, notice).unwrap(),
        receiver,
    )
}

fn counted(output: &Output) -> Arc<AtomicU64> {
    let count = Arc::new(AtomicU64::new(0));
    let counter = Arc::clone(&count);
    output.count_with(move |more| {
        counter.fetch_add(more, Ordering::SeqCst);
    });
    count
}

fn read(receiver: &mpsc::Receiver<Vec<u8>>) -> String {
    String::from_utf8(receiver.recv_timeout(TIMEOUT).unwrap()).unwrap()
}

#[test]
fn lines_are_written_completely_and_in_order() {
    let (mut output, receiver) = output(1000);
    let reader = std::thread::spawn(move || (0..3).map(|_| read(&receiver)).collect::<Vec<_>>());
    for line in ["one", "two", "three"] {
        assert_eq!(output.write(line.as_bytes()).unwrap(), line.len());
    }
    assert!(Output::flush(&output, TIMEOUT));
    assert_eq!(reader.join().unwrap(), ["one", "two", "three"]);
}

#[test]
fn lines_above_the_capacity_are_dropped_counted_and_reported() {
    // Ten lines of one byte fit.
    let (mut output, receiver) = output(10 * (1 + LINE_OVERHEAD));
    let start = Instant::now();
    for _ in 0..50 {
        output.write_all(b"x").unwrap();
    }
    let count = counted(&output);
    for _ in 0..50 {
        output.write_all(b"x").unwrap();
    }
    assert!(!Output::flush(&output, Duration::from_millis(50)));
    assert!(start.elapsed() < TIMEOUT);
    // The thread may have taken one line out of the queue.
    let dropped = count.load(Ordering::SeqCst);
    assert!((89..=90).contains(&dropped), "{dropped}");
    let kept = 100 - dropped;
    for _ in 0..kept {
        assert_eq!(read(&receiver), "x");
    }
    assert_eq!(read(&receiver), format!("dropped {dropped}"));
    output.write_all(b"y").unwrap();
    assert_eq!(read(&receiver), "y");
    assert!(Output::flush(&output, TIMEOUT));
    assert_eq!(count.load(Ordering::SeqCst), dropped);
}

#[test]
fn the_notice_takes_the_place_of_the_missing_lines() {
    let (mut output, receiver) = output(4 * (1 + LINE_OVERHEAD));
    for _ in 0..10 {
        output.write_all(b"x").unwrap();
    }
    // Now a line and the notice fit.
    for _ in 0..4 {
        assert_eq!(read(&receiver), "x");
    }
    output.write_all(b"y").unwrap();
    let mut rest: Vec<_> = (0..2).map(|_| read(&receiver)).collect();
    if rest[0] == "x" {
        // The thread had taken one line out of the queue.
        rest.remove(0);
        rest.push(read(&receiver));
    }
    assert!(rest[0].starts_with("dropped "), "{rest:?}");
    assert_eq!(rest[1], "y");
}

#[test]
fn a_closed_output_drops_lines_without_blocking() {
    let (mut output, receiver) = output(1000);
    let count = counted(&output);
    drop(receiver);
    output.write_all(b"x").unwrap();
    assert!(Output::flush(&output, TIMEOUT));
    assert_eq!(count.load(Ordering::SeqCst), 1);
}
