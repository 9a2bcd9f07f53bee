"""The components that adapt an installation to a platform: Cilium, a public API server, OpenShift, load balancers with
IP targets, a database in pods."""

import re

import pytest
import yaml
from manifests import (
    KUSTOMIZE, NAMES, OPERATOR_NAMES, build, containers, deployment, environment, inside, label, load, maintenance, migrate_job,
    objects_of, of_kind, only, pod_labels, pod_spec, seconds, workloads, write_overlay,
)
from test_security import API_SERVER_PORTS, in_namespace, policies_for

CILIUM = [n for n in NAMES if "kubernetes-auth/cilium" in n.split("+")] + [n for n in OPERATOR_NAMES if "cilium" in n.split("+")]


def having(component):
    return [name for name in NAMES + OPERATOR_NAMES if component in name.split("+")]


@pytest.mark.parametrize("name", CILIUM)
def test_cilium_permits_the_api_server_and_nothing_else(name):
    objects = objects_of(name)
    [policy] = of_kind(objects, "CiliumNetworkPolicy")
    assert set(policy["spec"]) == {"endpointSelector", "egress"}
    [rule] = policy["spec"]["egress"]
    assert set(rule) == {"toEntities", "toPorts"} and rule["toEntities"] == ["kube-apiserver"]
    [to] = rule["toPorts"]
    # Cilium takes the number of a port as text.
    assert to == {"ports": [{"port": str(port), "protocol": "TCP"} for port in API_SERVER_PORTS]}
    [selector] = policy["spec"]["endpointSelector"].values()
    selected = [w for w in workloads(objects) if selector.items() <= pod_labels(w).items()]
    assert [w["kind"] for w in selected] == ["Deployment"]
    # It replaces the policy of the same name, whose addresses Cilium matches only outside of the cluster.
    names = [p["metadata"]["name"] for p in of_kind(objects, "NetworkPolicy")]
    assert policy["metadata"]["name"].endswith("-allow-api-server") and policy["metadata"]["name"] not in names


@pytest.mark.parametrize("name", [n for n in having("any-api-server") + having("kubernetes-auth/any-api-server")])
def test_any_address_of_an_api_server_is_permitted_on_its_ports_only(name):
    workload = next(w for w in workloads(objects_of(name)) if w["kind"] == "Deployment")
    [policy] = [p for p in policies_for(objects_of(name), pod_labels(workload)) if p["metadata"]["name"].endswith("-allow-api-server")]
    # Without `to`, which would be empty if it matched nothing.
    assert policy["spec"]["egress"] == [{"ports": [{"port": port, "protocol": "TCP"} for port in API_SERVER_PORTS]}]


@pytest.mark.parametrize("name", having("openshift"))
def test_openshift_assigns_the_users(name):
    for workload in workloads(objects_of(name)):
        security = pod_spec(workload)["securityContext"]
        assert not {"runAsUser", "runAsGroup", "fsGroup"} & set(security), label(workload)
        # The rest of the restricted standard stays.
        assert security["runAsNonRoot"] is True and security["seccompProfile"] == {"type": "RuntimeDefault"}, label(workload)
        for container in containers(workload):
            assert container["securityContext"]["readOnlyRootFilesystem"] is True, label(workload)


@pytest.mark.parametrize("name", having("openshift"))
def test_openshift_has_its_dns_in_another_namespace(name):
    for policy in of_kind(objects_of(name), "NetworkPolicy"):
        for rule in policy["spec"].get("egress", []):
            assert in_namespace("kube-system") not in rule.get("to", []), label(policy)
            if any(port["protocol"] == "UDP" for port in rule["ports"]):
                assert rule["to"] == [in_namespace("openshift-dns")], label(policy)
                assert [(p["protocol"], p["port"]) for p in rule["ports"]] == [("UDP", 5353), ("TCP", 5353)], label(policy)


@pytest.mark.parametrize("name", having("in-cluster-database"))
def test_a_database_in_pods_is_selected_by_its_namespace(name):
    objects = objects_of(name)
    policy = only(objects, "NetworkPolicy", "order-service-allow-postgres")
    assert policy["spec"]["egress"] == [{
        "to": [{"namespaceSelector": {"matchLabels": {"orders.example.com/database": "true"}}}],
        "ports": [{"protocol": "TCP", "port": 5432}]}]
    for workload in (deployment(objects), migrate_job(objects), maintenance(objects)):
        assert policy in policies_for(objects, pod_labels(workload)), label(workload)


def test_the_documented_patch_of_the_database_works():
    text = (KUSTOMIZE / "components/in-cluster-database/README.md").read_text()
    patched = yaml.safe_load(re.findall(r"```yaml\n(.*?)```", text, re.DOTALL)[1])
    overlay = {"resources": [inside("overlays", "prod")], "components": [inside("components", "in-cluster-database")], **patched}
    objects = load(build(write_overlay("database-readme", overlay)))
    [rule] = only(objects, "NetworkPolicy", "order-service-allow-postgres")["spec"]["egress"]
    assert rule["ports"] == [{"protocol": "TCP", "port": 6432}]
    [peer] = rule["to"]
    assert set(peer) == {"namespaceSelector", "podSelector"}


@pytest.mark.parametrize("name", having("ip-targets"))
def test_pods_wait_for_load_balancers_with_ip_targets(name):
    """test_wiring.py checks the sum of the shutdown."""
    workload = deployment(objects_of(name))
    values = environment(workload, objects_of(name))
    assert seconds(values["DRAIN_DELAY"]) >= 90
    # The pod that was replaced before has ended, also with requests in flight, so at most one drains at a time.
    drained = seconds(values["DRAIN_DELAY"]) + seconds(values["SHUTDOWN_TIMEOUT"])
    assert workload["spec"]["minReadySeconds"] >= drained
    assert workload["spec"]["progressDeadlineSeconds"] > workload["spec"]["minReadySeconds"] + 60
    # A pod is removed from the load balancer when it is deleted and not when its probe fails.
    assert workload["spec"]["strategy"]["rollingUpdate"] == {"maxUnavailable": 0, "maxSurge": 1}
