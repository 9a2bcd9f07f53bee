//! Reads chunked bodies, and writes them anew in larger chunks (RFC 9112, section 7.1).
//!
//! Actix keeps every chunk as a value of its own, so that chunks of one byte would take some forty times
//! their size in memory.

use bytes::BytesMut;

/// The most bytes of the extensions of one chunk, or of all trailer fields.
const MAX_LINE: u32 = 8 * 1024;

/// The most digits of the size of a chunk that is written anew, with leading zeros.
const SIZE: usize = 8;

/// The coding is broken; what follows cannot be understood.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Broken;

/// Follows the coding of one body, and no further. It takes nothing that Actix does not take.
#[derive(Debug)]
pub(crate) struct Chunks {
    state: State,
    /// Bytes that are left of the chunk.
    left: u64,
    /// Bytes of the present extension, or of the trailer so far.
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

impl Chunks {
    pub(crate) fn new() -> Self {
        Self {
            state: State::SizeFirst,
            left: 0,
            line: 0,
        }
    }

    pub(crate) fn is_complete(&self) -> bool {
        self.state == State::End
    }

    /// How many of the bytes belong to the body. What they carry goes to the end of `data`.
    pub(crate) fn advance(&mut self, bytes: &[u8], data: &mut BytesMut) -> Result<usize, Broken> {
        let mut at = 0;
        while let Some(byte) = bytes.get(at)
            && self.state != State::End
        {
            if self.state == State::Data {
                let rest = bytes.len() - at;
                let take = usize::try_from(self.left).unwrap_or(rest).min(rest);
                self.left -= u64::try_from(take).unwrap_or(0);
                data.extend_from_slice(bytes.get(at..at + take).unwrap_or_default());
                at += take;
                if self.left == 0 {
                    self.state = State::DataCr;
                }
            } else {
                self.state = self.step(*byte)?;
                at += 1;
            }
        }
        Ok(at)
    }

    /// Follows the bytes like [`advance`](Self::advance), and appends what they carry to `out` as one
    /// chunk, and the end of the body when they reach it. Trailer fields are left out.
    pub(crate) fn rewrite(&mut self, bytes: &[u8], out: &mut BytesMut) -> Result<usize, Broken> {
        let start = out.len();
        out.extend_from_slice(&[b'0'; SIZE]);
        out.extend_from_slice(b"\r\n");
        let data = out.len();
        let here = self.advance(bytes, out)?;
        let length = out.len() - data;
        if length == 0 {
            out.truncate(start);
        } else {
            let size = format!("{length:0SIZE$x}");
            if let Some(place) = out.get_mut(start..start + SIZE) {
                place.copy_from_slice(size.get(..SIZE).unwrap_or_default().as_bytes());
            }
            out.extend_from_slice(b"\r\n");
        }
        if self.is_complete() {
            out.extend_from_slice(b"0\r\n\r\n");
        }
        Ok(here)
    }

    fn step(&mut self, byte: u8) -> Result<State, Broken> {
        Ok(match (self.state, byte) {
            (State::SizeFirst, _) => {
                self.left = 0;
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
            (State::SizeLf, b'\n') if self.left == 0 => State::LineStart,
            (State::SizeLf, b'\n') => State::Data,
            (State::DataCr, b'\r') => State::DataLf,
            (State::DataLf, b'\n') => State::SizeFirst,
            (State::LineStart, b'\r') => State::EndLf,
            (State::LineStart, b'!'..=b'~') => State::Trailer,
            (State::Trailer, b'\r') => State::TrailerLf,
            (State::TrailerLf, b'\n') => State::LineStart,
            (State::EndLf, b'\n') => State::End,
            _ => return Err(Broken),
        })
    }

    fn digit(&mut self, byte: u8) -> Result<State, Broken> {
        let digit = char::from(byte).to_digit(16).ok_or(Broken)?;
        let shifted = self.left.checked_mul(16).ok_or(Broken)?;
        self.left = shifted.checked_add(u64::from(digit)).ok_or(Broken)?;
        self.lengthen()?;
        Ok(State::Size)
    }

    fn lengthen(&mut self) -> Result<(), Broken> {
        self.line += 1;
        if self.line > MAX_LINE {
            return Err(Broken);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
