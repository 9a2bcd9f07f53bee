//! The header fields that determine how a request is read, and whether they are valid.

use actix_web::http::{Method, Uri};

use crate::http::request::limits::MAX_URI;

/// How the body of a request is delimited (RFC 9112, section 6.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Length {
    /// This many bytes; 0 is no body.
    Bytes(u64),
    /// Chunked.
    Chunks,
}

/// The header fields that determine how to read the bytes after the head.
pub(crate) struct FramingFields {
    pub(crate) length: Length,
    /// The client expects no response after this one.
    pub(crate) last: bool,
    /// The offsets of the word `upgrade`. Usually there are none, and so there is no allocation.
    pub(crate) upgrades: Vec<usize>,
}

impl FramingFields {
    /// Reads and checks the fields (RFC 9112, sections 3.2 and 6). `request` was parsed from `bytes`.
    ///
    /// # Errors
    /// The detail of the problem.
    pub(crate) fn of(
        request: &httparse::Request<'_, '_>,
        bytes: &[u8],
    ) -> Result<Self, &'static str> {
        let offset = |part: &[u8]| part.as_ptr().addr().wrapping_sub(bytes.as_ptr().addr());
        let http_1_0 = request.version == Some(0);
        let (mut hosts, mut close, mut keep) = (0_u32, false, false);
        let (mut content_length, mut chunked) = (None, false);
        let mut upgrades = Vec::new();
        for header in request.headers.iter() {
            let name = header.name;
            // The match compares the length first, because most fields are none of these.
            match name.len() {
                4 if name.eq_ignore_ascii_case("host") => hosts += 1,
                7 if name.eq_ignore_ascii_case("upgrade") => {
                    upgrades.push(offset(name.as_bytes()));
                }
                10 if name.eq_ignore_ascii_case("connection") => {
                    for option in header.value.split(|byte| *byte == b',') {
                        let option = option.trim_ascii();
                        close |= option.eq_ignore_ascii_case(b"close");
                        keep |= option.eq_ignore_ascii_case(b"keep-alive");
                        if option.eq_ignore_ascii_case(b"upgrade") {
                            upgrades.push(offset(option));
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
        match (http_1_0, hosts) {
            (_, 2..) => return Err("There must be one Host."),
            (false, 0) => return Err("A request in HTTP/1.1 must have a Host."),
            _ => {}
        }
        let length = match (content_length, chunked) {
            (Some(_), true) => {
                return Err("There must be a Content-Length or a Transfer-Encoding, not both.");
            }
            (None, true) if http_1_0 => return Err("There is no Transfer-Encoding in HTTP/1.0."),
            (None, true) => Length::Chunks,
            // RFC 1945, section 7.2.2.
            (None, false) if http_1_0 && request.method == Some("POST") => {
                return Err("A POST in HTTP/1.0 must have a Content-Length.");
            }
            (length, false) => Length::Bytes(length.unwrap_or(0)),
        };
        // The bytes after a CONNECT request are not HTTP.
        let tunnel = request.method == Some("CONNECT");
        Ok(Self {
            length,
            last: close || http_1_0 && !keep || tunnel,
            upgrades,
        })
    }
}

fn decimal(value: &[u8]) -> Option<u64> {
    let text = std::str::from_utf8(value.trim_ascii()).ok()?;
    let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    text.parse().ok().filter(|_| digits)
}

/// Whether Actix accepts `path` as the target of a request.
pub(crate) fn is_path(path: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"/-._~?&=%:,+@!$'()*;".contains(&byte);
    // A usual path avoids the parse into a `Uri`, which would allocate.
    path.starts_with('/') && path.len() <= MAX_URI && path.bytes().all(plain)
        || path.parse::<Uri>().is_ok()
}

/// Whether `path` is a valid target for this method (RFC 9112, section 3.2).
fn is_target(method: Option<&str>, path: &str) -> bool {
    let form = match method {
        Some("CONNECT") => true,
        Some("OPTIONS") if path == "*" => true,
        _ => path.starts_with('/') || path.contains("://"),
    };
    form && is_path(path)
}

pub(crate) fn is_method(method: Option<&str>) -> bool {
    method.is_some_and(|method| Method::from_bytes(method.as_bytes()).is_ok())
}
