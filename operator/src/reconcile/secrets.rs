//! What an OrderService refers to: its secrets.
//!
//! Of a secret one key is read, digested and forgotten. The digest goes into the pods' annotations, so
//! that a changed secret rolls them; it is mixed with the identity of the OrderService, so that equal
//! secrets do not look alike. The secret's resourceVersion would not do: it changes with each label, and
//! when a backup is put back.

use super::Context;
use super::error::{ApiResultExt as _, Error};
use crate::build::Target;
use crate::crd::SecretKeyRef;

/// What stands for what the secrets say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Secrets {
    /// Of the one that pods read.
    pub database: String,
    /// Of the one that the migration reads.
    pub migrations: String,
}

/// Reads the secrets. In place of one that is missing, says so.
///
/// # Errors
/// When the API server says no or nothing.
pub async fn secrets(context: &Context, target: &Target) -> Result<Result<Secrets, String>, Error> {
    let database = match digest(context, target, &target.database).await? {
        Ok(digest) => digest,
        Err(missing) => return Ok(Err(missing)),
    };
    if target.migrations == target.database {
        let migrations = database.clone();
        return Ok(Ok(Secrets {
            database,
            migrations,
        }));
    }
    let migrations = digest(context, target, &target.migrations).await?;
    Ok(migrations.map(|migrations| Secrets {
        database,
        migrations,
    }))
}

async fn digest(
    context: &Context,
    target: &Target,
    reference: &SecretKeyRef,
) -> Result<Result<String, String>, Error> {
    let SecretKeyRef { name, key } = reference;
    let secret = context.cluster.secret(&target.namespace, name).await;
    let Some(secret) = secret.during(|| format!("get Secret {name}"))? else {
        return Ok(Err(format!("Secret {name} does not exist")));
    };
    let value = secret.data.as_ref().and_then(|data| data.get(key));
    Ok(match value {
        None => Err(format!("Secret {name} has no key {key}")),
        Some(value) if value.0.is_empty() => Err(format!("Secret {name} has nothing in {key}")),
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
