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

use actix_web::http::{Method, Uri};
use httparse::Status;

use crate::api::{MAX_HEADER_BYTES, MAX_HEADERS, MAX_URI, Problem, Refusal, Slug};

/// The largest head that is read, in bytes: what the edge allows, and a rest for the punctuation.
pub(super) const MAX_HEAD: usize = MAX_URI + MAX_HEADER_BYTES + 4 * 1024;
/// The most headers that are read. Somewhat more than the edge allows, so that a request with a few
/// too many keeps its method and its path, and no more than Actix reads.
const ROOM: usize = 96;

/// How the body of a request is delimited (RFC 9112, section 6.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Length {
    /// So many bytes; none is no body.
    Bytes(u64),
    /// Chunked.
    Chunks,
}

/// A head that Actix may see.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Head {
    /// Its length in bytes.
    pub(super) bytes: usize,
    pub(super) length: Length,
    /// The client wants no response behind this one.
    pub(super) last: bool,
}

/// A head that is refused: the problem, and the bytes of a request to which it is the response.
#[derive(Debug)]
pub(super) struct Refused {
    pub(super) refusal: Refusal,
    pub(super) request: Vec<u8>,
}

/// Reads the head at the beginning of `bytes`; `None` when there is more of it to come.
///
/// A wish for an upgrade is overwritten in place.
pub(super) fn read(bytes: &mut [u8]) -> Result<Option<Head>, Box<Refused>> {
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
pub(super) fn too_slow() -> Box<Refused> {
    let nothing = httparse::Request::new(&mut []);
    refuse(&nothing, Slug::RequestTimeout.into())
}

fn malformed(what: String) -> Problem {
    Problem::new(Slug::MalformedRequest, what)
}

fn too_large() -> Problem {
    malformed(format!(
        "The path with its query must have at most {MAX_URI} bytes, and the headers at most \
         {MAX_HEADER_BYTES}."
    ))
}

/// The fields of a head that say how to read what follows.
struct Fields {
    length: Length,
    last: bool,
    /// Where the word `upgrade` stands. Empty, and so no allocation, but for who asks for one.
    upgrades: Vec<usize>,
}

impl Fields {
    /// Reads and checks them (RFC 9112, sections 3.2 and 6). `bytes` is where the request was parsed
    /// from.
    fn of(request: &httparse::Request<'_, '_>, bytes: &[u8]) -> Result<Self, &'static str> {
        let place = |part: &[u8]| part.as_ptr().addr().wrapping_sub(bytes.as_ptr().addr());
        let old = request.version == Some(0);
        let (mut hosts, mut close, mut keep) = (0_u32, false, false);
        let (mut content_length, mut chunked) = (None, false);
        let mut upgrades = Vec::new();
        for header in request.headers.iter() {
            let name = header.name;
            // The length first, as most fields are none of these.
            match name.len() {
                4 if name.eq_ignore_ascii_case("host") => hosts += 1,
                7 if name.eq_ignore_ascii_case("upgrade") => {
                    upgrades.push(place(name.as_bytes()));
                }
                10 if name.eq_ignore_ascii_case("connection") => {
                    for option in header.value.split(|byte| *byte == b',') {
                        let option = option.trim_ascii();
                        close |= option.eq_ignore_ascii_case(b"close");
                        keep |= option.eq_ignore_ascii_case(b"keep-alive");
                        if option.eq_ignore_ascii_case(b"upgrade") {
                            upgrades.push(place(option));
                        }
                    }
                }
                14 if name.eq_ignore_ascii_case("content-length") => {
                    if content_length.is_some() {
                        return Err("There must be one Content-Length.");
                    }
                    let number = decimal(header.value).ok_or("Content-Length must be a number.")?;
                    content_length = Some(number);
                }
                17 if name.eq_ignore_ascii_case("transfer-encoding") => {
                    if chunked || !header.value.trim_ascii().eq_ignore_ascii_case(b"chunked") {
                        return Err("The only Transfer-Encoding that is understood is chunked.");
                    }
                    chunked = true;
                }
                _ => {}
            }
        }
        if !is_target(request.method, request.path.unwrap_or_default())
            || !is_method(request.method)
        {
            return Err("The method or the target of the request is malformed.");
        }
        match (old, hosts) {
            (_, 2..) => return Err("There must be one Host."),
            (false, 0) => return Err("A request in HTTP/1.1 must have a Host."),
            _ => {}
        }
        let length = match (content_length, chunked) {
            (Some(_), true) => {
                return Err("There must be a Content-Length or a Transfer-Encoding, not both.");
            }
            (None, true) if old => return Err("There is no Transfer-Encoding in HTTP/1.0."),
            (None, true) => Length::Chunks,
            // RFC 1945, section 7.2.2.
            (None, false) if old && request.method == Some("POST") => {
                return Err("A POST in HTTP/1.0 must have a Content-Length.");
            }
            (length, false) => Length::Bytes(length.unwrap_or(0)),
        };
        // What follows CONNECT is no HTTP.
        let tunnel = request.method == Some("CONNECT");
        Ok(Self {
            length,
            last: close || old && !keep || tunnel,
            upgrades,
        })
    }
}

fn decimal(value: &[u8]) -> Option<u64> {
    let text = std::str::from_utf8(value.trim_ascii()).ok()?;
    let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    text.parse().ok().filter(|_| digits)
}

/// Whether Actix takes it for the target of a request.
fn is_path(path: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"/-._~?&=%:,+@!$'()*;".contains(&byte);
    // The usual ones need no `Uri`, which would be an allocation.
    path.starts_with('/') && path.len() <= MAX_URI && path.bytes().all(plain)
        || path.parse::<Uri>().is_ok()
}

/// Whether it is a target of this method (RFC 9112, section 3.2).
fn is_target(method: Option<&str>, path: &str) -> bool {
    let form = match method {
        Some("CONNECT") => true,
        Some("OPTIONS") if path == "*" => true,
        _ => path.starts_with('/') || path.contains("://"),
    };
    form && is_path(path)
}

fn is_method(method: Option<&str>) -> bool {
    method.is_some_and(|method| Method::from_bytes(method.as_bytes()).is_ok())
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
        refusal: Refusal { problem, readable },
        request: text.into_bytes(),
    })
}

#[cfg(test)]
mod tests;
