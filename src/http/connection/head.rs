//! Checks the head of a request before Actix sees it.
//!
//! Actix rejects a malformed head with a response that has no body and passes no middleware. It also treats
//! `Connection: Upgrade` as the end of HTTP/1.1 on the connection, although a server may ignore it (RFC 9110,
//! section 7.8). So this module reads each head first. It replaces a rejected head with a request to which the
//! edge responds with a problem, and overwrites the words that request an upgrade.
//!
//! Actix parses heads with the same parser, so both see the same fields. This module must reject everything that
//! Actix rejects.

use std::fmt::Write as _;
use std::mem::MaybeUninit;

use httparse::Status;

use super::fields::{FramingFields, Length, is_method, is_path};
use crate::http::activity::RejectedHead;
use crate::http::problem::Problem;
use crate::http::problem::kind::ProblemKind;
use crate::http::request::limits::{MAX_HEADER_BYTES, MAX_HEADERS, MAX_URI};

/// The maximum size of a head that is read, in bytes: the limits of the edge, plus an allowance for the
/// punctuation.
pub(crate) const MAX_HEAD: usize = MAX_URI + MAX_HEADER_BYTES + 4 * 1024;
/// The maximum number of headers that are read. It is somewhat above the limit of the edge, so that a request with
/// a few too many headers keeps its method and its path, and not above the limit of Actix.
const MAX_PARSED_HEADERS: usize = 96;

/// A head that may go to Actix.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Head {
    /// Its length in bytes.
    pub(crate) bytes: usize,
    pub(crate) length: Length,
    /// The client expects no response after this one.
    pub(crate) last: bool,
}

/// A rejected head and its replacement.
#[derive(Debug)]
pub(crate) struct Rejection {
    pub(crate) head: RejectedHead,
    /// The bytes of the request that Actix gets instead.
    pub(crate) request: Vec<u8>,
}

/// Reads the head at the beginning of `bytes`. Returns `None` if it is incomplete.
///
/// The words that request an upgrade are overwritten in place.
pub(crate) fn read(bytes: &mut [u8]) -> Result<Option<Head>, Box<Rejection>> {
    let mut headers = [const { MaybeUninit::uninit() }; MAX_PARSED_HEADERS];
    let mut request = httparse::Request::new(&mut []);
    let parsed = request.parse_with_uninit_headers(bytes, &mut headers);
    let length = match parsed {
        Ok(Status::Complete(length)) => length,
        Ok(Status::Partial) if bytes.len() < MAX_HEAD => return Ok(None),
        Ok(Status::Partial) => return Err(reject(&request, too_large())),
        Err(httparse::Error::TooManyHeaders) => {
            let what = format!("A request must have at most {MAX_HEADERS} headers.");
            return Err(reject(&request, malformed(what)));
        }
        Err(error) => {
            let what = format!("The request is not HTTP/1.1: {error}.");
            return Err(reject(&request, malformed(what)));
        }
    };
    let fields = match FramingFields::of(&request, bytes) {
        Ok(fields) => fields,
        Err(what) => return Err(reject(&request, malformed(what.to_owned()))),
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

/// Overwrites `upgrade`, as the name of a field and as an option of `Connection`, with a meaningless word of the
/// same length.
const IGNORED: &[u8; 7] = b"ignored";

/// Rejects a head that did not arrive in time.
pub(crate) fn too_slow() -> Box<Rejection> {
    let nothing = httparse::Request::new(&mut []);
    reject(&nothing, ProblemKind::RequestTimeout.into())
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

/// Replaces a head with a request that keeps its recognized parts, and has no body.
fn reject(request: &httparse::Request<'_, '_>, problem: Problem) -> Box<Rejection> {
    let method = request
        .method
        .filter(|method| *method != "CONNECT" && is_method(Some(method)));
    let path = request
        .path
        .filter(|path| path.starts_with('/') && path.len() <= MAX_URI && is_path(path));
    let readable = method.is_some() && path.is_some();
    let (method, path) = method.zip(path).unwrap_or(("REJECTED", "/"));
    let minor = request.version.unwrap_or(1).min(1);
    let mut text = format!(
        "{method} {path} HTTP/1.{minor}\r\nhost: rejected\r\ncontent-length: 0\r\nconnection: close\r\n"
    );
    // The edge decides whether the values are valid.
    for header in request.headers.iter() {
        let kept = ["x-request-id", "traceparent"];
        if kept
            .iter()
            .any(|name| header.name.eq_ignore_ascii_case(name))
            && let Ok(value) = std::str::from_utf8(header.value)
        {
            // Writing to a string cannot fail.
            let _ = write!(text, "{}: {value}\r\n", header.name);
        }
    }
    text.push_str("\r\n");
    Box::new(Rejection {
        head: RejectedHead { problem, readable },
        request: text.into_bytes(),
    })
}

#[cfg(test)]
mod tests;
