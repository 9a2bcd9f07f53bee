use chrono::{DateTime, Utc};

use super::*;

const KEY: &str = r#"
[[api_key]]
id = "warehouse"
sha256 = "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08"
scopes = ["orders:read", "events:read"]
tenant = "acme"
expires = 2027-01-01T00:00:00Z
"#;

const ISSUER: &str = r#"
[[issuer]]
issuer = "https://login.example.com/"
audiences = ["order-service"]
"#;

fn message(text: &str) -> String {
    Policy::parse(text).unwrap_err().to_string()
}

#[test]
fn defaults_are_those_of_rfc_9068() {
    let policy = Policy::parse(ISSUER).unwrap();
    let issuer = &policy.issuers[0];
    assert_eq!(issuer.keys, KeyLocation::Discovery);
    assert_eq!(issuer.token_types, [Some("at+jwt".to_owned())]);
    assert_eq!(issuer.principal_claim, "/sub");
    assert_eq!(issuer.scopes_claim, "/scope");
    assert_eq!(issuer.tenant_claim, None);
}

#[test]
fn a_key_has_its_fields() {
    let policy = Policy::parse(KEY).unwrap();
    let key = &policy.api_keys["warehouse"][0];
    assert_eq!(&*key.id, "warehouse");
    assert_eq!(key.tenant.as_str(), "acme");
    assert!(key.scopes.contains(Scope::OrdersRead) && !key.scopes.contains(Scope::OrdersWrite));
    let expires = DateTime::<Utc>::from(key.expires.unwrap());
    assert_eq!(expires.to_rfc3339(), "2027-01-01T00:00:00+00:00");
}

#[test]
fn token_types_are_compared_as_media_types() {
    for (given, normal) in [
        ("at+jwt", Some("at+jwt")),
        ("application/AT+JWT", Some("at+jwt")),
        ("JWT", Some("jwt")),
        ("none", None),
    ] {
        assert_eq!(token_type(given).as_deref(), normal, "{given}");
    }
}

#[test]
fn a_bad_file_is_refused_with_the_place() {
    let with = |issuer: &str, more: &str| format!("{issuer}{more}\n");
    for (text, part) in [
        (String::new(), "neither"),
        ("# nothing".to_owned(), "neither"),
        ("[[issuer]".to_owned(), "line 1"),
        ("\n\nkeys = 1".to_owned(), "line 3"),
        (with(ISSUER, "audience = \"x\""), "unknown field `audience`"),
        (ISSUER.replace("[\"order-service\"]", "[]"), "audiences"),
        (ISSUER.replace("https:", "http:"), "https://"),
        (ISSUER.repeat(2), "appears twice"),
        (with(ISSUER, "jwks_url = \"ftp://x\""), "jwks_url"),
        (
            with(ISSUER, "jwks_url = \"https://x\"\njwks_file = \"y\""),
            "exclude",
        ),
        (
            with(ISSUER, "jwks_file = \"y\"\nca_file = \"z\""),
            "ca_file",
        ),
        (
            with(ISSUER, "token_file = \"/t\""),
            "token_file needs jwks_url",
        ),
        (ISSUER.replace("login", "login|x"), "'|'"),
        (
            ISSUER.replace("login", "login\\u0000"),
            "control characters",
        ),
        (with(ISSUER, "token_types = []"), "token_types"),
        (with(ISSUER, "principal_claim = \"sub\""), "principal_claim"),
        (KEY.replace("warehouse", "Warehouse"), "id takes"),
        (KEY.replace("9f86d0", "9f86dg"), "64 hex digits"),
        (KEY.replace("9f86d0", "9f86d"), "64 hex digits"),
        (KEY.replace("orders:read", "orders:all"), "no scope"),
        (
            KEY.replace("[\"orders:read\", \"events:read\"]", "[]"),
            "at least one scope",
        ),
        (KEY.replace("acme", "Acme"), "tenant"),
        (KEY.replace("00:00:00Z", "00:00:00"), "offset"),
        (KEY.repeat(2), "sha256 appears twice"),
        (
            with(
                ISSUER,
                "[[grant]]\nissuer = \"other\"\nsubject = \"s\"\nscopes = [\"admin\"]",
            ),
            "no [[issuer]]",
        ),
        (
            with(
                ISSUER,
                "tenant_claim = \"/t\"\n[[grant]]\nissuer = \"https://login.example.com/\"\n\
                 subject = \"s\"\nscopes = [\"admin\"]\ntenant = \"acme\"",
            ),
            "takes no tenant",
        ),
    ] {
        let message = message(&text);
        assert!(message.contains(part), "{message:?} for {text:?}");
    }
}

#[test]
fn two_keys_of_one_id_have_one_tenant_and_a_third_is_too_many() {
    let second = KEY.replace("9f86d0", "0f86d0");
    let third = KEY.replace("9f86d0", "1f86d0");
    let policy = Policy::parse(&format!("{KEY}{second}")).unwrap();
    assert_eq!(policy.api_keys["warehouse"].len(), 2);
    assert!(message(&format!("{KEY}{second}{third}")).contains("more than twice"));
    assert!(message(&format!("{KEY}{}", second.replace("acme", "other"))).contains("one tenant"));
}

