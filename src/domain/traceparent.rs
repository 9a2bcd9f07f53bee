//! The identifier of a trace (W3C Trace Context).

/// Whether a text is a valid `traceparent` (W3C Trace Context, section 3.2): `00-{32 hex}-{16 hex}-{2 hex}` in lower
/// case, with neither id all zeros. Later versions may append more.
pub fn is_traceparent(text: &str) -> bool {
    let mut parts = text.split('-');
    let mut part = |length: usize| {
        parts.next().filter(|part| {
            part.len() == length
                && part
                    .bytes()
                    .all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
        })
    };
    let (version, trace, parent, flags) = (part(2), part(32), part(16), part(2));
    let known = |id: Option<&str>| id.is_some_and(|id| id.bytes().any(|byte| byte != b'0'));
    let more = parts.next().is_some();
    version.is_some_and(|version| version != "ff" && (version != "00" || !more))
        && known(trace)
        && known(parent)
        && flags.is_some()
        && text.len() <= 256
}

#[cfg(test)]
mod tests {
    use super::is_traceparent;

    #[test]
    fn only_valid_texts_are_accepted() {
        let good = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
        assert!(is_traceparent(good));
        assert!(is_traceparent(&good.replacen("00", "cc", 1)));
        assert!(is_traceparent(&format!(
            "{}-more",
            good.replacen("00", "01", 1)
        )));
        for bad in [
            "",
            &good.to_uppercase(),
            &format!("{good}-more"),
            &good.replacen("00", "ff", 1),
            "00-00000000000000000000000000000000-00f067aa0ba902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-0000000000000000-01",
            "00-4bf92f3577b34da6a3ce929d0e0e473-00f067aa0ba902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7",
        ] {
            assert!(!is_traceparent(bad), "{bad}");
        }
    }
}
