//! The Job that migrates the schema before pods of a new image start.

use k8s_openapi::api::batch::v1::{Job, JobSpec};

use super::labels::Component;
use super::{Target, job, pod, short_hash, string_map};

const CONTAINER: &str = "migrate";
/// A migration is not interrupted to remove its node. Evictions are prevented by the budget; autoscalers may delete pods
/// without an eviction: <https://github.com/kubernetes/autoscaler/blob/master/cluster-autoscaler/FAQ.md>,
/// <https://karpenter.sh/docs/concepts/disruption/>
const DO_NOT_DISRUPT: [(&str, &str); 2] = [
    ("cluster-autoscaler.kubernetes.io/safe-to-evict", "false"),
    ("karpenter.sh/do-not-disrupt", "true"),
];

/// Identifies everything that the migration depends on: the image and the content of the secret.
pub(crate) fn revision(target: &Target, secret: &str) -> String {
    short_hash(&(&target.image, &target.migrations, secret))
}

/// Builds the Job. The template of a Job is immutable, so the name of the Job contains the revision.
pub(crate) fn build(target: &Target, revision: &str) -> Job {
    let mut container = pod::container(target, CONTAINER, &["migrate", "--wait", "60s"]);
    // If the migration fails, the end of the log is in the status of the pod, so the operator needs no permission
    // to read logs.
    container.termination_message_policy = Some("FallbackToLogsOnError".to_owned());
    // The default grace period is enough: on SIGTERM the process ends at once, and the server rolls back.
    let spec = pod::spec(target, &target.migrations, container);
    let mut template = job::template(target, Component::Migrate, spec);
    if let Some(metadata) = &mut template.metadata {
        let annotations = metadata.annotations.get_or_insert_default();
        annotations.extend(string_map(DO_NOT_DISRUPT));
    }
    Job {
        metadata: target.object_meta(
            &format!("{}-migrate-{revision}", target.name),
            Some(Component::Migrate),
        ),
        spec: Some(JobSpec {
            // No ttlSecondsAfterFinished: a failed Job that is deleted would be created again. The operator sets it
            // when the Job has succeeded.
            // The pause between attempts doubles, from 10 s to 10 minutes.
            backoff_limit: Some(6),
            // No activeDeadlineSeconds: creating a large index may take hours and must not be interrupted.
            pod_failure_policy: Some(job::failure_policy(
                CONTAINER,
                job::Unreachable::IsRetriedIndefinitely,
            )),
            template,
            ..JobSpec::default()
        }),
        status: None,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn job(image: &str) -> Job {
        let object = serde_json::from_value(json!({
            "apiVersion": "orders.example.com/v1alpha1", "kind": "OrderService",
            "metadata": {"name": "o".repeat(43), "namespace": "n", "uid": "u"},
            "spec": {"image": image, "replicas": 1, "database": {"secretRef": {"name": "db"}}},
        }))
        .unwrap();
        let target = Target::new(&object).unwrap();
        build(&target, &revision(&target, "digest"))
    }

    #[test]
    fn the_name_is_a_host_name_without_dots_and_differs_for_each_tag() {
        // A pod's host name is the name of its Job, and the API server warns about dots.
        let names = ["orders:1.2.3", "orders:1-2-3"].map(|image| job(image).metadata.name.unwrap());
        for name in &names {
            assert!(name.len() <= 63, "{name}");
            assert!(
                name.chars()
                    .all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-'),
                "{name}"
            );
        }
        assert_ne!(names[0], names[1]);
    }

    #[test]
    fn an_outage_of_the_database_uses_up_no_attempt() {
        let spec = job("orders:1").spec.unwrap();
        let rules = spec.pod_failure_policy.unwrap().rules;
        let rules: Vec<_> = rules
            .into_iter()
            .map(|rule| (rule.action, rule.on_exit_codes.map(|codes| codes.values)))
            .collect();
        let expected = [
            ("Ignore".to_owned(), None),
            ("Ignore".to_owned(), Some(vec![3])),
            ("FailJob".to_owned(), Some(vec![2])),
        ];
        assert_eq!(rules, expected);
        assert_eq!(
            spec.template.spec.unwrap().restart_policy.as_deref(),
            Some("Never"),
            "otherwise the API server rejects the rules"
        );
    }
}
