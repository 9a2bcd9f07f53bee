//! The secrets that an OrderService refers to.
//!
//! One key of each secret is read, and only its digest is kept. The digest goes into the annotations of the pods,
//! so that a changed secret rolls them. It includes the UID of the OrderService, so that equal secrets of two
//! OrderServices have different digests. The `resourceVersion` of the secret is not a substitute, because it
//! changes with each label, and when a backup is restored.

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
    if target.migrations == target.database {
        let migrations = database.clone();
        return Ok(Ok(SecretDigests {
            database,
            migrations,
        }));
    }
    let migrations = digest(context, target, &target.migrations).await?;
    Ok(migrations.map(|migrations| SecretDigests {
        database,
        migrations,
    }))
}

async fn digest(
    context: &Context,
    target: &Target,
    reference: &SecretKeyRef,
) -> Result<Result<String, MissingSecret>, Error> {
    let SecretKeyRef { name, key } = reference;
    let secret = context.cluster.secret(&target.namespace, name).await;
    let Some(secret) = secret.during(|| format!("get Secret {name}"))? else {
        return Ok(Err(MissingSecret::Secret(name.clone())));
    };
    let (name, key) = (name.clone(), key.clone());
    let value = secret.data.as_ref().and_then(|data| data.get(&key));
    Ok(match value {
        None => Err(MissingSecret::Key { name, key }),
        Some(value) if value.0.is_empty() => Err(MissingSecret::Empty { name, key }),
        Some(value) => {
            let parts = [
                target.owner.uid.as_bytes(),
                name.as_bytes(),
                key.as_bytes(),
                &value.0,
            ];
            Ok(context.key.digest(&context.cluster, parts).await?)
        }
    })
}
