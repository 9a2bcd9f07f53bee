//! `AUTH_FILE`, API keys, and an issuer of tokens.

use std::fmt::Write as _;
use std::path::PathBuf;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use aws_lc_rs::digest::{SHA256, digest};
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair as _};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value, json};

/// A file for `AUTH_FILE`. It is removed on drop.
pub struct AuthFile {
    dir: tempfile::TempDir,
    text: String,
}

impl AuthFile {
    /// A file with this content.
    pub fn new(text: &str) -> Self {
        let mut file = Self {
            dir: tempfile::tempdir().unwrap(),
            text: String::new(),
        };
        file.write(text);
        file
    }

    /// A file with one API key for each id, each with these scopes and this tenant.
    pub fn with_keys(keys: &[(&str, &[&str], &str)]) -> Self {
        let entries: String = keys
            .iter()
            .map(|(id, scopes, tenant)| entry(&api_key(id), scopes, tenant))
            .collect();
        Self::new(&entries)
    }

    /// The value of `AUTH_FILE`.
    pub fn path(&self) -> String {
        self.file().to_str().unwrap().to_owned()
    }

    /// Another file in the same directory.
    pub fn beside(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    pub fn text(&self) -> &str {
        &self.text
    }

    /// Replaces the file, as a mounted secret is replaced: at once.
    pub fn write(&mut self, text: &str) {
        text.clone_into(&mut self.text);
        let new = self.beside("new");
        std::fs::write(&new, text).unwrap();
        std::fs::rename(new, self.file()).unwrap();
    }

    fn file(&self) -> PathBuf {
        self.beside("auth.toml")
    }
}

/// The API key with this id. Its secret depends on the id alone.
pub fn api_key(id: &str) -> String {
    format!("osk_{id}_{}", hex(digest(&SHA256, id.as_bytes()).as_ref()))
}

/// The entry of an API key.
pub fn entry(key: &str, scopes: &[&str], tenant: &str) -> String {
    let id = key.split('_').nth(1).unwrap();
    let hash = hex(digest(&SHA256, key.as_bytes()).as_ref());
    format!(
        "[[api_key]]\nid = \"{id}\"\nsha256 = \"{hash}\"\nscopes = {scopes:?}\ntenant = \"{tenant}\"\n"
    )
}

/// The value of `Authorization`.
pub fn bearer(credential: &str) -> String {
    format!("Bearer {credential}")
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        write!(text, "{byte:02x}").unwrap();
        text
    })
}

/// A time from now, in seconds since 1970.
pub fn in_seconds(seconds: i64) -> i64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    i64::try_from(now.unwrap_or(Duration::ZERO).as_secs()).unwrap() + seconds
}

/// Signs tokens with a key of the type P-256.
pub struct Issuer {
    key: EcdsaKeyPair,
    key_id: &'static str,
}

/// The claim `iss` of the tokens.
pub const ISSUER: &str = "https://issuer.example";

impl Issuer {
    /// An issuer with a new key.
    pub fn new(key_id: &'static str) -> Self {
        Self {
            key: EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).unwrap(),
            key_id,
        }
    }

    /// The key set with its key.
    pub fn jwks(&self) -> Value {
        let point = self.key.public_key().as_ref();
        let (x, y) = point[1..].split_at(32);
        let [x, y] = [x, y].map(|bytes| URL_SAFE_NO_PAD.encode(bytes));
        json!({"keys": [{"kty": "EC", "crv": "P-256", "kid": self.key_id, "x": x, "y": y}]})
    }

    /// A token with these claims besides `iss` and `aud`.
    pub fn token(&self, claims: Value) -> String {
        let mut claims = claims;
        claims["iss"] = ISSUER.into();
        claims["aud"] = "order-service".into();
        let header = json!({"typ": "at+jwt", "alg": "ES256", "kid": self.key_id});
        let [header, claims] =
            [header, claims].map(|part| URL_SAFE_NO_PAD.encode(part.to_string()));
        let message = format!("{header}.{claims}");
        let signature = self
            .key
            .sign(&SystemRandom::new(), message.as_bytes())
            .unwrap();
        format!("{message}.{}", URL_SAFE_NO_PAD.encode(signature))
    }
}
