use super::*;

fn head(text: &str) -> Result<Option<Head>, Box<Rejection>> {
    read(&mut text.as_bytes().to_vec())
}

fn accepted(text: &str) -> Head {
    head(text).unwrap().unwrap()
}

#[test]
fn a_head_determines_the_length_of_its_request_and_whether_another_may_follow() {
    for (text, length, last) in [
        ("GET / HTTP/1.1\r\nHost: x\r\n\r\n", Length::Bytes(0), false),
        (
            "POST /a HTTP/1.1\r\nhost: x\r\nCONTENT-LENGTH: 12 \r\n\r\n",
            Length::Bytes(12),
            false,
        ),
        (
            "POST /a HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: Chunked\r\n\r\n",
            Length::Chunks,
            false,
        ),
        (
            "GET / HTTP/1.1\r\nHost: x\r\nConnection: te, Close\r\n\r\n",
            Length::Bytes(0),
            true,
        ),
        ("GET / HTTP/1.0\r\n\r\n", Length::Bytes(0), true),
        (
            "GET / HTTP/1.0\r\nConnection: Keep-Alive\r\n\r\n",
            Length::Bytes(0),
            false,
        ),
        (
            "GET /{ HTTP/1.0\r\nConnection: Keep-Alive, close\r\n\r\n",
            Length::Bytes(0),
            true,
        ),
        (
            "CONNECT x:1 HTTP/1.1\r\nHost: x\r\n\r\n",
            Length::Bytes(0),
            true,
        ),
    ] {
        let expected = Head {
            bytes: text.len(),
            length,
            last,
        };
        assert_eq!(accepted(text), expected, "{text}");
        assert_eq!(
            head(text.strip_suffix('\n').unwrap()).unwrap(),
            None,
            "{text}"
        );
        assert_eq!(accepted(&format!("{text}more")), expected, "{text}");
    }
}

#[test]
fn a_request_for_an_upgrade_is_overwritten() {
    let mut text =
        b"POST / HTTP/1.1\r\nConnection: Upgrade, HTTP2-Settings\r\nHost: x\r\nUpgrade: h2c\r\n\
        X-Upgrade: upgrade\r\nConnection:keep-alive,upgrade\r\n\r\nConnection: Upgrade"
            .to_vec();
    let head = read(&mut text).unwrap().unwrap();
    assert!(!head.last);
    assert_eq!(
        String::from_utf8(text).unwrap(),
        "POST / HTTP/1.1\r\nConnection: ignored, HTTP2-Settings\r\nHost: x\r\nignored: h2c\r\n\
        X-Upgrade: upgrade\r\nConnection:keep-alive,ignored\r\n\r\nConnection: Upgrade"
    );
}

#[test]
fn a_rejected_head_is_replaced_with_a_request_that_is_accepted() {
    let many = "X: y\r\n".repeat(97);
    let large = "x".repeat(MAX_HEAD);
    for (text, like) in [
        ("POST /a HTTP/1.1\r\n\r\n", "POST /a HTTP/1.1"),
        (
            "POST /a HTTP/1.1\r\nHost: x\r\nHost: x\r\nX-Request-Id: me\r\n\r\n",
            "POST /a HTTP/1.1",
        ),
        (
            "GET / HTTP/1.0\r\nHost: x\r\nHost: y\r\n\r\n",
            "GET / HTTP/1.0",
        ),
        ("POST /a HTTP/1.0\r\n\r\n", "POST /a HTTP/1.0"),
        (
            "POST /a HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n",
            "POST /a HTTP/1.0",
        ),
        (
            "POST /a HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\nContent-Length: 1\r\n\r\n",
            "POST /a",
        ),
        (
            "POST /a HTTP/1.1\r\nHost: x\r\nContent-Length: +1\r\n\r\n",
            "POST /a",
        ),
        (
            "POST /a HTTP/1.1\r\nHost: x\r\nContent-Length: 1, 1\r\n\r\n",
            "POST /a",
        ),
        (
            "POST /a HTTP/1.1\r\nHost: x\r\nContent-Length:\r\n\r\n",
            "POST /a",
        ),
        (
            "POST /a HTTP/1.1\r\nHost: x\r\nContent-Length: 99999999999999999999\r\n\r\n",
            "POST /a",
        ),
        (
            "POST /a HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: gzip, chunked\r\n\r\n",
            "POST /a",
        ),
        (
            "POST /a HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: identity\r\n\r\n",
            "POST /a",
        ),
        (
            "POST /a HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n",
            "POST /a",
        ),
        (
            "POST /a HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\nContent-Length: 1\r\n\r\n",
            "POST /a",
        ),
        (
            "POST /a HTTP/1.1\r\nHost: x\r\nContent-Length : 1\r\n\r\n",
            "POST /a",
        ),
        (
            "GET /a HTTP/1.1\r\nHost: x\r\nX: y\r\n folded\r\n\r\n",
            "GET /a",
        ),
        ("GET a HTTP/1.1\r\nHost: x y\r\n\r\n", "REJECTED / "),
        ("CONNECT a HTTP/1.1\r\n\r\n", "REJECTED / "),
        ("GET / HTTP/2.0\r\n\r\n", "GET / HTTP/1.1"),
        ("\u{16}\u{3}\u{1}", "REJECTED / "),
        (&format!("GET /a HTTP/1.1\r\n{many}\r\n"), "GET /a"),
        (&format!("GET /a HTTP/1.1\r\nX: {large}"), "GET /a"),
        (&format!("GET /{large}"), "REJECTED / "),
    ] {
        let rejection = head(text).expect_err(text);
        let request = String::from_utf8(rejection.request).unwrap();
        assert!(request.starts_with(like), "{text}: {request}");
        assert_eq!(rejection.head.readable, !like.starts_with("REJECTED"));
        assert_eq!(
            request.contains("X-Request-Id: me"),
            text.contains("me\r\n")
        );
        let again = accepted(&request);
        assert_eq!(again.bytes, request.len());
        assert!(again.last);
    }
}
