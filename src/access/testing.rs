//! An issuer for unit tests and fuzzing, which signs whatever it is given.
#![allow(
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "for tests and fuzzing only"
)]

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::KeySize;
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED_SIGNING, ECDSA_P384_SHA384_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair,
    KeyPair as _, RSA_PKCS1_SHA256, RSA_PSS_SHA256, RsaKeyPair,
};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value, json};

/// Key pairs of every type.
pub(super) struct TestIssuer {
    rsa: RsaKeyPair,
    p256: EcdsaKeyPair,
    p384: EcdsaKeyPair,
    ed25519: Ed25519KeyPair,
}

pub(super) fn base64(bytes: impl AsRef<[u8]>) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

impl TestIssuer {
    pub(super) fn new() -> Self {
        Self {
            rsa: RsaKeyPair::generate(KeySize::Rsa2048).unwrap(),
            p256: EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).unwrap(),
            p384: EcdsaKeyPair::generate(&ECDSA_P384_SHA384_FIXED_SIGNING).unwrap(),
            ed25519: Ed25519KeyPair::generate().unwrap(),
        }
    }

    /// Its key set. The ids are those of the algorithms.
    pub(super) fn jwks(&self) -> Value {
        let rsa = self.rsa.public_key();
        let (n, e) = (rsa.modulus(), rsa.exponent());
        let n = base64(n.big_endian_without_leading_zero());
        let e = base64(e.big_endian_without_leading_zero());
        let point = |pair: &EcdsaKeyPair| {
            let bytes = pair.public_key().as_ref()[1..].to_vec();
            let (x, y) = bytes.split_at(bytes.len() / 2);
            (base64(x), base64(y))
        };
        let (p256, p384) = (point(&self.p256), point(&self.p384));
        json!({"keys": [
            {"kty": "RSA", "kid": "RS256", "alg": "RS256", "n": n, "e": e},
            {"kty": "RSA", "kid": "PS256", "alg": "PS256", "n": n, "e": e},
            {"kty": "EC", "crv": "P-256", "kid": "ES256", "x": p256.0, "y": p256.1},
            {"kty": "EC", "crv": "P-384", "kid": "ES384", "x": p384.0, "y": p384.1},
            {"kty": "OKP", "crv": "Ed25519", "kid": "EdDSA", "x": base64(self.ed25519.public_key())},
        ]})
    }

    /// A token with this header and these claims, signed by `algorithm` whatever the header says.
    pub(super) fn sign(&self, algorithm: &str, header: &Value, claims: &Value) -> String {
        self.sign_text(algorithm, &header.to_string(), &claims.to_string())
    }

    /// The same with texts, which need not be JSON.
    pub(super) fn sign_text(&self, algorithm: &str, header: &str, claims: &str) -> String {
        let message = format!("{}.{}", base64(header), base64(claims));
        let random = SystemRandom::new();
        let bytes = message.as_bytes();
        let mut rsa = vec![0; self.rsa.public_modulus_len()];
        let signature = match algorithm {
            "RS256" => {
                self.rsa
                    .sign(&RSA_PKCS1_SHA256, &random, bytes, &mut rsa)
                    .unwrap();
                rsa
            }
            "PS256" => {
                self.rsa
                    .sign(&RSA_PSS_SHA256, &random, bytes, &mut rsa)
                    .unwrap();
                rsa
            }
            "ES256" => self.p256.sign(&random, bytes).unwrap().as_ref().to_vec(),
            "ES384" => self.p384.sign(&random, bytes).unwrap().as_ref().to_vec(),
            "EdDSA" => self.ed25519.sign(bytes).as_ref().to_vec(),
            other => panic!("{other}"),
        };
        format!("{message}.{}", base64(signature))
    }
}
