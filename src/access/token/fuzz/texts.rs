//! Fuzz targets: `AUTH_FILE`, API keys and the `Authorization` header.

use arbitrary::{Result, Unstructured};

use crate::access::api_key::{id_of, is_id};
use crate::access::authenticator::bearer;
use crate::access::policy::Policy;

const POLICY: &str = r#"
[[issuer]]
issuer = "https://login.example.com/"
audiences = ["order-service"]
jwks_url = "https://login.example.com/keys"
token_types = ["at+jwt", "none"]
tenant_claim = "/tenant"

[[api_key]]
id = "warehouse"
sha256 = "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08"
scopes = ["orders:read", "events:read"]
tenant = "acme"
expires = 2027-01-01T00:00:00Z

[[grant]]
issuer = "https://login.example.com/"
subject = "system:serviceaccount:shop:checkout"
scopes = ["orders:read"]
"#;

fn a_bad_policy_does_not_disclose_a_key(u: &mut Unstructured<'_>) -> Result<()> {
    let key = format!("osk_warehouse_{}", "0123456789abcdef".repeat(4));
    let mut lines: Vec<_> = POLICY.lines().map(str::to_owned).collect();
    for _ in 0..u.int_in_range(1..=4)? {
        let at = u.choose_index(lines.len())?;
        // Messages show issuers and subjects, which every token shows as well.
        if lines[at].starts_with("issuer") || lines[at].starts_with("subject") {
            continue;
        }
        match u.int_in_range(0..=5)? {
            0 => drop(lines.remove(at)),
            1 => lines.insert(at, key.clone()),
            2 => lines.insert(at, lines[u.choose_index(lines.len())?].clone()),
            3 => {
                let name = lines[at].split(' ').next().unwrap_or_default();
                lines[at] = format!(
                    "{name} = {}",
                    u.choose(&[format!("{key:?}"), key.clone(), "7".into()])?
                );
            }
            4 => {
                let cut = u.int_in_range(0..=lines[at].len())?;
                lines[at].insert_str(cut, &key);
            }
            _ => {
                let cut = u.int_in_range(0..=lines[at].len())?;
                lines[at].insert(
                    cut,
                    *u.choose(&['"', '[', ']', '=', '#', '\'', 'x', '\\', '\u{0}'])?,
                );
            }
        }
    }
    let text = lines.join("\n");
    if let Err(error) = Policy::parse(&text) {
        let message = error.to_string();
        assert!(
            !message.contains("0123456789abcdef0123"),
            "{message} for {text}"
        );
        assert!(message.len() < 1000, "{message}");
    }
    Ok(())
}

fn an_api_key_has_one_form(u: &mut Unstructured<'_>) -> Result<()> {
    let mut text = format!("osk_a-1_{}", "0123456789abcdef".repeat(4));
    for _ in 0..u.int_in_range(0..=3)? {
        let at = u.int_in_range(0..=text.len().saturating_sub(1))?;
        if !text.is_char_boundary(at) {
            continue;
        }
        match u.int_in_range(0..=2)? {
            0 => text.truncate(at),
            1 => text.insert(at, u.arbitrary()?),
            _ => text.insert(at, *u.choose(&['_', 'a', 'A', '0', '-'])?),
        }
    }
    if let Some(id) = id_of(&text) {
        let secret = text.strip_prefix(&format!("osk_{id}_")).unwrap();
        assert!(is_id(id));
        assert!(secret.len() == 64 && secret.bytes().all(|b| b.is_ascii_hexdigit()));
    }
    Ok(())
}

fn a_bearer_header_has_one_credential(u: &mut Unstructured<'_>) -> Result<()> {
    let mut header = Vec::new();
    for _ in 0..u.int_in_range(0..=6)? {
        match u.int_in_range(0..=2)? {
            0 => header.extend(*u.choose(&[
                &b"Bearer "[..],
                b"bearer",
                b" ",
                b"Basic ",
                b"abc",
                b"\t",
                b",",
            ])?),
            1 => header.push(u.arbitrary()?),
            _ => header.extend(u.arbitrary::<&str>()?.as_bytes()),
        }
    }
    if let Ok(credential) = bearer(&header) {
        let text = std::str::from_utf8(&header).unwrap();
        let (scheme, rest) = text.split_at("Bearer ".len());
        assert!(scheme.eq_ignore_ascii_case("bearer ") && rest.trim_matches(' ') == credential);
        assert!(!credential.is_empty() && !credential.contains(|c: char| !c.is_ascii_graphic()));
    }
    Ok(())
}

/// The targets of this file for a fuzzer. The first byte selects the property.
pub(crate) fn access(data: &[u8]) {
    let Some((property, rest)) = data.split_first() else {
        return;
    };
    let u = &mut Unstructured::new(rest);
    // An exhausted input is no failure.
    let _ = match property % 3 {
        0 => a_bad_policy_does_not_disclose_a_key(u),
        1 => an_api_key_has_one_form(u),
        _ => a_bearer_header_has_one_credential(u),
    };
}

#[cfg(test)]
mod tests {
    use super::super::tests::run;
    use super::*;

    #[test]
    fn fuzz_policies() {
        assert!(Policy::parse(POLICY).is_ok());
        run(a_bad_policy_does_not_disclose_a_key);
    }

    #[test]
    fn fuzz_api_keys() {
        run(an_api_key_has_one_form);
    }

    #[test]
    fn fuzz_headers() {
        run(a_bearer_header_has_one_credential);
    }
}
