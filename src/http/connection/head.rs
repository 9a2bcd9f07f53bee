//! Checks the head of a request before Actix sees it.
//!
//! Actix answers a head that it does not take without a body and past every middleware. It also
//! takes `Connection: Upgrade` for a wish to leave HTTP/1.1 for good, which RFC 9110, section 7.8,
//! lets a server ignore. So a head is read here first: what is refused goes on as a request that the
//! edge answers with a problem, and what asks for an upgrade loses the words that ask for it.
//!
//! Actix reads heads with the same parser, so both see the same fields. Whatever it refuses must be
//! refused here.

use std::fmt::Write as _;
use std::mem::MaybeUninit;

use httparse::Status;

use super::fields::{Fields, Length, is_method, is_path};
use crate::http::{MAX_HEADER_BYTES, MAX_HEADERS, MAX_URI, Problem, ProblemKind, RejectedHead};

/// The largest head that is read, in bytes: what the edge allows, and a rest for the punctuation.
pub(crate) const MAX_HEAD: usize = MAX_URI + MAX_HEADER_BYTES + 4 * 1024;
/// The most headers that are read. Somewhat more than the edge allows, so that a request with a few
/// too many keeps its method and its path, and no more than Actix reads.
const ROOM: usize = 96;

/// A head that Actix may see.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Head {
    /// Its length in bytes.
    pub(crate) bytes: usize,
    pub(crate) length: Length,
    /// The client wants no response behind this one.
    pub(crate) last: bool,
}

/// A head that is refused: the problem, and the bytes of a request to which it is the response.
#[derive(Debug)]
pub(crate) struct Refused {
    pub(crate) refusal: RejectedHead,
    pub(crate) request: Vec<u8>,
}

/// Reads the head at the beginning of `bytes`; `None` when there is more of it to come.
///
/// A wish for an upgrade is overwritten in place.
pub(crate) fn read(bytes: &mut [u8]) -> Result<Option<Head>, Box<Refused>> {
    let mut room = [const { MaybeUninit::uninit() }; ROOM];
    let mut request = httparse::Request::new(&mut []);
    let parsed = request.parse_with_uninit_headers(bytes, &mut room);
    let length = match parsed {
        Ok(Status::Complete(length)) => length,
        Ok(Status::Partial) if bytes.len() < MAX_HEAD => return Ok(None),
        Ok(Status::Partial) => return Err(refuse(&request, too_large())),
        Err(httparse::Error::TooManyHeaders) => {
            let what = format!("A request must have at most {MAX_HEADERS} headers.");
            return Err(refuse(&request, malformed(what)));
        }
        Err(error) => {
            let what = format!("The request is not HTTP/1.1: {error}.");
            return Err(refuse(&request, malformed(what)));
        }
    };
    let fields = match Fields::of(&request, bytes) {
        Ok(fields) => fields,
        Err(what) => return Err(refuse(&request, malformed(what.to_owned()))),
    };
    let head = Head {
        bytes: length,
        length: fields.length,
        last: fields.last,
    };
    for at in fields.upgrades {
        if let Some(word) = at
            .checked_add(IGNORED.len())
            .and_then(|end| bytes.get_mut(at..end))
        {
            word.copy_from_slice(IGNORED);
        }
    }
    Ok(Some(head))
}

/// What overwrites `upgrade`, the name of a field and an option of `Connection`: a word as long that
/// means nothing.
const IGNORED: &[u8; 7] = b"ignored";

/// The refusal of a head that did not come in time.
pub(crate) fn too_slow() -> Box<Refused> {
    let nothing = httparse::Request::new(&mut []);
    refuse(&nothing, ProblemKind::RequestTimeout.into())
}

fn malformed(what: String) -> Problem {
    Problem::new(ProblemKind::MalformedRequest, what)
}

fn too_large() -> Problem {
    malformed(format!(
        "The path with its query must have at most {MAX_URI} bytes, and the headers at most \
         {MAX_HEADER_BYTES}."
    ))
}

/// A request that stands for a refused one: as much of that as was understood, and no body.
fn refuse(request: &httparse::Request<'_, '_>, problem: Problem) -> Box<Refused> {
    let method = request
        .method
        .filter(|method| *method != "CONNECT" && is_method(Some(method)));
    let path = request
        .path
        .filter(|path| path.starts_with('/') && path.len() <= MAX_URI && is_path(path));
    let readable = method.is_some() && path.is_some();
    let (method, path) = method.zip(path).unwrap_or(("REFUSED", "/"));
    let minor = request.version.unwrap_or(1).min(1);
    let mut text = format!(
        "{method} {path} HTTP/1.{minor}\r\nhost: refused\r\ncontent-length: 0\r\nconnection: close\r\n"
    );
    // The edge decides whether they are any good.
    for header in request.headers.iter() {
        let wanted = ["x-request-id", "traceparent"];
        if wanted
            .iter()
            .any(|name| header.name.eq_ignore_ascii_case(name))
            && let Ok(value) = std::str::from_utf8(header.value)
        {
            // Writing to a string cannot fail.
            let _ = write!(text, "{}: {value}\r\n", header.name);
        }
    }
    text.push_str("\r\n");
    Box::new(Refused {
        refusal: RejectedHead { problem, readable },
        request: text.into_bytes(),
    })
}

#[cfg(test)]
mod tests;
