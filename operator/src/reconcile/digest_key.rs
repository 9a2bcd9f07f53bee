//! The key with which secrets are digested.
//!
//! A digest of a secret stands where many can read it: in annotations and in names. Were it a plain hash,
//! whoever reads it could try passwords against it at home. So it is keyed, with a key that only the
//! operator reads: random, made once, and kept in a Secret of the operator's own namespace.

use ring::hmac;
use ring::rand::{SecureRandom as _, SystemRandom};
use tokio::sync::OnceCell;

use super::error::{ApiResultExt as _, Error};
use crate::build::hex;
use crate::cluster::Cluster;

/// The Secret with the key. The manifests bring it empty, so that nobody need be let to make Secrets.
pub const SECRET_NAME: &str = "order-operator-key";
const SECRET_FIELD: &str = "key";
const KEY_BYTES: usize = 32;

/// The key, once it was asked for.
#[derive(Debug)]
pub struct DigestKey {
    namespace: String,
    read: OnceCell<hmac::Key>,
}

impl DigestKey {
    /// The key of the operator in this namespace.
    pub fn in_namespace(namespace: &str) -> Self {
        Self {
            namespace: namespace.to_owned(),
            read: OnceCell::new(),
        }
    }

    /// What stands for these, of which the last is secret.
    ///
    /// # Errors
    /// When there is no key to be had.
    pub async fn digest(&self, cluster: &Cluster, parts: [&[u8]; 4]) -> Result<String, Error> {
        let key = self.read.get_or_try_init(|| self.read(cluster)).await?;
        let mut context = hmac::Context::with_key(key);
        for part in parts {
            // With its length before it, nothing passes from one part to the next.
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
        let kept = secret.data.as_ref().and_then(|data| data.get(SECRET_FIELD));
        if let Some(kept) = kept.filter(|kept| kept.0.len() >= KEY_BYTES) {
            return Ok(hmac::Key::new(hmac::HMAC_SHA256, &kept.0));
        }
        let mut made = [0; KEY_BYTES];
        SystemRandom::new()
            .fill(&mut made)
            .map_err(|_| Error::NoRandomness)?;
        // Only where it still is as it was read: of two keys one would be lost.
        let written = cluster
            .fill_secret(&secret, SECRET_FIELD, made.to_vec())
            .await;
        written.during(|| format!("write Secret {SECRET_NAME}"))?;
        log::info!(name = SECRET_NAME, namespace = self.namespace.as_str(); "a key was made");
        Ok(hmac::Key::new(hmac::HMAC_SHA256, &made))
    }
}
