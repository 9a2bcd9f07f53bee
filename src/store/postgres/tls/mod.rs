//! TLS to PostgreSQL with rustls, to libpq's rules for `sslmode` and `sslrootcert`
//! (PostgreSQL manual, section 34.19 "SSL Support").

mod self_signed_root;

use std::sync::Arc;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{verify_server_cert_signed_by_trust_anchor, verify_server_name};
use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::server::ParsedCertificate;
use rustls::{
    ClientConfig, DigitallySignedStruct, Error as TlsError, RootCertStore, SignatureScheme,
};
use tokio_postgres::config::SslMode;

use super::url::Parameters;
use self_signed_root::OwnRoot;

/// How much of the server's certificate is checked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Check {
    Nothing,
    Chain,
    ChainAndName,
}

/// What a URL asks of TLS.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct TlsOptions {
    /// Whether to use TLS at all.
    pub(crate) mode: SslMode,
    /// Begin with TLS at once, without asking the server (`sslnegotiation=direct`).
    pub(crate) direct: bool,
    check: Check,
    /// The file of root certificates; none for those of the system.
    root_cert: Option<String>,
    /// The files of the client's own certificate and its key.
    client: Option<(String, String)>,
}

impl TlsOptions {
    /// Takes the parameters that concern TLS.
    ///
    /// # Errors
    /// A contradiction, or what a parameter takes.
    pub(crate) fn read(given: &mut Parameters) -> Result<Self, String> {
        let modes = [
            ("disable", (SslMode::Disable, Check::Nothing)),
            // libpq tries without TLS first; with it first is safer and reaches the same servers.
            ("allow", (SslMode::Prefer, Check::Nothing)),
            ("prefer", (SslMode::Prefer, Check::Nothing)),
            ("require", (SslMode::Require, Check::Nothing)),
            ("verify-ca", (SslMode::Require, Check::Chain)),
            ("verify-full", (SslMode::Require, Check::ChainAndName)),
        ];
        let chosen = given.choice("sslmode", &modes)?;
        let root_cert = given.text("sslrootcert")?;
        let system = root_cert.as_deref() == Some("system");
        let full = (SslMode::Require, Check::ChainAndName);
        let (mode, check) = match chosen {
            // A public authority vouches for anybody's name, so the name must be checked.
            Some(weaker) if system && weaker != full => {
                return Err("sslrootcert=system takes sslmode=verify-full and none else".to_owned());
            }
            None if system => full,
            Some((_, Check::Chain)) if root_cert.is_none() => {
                return Err("sslmode=verify-ca needs sslrootcert=FILE".to_owned());
            }
            // libpq: `require` checks the chain if there is a root certificate to check with.
            Some((SslMode::Require, Check::Nothing)) if root_cert.is_some() => {
                (SslMode::Require, Check::Chain)
            }
            chosen => chosen.unwrap_or((SslMode::Prefer, Check::Nothing)),
        };
        let direct = given.choice("sslnegotiation", &[("postgres", false), ("direct", true)])?;
        let direct = direct.unwrap_or(false);
        if direct && mode != SslMode::Require {
            return Err("sslnegotiation=direct needs sslmode=require or stronger".to_owned());
        }
        let client = match (given.text("sslcert")?, given.text("sslkey")?) {
            (None, None) => None,
            (Some(certificate), Some(key)) => Some((certificate, key)),
            _ => return Err("sslcert and sslkey need each other".to_owned()),
        };
        Ok(Self {
            mode,
            direct,
            check,
            root_cert: root_cert.filter(|_| !system),
            client,
        })
    }

    /// The rustls configuration for one connection. Certificates are read anew each time, so that
    /// rotated ones need no restart.
    ///
    /// # Errors
    /// Which file cannot be used, and why.
    pub(crate) fn client_config(&self) -> Result<ClientConfig, String> {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let builder = ClientConfig::builder_with_provider(Arc::clone(&provider))
            .with_safe_default_protocol_versions()
            .map_err(|error| error.to_string())?
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(self.verifier(provider)?));
        let mut config = match &self.client {
            None => builder.with_no_client_auth(),
            Some((certificate, key)) => {
                let chain = certificates("sslcert", certificate)?;
                let key = PrivateKeyDer::from_pem_file(key)
                    .map_err(|error| format!("sslkey {key}: {error}"))?;
                builder
                    .with_client_auth_cert(chain, key)
                    .map_err(|error| format!("sslcert and sslkey: {error}"))?
            }
        };
        if self.direct {
            // What tells a server that PostgreSQL is spoken (PostgreSQL manual, section 55.2.11).
            config.alpn_protocols = vec![b"postgresql".to_vec()];
        }
        Ok(config)
    }

    fn verifier(&self, provider: Arc<CryptoProvider>) -> Result<Verifier, String> {
        let mut verifier = Verifier {
            check: self.check,
            roots: RootCertStore::empty(),
            file: Vec::new(),
            provider,
        };
        match &self.root_cert {
            _ if self.check == Check::Nothing => return Ok(verifier),
            Some(file) => {
                verifier.file = certificates("sslrootcert", file)?;
                for certificate in &verifier.file {
                    let added = verifier.roots.add(certificate.clone());
                    added.map_err(|error| format!("sslrootcert {file}: {error}"))?;
                }
            }
            None => {
                let system = rustls_native_certs::load_native_certs();
                verifier.roots.add_parsable_certificates(system.certs);
            }
        }
        if verifier.roots.is_empty() {
            return Err("there are no root certificates to check the server with".to_owned());
        }
        Ok(verifier)
    }
}

/// The certificates of the PEM file that a parameter names.
fn certificates(parameter: &str, file: &str) -> Result<Vec<CertificateDer<'static>>, String> {
    CertificateDer::pem_file_iter(file)
        .and_then(Iterator::collect)
        .map_err(|error| format!("{parameter} {file}: {error}"))
}

/// Checks a server's certificate as far as the URL asks.
#[derive(Debug)]
struct Verifier {
    check: Check,
    roots: RootCertStore,
    /// The certificates of the file `sslrootcert`.
    file: Vec<CertificateDer<'static>>,
    provider: Arc<CryptoProvider>,
}

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, TlsError> {
        if self.check == Check::Nothing {
            return Ok(ServerCertVerified::assertion());
        }
        let certificate = ParsedCertificate::try_from(end_entity)?;
        let own_root = OwnRoot::find(end_entity, &self.file)?;
        match &own_root {
            Some(own_root) => own_root.check_use(now)?,
            None => verify_server_cert_signed_by_trust_anchor(
                &certificate,
                &self.roots,
                intermediates,
                now,
                self.provider.signature_verification_algorithms.all,
            )?,
        }
        if self.check == Check::ChainAndName
            && let Err(error) = verify_server_name(&certificate, server_name)
            && !own_root.is_some_and(|own_root| own_root.common_name_is(server_name))
        {
            return Err(error);
        }
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, TlsError> {
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls12_signature(message, cert, dss, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, TlsError> {
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls13_signature(message, cert, dss, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider
            .signature_verification_algorithms
            .supported_schemes()
    }
}
