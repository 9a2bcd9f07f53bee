//! Deletes the ConfigMaps and the copies of the URL of the database that no pod template reads.

use super::error::{ApiResultExt as _, Error};
use super::reconciliation::Reconciliation;
use super::rollout::Template;
use super::{Context, apply, migration};
use crate::build::Target;
use crate::build::labels::{self, Component};
use crate::cluster::Kind;

const JOB_TEMPLATE: &str = "/spec/template";

impl Reconciliation<'_> {
    /// Deletes the ConfigMaps except `config_map`, and the copies, that no template reads: neither one of `templates`,
    /// nor that of the CronJob, which follows the pods only after a rollout, nor that of a Job that is not cut off: a
    /// migration, or a run of the CronJob, which may need another pod. Not called during a rollout, because old pods may restart.
    ///
    /// # Errors
    /// When the API server rejects a request or does not respond.
    pub(super) async fn delete_unused(
        &mut self,
        target: &Target,
        config_map: &str,
        mut templates: Vec<Template>,
    ) -> Result<(), Error> {
        let context = self.context;
        if !self.has_unused(target, config_map, &templates) {
            return Ok(());
        }
        templates.extend(templates_of_jobs(context, target).await?);
        let mut keep = vec![config_map];
        keep.extend(templates.iter().filter_map(Template::config_map));
        apply::delete_except(context, target, Kind::ConfigMap, &keep).await?;
        self.delete_unused_database_secrets(target, &templates)
            .await
    }

    fn has_unused(&self, target: &Target, config_map: &str, templates: &[Template]) -> bool {
        let is_read = |name: &str, read: fn(&Template) -> Option<&str>| {
            templates
                .iter()
                .any(|template| read(template) == Some(name))
        };
        let index = &self.context.records.index;
        let (namespace, owner) = (&target.namespace, &target.owner.uid);
        let config_maps = index.owned(Kind::ConfigMap, namespace, &target.name, owner);
        let mut copies = self.previous_status.database_secrets.iter();
        copies.any(|name| !is_read(name, Template::database_secret))
            || config_maps
                .iter()
                .any(|it| it.name != config_map && !is_read(&it.name, Template::config_map))
    }
}

/// Reads the pod templates of the CronJob and of the Jobs.
async fn templates_of_jobs(context: &Context, target: &Target) -> Result<Vec<Template>, Error> {
    let (namespace, owner) = (&target.namespace, &target.owner.uid);
    let mut templates = Vec::new();
    for (kind, path) in [
        (Kind::CronJob, "/spec/jobTemplate/spec/template"),
        (Kind::Job, JOB_TEMPLATE),
    ] {
        let index = &context.records.index;
        for known in index.owned(kind, namespace, &target.name, owner) {
            let live = apply::read(context, kind, namespace, &known.name).await?;
            let template = live.and_then(|live| live.data.pointer(path).cloned());
            templates.extend(template.map(Template));
        }
    }
    templates.extend(templates_of_runs(context, target).await?);
    Ok(templates)
}

/// Reads the pod templates of the runs of the CronJob that have not ended. They belong to the CronJob, so the watches
/// do not deliver them. A Job without labels gets those of its pods, also one that a person created from the CronJob:
/// <https://github.com/kubernetes/kubernetes/blob/v1.36.0/pkg/apis/batch/v1/defaults.go>
async fn templates_of_runs(context: &Context, target: &Target) -> Result<Vec<Template>, Error> {
    let labels = labels::query(&labels::selector(target, Some(Component::Maintain)));
    let jobs = context.cluster.jobs(&target.namespace, &labels).await;
    let jobs = jobs.during(|| "list jobs".to_owned())?;
    let running = jobs.into_iter().filter(|job| !migration::has_ended(job));
    let templates = running.filter_map(|job| job.data.pointer(JOB_TEMPLATE).cloned());
    Ok(templates.map(Template).collect())
}
