//! TLS to PostgreSQL with rustls, by libpq's rules for `sslmode` and `sslrootcert`
//! (PostgreSQL manual, section 34.19 "SSL Support").

mod error;
mod self_signed_root;
mod verifier;

use std::sync::Arc;

use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ClientConfig, RootCertStore};
use tokio_postgres::config::SslMode;

use super::url::{Parameters, UrlError};
pub(crate) use error::TlsConfigError;
use verifier::Verifier;

/// The extent of the check of the server's certificate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Check {
    Nothing,
    Chain,
    ChainAndName,
}

/// The TLS parameters of a URL.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct TlsOptions {
    /// Whether to use TLS.
    pub(crate) mode: SslMode,
    /// Whether to begin with the TLS handshake, without asking the server first
    /// (`sslnegotiation=direct`).
    pub(crate) direct: bool,
    check: Check,
    /// The file of root certificates, or `None` for those of the system.
    root_cert: Option<String>,
    /// The files of the client's certificate and its key.
    client: Option<(String, String)>,
}

impl TlsOptions {
    /// Takes the parameters that concern TLS.
    pub(crate) fn read(given: &mut Parameters) -> Result<Self, UrlError> {
        let modes = [
            ("disable", (SslMode::Disable, Check::Nothing)),
            // libpq tries without TLS first. Trying TLS first is safer, and reaches the same servers.
            ("allow", (SslMode::Prefer, Check::Nothing)),
            ("prefer", (SslMode::Prefer, Check::Nothing)),
            ("require", (SslMode::Require, Check::Nothing)),
            ("verify-ca", (SslMode::Require, Check::Chain)),
            ("verify-full", (SslMode::Require, Check::ChainAndName)),
        ];
        let chosen = given.take_choice("sslmode", &modes)?;
        let root_cert = given.take_text("sslrootcert")?;
        let system = root_cert.as_deref() == Some("system");
        let full = (SslMode::Require, Check::ChainAndName);
        let (mode, check) = match chosen {
            // Anyone can get a certificate of a public authority for their own name, so the name
            // must be checked.
            Some(weaker) if system && weaker != full => {
                return Err(UrlError::SystemRootsNotVerified);
            }
            None if system => full,
            Some((_, Check::Chain)) if root_cert.is_none() => {
                return Err(UrlError::VerifyCaWithoutRoot);
            }
            // As in libpq, `require` checks the chain if a root certificate is given.
            Some((SslMode::Require, Check::Nothing)) if root_cert.is_some() => {
                (SslMode::Require, Check::Chain)
            }
            chosen => chosen.unwrap_or((SslMode::Prefer, Check::Nothing)),
        };
        let direct =
            given.take_choice("sslnegotiation", &[("postgres", false), ("direct", true)])?;
        let direct = direct.unwrap_or(false);
        if direct && mode != SslMode::Require {
            return Err(UrlError::DirectTlsNotRequired);
        }
        let client = match (given.take_text("sslcert")?, given.take_text("sslkey")?) {
            (None, None) => None,
            (Some(certificate), Some(key)) => Some((certificate, key)),
            _ => return Err(UrlError::CertificateWithoutKey),
        };
        Ok(Self {
            mode,
            direct,
            check,
            root_cert: root_cert.filter(|_| !system),
            client,
        })
    }

    /// Creates the rustls configuration for one connection. It reads the certificates again each time, so that
    /// rotated certificates need no restart.
    pub(crate) fn client_config(&self) -> Result<ClientConfig, TlsConfigError> {
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let (roots, root_file) = self.roots()?;
        let verifier = Verifier {
            check: self.check,
            roots,
            root_file,
            provider: Arc::clone(&provider),
        };
        let builder = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(TlsConfigError::Protocol)?
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(verifier));
        let mut config = match &self.client {
            None => builder.with_no_client_auth(),
            Some((certificate, key)) => {
                let chain = certificates("sslcert", certificate)?;
                let key = PrivateKeyDer::from_pem_file(key)
                    .map_err(|error| TlsConfigError::file("sslkey", key, error))?;
                builder
                    .with_client_auth_cert(chain, key)
                    .map_err(TlsConfigError::ClientCertificate)?
            }
        };
        if self.direct {
            // The protocol name that direct TLS requires (PostgreSQL manual, section 55.2.11).
            config.alpn_protocols = vec![b"postgresql".to_vec()];
        }
        Ok(config)
    }

    /// The root certificates, and those of the file `sslrootcert`.
    fn roots(&self) -> Result<(RootCertStore, Vec<CertificateDer<'static>>), TlsConfigError> {
        let mut roots = RootCertStore::empty();
        let mut file = Vec::new();
        match &self.root_cert {
            _ if self.check == Check::Nothing => return Ok((roots, file)),
            Some(path) => {
                file = certificates("sslrootcert", path)?;
                for certificate in &file {
                    let added = roots.add(certificate.clone());
                    added.map_err(|source| TlsConfigError::RootCertificate {
                        file: path.clone(),
                        source,
                    })?;
                }
            }
            None => {
                let system = rustls_native_certs::load_native_certs();
                roots.add_parsable_certificates(system.certs);
            }
        }
        if roots.is_empty() {
            return Err(TlsConfigError::NoRootCertificates);
        }
        Ok((roots, file))
    }
}

/// The certificates of the PEM file that a parameter names.
fn certificates(
    parameter: &'static str,
    file: &str,
) -> Result<Vec<CertificateDer<'static>>, TlsConfigError> {
    CertificateDer::pem_file_iter(file)
        .and_then(Iterator::collect)
        .map_err(|error| TlsConfigError::file(parameter, file, error))
}