#[test]
fn a_message_never_quotes_a_value_that_may_be_secret() {
    let digits = "0123456789abcdef".repeat(4);
    let secret = format!("osk_warehouse_{digits}");
    let quoted = format!("\"{secret}\"");
    let digest = "\"9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08\"";
    for text in [
        KEY.replace(digest, &quoted),
        KEY.replace(digest, &secret),
        KEY.replace("\"warehouse\"", &quoted),
        KEY.replace("[\"orders:read\", \"events:read\"]", &quoted),
        KEY.replace("\"orders:read\"", &quoted),
        KEY.replace("\"acme\"", &quoted),
        KEY.replace("2027-01-01T00:00:00Z", &quoted),
        KEY.replace("sha256 = ", &format!("sha256 = \"\"{secret}\"\"")),
        format!("{KEY}secret = {secret}"),
        format!("{KEY}secret = \"{secret}"),
        format!("{KEY}{secret}"),
        format!("{KEY}{secret} = 1"),
        format!("{secret} = 1"),
        format!("api_key = {quoted}"),
        format!("[{secret}]\na = 1"),
        format!("[[api_key]]\nid = 7\n# {secret}"),
        format!("{KEY}expires = 2027-01-01T00:00:00Z\n# {secret}"),
        with_url(&format!("https://user:{secret}@keys.example.com/")),
    ] {
        let message = message(&text);
        assert!(!message.contains(&digits), "{message}");
    }
}

fn with_url(url: &str) -> String {
    format!("{ISSUER}jwks_url = \"{url}\"\n")
}

#[test]
fn a_secret_in_the_place_of_a_name_is_not_shown() {
    let digits = "0123456789abcdef".repeat(4);
    let key = format!("osk_b_{digits}");
    let grant = |issuer: &str, subject: &str, more: &str| {
        format!("{ISSUER}[[grant]]\nissuer = {issuer:?}\nsubject = {subject:?}\n{more}\n")
    };
    let login = "https://login.example.com/";
    let admin = "scopes = [\"admin\"]";
    let with_issuer = |issuer: &str| ISSUER.replace(login, issuer);
    let short_digest = |id: &str| KEY.replace("warehouse", id).replace("9f86d0", "9f86d");
    let tenants = |id: &str| {
        let text = KEY.replace("warehouse", id);
        let second = text.replace("9f86d0", "0f86d0").replace("acme", "other");
        format!("{text}{second}")
    };
    for (text, place) in [
        (
            format!("{KEY}\"Bearer {key}\" = 1"),
            "line 8: unknown field",
        ),
        (format!("{KEY}'a`b {key}' = 1"), "line 8: unknown field"),
        (format!("{KEY}'a\" {key}' = 1"), "line 8: unknown field"),
        (
            format!("{KEY}'x`, expected {key}`, expected y' = 1"),
            "line 8: unknown field",
        ),
        (format!("'{key}' = 1\n'{key}' = 2"), "line 2"),
        (KEY.replace("\"acme\"", &format!("'a` \"{key}'")), "tenant"),
        (
            format!("{KEY}[api_key.'b {key}']\nx = 1"),
            "line 8: unknown field",
        ),
        (grant(login, &key, "scopes = []"), "[[grant]] number 1"),
        (grant(&key, "alice", admin), "[[grant]] number 1"),
        (
            format!(
                "{}{}",
                grant(login, &key, admin),
                grant(login, &key, admin).replace(ISSUER, "")
            ),
            "[[grant]] number 2",
        ),
        (with_issuer(&key), "[[issuer]] number 1"),
        (
            with_issuer(&format!("{login}{key}")).replace("[\"order", "[\"\", \"order"),
            "[[issuer]] number 1",
        ),
        (
            with_issuer(&format!("{login}?key={digits}")).replace("[\"order", "[\"\", \"order"),
            "[[issuer]] number 1",
        ),
        (
            with_issuer(&format!("https://{digits}@login.example.com")),
            "[[issuer]] number 1",
        ),
        (short_digest(&digits), "[[api_key]] number 1"),
        (tenants(&digits), "[[api_key]] number 2"),
    ] {
        let message = message(&text);
        assert!(!message.contains("0123456789abcdef"), "{message}");
        assert!(message.contains(place), "{message} for {text}");
    }
    for name in ["hunter2-password", "Hunter", "a b", ":", "orders:read:x"] {
        let message = message(&KEY.replace("orders:read", name));
        let expected = "[[api_key]] number 1 (warehouse): a value is no scope";
        assert!(message.starts_with(expected), "{message}");
    }
}

#[test]
fn a_message_names_the_entry() {
    let no_audience = ISSUER.replace("[\"order-service\"]", "[]");
    let other = no_audience.replace("login", "other");
    let expected = "[[issuer]] number 2 (https://other.example.com/): audiences";
    assert!(message(&format!("{ISSUER}{other}")).starts_with(expected));
    let other = KEY.replace("9f86d0", "0f86d").replace("warehouse", "other");
    let expected = "[[api_key]] number 2 (other): sha256";
    assert!(message(&format!("{KEY}{other}")).starts_with(expected));
    let message = message("[[api_key]]\nid = \"a\"");
    assert_eq!(message, "line 1: missing field `sha256`");
}

#[test]
fn a_message_names_what_is_unknown() {
    assert!(message(&format!("{KEY}tenants = 1")).contains("unknown field `tenants`"));
    assert!(message(&KEY.replace("orders:read", "orders:all")).contains("orders:all"));
}
