//! The copies of the URL of the database that pods read.
//!
//! Secrets cannot be listed, because that right would include all of them. So the status lists the copies, and it does so
//! before a copy is created: a copy that nothing lists would stay until the OrderService is deleted.

use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::Secret;

use super::apply::{Ownership, metadata_ownership};
use super::error::{ApiResultExt as _, Error};
use super::reconciliation::Reconciliation;
use super::rollout::Template;
use super::secrets::Secrets;
use crate::build::labels::SECRET_SOURCE;
use crate::build::{Target, database_secret};
use crate::cluster::Kind;
use crate::crd::OnSecretChange;

impl Reconciliation<'_> {
    /// With `Ignore`, replaces a changed URL by that of the pods, if pods have rolled out and the URL was copied from the
    /// same secret.
    ///
    /// # Errors
    /// When the API server rejects a request or does not respond.
    pub(super) async fn keep_database_url(
        &self,
        target: &Target,
        secrets: &mut Secrets,
    ) -> Result<(), Error> {
        let rollout = self.observation.rollout.as_ref();
        if target.on_secret_change != OnSecretChange::Ignore {
            return Ok(());
        }
        let Some(current) = rollout
            // Until pods have run with a URL, it may be corrected.
            .filter(|rollout| rollout.good_revision.is_some() || rollout.is_proven())
            .and_then(|rollout| rollout.current.as_ref())
        else {
            return Ok(());
        };
        let Some(digest) = current.database_digest() else {
            return Ok(());
        };
        let name = database_secret::name(target, digest);
        if digest == secrets.digests.database || current.database_secret() != Some(name.as_str()) {
            return Ok(());
        }
        let Some(copy) = self.owned_copy(target, &name).await? else {
            return Ok(());
        };
        let annotations = copy.metadata.annotations.unwrap_or_default();
        let source = database_secret::source(&target.database);
        if annotations.get(SECRET_SOURCE) != Some(&source) {
            return Ok(());
        }
        if let Some(url) = copy
            .data
            .and_then(|mut data| data.remove(database_secret::KEY))
        {
            if target.migrations == target.database {
                digest.clone_into(&mut secrets.digests.migrations);
            }
            digest.clone_into(&mut secrets.digests.database);
            secrets.url = url;
        }
        Ok(())
    }

    /// Creates the copy of the URL if it is missing.
    ///
    /// # Errors
    /// When the API server rejects a request or does not respond.
    pub(super) async fn ensure_database_secret(
        &mut self,
        target: &Target,
        digest: &str,
        url: ByteString,
    ) -> Result<(), Error> {
        let desired = database_secret::build(target, digest, url);
        let name = database_secret::name(target, digest);
        let cluster = &self.context.cluster;
        let live = cluster.secret(&target.namespace, &name).await;
        let live = live.during(|| format!("get Secret {name}"))?;
        let Some(live) = live else {
            self.list_database_secret(&name).await?;
            let created = self
                .context
                .cluster
                .create_secret(&target.namespace, &desired)
                .await;
            created.during(|| format!("create Secret {name}"))?;
            log::info!(name = name.as_str(), namespace = target.namespace.as_str(); "copied the URL of the database");
            return Ok(());
        };
        if metadata_ownership(target, Kind::Secret, &live.metadata)? == Ownership::Foreign {
            self.record_conflict(Kind::Secret, &name);
        } else if live.data != desired.data {
            // It is immutable, so another client deleted it and created another one.
            self.delete_copy(target, &name, live).await?;
            return Err(Error::ModifiedConcurrently("the copy of the database URL"));
        } else {
            self.list_database_secret(&name).await?;
        }
        Ok(())
    }

    /// Deletes the copies that none of these templates reads. Older ReplicaSets do not count: only the operator changes
    /// the template, and it never returns to them.
    ///
    /// # Errors
    /// When the API server rejects a request or does not respond.
    pub(super) async fn delete_unused_database_secrets(
        &mut self,
        target: &Target,
        templates: &[Template],
    ) -> Result<(), Error> {
        let used: Vec<_> = templates
            .iter()
            .filter_map(Template::database_secret)
            .collect();
        let (keep, unused): (Vec<_>, Vec<_>) = self
            .previous_status
            .database_secrets
            .iter()
            .cloned()
            .partition(|name| used.contains(&name.as_str()));
        if unused.is_empty() {
            return Ok(());
        }
        for name in &unused {
            if let Some(copy) = self.owned_copy(target, name).await? {
                self.delete_copy(target, name, copy).await?;
            }
        }
        self.observation.database_secrets = Some(keep);
        Ok(())
    }

    /// Returns a copy that belongs to the OrderService.
    async fn owned_copy(&self, target: &Target, name: &str) -> Result<Option<Secret>, Error> {
        if !name.starts_with(&database_secret::name_prefix(target)) {
            return Ok(None);
        }
        let cluster = &self.context.cluster;
        let live = cluster.secret(&target.namespace, name).await;
        let live = live.during(|| format!("get Secret {name}"))?;
        // One that is being deleted already is not an error.
        Ok(live.filter(|live| {
            let ownership = metadata_ownership(target, Kind::Secret, &live.metadata);
            ownership.is_ok_and(|ownership| ownership == Ownership::Ours)
        }))
    }

    async fn delete_copy(&self, target: &Target, name: &str, copy: Secret) -> Result<(), Error> {
        let uid = copy.metadata.uid.unwrap_or_default();
        let cluster = &self.context.cluster;
        let deleted = cluster
            .delete(Kind::Secret, &target.namespace, name, &uid)
            .await;
        deleted.during(|| format!("delete Secret {name}"))?;
        log::info!(name, namespace = target.namespace.as_str(); "deleted a copy of the URL of the database");
        Ok(())
    }
}
