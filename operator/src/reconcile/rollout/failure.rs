//! Decides whether a rollout has failed, and what the failure says about the template and about the URL of the database.

use super::{Permitted, Rollout, Template, is_crash_loop};
use crate::crd::FailedRevision;
use crate::pods::PodFailure;

/// Whether a failed template is not retried although this one is desired.
pub(in crate::reconcile) fn holds(failed: &FailedRevision, desired: &Template) -> bool {
    failed.revision == desired.revision()
        || failed
            .template
            .as_ref()
            .is_some_and(|template| *template == desired.hash_without_url())
}

/// Whether the URL of this template failed.
pub(in crate::reconcile) fn rejects_url(failed: &FailedRevision, desired: &Template) -> bool {
    failed.url_digest.is_some() && failed.url_digest.as_deref() == desired.url()
}

/// Whether the last good template gets the URL of this one, although everything else in it failed.
pub(in crate::reconcile) fn follows_url(failed: &FailedRevision, desired: &Template) -> bool {
    failed.template.is_some() && !rejects_url(failed, desired)
}

/// Whether the URL of the database may be the reason why a pod does not run. `is_changed`: the URL is another one than
/// that of the last good template.
pub(in crate::reconcile) fn may_be_the_url(reason: Option<&str>, is_changed: bool) -> bool {
    match reason {
        // The readiness probe includes the database.
        None | Some("DatabaseUnreachable" | "NotReady") => true,
        // A role without privileges, or a URL that cannot be parsed, ends the service.
        Some(
            "CrashLoopBackOff"
            | "ContainerFailed"
            | "InvalidSetting"
            | "CreateContainerConfigError"
            | "FailedMount"
            | "FailedAttachVolume"
            | "FailedMapVolume",
        ) => is_changed,
        Some(_) => false,
    }
}

/// The templates that may be rolling out.
pub(super) struct Trial<'a> {
    pub(super) desired: &'a Template,
    /// The template for a rollback with the desired URL.
    pub(super) with_url: Option<&'a Template>,
    /// The template for a rollback, unless it is current.
    pub(super) last_good: Option<&'a Template>,
    pub(super) good_revision: Option<&'a str>,
    pub(super) permitted: Permitted,
}

impl Trial<'_> {
    /// Returns the failure to record. `known` is the one that is recorded.
    pub(super) fn failed(
        &self,
        live: &Rollout,
        known: Option<&FailedRevision>,
        failure: Option<&PodFailure>,
    ) -> Option<FailedRevision> {
        let current = live.current.as_ref().map(Template::revision);
        let desired = self.desired.revision();
        let with_url = self.with_url.map(Template::revision);
        let has_rolled_out = current.is_some() && current == self.good_revision;
        if current == Some(desired) {
            return match known {
                // The rollout completed in the end: it was only slow.
                _ if has_rolled_out => None,
                Some(known) => Some(known.clone()),
                None => self.of_template(rollout_failure(live, failure)?, failure),
            };
        }
        let is_url_alone = known.is_some() || self.permitted != Permitted::Template;
        if current != with_url || !is_url_alone {
            return known.cloned();
        }
        if has_rolled_out {
            // The same for the URL.
            let holds = |known: &&FailedRevision| holds(known, self.desired);
            let is_its_url = known.is_some_and(|known| rejects_url(known, self.desired));
            return known.filter(holds).cloned().map(|known| FailedRevision {
                url_digest: known.url_digest.filter(|_| !is_its_url),
                ..known
            });
        }
        let is_known = known.is_some_and(|known| rejects_url(known, self.desired));
        if is_known || self.last_good.is_none() {
            return known.cloned();
        }
        match rollout_failure(live, failure) {
            Some(why) => Some(self.of_url(why, known, failure)),
            None => known.cloned(),
        }
    }

    /// The desired template failed.
    fn of_template(
        &self,
        (reason, message): (&str, String),
        failure: Option<&PodFailure>,
    ) -> Option<FailedRevision> {
        let cause = failure.map(|failure| failure.reason);
        let is_changed = |of: fn(&Template) -> Option<String>| {
            self.last_good
                .is_some_and(|last_good| of(last_good) != of(self.desired))
        };
        let url_changed = is_changed(|template| template.url().map(str::to_owned));
        let template_changed = is_changed(|template| Some(template.hash_without_url()));
        let is_of_template = template_changed && !may_be_the_url(cause, url_changed);
        Some(FailedRevision {
            revision: self.desired.revision().to_owned(),
            template: is_of_template.then(|| self.desired.hash_without_url()),
            url_digest: (url_changed && !is_of_template)
                .then(|| self.desired.url().map(str::to_owned))
                .flatten(),
            reason: reason.to_owned(),
            message,
            cause: cause.map(str::to_owned),
            retry_at: None,
        })
    }

    /// The last good template failed with the desired URL.
    fn of_url(
        &self,
        (reason, message): (&str, String),
        known: Option<&FailedRevision>,
        failure: Option<&PodFailure>,
    ) -> FailedRevision {
        let url_digest = self.desired.url().map(str::to_owned);
        match known {
            // The template stays failed.
            Some(known) => FailedRevision {
                url_digest,
                message: format!("the changed URL of the database failed as well: {message}"),
                ..known.clone()
            },
            None => FailedRevision {
                revision: self
                    .with_url
                    .map_or_else(String::new, |it| it.revision().to_owned()),
                template: None,
                url_digest,
                reason: reason.to_owned(),
                message,
                cause: failure.map(|failure| failure.reason.to_owned()),
                retry_at: None,
            },
        }
    }
}

/// Why the rollout of the current template has failed.
fn rollout_failure(live: &Rollout, failure: Option<&PodFailure>) -> Option<(&'static str, String)> {
    if let Some(crash) = failure.filter(|failure| is_crash_loop(failure)) {
        return Some(("CrashLoopBackOff", crash.detail.clone()));
    }
    let deadline = live.deadline_exceeded.as_ref()?;
    // The pods are deleted by the rollback, and their reason with them.
    let message = failure.map_or(deadline, |failure| &failure.detail);
    Some(("ProgressDeadlineExceeded", message.clone()))
}
