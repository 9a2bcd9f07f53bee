//! The secrets that an OrderService refers to.
//!
//! Of the URLs of the database, a digest is kept. It goes into the annotations of the pods and the names of Jobs, so
//! that a changed URL rolls the pods. It includes the UID of the OrderService, so that equal secrets of two
//! OrderServices have different digests. The `resourceVersion` of the secret is not a substitute, because it changes
//! with each label, and when a backup is restored. Of the other secrets, the file of API keys and the certificates,
//! nothing is kept: the service reads them again when they change.

use k8s_openapi::ByteString;

use super::Context;
use super::error::{ApiResultExt as _, Error};
use crate::build::{SecretDigests, Target};
use crate::crd::{CaSecretRef, ClientSecretRef, DatabaseTls, SecretKeyRef};

/// A secret that the pods need is missing.
#[derive(Clone, Debug, thiserror::Error, PartialEq, Eq)]
pub(crate) enum MissingSecret {
    #[error("Secret {0} does not exist")]
    Secret(String),
    #[error("Secret {name} has no key {key}")]
    Key { name: String, key: String },
    #[error("Secret {name} has nothing in {key}")]
    Empty { name: String, key: String },
}

/// The secrets that were read.
pub(crate) struct Secrets {
    /// The digests of the URLs.
    pub(crate) digests: SecretDigests,
    /// The URL of the database.
    pub(crate) url: ByteString,
}

/// The result of a look for a secret.
type Found<T> = Result<Result<T, MissingSecret>, Error>;

/// Returns from the function when a secret is missing.
macro_rules! found {
    ($result:expr) => {
        match $result {
            Ok(found) => found,
            Err(missing) => return Ok(Err(missing)),
        }
    };
}

/// Reads the secrets. The inner result is an error when one is missing.
///
/// # Errors
/// When the API server rejects a request or does not respond.
pub(crate) async fn read_secrets(context: &Context, target: &Target) -> Found<Secrets> {
    let url = found!(read_one(context, target, &target.database).await?);
    let database = digest(context, target, &target.database, &url).await?;
    let migrations = if target.migrations == target.database {
        database.clone()
    } else {
        let url = found!(read_one(context, target, &target.migrations).await?);
        digest(context, target, &target.migrations, &url).await?
    };
    if let Some(auth) = &target.access.secret {
        found!(read_one(context, target, auth).await?);
    }
    if let Some(DatabaseTls {
        ca_secret_ref,
        client_secret_ref,
    }) = &target.database_tls
    {
        if let Some(CaSecretRef { name, key }) = ca_secret_ref {
            found!(read(context, target, name, &[key]).await?);
        }
        if let Some(ClientSecretRef {
            name,
            certificate,
            private_key,
        }) = client_secret_ref
        {
            found!(read(context, target, name, &[certificate, private_key]).await?);
        }
    }
    let digests = SecretDigests {
        database,
        migrations,
    };
    Ok(Ok(Secrets { digests, url }))
}

async fn digest(
    context: &Context,
    target: &Target,
    reference: &SecretKeyRef,
    value: &ByteString,
) -> Result<String, Error> {
    let parts = [
        target.owner.uid.as_bytes(),
        reference.name.as_bytes(),
        reference.key.as_bytes(),
        &value.0,
    ];
    context.key.digest(&context.cluster, parts).await
}

async fn read_one(
    context: &Context,
    target: &Target,
    SecretKeyRef { name, key }: &SecretKeyRef,
) -> Found<ByteString> {
    let mut values = found!(read(context, target, name, &[key]).await?);
    Ok(values.pop().ok_or_else(|| MissingSecret::Key {
        name: name.clone(),
        key: key.clone(),
    }))
}

/// Reads the values of these keys, none of which is empty.
async fn read(
    context: &Context,
    target: &Target,
    name: &str,
    keys: &[&str],
) -> Found<Vec<ByteString>> {
    let secret = context.cluster.secret(&target.namespace, name).await;
    let Some(secret) = secret.during(|| format!("get Secret {name}"))? else {
        return Ok(Err(MissingSecret::Secret(name.to_owned())));
    };
    let mut data = secret.data.unwrap_or_default();
    Ok(keys
        .iter()
        .map(|&key| {
            let (name, named) = (name.to_owned(), key.to_owned());
            match data.remove(key) {
                None => Err(MissingSecret::Key { name, key: named }),
                Some(value) if value.0.is_empty() => Err(MissingSecret::Empty { name, key: named }),
                Some(value) => Ok(value),
            }
        })
        .collect())
}
