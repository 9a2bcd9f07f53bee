//! The secrets that an OrderService refers to.
//!
//! One key of each secret is read, and only its digest is kept. The digest of the secret of the database goes into
//! the annotations of the pods, so that a changed secret rolls them. Of the secret with `AUTH_FILE` nothing is kept:
//! the service reads the file again when it changes. The digest includes the UID of the OrderService, so that equal secrets of two
//! OrderServices have different digests. The `resourceVersion` of the secret is not a substitute, because it
//! changes with each label, and when a backup is restored.

use k8s_openapi::ByteString;

use super::Context;
use super::error::{ApiResultExt as _, Error};
use crate::build::{SecretDigests, Target};
use crate::crd::SecretKeyRef;

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

/// Reads the secrets. The inner result is an error when one is missing.
///
/// # Errors
/// When the API server rejects a request or does not respond.
pub(crate) async fn read_secrets(
    context: &Context,
    target: &Target,
) -> Result<Result<SecretDigests, MissingSecret>, Error> {
    let database = match digest(context, target, &target.database).await? {
        Ok(digest) => digest,
        Err(missing) => return Ok(Err(missing)),
    };
    let migrations = if target.migrations == target.database {
        database.clone()
    } else {
        match digest(context, target, &target.migrations).await? {
            Ok(digest) => digest,
            Err(missing) => return Ok(Err(missing)),
        }
    };
    if let Some(auth) = &target.access.secret
        && let Err(missing) = read(context, target, auth).await?
    {
        return Ok(Err(missing));
    }
    Ok(Ok(SecretDigests {
        database,
        migrations,
    }))
}

async fn digest(
    context: &Context,
    target: &Target,
    reference: &SecretKeyRef,
) -> Result<Result<String, MissingSecret>, Error> {
    let value = match read(context, target, reference).await? {
        Ok(value) => value,
        Err(missing) => return Ok(Err(missing)),
    };
    let parts = [
        target.owner.uid.as_bytes(),
        reference.name.as_bytes(),
        reference.key.as_bytes(),
        &value.0,
    ];
    Ok(Ok(context.key.digest(&context.cluster, parts).await?))
}

/// Reads the value of one key, which is not empty.
async fn read(
    context: &Context,
    target: &Target,
    reference: &SecretKeyRef,
) -> Result<Result<ByteString, MissingSecret>, Error> {
    let SecretKeyRef { name, key } = reference.clone();
    let secret = context.cluster.secret(&target.namespace, &name).await;
    let Some(secret) = secret.during(|| format!("get Secret {name}"))? else {
        return Ok(Err(MissingSecret::Secret(name)));
    };
    let value = secret.data.and_then(|mut data| data.remove(&key));
    Ok(match value {
        None => Err(MissingSecret::Key { name, key }),
        Some(value) if value.0.is_empty() => Err(MissingSecret::Empty { name, key }),
        Some(value) => Ok(value),
    })
}
