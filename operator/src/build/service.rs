//! The Service of the API. Metrics are scraped from each pod, because a Service would distribute the scrapes among
//! the pods.

use k8s_openapi::api::core::v1::{Service, ServicePort, ServiceSpec};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

use super::Target;
use super::labels::{self, Component};

/// Builds the Service in front of the pods.
pub(crate) fn build(target: &Target) -> Service {
    let component = Some(Component::Server);
    Service {
        metadata: target.object_meta(&target.name, component),
        spec: Some(ServiceSpec {
            type_: Some("ClusterIP".to_owned()),
            selector: Some(labels::selector(target, component)),
            ports: Some(vec![ServicePort {
                name: Some("http".to_owned()),
                port: 80,
                target_port: Some(IntOrString::String("http".to_owned())),
                protocol: Some("TCP".to_owned()),
                app_protocol: Some("http".to_owned()),
                ..ServicePort::default()
            }]),
            ..ServiceSpec::default()
        }),
        status: None,
    }
}
