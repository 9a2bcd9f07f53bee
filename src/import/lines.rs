//! The lines of an input, of bounded length.

use std::io::{self, BufRead};

use crate::order_json::LONGEST_ORDER;

/// The maximum length of a line in bytes, without its line end. JSON may escape a character of four bytes as
/// `\ud83d\ude00`, which takes three times as many, and may have spaces.
pub(super) const MAX_LINE_BYTES: usize = 4 * LONGEST_ORDER;

/// The bytes of a line that is too long that a reject shows.
const SHOWN_BYTES: usize = 256;

/// The byte order mark of UTF-8, which some programs write at the beginning of a file.
const BYTE_ORDER_MARK: &[u8] = "\u{feff}".as_bytes();

/// A line that is not blank.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Line<'a> {
    /// From 1 on. Blank lines count as well.
    pub(super) number: u64,
    pub(super) text: Text<'a>,
}

/// The text of a line without its line end.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Text<'a> {
    Complete(&'a [u8]),
    /// The line is too long. These are its first bytes.
    TooLong(&'a [u8]),
}

/// Reads lines. At most [`MAX_LINE_BYTES`] of a line are in memory.
pub(super) struct Lines<R> {
    input: R,
    line: Vec<u8>,
    number: u64,
    /// The bytes read so far.
    bytes: u64,
}

impl<R: BufRead> Lines<R> {
    pub(super) fn new(input: R) -> Self {
        Self {
            input,
            line: Vec::new(),
            number: 0,
            bytes: 0,
        }
    }

    /// The number of bytes of all lines that have been read.
    pub(super) fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Reads the next line that is not blank. The last line need not have a line end.
    pub(super) fn next(&mut self) -> io::Result<Option<Line<'_>>> {
        loop {
            let Some(too_long) = self.read_line()? else {
                return Ok(None);
            };
            if !too_long && self.text().trim_ascii().is_empty() {
                continue;
            }
            break;
        }
        let number = self.number;
        let text = self.text();
        let text = if text.len() > MAX_LINE_BYTES {
            Text::TooLong(text.get(..SHOWN_BYTES).unwrap_or(text))
        } else {
            Text::Complete(text)
        };
        Ok(Some(Line { number, text }))
    }

    /// The line without its line end, which may be CR LF, and without a byte order mark.
    fn text(&self) -> &[u8] {
        let line = self.line.strip_suffix(b"\n").unwrap_or(&self.line);
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        if self.number == 1 {
            line.strip_prefix(BYTE_ORDER_MARK).unwrap_or(line)
        } else {
            line
        }
    }

    /// Reads a line into `line`, and only its beginning if it is too long. Returns whether it is, or `None` at the end.
    fn read_line(&mut self) -> io::Result<Option<bool>> {
        self.line.clear();
        let mut ended = false;
        let mut found = false;
        while !ended {
            let available = match self.input.fill_buf() {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                available => available?,
            };
            if available.is_empty() {
                break;
            }
            found = true;
            let end = available.iter().position(|byte| *byte == b'\n');
            ended = end.is_some();
            let part = end.map_or(available.len(), |end| end + 1);
            // One byte more than a line may have, its line end and a byte order mark.
            let space =
                (MAX_LINE_BYTES + 1 + 2 + BYTE_ORDER_MARK.len()).saturating_sub(self.line.len());
            let kept = available.get(..part.min(space)).unwrap_or_default();
            self.line.extend_from_slice(kept);
            self.input.consume(part);
            self.bytes += u64::try_from(part).unwrap_or_default();
        }
        if !found {
            return Ok(None);
        }
        self.number += 1;
        Ok(Some(self.text().len() > MAX_LINE_BYTES))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(input: &[u8]) -> Vec<(u64, Result<Vec<u8>, usize>)> {
        // A small buffer, so that lines have several parts.
        let mut lines = Lines::new(io::BufReader::with_capacity(7, input));
        let mut found = Vec::new();
        while let Some(line) = lines.next().unwrap() {
            let text = match line.text {
                Text::Complete(text) => Ok(text.to_vec()),
                Text::TooLong(text) => Err(text.len()),
            };
            found.push((line.number, text));
        }
        assert_eq!(lines.bytes(), u64::try_from(input.len()).unwrap());
        found
    }

    #[test]
    fn line_ends_blank_lines_and_a_byte_order_mark_are_no_content() {
        let input = b"\xef\xbb\xbf{\"a\":1}\r\n\n \t\r\n{}\n\xef\xbb\xbf{}";
        let expected = [
            (1, Ok(b"{\"a\":1}".to_vec())),
            (4, Ok(b"{}".to_vec())),
            (5, Ok(b"\xef\xbb\xbf{}".to_vec())),
        ];
        assert_eq!(lines(input), expected);
        assert_eq!(lines(b"\xef\xbb\xbf"), []);
        assert_eq!(lines(b""), []);
        assert_eq!(lines(b"\0\n"), [(1, Ok(b"\0".to_vec()))]);
    }

    #[test]
    fn only_the_beginning_of_a_line_that_is_too_long_is_in_memory() {
        let longest = vec![b'x'; MAX_LINE_BYTES];
        let too_long = vec![b'y'; MAX_LINE_BYTES + 1];
        let huge = vec![b' '; 5 * MAX_LINE_BYTES];
        let input =
            [&longest, &too_long, &huge, &b"z".to_vec()].map(|line| [line, &b"\r\n"[..]].concat());
        let expected = [
            (1, Ok(longest.clone())),
            (2, Err(SHOWN_BYTES)),
            (3, Err(SHOWN_BYTES)),
            (4, Ok(b"z".to_vec())),
        ];
        assert_eq!(lines(&input.concat()), expected);
        let mut lines = Lines::new(&huge[..]);
        lines.next().unwrap();
        assert!(lines.line.capacity() <= 2 * (MAX_LINE_BYTES + 10));
    }
}
