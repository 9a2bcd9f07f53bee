use serde_json::json;

use super::*;
use crate::access::key_set::{KeySet, Selection};
use crate::access::policy::Policy;
use crate::access::scope::Scope;
use crate::access::testing::{TestIssuer, base64};

const ISSUER: &str = "https://login.example.com/";

fn policy(more: &str) -> IssuerPolicy {
    let text = format!(
        "[[issuer]]\nissuer = \"{ISSUER}\"\naudiences = [\"order-service\", \"other\"]\n{more}"
    );
    Policy::parse(&text).unwrap().issuers.remove(0)
}

fn now() -> SystemTime {
    UNIX_EPOCH + Duration::from_secs(1_800_000_000)
}

fn claims() -> Value {
    json!({"iss": ISSUER, "aud": "order-service", "exp": 1_800_000_300, "sub": "checkout",
        "scope": "openid orders:read"})
}

fn header(algorithm: &str) -> Value {
    json!({"alg": algorithm, "kid": algorithm, "typ": "at+jwt"})
}

fn verify(issuer: &TestIssuer, text: &str, policy: &IssuerPolicy) -> Result<Principal, TokenError> {
    let token = Token::parse(text)?;
    let keys = KeySet::parse(issuer.jwks().to_string().as_bytes()).unwrap();
    match keys.select(token.key_id.as_deref(), token.algorithm) {
        Selection::Key(key) => token.verify(key, policy, now()),
        _ => Err(TokenError::Key),
    }
}

/// A token with one claim set, or removed.
fn with(issuer: &TestIssuer, claim: &str, value: Option<Value>) -> String {
    let mut claims = claims();
    match value {
        Some(value) => claims[claim] = value,
        None => drop(claims.as_object_mut().unwrap().remove(claim)),
    }
    issuer.sign("ES256", &header("ES256"), &claims)
}

#[test]
fn each_algorithm_is_verified_and_none_passes_for_another() {
    let issuer = TestIssuer::new();
    let algorithms = ["RS256", "PS256", "ES256", "ES384", "EdDSA"];
    for signed in algorithms {
        for said in algorithms {
            for key in algorithms {
                let header = json!({"alg": said, "kid": key, "typ": "at+jwt"});
                let token = issuer.sign(signed, &header, &claims());
                let verified = verify(&issuer, &token, &policy(""));
                assert_eq!(
                    verified.is_ok(),
                    signed == said && said == key,
                    "{signed} {said} {key}: {verified:?}"
                );
            }
        }
    }
}

#[test]
fn a_principal_is_issuer_and_subject() {
    let issuer = TestIssuer::new();
    let token = issuer.sign("ES256", &header("ES256"), &claims());
    let principal = verify(&issuer, &token, &policy("")).unwrap();
    assert_eq!(&*principal.caller.id, "https://login.example.com/|checkout");
    assert_eq!(principal.caller.tenant, Tenant::default());
    assert!(principal.may(Scope::OrdersRead) && !principal.may(Scope::OrdersWrite));
    assert_eq!(principal.expires, Some(now() + Duration::from_secs(360)));
}

#[test]
fn symmetric_and_missing_algorithms_are_refused() {
    let issuer = TestIssuer::new();
    for algorithm in ["HS256", "none", "None", "", "RS384", "rs256", "RSA-OAEP"] {
        let token = issuer.sign(
            "RS256",
            &json!({"alg": algorithm, "kid": "RS256"}),
            &claims(),
        );
        assert_eq!(
            verify(&issuer, &token, &policy("")),
            Err(TokenError::Algorithm),
            "{algorithm}"
        );
    }
    let unsigned = issuer.sign("RS256", &header("RS256"), &claims());
    let unsigned = format!("{}.", unsigned.rsplit_once('.').unwrap().0);
    assert_eq!(
        verify(&issuer, &unsigned, &policy("")),
        Err(TokenError::Signature)
    );
}

#[test]
fn keys_in_the_header_are_ignored() {
    let (issuer, stranger) = (TestIssuer::new(), TestIssuer::new());
    let mut header = header("ES256");
    header["jwk"] = stranger.jwks()["keys"][2].clone();
    header["jku"] = json!("https://evil.example.com/jwks");
    header["x5u"] = json!("https://evil.example.com/x5u");
    let forged = stranger.sign("ES256", &header, &claims());
    assert_eq!(
        verify(&issuer, &forged, &policy("")),
        Err(TokenError::Signature)
    );
    let own = issuer.sign("ES256", &header, &claims());
    assert!(verify(&issuer, &own, &policy("")).is_ok());
}

#[test]
fn a_critical_header_is_refused() {
    let issuer = TestIssuer::new();
    let mut header = header("ES256");
    header["crit"] = json!(["exp"]);
    let token = issuer.sign("ES256", &header, &claims());
    assert_eq!(
        verify(&issuer, &token, &policy("")),
        Err(TokenError::Critical)
    );
}

