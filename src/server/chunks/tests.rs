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
