"""ServiceAccount tokens end to end: the client's token, the issuer and the grants, and how the service gets the keys.

No cluster runs here. The names and paths that the parts share are compared, so that a change of one part fails."""

import re
import tomllib

import pytest
from manifests import (
    CLIENT, KUSTOMIZE, NAMES, containers, deployment, environment, label, objects_of, of_kind, only, pod_labels, pod_spec,
    workloads,
)
from test_security import policies_for, ports

COMPONENT = KUSTOMIZE / "components" / "kubernetes-auth"
POLICY = tomllib.loads((COMPONENT / "auth.toml").read_text())
[ISSUER] = POLICY["issuer"]
WITH = [name for name in NAMES if "kubernetes-auth" in name.split("+")]
# These replace the policy for the API server, or permit every address in it: test_platforms.py.
VARIED = ("kubernetes-auth/cilium", "kubernetes-auth/any-api-server")
# Tokens live at least ten minutes; longer than an hour is not short.
SHORT = range(600, 3601)


@pytest.fixture(params=WITH)
def objects(request):
    return objects_of(request.param)


def files(workload):
    """path in the container → source in the projected volume."""
    found = {}
    mounts = {m["name"]: m for m in containers(workload)[0]["volumeMounts"]}
    for volume in pod_spec(workload)["volumes"]:
        for source in volume.get("projected", {}).get("sources", []):
            [(kind, content)] = source.items()
            # A secret that is projected whole names no paths.
            for item in content.get("items", [content] if "path" in content else []):
                found[f"{mounts[volume['name']]['mountPath']}/{item['path']}"] = (kind, content)
    return found


def test_the_service_has_the_files_that_the_policy_names(objects):
    found = files(deployment(objects))
    kind, token = found[ISSUER["token_file"]]
    assert kind == "serviceAccountToken" and token["expirationSeconds"] in SHORT
    # For the API server, whose audience is the default.
    assert "audience" not in token
    kind, certificate = found[ISSUER["ca_file"]]
    assert kind == "configMap" and certificate["name"] == "kube-root-ca.crt"
    assert set(found) == {ISSUER["token_file"], ISSUER["ca_file"]}, "no other token is mounted"
    assert environment(deployment(objects), objects)["AUTH_FILE"].endswith("/auth.toml")


def test_only_the_server_gets_a_token_of_the_api_server(objects):
    for workload in workloads(objects):
        tokens = [kind for kind, _ in files(workload).values() if kind == "serviceAccountToken"]
        assert len(tokens) == (1 if workload is deployment(objects) else 0), label(workload)


@pytest.mark.parametrize("name", [name for name in WITH if not set(VARIED) & set(name.split("+"))])
def test_the_keys_come_from_the_api_server_without_discovery(name):
    objects = objects_of(name)
    assert ISSUER["jwks_url"] == "https://kubernetes.default.svc/openid/v1/jwks"
    assert ISSUER["token_types"] == ["none"]
    policy = only(objects, "NetworkPolicy", "order-service-allow-api-server")
    assert policy in policies_for(objects, pod_labels(deployment(objects)))
    operator = only(objects_of("operator"), "NetworkPolicy", "order-operator-allow-api-server")
    assert policy["spec"]["egress"] == operator["spec"]["egress"]


def test_the_token_of_the_client_is_the_one_that_is_granted():
    objects = objects_of(CLIENT)
    [workload] = workloads(objects)
    [(path, (kind, token))] = files(workload).items()
    assert kind == "serviceAccountToken" and token["expirationSeconds"] in SHORT
    assert [token["audience"]] == ISSUER["audiences"]
    assert path in containers(workload)[0]["command"][-1]
    account = only(objects, "ServiceAccount", pod_spec(workload)["serviceAccountName"])["metadata"]
    [grant] = POLICY["grant"]
    assert grant["issuer"] == ISSUER["issuer"]
    assert grant["subject"] == f"system:serviceaccount:{account['namespace']}:{account['name']}"
    assert "orders:read" in grant["scopes"]


def test_the_token_of_the_client_is_never_an_argument():
    [workload] = workloads(objects_of(CLIENT))
    script = containers(workload)[0]["command"][-1]
    # `printf` is part of the shell; curl reads the header from its standard input.
    [curl] = re.findall(r"^ *curl .*", script, re.MULTILINE)
    assert "--header @-" in curl and "token" not in curl and "$(" not in curl


@pytest.mark.parametrize("name", [name for name in WITH if name.startswith("prod")])
def test_the_client_reaches_the_service_and_nothing_else(name):
    served, objects = objects_of(name), objects_of(CLIENT)
    [workload] = workloads(objects)
    namespace = only(served, "Namespace")["metadata"]["name"]
    service = only(served, "Service", "order-service")
    host = {e["name"]: e["value"] for e in containers(workload)[0]["env"]}["ORDERS"]
    assert host == f"http://{service['metadata']['name']}.{namespace}" and service["spec"]["ports"][0]["port"] == 80
    [policy] = of_kind(objects, "NetworkPolicy")
    assert policies_for(objects, pod_labels(workload)) == [policy]
    assert ports(policy, "egress") == {("UDP", 53), ("TCP", 53), ("TCP", "http")} and not ports(policy, "ingress")
    [peer] = policy["spec"]["egress"][-1]["to"]
    assert peer["namespaceSelector"]["matchLabels"] == {"kubernetes.io/metadata.name": namespace}
    assert peer["podSelector"]["matchLabels"].items() <= pod_labels(deployment(served)).items()
    # The service admits the namespace of the client.
    admitted = only(served, "NetworkPolicy", "order-service-allow-clients")["spec"]["ingress"][0]["from"]
    labels = only(objects, "Namespace")["metadata"]["labels"]
    assert any(
        p["namespaceSelector"]["matchLabels"].items() <= labels.items() for p in admitted if "namespaceSelector" in p)
