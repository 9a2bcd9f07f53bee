//! One reconcile: dereference, validate, build, apply, update the status.

use std::sync::Arc;
use std::time::{Duration, Instant};

use kube::runtime::controller::Action;
use tokio::time::timeout;

use super::apply::{self, Belongs, Desired};
use super::error::{Class, Error};
use super::migration::{self, Migration};
use super::reconciliation::Work;
use super::rollout::{Rollout, Template, plan};
use super::secrets::{self, Secrets};
use super::{Context, deployment};
use crate::backoff::spread;
use crate::build::{self, Target};
use crate::cluster::Kind;
use crate::crd::OrderService;

/// A rollout is looked at this often: its pods are not watched.
const ROLLOUT: Duration = Duration::from_secs(10);
/// A migration is looked at this often, in case its pod cannot start.
const MIGRATION: Duration = Duration::from_secs(30);

/// When to look again, if nothing happens.
pub(super) enum Next {
    Resync,
    Soon(Duration),
    /// Something is missing that nobody watches.
    Backoff,
}

/// How long a reconcile may take. The API server may stop answering while the connection stands, and
/// nobody else would notice: the Lease and the watches have connections of their own.
const PATIENCE: Duration = Duration::from_secs(60);

/// How long it may take to tell that it failed.
const LAST_WORD: Duration = Duration::from_secs(10);
/// Errors that pass by themselves are told when they have lasted for so long.
const LASTING: Duration = Duration::from_secs(120);

/// Brings the cluster closer to what an OrderService asks for.
///
/// # Errors
/// When it has to be tried again; `error_policy` says when.
pub async fn reconcile(object: Arc<OrderService>, context: Arc<Context>) -> Result<Action, Error> {
    let started = Instant::now();
    let result = timeout(PATIENCE, run(&object, &context))
        .await
        .unwrap_or(Err(Error::Late));
    if let Err(error) = &result {
        // Whether it can be told or not: the error stays the same.
        let _ = timeout(LAST_WORD, tell_what_lasts(&object, &context, error)).await;
    }
    let metrics = &context.metrics;
    metrics.duration.observe(started.elapsed().as_secs_f64());
    let outcome = match &result {
        Ok(_) => "success",
        Err(error) => error.class().as_str(),
    };
    metrics.reconciles.with_label_values(&[outcome]).inc();
    result
}

/// What should have passed and does not is told: nobody reads the log of an operator that seems well.
async fn tell_what_lasts(object: &OrderService, context: &Context, error: &Error) {
    let uid = object.metadata.uid.as_deref().unwrap_or_default();
    let is_passing = matches!(error.class(), Class::Transient | Class::Conflict);
    if !is_passing || context.backoff.failing_for(uid) < LASTING {
        return;
    }
    let mut work = Work::new(context, object);
    work.target = Target::new(object).ok();
    work.seen.paused = object.spec.paused;
    work.seen.failing = Some(error.message());
    if let Err(error) = work.write_status().await {
        log::debug!(error = error.message().as_str(); "nor can it be told");
    }
    work.publish().await;
}

/// When to try again after an error.
pub fn error_policy(object: &OrderService, error: &Error, context: &Context) -> Action {
    let uid = object.metadata.uid.as_deref().unwrap_or_default();
    let class = error.class();
    let wait = context.backoff.failed(uid, class);
    let name = object.metadata.name.as_deref().unwrap_or_default();
    let namespace = object.metadata.namespace.as_deref().unwrap_or_default();
    let level = match class {
        Class::Conflict | Class::Fenced => log::Level::Debug,
        Class::Transient | Class::Permanent => log::Level::Warn,
    };
    let retry = humantime::format_duration(Duration::from_millis(
        u64::try_from(wait.as_millis()).unwrap_or(u64::MAX),
    ));
    log::log!(
        level, name, namespace, class = class.as_str(), error = error.message().as_str(),
        retry_in:% = retry;
        "reconcile failed"
    );
    Action::requeue(wait)
}

async fn run(object: &OrderService, context: &Context) -> Result<Action, Error> {
    if object.metadata.deletion_timestamp.is_some() {
        // What it is made of goes with it by its ownerReferences.
        return Ok(Action::await_change());
    }
    let mut work = Work::new(context, object);
    let result = match work.do_it().await {
        Err(error) if error.class() != Class::Permanent => {
            work.publish().await;
            return Err(error);
        }
        result => result,
    };
    // Somebody has to do something, so somebody has to know.
    work.seen.refused = result.as_ref().err().map(Error::message);
    let written = work.write_status().await;
    work.publish().await;
    let next = result?;
    written?;
    let uid = object.metadata.uid.as_deref().unwrap_or_default();
    let wait = match next {
        Next::Backoff => context.backoff.waits(uid),
        Next::Resync => {
            context.backoff.forget(uid);
            spread(context.resync, 10)
        }
        Next::Soon(wait) => {
            context.backoff.forget(uid);
            wait.min(context.resync)
        }
    };
    Ok(Action::requeue(
        work.again.map_or(wait, |again| again.min(wait)),
    ))
}

