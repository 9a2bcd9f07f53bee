//! A self-signed server certificate that is also a root certificate, as PostgreSQL's manual creates one
//! (section 19.9.5).
//!
//! OpenSSL, and so libpq, accepts such a certificate. webpki rejects it if the certificate may sign others, as
//! those of `openssl req -x509` may.

use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{CertificateError, Error as TlsError};
use x509_cert::Certificate;
use x509_cert::der::oid::db::rfc4519::COMMON_NAME;
use x509_cert::der::oid::db::rfc5280::{ANY_EXTENDED_KEY_USAGE, ID_KP_SERVER_AUTH};
use x509_cert::der::{Decode as _, Tag, Tagged as _};
use x509_cert::ext::pkix::name::GeneralName;
use x509_cert::ext::pkix::{ExtendedKeyUsage, SubjectAltName};

/// A server certificate that is in the file of root certificates, byte for byte. Its content is therefore
/// trusted; the signature of the handshake proves that the server has the key.
pub(super) struct SelfSignedRoot(Certificate);

impl SelfSignedRoot {
    /// Returns the server's certificate, if it is self-signed and one of the roots.
    ///
    /// # Errors
    /// If it is one of the roots and cannot be parsed.
    pub(super) fn find(
        end_entity: &CertificateDer<'_>,
        roots: &[CertificateDer<'_>],
    ) -> Result<Option<Self>, TlsError> {
        if !roots.contains(end_entity) {
            return Ok(None);
        }
        let certificate = Certificate::from_der(end_entity).map_err(|_| bad_encoding())?;
        let body = &certificate.tbs_certificate;
        // OpenSSL requires a chain that ends in a self-signed certificate.
        Ok((body.issuer == body.subject).then_some(Self(certificate)))
    }

    /// Checks that the certificate is valid at this time, and that it is valid for a server.
    ///
    /// # Errors
    /// If it is not.
    pub(super) fn check_usage(&self, now: UnixTime) -> Result<(), TlsError> {
        let certificate = &self.0.tbs_certificate;
        let not_before =
            UnixTime::since_unix_epoch(certificate.validity.not_before.to_unix_duration());
        let not_after =
            UnixTime::since_unix_epoch(certificate.validity.not_after.to_unix_duration());
        if now < not_before {
            let time = now;
            return Err(CertificateError::NotValidYetContext { time, not_before }.into());
        }
        if now > not_after {
            let time = now;
            return Err(CertificateError::ExpiredContext { time, not_after }.into());
        }
        let purposes = certificate
            .get::<ExtendedKeyUsage>()
            .map_err(|_| bad_encoding())?;
        let permits_server = |(_, purposes): (bool, ExtendedKeyUsage)| {
            let mut purposes = purposes.0.iter();
            purposes.any(|purpose| [ID_KP_SERVER_AUTH, ANY_EXTENDED_KEY_USAGE].contains(purpose))
        };
        if purposes.is_none_or(permits_server) {
            Ok(())
        } else {
            Err(CertificateError::InvalidPurpose.into())
        }
    }

    /// Whether the common name is that of the server. As in libpq, the common name counts only if the
    /// certificate has no alternative name of the same kind (DNS name or IP address).
    pub(super) fn has_common_name(&self, server: &ServerName<'_>) -> bool {
        let certificate = &self.0.tbs_certificate;
        let Ok(alternatives) = certificate.get::<SubjectAltName>() else {
            return false;
        };
        let is_address = matches!(server, ServerName::IpAddress(_));
        let same_kind = |name: &GeneralName| match name {
            GeneralName::DnsName(_) => !is_address,
            GeneralName::IpAddress(_) => is_address,
            _ => false,
        };
        if alternatives.is_some_and(|(_, names)| names.0.iter().any(same_kind)) {
            return false;
        }
        let mut attributes = certificate.subject.0.iter().flat_map(|part| part.0.iter());
        let common_name = attributes.find(|attribute| attribute.oid == COMMON_NAME);
        common_name.is_some_and(|name| {
            // In the other string types, a character is not a byte.
            let bytewise = [Tag::Utf8String, Tag::PrintableString, Tag::Ia5String];
            bytewise.contains(&name.value.tag())
                && name
                    .value
                    .value()
                    .eq_ignore_ascii_case(server.to_str().as_bytes())
        })
    }
}

fn bad_encoding() -> TlsError {
    CertificateError::BadEncoding.into()
}
