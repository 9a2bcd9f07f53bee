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
fn a_message_names_what_is_unknown() {
    assert!(message(&format!("{KEY}tenants = 1")).contains("unknown field `tenants`"));
    assert!(message(&KEY.replace("orders:read", "orders:all")).contains("orders:all"));
}
