//! The autoscaler, if the spec has `autoscaling` instead of `replicas`.

use k8s_openapi::api::autoscaling::v2::{
    CrossVersionObjectReference, HPAScalingPolicy, HPAScalingRules, HorizontalPodAutoscaler,
    HorizontalPodAutoscalerBehavior, HorizontalPodAutoscalerSpec, MetricSpec, MetricTarget,
    ResourceMetricSource,
};

use super::labels::Component;
use super::{Replicas, Target};
use crate::crd::Autoscaling;

/// Builds the HorizontalPodAutoscaler, or returns `None` if the spec sets `replicas`.
pub(crate) fn build(target: &Target) -> Option<HorizontalPodAutoscaler> {
    let Replicas::Autoscaled(autoscaling) = &target.replicas else {
        return None;
    };
    let Autoscaling {
        min_replicas,
        max_replicas,
        target_cpu_utilization_percentage,
    } = autoscaling;
    Some(HorizontalPodAutoscaler {
        metadata: target.object_meta(&target.name, Some(Component::Server)),
        spec: Some(HorizontalPodAutoscalerSpec {
            scale_target_ref: CrossVersionObjectReference {
                api_version: Some("apps/v1".to_owned()),
                kind: "Deployment".to_owned(),
                name: target.name.clone(),
            },
            min_replicas: Some(*min_replicas),
            max_replicas: *max_replicas,
            metrics: Some(vec![cpu(*target_cpu_utilization_percentage)]),
            behavior: Some(HorizontalPodAutoscalerBehavior {
                // Scale up immediately, but at most double every 15 s: a new pod serves within seconds.
                scale_up: Some(rules(0, "Max", (100, 15), (2, 15))),
                // Scale down slowly: a short period of low load must not close warm pools.
                scale_down: Some(rules(300, "Min", (25, 60), (1, 60))),
            }),
        }),
        status: None,
    })
}

fn cpu(utilization: i32) -> MetricSpec {
    MetricSpec {
        type_: "Resource".to_owned(),
        resource: Some(ResourceMetricSource {
            name: "cpu".to_owned(),
            target: MetricTarget {
                type_: "Utilization".to_owned(),
                average_utilization: Some(utilization),
                ..MetricTarget::default()
            },
        }),
        ..MetricSpec::default()
    }
}

/// Rules with the maximum percentage and the maximum number of pods per period in seconds.
fn rules(window: i32, select: &str, percent: (i32, i32), pods: (i32, i32)) -> HPAScalingRules {
    let policy = |type_: &str, (value, period_seconds)| HPAScalingPolicy {
        type_: type_.to_owned(),
        value,
        period_seconds,
    };
    HPAScalingRules {
        stabilization_window_seconds: Some(window),
        select_policy: Some(select.to_owned()),
        policies: Some(vec![policy("Percent", percent), policy("Pods", pods)]),
        tolerance: None,
    }
}
