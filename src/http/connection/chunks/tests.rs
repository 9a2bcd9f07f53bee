use super::*;

/// How many bytes the body has, if it is complete; the same byte by byte.
fn whole(text: &str) -> Result<Option<usize>, Broken> {
    let mut data = BytesMut::new();
    let (mut at_once, mut by_byte) = (Chunks::new(), Chunks::new());
    let end = at_once.advance(text.as_bytes(), &mut data);
    let slowly = text.bytes().try_fold(0, |taken, byte| {
        by_byte.advance(&[byte], &mut data).map(|more| taken + more)
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
fn many_small_chunks_become_one() {
    let mut out = BytesMut::new();
    let mut chunks = Chunks::new();
    let here = chunks.rewrite(b"1\r\na\r\n1;x\r\nb\r\n3\r\nc", &mut out);
    assert_eq!(here, Ok(18));
    assert_eq!(out, "00000003\r\nabc\r\n");
    out.clear();
    assert_eq!(chunks.rewrite(b"d", &mut out), Ok(1));
    assert_eq!(out, "00000001\r\nd\r\n");
    out.clear();
    assert_eq!(chunks.rewrite(b"e\r\n0\r", &mut out), Ok(5));
    assert_eq!(out, "00000001\r\ne\r\n");
    out.clear();
    assert_eq!(chunks.rewrite(b"\nX: y\r\n\r\nGET", &mut out), Ok(9));
    assert_eq!(out, "0\r\n\r\n");
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