#[test]
fn a_critical_header_that_is_null_is_critical() {
    let issuer = TestIssuer::new();
    let mut header = header("ES256");
    header["crit"] = Value::Null;
    let token = issuer.sign("ES256", &header, &claims());
    assert_eq!(
        verify(&issuer, &token, &policy("")),
        Err(TokenError::Critical)
    );
}

#[test]
fn a_token_with_a_repeated_name_is_malformed() {
    let issuer = TestIssuer::new();
    let good = claims().to_string();
    let header = header("ES256").to_string();
    let sign = |header: &str, claims: &str| issuer.sign_text("ES256", header, claims);
    assert!(verify(&issuer, &sign(&header, &good), &policy("")).is_ok());
    for (header, claims) in [
        (header.clone(), good.replacen('{', r#"{"exp":1,"#, 1)),
        (header.clone(), good.replacen('{', r#"{"sub":"admin","#, 1)),
        (
            header.clone(),
            good.replacen('{', r#"{"a":{"b":1,"b":1},"#, 1),
        ),
        (
            header.clone(),
            good.replacen('{', r#"{"a":[{"b":1,"b":1}],"#, 1),
        ),
        (header.replacen('{', r#"{"typ":"JWT","#, 1), good.clone()),
    ] {
        let result = verify(&issuer, &sign(&header, &claims), &policy(""));
        assert_eq!(result, Err(TokenError::Malformed), "{header} {claims}");
    }
}

#[test]
fn what_is_no_signed_token_is_malformed() {
    let issuer = TestIssuer::new();
    let good = issuer.sign("ES256", &header("ES256"), &claims());
    let text = |header: &str| format!("{}.{}.AA", base64(header), base64("{}"));
    for bad in [
        String::new(),
        "a.b".to_owned(),
        "..".to_owned(),
        format!("{good}.x.y"),
        format!("{good}="),
        good.replacen('.', "=.", 1),
        text("[]"),
        text("{"),
        text(r#"{"alg":7}"#),
        text(r#"{"alg":"ES256","kid":7}"#),
        text(r#"{"alg":"ES256","alg":"RS256"}"#),
        text(r#"{"alg":"ES256","x":1,"x":2}"#),
        text(r#"{"alg":"ES256","kid":null}"#),
        text(r#"{"alg":"ES256","typ":null}"#),
        format!("{}.{}.AA", base64(r#"{"alg":"ES256"}"#), base64("\u{0}")),
        "x".repeat(8193),
    ] {
        let result = verify(&issuer, &bad, &policy(""));
        assert!(result.is_err(), "{bad}");
    }
}

#[test]
fn every_changed_byte_is_noticed() {
    let issuer = TestIssuer::new();
    let good = issuer.sign("ES256", &header("ES256"), &claims());
    assert!(verify(&issuer, &good, &policy("")).is_ok());
    let end = good.rfind('.').unwrap();
    for at in (0..end).filter(|at| good.as_bytes()[*at] != b'.') {
        let mut bytes = good.clone().into_bytes();
        bytes[at] = if bytes[at] == b'A' { b'B' } else { b'A' };
        let changed = String::from_utf8(bytes).unwrap();
        assert!(verify(&issuer, &changed, &policy("")).is_err(), "byte {at}");
    }
}

#[test]
fn times_are_numbers_within_bounds() {
    let issuer = TestIssuer::new();
    for (claim, value, expected) in [
        ("exp", None, Err(TokenError::Claim)),
        ("exp", Some(json!("1800000300")), Err(TokenError::Claim)),
        ("exp", Some(json!(null)), Err(TokenError::Claim)),
        ("exp", Some(json!(true)), Err(TokenError::Claim)),
        ("exp", Some(json!(1e300)), Err(TokenError::Claim)),
        ("exp", Some(json!(-1)), Err(TokenError::Claim)),
        ("exp", Some(json!(u64::MAX)), Err(TokenError::Claim)),
        ("exp", Some(json!(0)), Err(TokenError::Expired)),
        ("exp", Some(json!(1_799_999_940)), Err(TokenError::Expired)),
        ("exp", Some(json!(1_799_999_941)), Ok(())),
        ("exp", Some(json!(1_799_999_940.5)), Ok(())),
        ("nbf", Some(json!(1_800_000_060)), Ok(())),
        (
            "nbf",
            Some(json!(1_800_000_061)),
            Err(TokenError::NotYetValid),
        ),
        ("nbf", Some(json!("soon")), Err(TokenError::Claim)),
    ] {
        let token = with(&issuer, claim, value.clone());
        let result = verify(&issuer, &token, &policy("")).map(drop);
        assert_eq!(result, expected, "{claim} {value:?}");
    }
}

#[test]
fn issuer_and_audience_are_compared_exactly() {
    let issuer = TestIssuer::new();
    for (claim, value, expected) in [
        (
            "iss",
            Some(json!("https://login.example.com")),
            Err(TokenError::Issuer),
        ),
        (
            "iss",
            Some(json!(["https://login.example.com/"])),
            Err(TokenError::Issuer),
        ),
        ("iss", None, Err(TokenError::Issuer)),
        ("aud", None, Err(TokenError::Audience)),
        (
            "aud",
            Some(json!("Order-Service")),
            Err(TokenError::Audience),
        ),
        ("aud", Some(json!([])), Err(TokenError::Audience)),
        ("aud", Some(json!([7, "x"])), Err(TokenError::Audience)),
        ("aud", Some(json!(["x", "other"])), Ok(())),
        ("sub", None, Err(TokenError::Claim)),
        ("sub", Some(json!("")), Err(TokenError::Claim)),
        ("sub", Some(json!(7)), Err(TokenError::Claim)),
        ("sub", Some(json!("x".repeat(513))), Err(TokenError::Claim)),
        ("sub", Some(json!("x\u{0}")), Err(TokenError::Claim)),
        ("sub", Some(json!("x\ny")), Err(TokenError::Claim)),
    ] {
        let token = with(&issuer, claim, value.clone());
        let result = verify(&issuer, &token, &policy("")).map(drop);
        assert_eq!(result, expected, "{claim} {value:?}");
    }
}

#[test]
fn types_are_those_of_the_policy() {
    let issuer = TestIssuer::new();
    for (types, given, accepted) in [
        ("", Some("at+jwt"), true),
        ("", Some("application/AT+JWT"), true),
        ("", Some("JWT"), false),
        ("", None, false),
        ("token_types = [\"none\"]", None, true),
        ("token_types = [\"none\"]", Some("at+jwt"), false),
        ("token_types = [\"none\"]", Some("none"), false),
        ("token_types = [\"JWT\", \"none\"]", Some("jwt"), true),
    ] {
        let mut header = header("ES256");
        match given {
            Some(given) => header["typ"] = json!(given),
            None => drop(header.as_object_mut().unwrap().remove("typ")),
        }
        let token = issuer.sign("ES256", &header, &claims());
        let result = verify(&issuer, &token, &policy(types));
        assert_eq!(result.is_ok(), accepted, "{types} {given:?}: {result:?}");
    }
}

#[test]
fn scopes_come_from_the_claim_or_else_from_the_grant() {
    let issuer = TestIssuer::new();
    let policy = policy(&format!(
        "[[grant]]\nissuer = \"{ISSUER}\"\nsubject = \"checkout\"\nscopes = [\"admin\"]\ntenant = \"acme\"\n"
    ));
    let read = Scopes::from_iter([Scope::OrdersRead]);
    let admin = Scopes::from_iter([Scope::Admin]);
    for (value, expected) in [
        (Some(json!("orders:read x")), Ok((read, "default"))),
        (Some(json!(["orders:read", "x"])), Ok((read, "default"))),
        (Some(json!("")), Ok((Scopes::NONE, "default"))),
        (Some(json!(7)), Err(TokenError::Claim)),
        (Some(json!([7])), Err(TokenError::Claim)),
        (Some(json!(null)), Err(TokenError::Claim)),
        (None, Ok((admin, "acme"))),
    ] {
        let token = with(&issuer, "scope", value.clone());
        let result = verify(&issuer, &token, &policy);
        let result =
            result.map(|principal| (principal.scopes, principal.caller.tenant.to_string()));
        let expected = expected.map(|(scopes, tenant)| (scopes, tenant.to_owned()));
        assert_eq!(result, expected, "{value:?}");
    }
}

#[test]
fn a_tenant_claim_that_is_named_must_be_there() {
    let issuer = TestIssuer::new();
    let policy = policy("tenant_claim = \"/org/id\"");
    for (value, expected) in [
        (Some(json!({"id": "acme"})), Ok("acme")),
        (Some(json!({"id": "Acme"})), Err(TokenError::Tenant)),
        (Some(json!({"id": 7})), Err(TokenError::Tenant)),
        (Some(json!("acme")), Err(TokenError::Tenant)),
        (None, Err(TokenError::Tenant)),
    ] {
        let token = with(&issuer, "org", value.clone());
        let result = verify(&issuer, &token, &policy).map(|found| found.caller.tenant.to_string());
        assert_eq!(result, expected.map(str::to_owned), "{value:?}");
    }
}

#[test]
fn the_debug_form_of_a_token_shows_nothing_of_it() {
    let text = TestIssuer::new().sign("ES256", &header("ES256"), &claims());
    let shown = format!("{:?}", Token::parse(&text).unwrap());
    assert_eq!(shown, "Token(…)");
}
