//! The key of the digests of secrets.
//!
//! The digest of a secret is in annotations and in names of Jobs, which many users can read. A plain hash would
//! allow an offline attack on weak passwords. Therefore the digest is an HMAC-SHA-256 with a random key that only
//! the operator reads. The key is created once and stored in a Secret in the namespace of the operator.

use aws_lc_rs::hmac;
use aws_lc_rs::rand::{SecureRandom as _, SystemRandom};
use tokio::sync::OnceCell;

use super::error::{ApiResultExt as _, Error};
use crate::build::hex;
use crate::cluster::Cluster;

/// The Secret with the key. The manifests contain it without data, so that the operator needs permissions for this one
/// name only.
pub const SECRET_NAME: &str = "order-operator-key";
const SECRET_FIELD: &str = "key";
const KEY_BYTES: usize = 32;

/// The key. It is read on first use.
#[derive(Debug)]
pub struct DigestKey {
    namespace: String,
    read: OnceCell<hmac::Key>,
}

impl DigestKey {
    /// Creates the key of the operator that runs in this namespace.
    pub fn in_namespace(namespace: &str) -> Self {
        Self {
            namespace: namespace.to_owned(),
            read: OnceCell::new(),
        }
    }

    /// Returns the digest of these parts, of which the last is secret.
    ///
    /// # Errors
    /// When the key can be neither read nor created.
    pub async fn digest(&self, cluster: &Cluster, parts: [&[u8]; 4]) -> Result<String, Error> {
        let key = self.read.get_or_try_init(|| self.read(cluster)).await?;
        let mut context = hmac::Context::with_key(key);
        for part in parts {
            // The length before each part separates the part from the next one.
            context.update(&u64::try_from(part.len()).unwrap_or(u64::MAX).to_be_bytes());
            context.update(part);
        }
        Ok(hex(context.sign().as_ref(), 8))
    }

    async fn read(&self, cluster: &Cluster) -> Result<hmac::Key, Error> {
        let secret = cluster.secret(&self.namespace, SECRET_NAME).await;
        let Some(secret) = secret.during(|| format!("get Secret {SECRET_NAME}"))? else {
            return Err(Error::NoKey(self.namespace.clone()));
        };
        let stored = secret.data.as_ref().and_then(|data| data.get(SECRET_FIELD));
        if let Some(stored) = stored.filter(|stored| stored.0.len() >= KEY_BYTES) {
            return Ok(hmac::Key::new(hmac::HMAC_SHA256, &stored.0));
        }
        let mut created = [0; KEY_BYTES];
        SystemRandom::new()
            .fill(&mut created)
            .map_err(|_| Error::NoRandomness)?;
        // Fails if the Secret has changed since it was read. Otherwise one of two keys would be lost.
        let written = cluster
            .fill_secret(&secret, SECRET_FIELD, created.to_vec())
            .await;
        written.during(|| format!("write Secret {SECRET_NAME}"))?;
        log::info!(name = SECRET_NAME, namespace = self.namespace.as_str(); "created the key of the digests");
        Ok(hmac::Key::new(hmac::HMAC_SHA256, &created))
    }
}
