//! Reads chunked bodies, and encodes them again in larger chunks (RFC 9112, section 7.1).
//!
//! Actix keeps every chunk as a separate value, so chunks of one byte would occupy about forty times their size in
//! memory.

use bytes::BytesMut;

/// The maximum number of bytes of the extensions of one chunk, or of all trailer fields.
const MAX_LINE: u32 = 8 * 1024;

/// The number of digits of the size of a chunk that is written, with leading zeros.
const SIZE_DIGITS: usize = 8;

/// The coding is malformed, so the bytes after it cannot be interpreted.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct MalformedChunks;

/// Decodes one body, up to its end. It rejects everything that Actix rejects.
#[derive(Debug)]
pub(crate) struct Decoder {
    state: State,
    /// The bytes of the chunk that are still to come.
    remaining: u64,
    /// The bytes read so far of the current extension, or of the trailer.
    line: u32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    SizeFirst,
    Size,
    AfterSize,
    Extension,
    SizeLf,
    Data,
    DataCr,
    DataLf,
    LineStart,
    Trailer,
    TrailerLf,
    EndLf,
    End,
}

impl Decoder {
    pub(crate) fn new() -> Self {
        Self {
            state: State::SizeFirst,
            remaining: 0,
            line: 0,
        }
    }

    pub(crate) fn is_complete(&self) -> bool {
        self.state == State::End
    }

    /// Decodes `bytes`, appends the data to `data`, and returns how many of the bytes belong to the body.
    pub(crate) fn decode(
        &mut self,
        bytes: &[u8],
        data: &mut BytesMut,
    ) -> Result<usize, MalformedChunks> {
        let mut at = 0;
        while let Some(byte) = bytes.get(at)
            && self.state != State::End
        {
            if self.state == State::Data {
                let available = bytes.len() - at;
                let take = usize::try_from(self.remaining)
                    .unwrap_or(available)
                    .min(available);
                self.remaining -= u64::try_from(take).unwrap_or(0);
                data.extend_from_slice(bytes.get(at..at + take).unwrap_or_default());
                at += take;
                if self.remaining == 0 {
                    self.state = State::DataCr;
                }
            } else {
                self.state = self.step(*byte)?;
                at += 1;
            }
        }
        Ok(at)
    }

    /// Like [`decode`](Self::decode), but appends the data to `out` as one chunk, followed by the end of the body
    /// when it is reached. Trailer fields are dropped.
    pub(crate) fn recode(
        &mut self,
        bytes: &[u8],
        out: &mut BytesMut,
    ) -> Result<usize, MalformedChunks> {
        let start = out.len();
        out.extend_from_slice(&[b'0'; SIZE_DIGITS]);
        out.extend_from_slice(b"\r\n");
        let data = out.len();
        let used = self.decode(bytes, out)?;
        let length = out.len() - data;
        if length == 0 {
            out.truncate(start);
        } else {
            let size = format!("{length:0SIZE_DIGITS$x}");
            if let Some(digits) = out.get_mut(start..start + SIZE_DIGITS) {
                digits.copy_from_slice(size.get(..SIZE_DIGITS).unwrap_or_default().as_bytes());
            }
            out.extend_from_slice(b"\r\n");
        }
        if self.is_complete() {
            out.extend_from_slice(b"0\r\n\r\n");
        }
        Ok(used)
    }

    fn step(&mut self, byte: u8) -> Result<State, MalformedChunks> {
        Ok(match (self.state, byte) {
            (State::SizeFirst, _) => {
                self.remaining = 0;
                self.digit(byte)?
            }
            (State::Size | State::AfterSize | State::Extension, b'\r') => {
                self.line = 0;
                State::SizeLf
            }
            (State::Size | State::AfterSize, b'\t' | b' ') => {
                self.lengthen()?;
                State::AfterSize
            }
            (State::Size | State::AfterSize, b';') => State::Extension,
            (State::Size, _) => self.digit(byte)?,
            (State::Extension | State::Trailer, b'\t' | b' '..=b'~' | 0x80..) => {
                self.lengthen()?;
                self.state
            }
            (State::SizeLf, b'\n') if self.remaining == 0 => State::LineStart,
            (State::SizeLf, b'\n') => State::Data,
            (State::DataCr, b'\r') => State::DataLf,
            (State::DataLf, b'\n') => State::SizeFirst,
            (State::LineStart, b'\r') => State::EndLf,
            (State::LineStart, b'!'..=b'~') => State::Trailer,
            (State::Trailer, b'\r') => State::TrailerLf,
            (State::TrailerLf, b'\n') => State::LineStart,
            (State::EndLf, b'\n') => State::End,
            _ => return Err(MalformedChunks),
        })
    }

    fn digit(&mut self, byte: u8) -> Result<State, MalformedChunks> {
        let digit = char::from(byte).to_digit(16).ok_or(MalformedChunks)?;
        let shifted = self.remaining.checked_mul(16).ok_or(MalformedChunks)?;
        self.remaining = shifted
            .checked_add(u64::from(digit))
            .ok_or(MalformedChunks)?;
        self.lengthen()?;
        Ok(State::Size)
    }

    fn lengthen(&mut self) -> Result<(), MalformedChunks> {
        self.line += 1;
        if self.line > MAX_LINE {
            return Err(MalformedChunks);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
