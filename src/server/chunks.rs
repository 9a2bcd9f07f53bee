//! Where a chunked body ends (RFC 9112, section 7.1).

/// The most bytes of the extensions of one chunk, or of all trailer fields.
const MAX_LINE: u32 = 8 * 1024;

/// The coding is broken; what follows cannot be understood.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Broken;

/// Follows the coding of one body, and no further. It takes nothing that Actix does not take.
#[derive(Debug)]
pub(super) struct Chunks {
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
    pub(super) fn new() -> Self {
        Self {
            state: State::SizeFirst,
            left: 0,
            line: 0,
        }
    }

    pub(super) fn is_complete(&self) -> bool {
        self.state == State::End
    }

    /// How many of the bytes belong to the body.
    pub(super) fn advance(&mut self, bytes: &[u8]) -> Result<usize, Broken> {
        let mut at = 0;
        while let Some(byte) = bytes.get(at)
            && self.state != State::End
        {
            if self.state == State::Data {
                let rest = bytes.len() - at;
                let take = usize::try_from(self.left).unwrap_or(rest).min(rest);
                self.left -= u64::try_from(take).unwrap_or(0);
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
mod tests {
    use super::*;

    /// How many bytes the body has, if it is complete; the same byte by byte.
    fn whole(text: &str) -> Result<Option<usize>, Broken> {
        let (mut at_once, mut by_byte) = (Chunks::new(), Chunks::new());
        let end = at_once.advance(text.as_bytes());
        let slowly = text.bytes().try_fold(0, |taken, byte| {
            by_byte.advance(&[byte]).map(|more| taken + more)
        });
        if slowly != end || at_once.is_complete() != by_byte.is_complete() {
            return Ok(Some(usize::MAX));
        }
        end.map(|end| at_once.is_complete().then_some(end))
    }

    #[test]
    fn a_body_ends_where_it_ends() {
        for (body, next) in [
            ("0\r\n\r\n", ""),
            ("5\r\nhello\r\n0\r\n\r\n", "GET / HTTP/1.1\r\n"),
            (
                "5;a=b\r\nhello\r\nA \r\n0123456789\r\n000\r\nX: y\r\nZ: \r\n\r\n",
                "G",
            ),
        ] {
            assert_eq!(whole(&format!("{body}{next}")), Ok(Some(body.len())));
        }
        for half in ["", "5", "5\r\nhel", "0\r\n", "0\r\nX: y\r\n"] {
            assert_eq!(whole(half), Ok(None), "{half:?}");
        }
    }

    #[test]
    fn what_is_no_chunk_is_broken() {
        let long = format!("5;{}\r\n", "x".repeat(9_000));
        for bad in [
            "x",
            "-1\r\n",
            "\r\n",
            "5\nhello",
            "5\r\nhelloX",
            "5\r\nhello\n",
            "5;\u{1}\r\n",
            "fffffffffffffffff\r\n",
            "0\r\n\n",
            "0\r\n X: y\r\n\r\n",
            "0\r\nX: y\n\r\n",
            &long,
        ] {
            assert_eq!(whole(bad), Err(Broken), "{bad:?}");
        }
    }
}
