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

use super::{StringMap, Target, labels, string_map};
use crate::crd::{DatabaseSelector, Dns, NetworkPolicyOptions};

/// Builds the NetworkPolicy, or returns `None` if it is disabled.
pub(crate) fn build(target: &Target) -> Option<NetworkPolicy> {
    let NetworkPolicyOptions {
        enabled,
        gateway_namespace,
        monitoring_namespace,
        database_cidrs,
        database_selector,
        database_port,
        dns,
    } = &target.network_policy;
    let mut clients = vec![
        NetworkPolicyPeer {
            pod_selector: Some(LabelSelector::default()),
            ..NetworkPolicyPeer::default()
        },
        namespaces("orders.example.com/client", "true"),
    ];
    clients.extend(gateway_namespace.as_deref().map(namespace));
    let mut egress = dns_rules(dns);
    egress.push(to(
        databases(database_cidrs.as_deref(), database_selector.as_ref()),
        &[("TCP", *database_port)],
    ));
    enabled.then(|| NetworkPolicy {
        metadata: target.object_meta(&target.name, None),
        spec: Some(NetworkPolicySpec {
            pod_selector: Some(labels::label_selector(labels::selector(target, None))),
            policy_types: Some(vec!["Ingress".to_owned(), "Egress".to_owned()]),
            ingress: Some(vec![
                from(clients, "http"),
                from(vec![namespace(monitoring_namespace)], "metrics"),
            ]),
            egress: Some(egress),
        }),
    })
}

/// Private addresses. Public ones would allow connections to everywhere.
const PRIVATE_CIDRS: [&str; 4] = ["10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "fc00::/7"];

fn databases(
    cidrs: Option<&[String]>,
    selector: Option<&DatabaseSelector>,
) -> Vec<NetworkPolicyPeer> {
    let mut peers: Vec<_> = match cidrs {
        Some(cidrs) => cidrs.iter().map(|cidr| addresses(cidr)).collect(),
        None if selector.is_some() => Vec::new(),
        None => PRIVATE_CIDRS.map(addresses).into(),
    };
    peers.extend(selector.map(|selector| {
        let DatabaseSelector {
            namespace: name,
            pod_labels,
        } = selector;
        pods(name.as_deref(), pod_labels)
    }));
    peers
}

/// The DNS pods, and the addresses of node-local DNS caches, which listen on the port of DNS itself. Long responses use
/// TCP.
fn dns_rules(dns: &Dns) -> Vec<NetworkPolicyEgressRule> {
    const DNS_PORT: i32 = 53;
    let Dns {
        namespace: name,
        pod_labels,
        port,
    } = dns;
    let pods = pods(Some(name), pod_labels);
    let caches = addresses("169.254.0.0/16");
    let ports = |port| [("UDP", port), ("TCP", port)];
    if *port == DNS_PORT {
        vec![to(vec![pods, caches], &ports(DNS_PORT))]
    } else {
        vec![
            to(vec![pods], &ports(*port)),
            to(vec![caches], &ports(DNS_PORT)),
        ]
    }
}

/// The pods with these labels: in the namespace of the policy, or in another one. Without labels, all pods.
fn pods(name: Option<&str>, pod_labels: &StringMap) -> NetworkPolicyPeer {
    NetworkPolicyPeer {
        pod_selector: (!pod_labels.is_empty()).then(|| labels::label_selector(pod_labels.clone())),
        ..name.map(namespace).unwrap_or_default()
    }
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
