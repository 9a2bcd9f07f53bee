"""Kinds without a schema in Kubernetes: their structure, and the names that they refer to."""

import json

import pytest
from manifests import NAMES, ROOT, deployment, objects_of, of_kind, only, pod_labels

RULES_FIELDS = {"record": {"record", "expr"}, "alert": {"alert", "expr", "for", "labels", "annotations"}}


def having(component):
    # The overlay prod includes monitoring.
    return [n for n in NAMES if component in n.split("+")[1:] or (component == "monitoring" and n.split("+")[0] == "prod")]


def test_every_component_is_in_some_combination():
    for component in ("archive", "cloudnative-pg", "external-secrets", "gateway", "kubernetes-auth", "monitoring"):
        assert having(component)


@pytest.mark.parametrize("name", having("monitoring"))
def test_pod_monitor(name):
    objects = objects_of(name)
    spec = only(objects, "PodMonitor", "order-service")["spec"]
    assert set(spec) == {"jobLabel", "selector", "podMetricsEndpoints", "sampleLimit"}
    assert pod_labels(deployment(objects))[spec["jobLabel"]] == "order-service"
    [endpoint] = spec["podMetricsEndpoints"]
    assert set(endpoint) == {"port", "path", "scheme", "interval", "scrapeTimeout"}
    assert (endpoint["port"], endpoint["path"]) == ("metrics", "/metrics")
    assert int(endpoint["scrapeTimeout"][:-1]) < int(endpoint["interval"][:-1])


@pytest.mark.parametrize("name", having("monitoring"))
def test_prometheus_rule(name):
    spec = only(objects_of(name), "PrometheusRule", "order-service")["spec"]
    assert set(spec) == {"groups"}
    for group in spec["groups"]:
        assert set(group) <= {"name", "interval", "rules"}
        for rule in group["rules"]:
            kind = "record" if "record" in rule else "alert"
            assert set(rule) <= RULES_FIELDS[kind], rule
            assert isinstance(rule["expr"], str)
            assert all(isinstance(v, str) for v in {**rule.get("labels", {}), **rule.get("annotations", {})}.values())
    names = [group["name"] for group in spec["groups"]]
    assert len(names) == len(set(names))


@pytest.mark.parametrize("name", having("monitoring"))
def test_dashboard(name):
    config = only(objects_of(name), "ConfigMap", "order-service-dashboard")
    assert config["metadata"]["labels"]["grafana_dashboard"] == "1"
    [(file, text)] = config["data"].items()
    assert file.endswith(".json") and json.loads(text)["uid"] == "order-service"
    # kubectl keeps a copy in an annotation, which is limited to 256 KiB.
    assert len(json.dumps(config)) < 200_000


@pytest.mark.parametrize("name", having("gateway"))
def test_http_route(name):
    objects = objects_of(name)
    spec = only(objects, "HTTPRoute", "order-service")["spec"]
    assert set(spec) == {"parentRefs", "hostnames", "rules"}
    paths = set()
    for rule in spec["rules"]:
        assert set(rule) == {"matches", "timeouts", "backendRefs"}
        for match in rule["matches"]:
            assert match["path"]["type"] in ("Exact", "PathPrefix")
            paths.add(match["path"]["value"])
        [backend] = rule["backendRefs"]
        ports = [p["port"] for p in only(objects, "Service", backend["name"])["spec"]["ports"]]
        assert backend["port"] in ports and backend["kind"] == "Service"
    assert paths == {"/api/v1/events", "/api/v1", "/openapi.json", "/docs"}
    stream, rest = spec["rules"]
    assert stream["timeouts"] == {"request": "0s"}
    config = [c for c in of_kind(objects, "ConfigMap") if "REQUEST_TIMEOUT" in c["data"]][0]
    assert int(rest["timeouts"]["request"][:-1]) > int(config["data"]["REQUEST_TIMEOUT"][:-1])
    gateway = spec["parentRefs"][0]["namespace"]
    policy = only(objects, "NetworkPolicy", "order-service-allow-gateway")
    peers = policy["spec"]["ingress"][0]["from"]
    assert peers == [{"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": gateway}}}]


@pytest.mark.parametrize("name", having("cloudnative-pg"))
def test_cluster(name):
    objects = objects_of(name)
    cluster = only(objects, "Cluster")
    spec = cluster["spec"]
    assert spec["instances"] == 3
    assert spec["postgresql"]["synchronous"]["number"] == 1
    assert all(isinstance(v, str) for v in spec["postgresql"]["parameters"].values())
    assert spec["storage"]["size"] and spec["bootstrap"]["initdb"]["owner"]
    assert ":" in spec["imageName"]
    peer = {"podSelector": {"matchLabels": {"cnpg.io/cluster": cluster["metadata"]["name"]}}}
    policy = only(objects, "NetworkPolicy", "order-service-allow-postgres")
    assert policy["spec"]["egress"][0]["to"] == [peer]
    # DNS where the platform has it.
    rules = only(objects, "NetworkPolicy", cluster["metadata"]["name"])["spec"]["egress"]
    [dns] = [rule for rule in rules if any(port["protocol"] == "UDP" for port in rule["ports"])]
    assert [port["port"] for port in dns["ports"]] == [5353 if "openshift" in name.split("+") else 53] * 2


@pytest.mark.parametrize("name", having("external-secrets"))
def test_external_secret(name):
    objects = objects_of(name)
    for secret, key in (("order-service-secrets", "database-url"), ("order-service-auth", "auth.toml")):
        spec = only(objects, "ExternalSecret", secret)["spec"]
        assert spec["target"]["name"] == secret
        assert [d["secretKey"] for d in spec["data"]] == [key]
        assert spec["target"]["deletionPolicy"] == "Retain"
        assert spec["secretStoreRef"]["kind"] == "ClusterSecretStore"
    assert not of_kind(objects, "Secret"), "two owners of one secret"


def test_each_component_has_a_readme_that_names_it():
    for component in (ROOT / "kustomize/components").iterdir():
        text = (component / "README.md").read_text()
        assert text.startswith(f"# {component.name}\n") and f"../../components/{component.name}" in text
