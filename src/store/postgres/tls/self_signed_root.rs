//! A self-signed certificate that a server shows and that is a root certificate as well, as
//! PostgreSQL's manual makes one (section 19.9.5). OpenSSL, and so libpq, accepts it; webpki does not
//! where it says that it may sign others, as those made with `openssl req -x509` say.

use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{CertificateError, Error as TlsError};
use x509_cert::Certificate;
use x509_cert::der::oid::db::rfc4519::COMMON_NAME;
use x509_cert::der::oid::db::rfc5280::{ANY_EXTENDED_KEY_USAGE, ID_KP_SERVER_AUTH};
use x509_cert::der::{Decode as _, Tag, Tagged as _};
use x509_cert::ext::pkix::name::GeneralName;
use x509_cert::ext::pkix::{ExtendedKeyUsage, SubjectAltName};

/// A certificate that is in the file of the roots, byte for byte. So its key and what it says are
/// trusted; that the server holds the key is what the handshake's signature proves.
pub(crate) struct OwnRoot(Certificate);

impl OwnRoot {
    /// The server's certificate, if it is one.
    ///
    /// # Errors
    /// When it is in the file and cannot be read.
    pub(crate) fn find(
        end_entity: &CertificateDer<'_>,
        roots: &[CertificateDer<'_>],
    ) -> Result<Option<Self>, TlsError> {
        if !roots.contains(end_entity) {
            return Ok(None);
        }
        let certificate = Certificate::from_der(end_entity).map_err(|_| bad_encoding())?;
        let own = &certificate.tbs_certificate;
        // OpenSSL wants a chain up to one that nobody else has signed.
        Ok((own.issuer == own.subject).then_some(Self(certificate)))
    }

    /// Checks the time, and that it may be shown by a server.
    ///
    /// # Errors
    /// Why it may not be used.
    pub(crate) fn check_use(&self, now: UnixTime) -> Result<(), TlsError> {
        let own = &self.0.tbs_certificate;
        let not_before = UnixTime::since_unix_epoch(own.validity.not_before.to_unix_duration());
        let not_after = UnixTime::since_unix_epoch(own.validity.not_after.to_unix_duration());
        if now < not_before {
            let time = now;
            return Err(CertificateError::NotValidYetContext { time, not_before }.into());
        }
        if now > not_after {
            let time = now;
            return Err(CertificateError::ExpiredContext { time, not_after }.into());
        }
        let purposes = own.get::<ExtendedKeyUsage>().map_err(|_| bad_encoding())?;
        let serves = |(_, purposes): (bool, ExtendedKeyUsage)| {
            let mut purposes = purposes.0.iter();
            purposes.any(|purpose| [ID_KP_SERVER_AUTH, ANY_EXTENDED_KEY_USAGE].contains(purpose))
        };
        if purposes.is_none_or(serves) {
            Ok(())
        } else {
            Err(CertificateError::InvalidPurpose.into())
        }
    }

    /// Whether its common name is the server's. As in libpq, that counts only where it has no
    /// alternative name of the same kind, DNS name or IP address.
    pub(crate) fn common_name_is(&self, server: &ServerName<'_>) -> bool {
        let own = &self.0.tbs_certificate;
        let Ok(alternatives) = own.get::<SubjectAltName>() else {
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
        let mut attributes = own.subject.0.iter().flat_map(|part| part.0.iter());
        let common_name = attributes.find(|attribute| attribute.oid == COMMON_NAME);
        common_name.is_some_and(|name| {
            // In the others a character is not a byte.
            let plain = [Tag::Utf8String, Tag::PrintableString, Tag::Ia5String];
            plain.contains(&name.value.tag())
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
