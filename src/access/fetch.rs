//! Fetches the key set of an issuer: a few small documents, rarely.

use std::fmt;
use std::path::Path;
use std::time::Duration;

use http::header::{ACCEPT, AUTHORIZATION, CACHE_CONTROL, HeaderMap, HeaderValue, USER_AGENT};
use http_body_util::{BodyExt as _, Empty, Limited};
use hyper::body::Bytes;
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use rustls::{ClientConfig, RootCertStore};
use serde::Deserialize;

use super::file::{FileReader, ReadError, in_thread};
use super::key_set::{KeySet, KeySetError};
use super::policy::{IssuerPolicy, KeyLocation, check_url};

/// The most bytes of a document.
const MAX_BYTES: usize = 256 * 1024;
/// The same for `jwks_file`.
const MAX_JWKS_FILE: u64 = 256 * 1024;
/// The most bytes of `ca_file`. The bundle of a distribution has about 250 KiB.
const MAX_CA_FILE: u64 = 4 * 1024 * 1024;
/// The most bytes of `token_file`.
const MAX_TOKEN_FILE: u64 = 64 * 1024;
/// How long one attempt may take, with all its requests.
pub(super) const TIMEOUT: Duration = Duration::from_secs(5);

/// Why an attempt failed.
#[derive(Debug, thiserror::Error)]
pub(super) enum FetchError {
    #[error("{path}: {error}")]
    File { path: String, error: ReadError },
    #[error("{path} holds no certificate")]
    Certificates { path: String },
    #[error("the certificates of the system cannot be loaded")]
    SystemCertificates,
    #[error("{path} holds no token")]
    Token { path: String },
    #[error("TLS")]
    Tls(#[from] rustls::Error),
    #[error("{url} is not a URL to fetch keys from")]
    Url { url: String },
    #[error("{url} cannot be reached")]
    Unreachable {
        url: String,
        source: hyper_util::client::legacy::Error,
    },
    #[error("{url} responds with status {status}; redirects are not followed")]
    Status { url: String, status: u16 },
    #[error("{url} sends an incomplete or too large document")]
    Body { url: String },
    #[error("{url} is not a discovery document of this issuer")]
    Discovery { url: String },
    #[error(transparent)]
    Keys(#[from] KeySetError),
    #[error("no response within {} s", TIMEOUT.as_secs())]
    Timeout,
}

/// A key set as it was fetched.
#[derive(Debug)]
pub(super) struct Fetched {
    pub(super) keys: KeySet,
    /// How long the server allows it to be kept (`Cache-Control: max-age`, RFC 9111, section 5.2.2.1).
    pub(super) max_age: Option<Duration>,
}

#[derive(Deserialize)]
struct Discovery {
    issuer: String,
    jwks_uri: String,
}

/// Fetches the keys of an issuer.
///
/// # Errors
/// [`FetchError`], within [`TIMEOUT`].
pub(super) async fn fetch(
    policy: &IssuerPolicy,
    files: &FileReader,
) -> Result<Fetched, FetchError> {
    tokio::time::timeout(TIMEOUT, attempt(policy, files))
        .await
        .map_err(|_| FetchError::Timeout)?
}

async fn attempt(policy: &IssuerPolicy, files: &FileReader) -> Result<Fetched, FetchError> {
    let url = match &policy.keys {
        KeyLocation::File(path) => {
            let json = read(files, path, MAX_JWKS_FILE).await?;
            let keys = KeySet::parse(json.as_bytes())?;
            return Ok(Fetched {
                keys,
                max_age: None,
            });
        }
        KeyLocation::Url(url) => url.clone(),
        KeyLocation::Discovery => {
            let issuer = policy.issuer.trim_end_matches('/');
            format!("{issuer}/.well-known/openid-configuration")
        }
    };
    let requests = Requests::new(policy, files).await?;
    let url = match &policy.keys {
        KeyLocation::Discovery => {
            let (_, json) = requests.get(&url).await?;
            let found: Option<Discovery> = serde_json::from_slice(&json).ok();
            // OpenID Connect Discovery 1.0, section 4.3: the issuer must be exactly the one that was asked.
            found
                .filter(|found| found.issuer == policy.issuer)
                .map(|found| found.jwks_uri)
                .filter(|uri| check_url(uri).is_ok())
                .ok_or(FetchError::Discovery { url })?
        }
        _ => url,
    };
    let (headers, json) = requests.get(&url).await?;
    Ok(Fetched {
        keys: KeySet::parse(&json)?,
        max_age: max_age(&headers),
    })
}

/// The requests of one attempt. Connections are not kept: the next attempt is minutes away.
struct Requests {
    client: Client<HttpsConnector<HttpConnector>, Empty<Bytes>>,
    token: Option<HeaderValue>,
}

impl Requests {
    async fn new(policy: &IssuerPolicy, files: &FileReader) -> Result<Self, FetchError> {
        let mut roots = RootCertStore::empty();
        match &policy.ca_file {
            Some(path) => {
                let pem = read(files, path, MAX_CA_FILE).await?;
                let certificates: Vec<_> = CertificateDer::pem_slice_iter(pem.as_bytes())
                    .filter_map(Result::ok)
                    .collect();
                if roots.add_parsable_certificates(certificates).0 == 0 {
                    let path = shown_path(path);
                    return Err(FetchError::Certificates { path });
                }
            }
            None => {
                // Reads and parses many files.
                let load = rustls_native_certs::load_native_certs;
                let system = in_thread(load).await;
                let system = system.map_err(|_| FetchError::SystemCertificates)?;
                roots.add_parsable_certificates(system.certs);
            }
        }
        let token = match &policy.token_file {
            None => None,
            // Read for each attempt: Kubernetes replaces projected tokens.
            Some(path) => {
                let text = read(files, path, MAX_TOKEN_FILE).await?;
                let token = Some(text.trim()).filter(|token| !token.is_empty());
                let value = token.map(|token| HeaderValue::from_str(&format!("Bearer {token}")));
                let Some(Ok(mut value)) = value else {
                    let path = shown_path(path);
                    return Err(FetchError::Token { path });
                };
                value.set_sensitive(true);
                Some(value)
            }
        };
        let provider = rustls::crypto::aws_lc_rs::default_provider();
        let tls = ClientConfig::builder_with_provider(provider.into())
            .with_safe_default_protocol_versions()?
            .with_root_certificates(roots)
            .with_no_client_auth();
        let connector = HttpsConnectorBuilder::new()
            .with_tls_config(tls)
            .https_or_http()
            .enable_http1()
            .build();
        Ok(Self {
            client: Client::builder(TokioExecutor::new())
                .pool_max_idle_per_host(0)
                .build(connector),
            token,
        })
    }

    async fn get(&self, url: &str) -> Result<(HeaderMap, Bytes), FetchError> {
        // Without the query, which may hold a secret.
        let shown = || url.split('?').next().unwrap_or_default().to_owned();
        let unusable = || FetchError::Url { url: shown() };
        let mut request = http::Request::get(url)
            .header(ACCEPT, "application/json")
            .header(USER_AGENT, "order-service")
            .body(Empty::new())
            .map_err(|_| unusable())?;
        if let Some(token) = &self.token {
            request.headers_mut().insert(AUTHORIZATION, token.clone());
        }
        let response = self.client.request(request).await;
        let response = response.map_err(|source| FetchError::Unreachable {
            url: shown(),
            source,
        })?;
        if response.status() != http::StatusCode::OK {
            return Err(FetchError::Status {
                url: shown(),
                status: response.status().as_u16(),
            });
        }
        let (head, body) = response.into_parts();
        let body = Limited::new(body, MAX_BYTES).collect().await;
        let body = body.map_err(|_| FetchError::Body { url: shown() })?;
        Ok((head.headers, body.to_bytes()))
    }
}

async fn read(files: &FileReader, path: &Path, max: u64) -> Result<String, FetchError> {
    files
        .read(path, max)
        .await
        .map_err(|error| FetchError::File {
            path: shown_path(path),
            error,
        })
}

/// A path for a message. A path that is not absolute may be a token that was given instead of its file.
fn shown_path(path: &Path) -> String {
    if path.is_absolute() {
        path.display().to_string()
    } else {
        "the file with a relative path".to_owned()
    }
}

fn max_age(headers: &HeaderMap) -> Option<Duration> {
    headers
        .get_all(CACHE_CONTROL)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .filter_map(|directive| directive.trim().split_once('='))
        .find(|(name, _)| name.eq_ignore_ascii_case("max-age"))
        .and_then(|(_, seconds)| seconds.trim_matches('"').parse().ok())
        .map(Duration::from_secs)
}

impl FetchError {
    /// The error with its causes, in one line.
    pub(super) fn chain(&self) -> impl fmt::Display {
        let mut text = self.to_string();
        let mut source = std::error::Error::source(self);
        while let Some(error) = source {
            text.push_str(": ");
            text.push_str(&error.to_string());
            source = error.source();
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::access::policy::Policy;

    fn policy(fields: &str) -> IssuerPolicy {
        let text = format!(
            "[[issuer]]\nissuer = \"https://login.example.com/\"\naudiences = [\"a\"]\n{fields}"
        );
        Policy::parse(&text).unwrap().issuers.remove(0)
    }

    #[tokio::test]
    async fn a_file_that_is_no_regular_file_or_too_large_is_an_error_that_names_it() {
        let folder = tempfile::tempdir().unwrap();
        let large = folder.path().join("large");
        let file = std::fs::File::create(&large).unwrap();
        file.set_len(MAX_CA_FILE + 1).unwrap();
        let url = "jwks_url = \"https://127.0.0.1:1/\"";
        for path in [large.as_path(), folder.path()] {
            for fields in [
                format!("jwks_file = {path:?}"),
                format!("{url}\nca_file = {path:?}"),
                format!("{url}\ntoken_file = {path:?}"),
            ] {
                let error = fetch(&policy(&fields), &FileReader::default())
                    .await
                    .unwrap_err();
                assert!(matches!(error, FetchError::File { .. }), "{error:?}");
                let shown = error.chain().to_string();
                assert!(shown.contains(path.to_str().unwrap()), "{shown}");
            }
        }
    }

    #[tokio::test]
    async fn a_token_in_the_place_of_its_file_is_not_shown() {
        let fields = "jwks_url = \"https://127.0.0.1:1/\"\ntoken_file = \"eyJ.secret.x\"";
        let error = fetch(&policy(fields), &FileReader::default())
            .await
            .unwrap_err();
        assert!(matches!(error, FetchError::File { .. }), "{error:?}");
        assert!(!error.chain().to_string().contains("secret"));
    }

    #[test]
    fn max_age_is_read_from_cache_control() {
        for (value, seconds) in [
            ("max-age=60", Some(60)),
            ("public, Max-Age=60, must-revalidate", Some(60)),
            ("max-age=\"60\"", Some(60)),
            ("s-maxage=60", None),
            ("max-age=x", None),
            ("no-store", None),
        ] {
            let mut headers = HeaderMap::new();
            headers.insert(CACHE_CONTROL, HeaderValue::from_str(value).unwrap());
            assert_eq!(
                max_age(&headers),
                seconds.map(Duration::from_secs),
                "{value}"
            );
        }
    }
}
