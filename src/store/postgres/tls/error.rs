use rustls::pki_types::pem;
use thiserror::Error;

/// Why TLS cannot be set up as the URL requires. The message contains that of the cause.
#[derive(Debug, Error)]
pub(crate) enum TlsConfigError {
    #[error("{parameter} {file}: {source}")]
    File {
        /// The parameter of the URL that names the file.
        parameter: &'static str,
        file: String,
        source: pem::Error,
    },
    #[error("sslrootcert {file}: {source}")]
    RootCertificate { file: String, source: rustls::Error },
    #[error("sslcert and sslkey: {0}")]
    ClientCertificate(#[source] rustls::Error),
    #[error("there are no root certificates to check the server with")]
    NoRootCertificates,
    /// The cryptography provider supports no common protocol version.
    #[error("{0}")]
    Protocol(#[source] rustls::Error),
}

impl TlsConfigError {
    pub(super) fn file(parameter: &'static str, file: &str, source: pem::Error) -> Self {
        Self::File {
            parameter,
            file: file.to_owned(),
            source,
        }
    }
}
