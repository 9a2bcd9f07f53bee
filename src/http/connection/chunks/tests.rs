use super::*;

/// The length of the body, if it is complete. Checks that decoding byte by byte gives the same result.
fn complete(text: &str) -> Result<Option<usize>, MalformedChunks> {
    let mut data = BytesMut::new();
    let (mut at_once, mut by_byte) = (Decoder::new(), Decoder::new());
    let end = at_once.decode(text.as_bytes(), &mut data);
    let slowly = text.bytes().try_fold(0, |taken, byte| {
        by_byte.decode(&[byte], &mut data).map(|more| taken + more)
    });
    if slowly != end || at_once.is_complete() != by_byte.is_complete() {
        return Ok(Some(usize::MAX));
    }
    end.map(|end| at_once.is_complete().then_some(end))
}

#[test]
fn nothing_after_the_end_of_a_body_is_read() {
    for (body, next) in [
        ("0\r\n\r\n", ""),
        ("5\r\nhello\r\n0\r\n\r\n", "GET / HTTP/1.1\r\n"),
        (
            "5;a=b\r\nhello\r\nA \r\n0123456789\r\n000\r\nX: y\r\nZ: \r\n\r\n",
            "G",
        ),
    ] {
        assert_eq!(complete(&format!("{body}{next}")), Ok(Some(body.len())));
    }
    for half in ["", "5", "5\r\nhel", "0\r\n", "0\r\nX: y\r\n"] {
        assert_eq!(complete(half), Ok(None), "{half:?}");
    }
}

#[test]
fn many_small_chunks_become_one() {
    let mut out = BytesMut::new();
    let mut decoder = Decoder::new();
    let used = decoder.recode(b"1\r\na\r\n1;x\r\nb\r\n3\r\nc", &mut out);
    assert_eq!(used, Ok(18));
    assert_eq!(out, "00000003\r\nabc\r\n");
    out.clear();
    assert_eq!(decoder.recode(b"d", &mut out), Ok(1));
    assert_eq!(out, "00000001\r\nd\r\n");
    out.clear();
    assert_eq!(decoder.recode(b"e\r\n0\r", &mut out), Ok(5));
    assert_eq!(out, "00000001\r\ne\r\n");
    out.clear();
    assert_eq!(decoder.recode(b"\nX: y\r\n\r\nGET", &mut out), Ok(9));
    assert_eq!(out, "0\r\n\r\n");
}

#[test]
fn malformed_chunks_are_rejected() {
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
        assert_eq!(complete(bad), Err(MalformedChunks), "{bad:?}");
    }
}
