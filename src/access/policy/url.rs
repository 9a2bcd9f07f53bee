//! The URLs of a policy.

/// Keys come over TLS. Plain HTTP is for a server on the same host, such as a sidecar.
pub(crate) fn check_url(url: &str) -> Result<(), &'static str> {
    let uri: http::Uri = url.parse().map_err(|_| "is not a URL")?;
    if has_user(url) {
        return Err("must not have a user or a password; use token_file");
    }
    let host = uri.host().unwrap_or_default();
    let local = matches!(host, "localhost" | "127.0.0.1" | "[::1]");
    match uri.scheme_str() {
        Some("https") if !host.is_empty() => Ok(()),
        Some("http") if local => Ok(()),
        _ => Err("takes an https:// URL"),
    }
}

/// Whether a URL has a user or a password, which would appear in the log.
pub(super) fn has_user(url: &str) -> bool {
    let rest = url.split_once("://").map(|(_, rest)| rest);
    let authority = rest.and_then(|rest| rest.split(['/', '?', '#']).next());
    authority.is_some_and(|authority| authority.contains('@'))
}