impl Work<'_> {
    async fn do_it(&mut self) -> Result<Next, Error> {
        let target = match Target::new(self.object) {
            Ok(target) => target,
            Err(invalid) => {
                self.seen.invalid = Some(invalid.to_string());
                return Ok(Next::Resync);
            }
        };
        self.seen.paused = target.paused;
        self.target = Some(target.clone());
        let context = self.context;
        let secrets = secrets::secrets(context, &target).await?;
        let live = apply::read(context, Kind::Deployment, &target.namespace, &target.name).await?;
        let ours = match &live {
            Some(live) => apply::belongs(&target, Kind::Deployment, live)? == Belongs::Us,
            None => true,
        };
        if ours {
            self.seen.rollout = live.as_ref().map(Rollout::of);
        } else {
            self.conflict(Kind::Deployment, &target.name);
        }
        if target.paused {
            self.look_only(&target, secrets.ok());
            return Ok(Next::Resync);
        }
        let config_map = self.apply_surroundings(&target).await?;
        let secrets = match secrets {
            Ok(secrets) => secrets,
            Err(missing) => {
                self.seen.secret = Some(missing);
                return Ok(Next::Backoff);
            }
        };
        // Nothing may run with the identity or the settings of somebody else.
        if self.is_blocked() {
            return Ok(Next::Backoff);
        }
        let before = self.before.migration.clone();
        let migrated =
            migration::migrate(context, &target, &secrets.migrations, before.as_ref()).await?;
        if let Migration::Foreign(job) = &migrated {
            self.conflict(Kind::Job, job);
        }
        self.seen.migration = migrated;
        if self.is_blocked() {
            return Ok(Next::Backoff);
        }
        let template = build::pod_template(&target, &config_map, &secrets.database);
        deployment::deploy(self, &target, template, live).await?;
        Ok(self.next())
    }

    /// What is there, told without touching it.
    fn look_only(&mut self, target: &Target, secrets: Option<Secrets>) {
        let Some(secrets) = secrets else {
            return;
        };
        let config_map = build::config_map(target).metadata.name.unwrap_or_default();
        let template = build::pod_template(target, &config_map, &secrets.database);
        let Ok(template) = serde_json::to_value(template).map(Template) else {
            return;
        };
        self.seen.desired = Some(template.revision().to_owned());
        let nothing = Rollout::default();
        let live = self.seen.rollout.as_ref().unwrap_or(&nothing);
        // What failed before stays told; what fails now is decided when the pause is over.
        self.seen.plan = plan(
            &template,
            live,
            false,
            self.before.failed_revision.as_ref(),
            None,
        )
        .filter(|plan| plan.failed == self.before.failed_revision);
    }

    /// Everything that pods need around them. Returns the name of their settings.
    async fn apply_surroundings(&mut self, target: &Target) -> Result<String, Error> {
        let config_map = Desired::new(Kind::ConfigMap, &build::config_map(target))?;
        let settings = config_map.name.clone();
        let mut all = vec![
            Desired::new(Kind::ServiceAccount, &build::service_account(target))?,
            config_map,
            Desired::new(Kind::Service, &build::service(target))?,
        ];
        match build::network_policy(target) {
            Some(policy) => all.insert(1, Desired::new(Kind::NetworkPolicy, &policy)?),
            None => apply::delete_all_but(self.context, target, Kind::NetworkPolicy, &[]).await?,
        }
        match build::pod_disruption_budget(target) {
            Some(budget) => all.push(Desired::new(Kind::PodDisruptionBudget, &budget)?),
            None => {
                apply::delete_all_but(self.context, target, Kind::PodDisruptionBudget, &[]).await?
            }
        }
        for desired in &all {
            let outcome = apply::ensure(self.context, target, desired).await?;
            self.note(desired, &outcome);
        }
        Ok(settings)
    }

    /// Whether a name is taken without which no pod can be run.
    fn is_blocked(&self) -> bool {
        let blocking = [
            Kind::ServiceAccount,
            Kind::ConfigMap,
            Kind::Job,
            Kind::Deployment,
        ];
        self.seen.conflicts.iter().any(|conflict| {
            let is_of = |kind: &Kind| conflict.starts_with(&format!("{} ", kind.as_str()));
            blocking.iter().any(is_of)
        })
    }

    fn next(&self) -> Next {
        if !self.seen.conflicts.is_empty() {
            // Nobody tells when the name becomes free.
            return Next::Backoff;
        }
        match &self.seen.migration {
            Migration::Running(_) | Migration::Retrying(_) => {
                return Next::Soon(MIGRATION);
            }
            Migration::Unknown
            | Migration::Done(_)
            | Migration::Failed(_)
            | Migration::Foreign(_) => {}
        }
        match &self.seen.rollout {
            Some(rollout) if !rollout.is_complete() => Next::Soon(ROLLOUT),
            _ => Next::Resync,
        }
    }
}
