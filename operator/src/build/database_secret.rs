//! The copy of the URL of the database that pods read. It is immutable and its name contains a hash of the URL, so that
//! a rollback returns to the previous URL and pods that serve never read a URL that was not tried.

use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::Secret;

use super::labels::{Component, SECRET_DIGEST, SECRET_SOURCE};
use super::{Target, short_hash, string_map};
use crate::crd::SecretKeyRef;

/// The key of the copy.
pub(crate) const KEY: &str = "database-url";

/// The start of the names of all copies of an OrderService.
pub(crate) fn name_prefix(target: &Target) -> String {
    format!("{}-url-", target.name)
}

/// The name of the copy of the URL with this digest.
pub(crate) fn name(target: &Target, digest: &str) -> String {
    format!("{}{}", name_prefix(target), short_hash(digest))
}

/// Identifies the secret that was copied.
pub(crate) fn source(reference: &SecretKeyRef) -> String {
    format!("{}/{}", reference.name, reference.key)
}

/// Builds the copy.
pub(crate) fn build(target: &Target, digest: &str, url: ByteString) -> Secret {
    let mut metadata = target.object_meta(&name(target, digest), Some(Component::Server));
    metadata.annotations = Some(string_map([
        (SECRET_DIGEST, digest),
        (SECRET_SOURCE, &source(&target.database)),
    ]));
    Secret {
        metadata,
        type_: Some("Opaque".to_owned()),
        immutable: Some(true),
        data: Some([(KEY.to_owned(), url)].into()),
        ..Secret::default()
    }
}
