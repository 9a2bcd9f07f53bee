//! Allows requests from clients, scrapes, DNS and the database, and no other traffic. Probes come from the kubelet
//! of the node, which is always allowed.
//!
//! One policy covers the pods that serve, migrate and maintain: it allows incoming traffic by the names of ports, and
//! only the first have any.

use k8s_openapi::api::networking::v1::{
    IPBlock, NetworkPolicy, NetworkPolicyEgressRule, NetworkPolicyIngressRule, NetworkPolicyPeer,
    NetworkPolicyPort, NetworkPolicySpec,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

use super::{Target, labels, string_map};
use crate::crd::NetworkPolicyOptions;

/// Builds the NetworkPolicy, or returns `None` if it is disabled.
pub(crate) fn build(target: &Target) -> Option<NetworkPolicy> {
    let NetworkPolicyOptions {
        enabled,
        gateway_namespace,
        monitoring_namespace,
        database_cidrs,
        database_port,
    } = &target.network_policy;
    let mut clients = vec![
        NetworkPolicyPeer {
            pod_selector: Some(LabelSelector::default()),
            ..NetworkPolicyPeer::default()
        },
        namespaces("orders.example.com/client", "true"),
    ];
    clients.extend(gateway_namespace.as_deref().map(namespace));
    let databases = database_cidrs.iter().map(|cidr| addresses(cidr)).collect();
    enabled.then(|| NetworkPolicy {
        metadata: target.object_meta(&target.name, None),
        spec: Some(NetworkPolicySpec {
            pod_selector: Some(labels::label_selector(labels::selector(target, None))),
            policy_types: Some(vec!["Ingress".to_owned(), "Egress".to_owned()]),
            ingress: Some(vec![
                from(clients, "http"),
                from(vec![namespace(monitoring_namespace)], "metrics"),
            ]),
            egress: Some(vec![
                // Cluster DNS runs in kube-system; the addresses are those of node-local DNS caches. Long
                // responses use TCP.
                to(
                    vec![namespace("kube-system"), addresses("169.254.0.0/16")],
                    &[("UDP", 53), ("TCP", 53)],
                ),
                to(databases, &[("TCP", *database_port)]),
            ]),
        }),
    })
}

fn namespace(name: &str) -> NetworkPolicyPeer {
    namespaces("kubernetes.io/metadata.name", name)
}

fn namespaces(label: &str, value: &str) -> NetworkPolicyPeer {
    NetworkPolicyPeer {
        namespace_selector: Some(labels::label_selector(string_map([(label, value)]))),
        ..NetworkPolicyPeer::default()
    }
}

fn addresses(cidr: &str) -> NetworkPolicyPeer {
    NetworkPolicyPeer {
        ip_block: Some(IPBlock {
            cidr: cidr.to_owned(),
            except: None,
        }),
        ..NetworkPolicyPeer::default()
    }
}

fn from(peers: Vec<NetworkPolicyPeer>, port: &str) -> NetworkPolicyIngressRule {
    NetworkPolicyIngressRule {
        from: Some(peers),
        ports: Some(vec![NetworkPolicyPort {
            protocol: Some("TCP".to_owned()),
            port: Some(IntOrString::String(port.to_owned())),
            end_port: None,
        }]),
    }
}

fn to(peers: Vec<NetworkPolicyPeer>, ports: &[(&str, i32)]) -> NetworkPolicyEgressRule {
    let port = |(protocol, port): &(&str, i32)| NetworkPolicyPort {
        protocol: Some((*protocol).to_owned()),
        port: Some(IntOrString::Int(*port)),
        end_port: None,
    };
    NetworkPolicyEgressRule {
        to: Some(peers),
        ports: Some(ports.iter().map(port).collect()),
    }
}
