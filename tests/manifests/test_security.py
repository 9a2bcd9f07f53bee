"""The restricted Pod Security Standard, and the security checks of kube-linter and kube-score.

Pod Security Standards, restricted (all clauses in their order): no host namespaces, no privileged containers,
all capabilities dropped and none added, no hostPath, no host ports, no AppArmor or SELinux options, default proc
mount, seccomp RuntimeDefault, no sysctls, no HostProcess, only the volume types that it lists, no privilege
escalation, runAsNonRoot, no user 0.
kube-linter: access-to-secrets-by-env (env-var-secret, read-secret-from-env-var), default-service-account,
no-read-only-root-fs, run-as-non-root, writable-host-mount, latest-tag, sensitive-host-mounts,
docker-sock, drop-net-raw-capability, automount of tokens.
kube-score: container-security-context-user-group-id (high ids), readonlyrootfilesystem, privileged,
pod-networkpolicy, container-image-tag, service-type.
"""

import re

import pytest
from manifests import CLIENT, IMAGE, NAMES, containers, label, objects_of, of_kind, pod_labels, pod_spec, workloads

VOLUMES = {"configMap", "csi", "downwardAPI", "emptyDir", "ephemeral", "persistentVolumeClaim", "projected", "secret"}


@pytest.fixture(params=NAMES)
def objects(request):
    return objects_of(request.param)


@pytest.mark.parametrize("name", [*NAMES, CLIENT])
def test_pods_are_restricted(name):
    objects = objects_of(name)
    assert workloads(objects)
    for workload in workloads(objects):
        spec, where = pod_spec(workload), label(workload)
        for key in ("hostNetwork", "hostPID", "hostIPC"):
            assert not spec.get(key), f"{where}: {key}"
        security = spec["securityContext"]
        assert security["runAsNonRoot"] is True, where
        # OpenShift assigns them.
        assert ids(security, name) == [None, None, None] or security["runAsUser"] > 0 and security["runAsGroup"] > 0, where
        assert security["seccompProfile"] == {"type": "RuntimeDefault"}, where
        for key in ("sysctls", "seLinuxOptions", "windowsOptions", "appArmorProfile"):
            assert key not in security, f"{where}: {key}"
        for volume in spec.get("volumes", []):
            kinds = set(volume) - {"name"}
            assert kinds <= VOLUMES, f"{where}: {kinds}"
        for container in containers(workload):
            inner = container["securityContext"]
            assert inner["allowPrivilegeEscalation"] is False, where
            assert inner["readOnlyRootFilesystem"] is True, where
            assert inner["capabilities"] == {"drop": ["ALL"]}, where
            assert inner["runAsNonRoot"] is True, where
            # No field of the container overrides the pod's.
            assert set(inner) == {"allowPrivilegeEscalation", "readOnlyRootFilesystem", "capabilities", "runAsNonRoot"}, where
            assert all("hostPort" not in port for port in container.get("ports", [])), where
            assert "volumeDevices" not in container and "lifecycle" not in container, where


def ids(security, name):
    """The user, its group and the group of the volumes, without a value where the platform assigns them."""
    found = [security.get(key) for key in ("runAsUser", "runAsGroup", "fsGroup")]
    assert (found == [None, None, None]) == ("openshift" in name.split("+")), name
    return found


@pytest.mark.parametrize("name", [name for name in NAMES if "openshift" not in name.split("+")])
def test_the_service_runs_with_high_user_ids(name):
    objects = objects_of(name)
    for workload in workloads(objects):
        if any(c["image"].startswith(IMAGE) for c in containers(workload)):
            for number in ids(pod_spec(workload)["securityContext"], name):
                assert number >= 10001, label(workload)


@pytest.mark.parametrize("name", [*NAMES, CLIENT])
def test_no_pod_gets_a_token_automatically(name):
    objects = objects_of(name)
    for account in of_kind(objects, "ServiceAccount"):
        assert account["automountServiceAccountToken"] is False, label(account)
    accounts = {a["metadata"]["name"] for a in of_kind(objects, "ServiceAccount")}
    for workload in workloads(objects):
        spec = pod_spec(workload)
        assert spec["automountServiceAccountToken"] is False, label(workload)
        assert spec["enableServiceLinks"] is False, label(workload)
        if any(c["image"].startswith(IMAGE) for c in containers(workload)):
            assert spec["serviceAccountName"] in accounts, label(workload)
        # test_kubernetes_auth.py checks the tokens that this component mounts.
        if "kubernetes-auth" not in name:
            for volume in spec["volumes"]:
                sources = volume.get("projected", {}).get("sources", [])
                assert not [s for s in sources if "serviceAccountToken" in s], label(workload)
    assert not of_kind(objects, "Role", "ClusterRole", "RoleBinding", "ClusterRoleBinding")


@pytest.mark.parametrize("name", [*NAMES, CLIENT])
def test_secrets_are_files_that_only_the_pod_can_read(name):
    objects = objects_of(name)
    for workload in workloads(objects):
        for container in containers(workload):
            assert all("secretRef" not in source for source in container.get("envFrom", [])), label(workload)
            for variable in container.get("env", []):
                assert "secretKeyRef" not in variable.get("valueFrom", {}), f"{label(workload)}: {variable['name']}"
                assert not re.search(r"://[^/]*:[^/]*@", variable.get("value", "")), label(workload)
            mounts = {mount["name"]: mount for mount in container["volumeMounts"]}
            for volume in pod_spec(workload)["volumes"]:
                source = volume.get("secret") or volume.get("projected")
                if source:
                    assert source["defaultMode"] == 0o440, label(workload)
                    mount = mounts[volume["name"]]
                    assert mount["readOnly"] is True, label(workload)
                    # A file mounted by subPath is never updated.
                    assert "subPath" not in mount, label(workload)
    for config in of_kind(objects, "ConfigMap"):
        for value in config["data"].values():
            assert not re.search(r"postgres(ql)?://|password", value, re.IGNORECASE), label(config)


def test_writable_volumes_are_bounded(objects):
    for workload in workloads(objects):
        volumes = pod_spec(workload).get("volumes", [])
        for volume in volumes:
            if "emptyDir" in volume:
                assert volume["emptyDir"]["sizeLimit"], label(workload)
        if any(c["image"].startswith(IMAGE) for c in containers(workload)):
            # The service writes no file.
            assert not [v for v in volumes if "emptyDir" in v], label(workload)


def test_images_have_a_fixed_tag(objects):
    for workload in workloads(objects):
        for container in containers(workload):
            assert re.search(r":[a-z0-9][a-z0-9.-]*(@sha256:[0-9a-f]{64})?$", container["image"]), container["image"]
            assert not container["image"].endswith(":latest"), container["image"]


def test_services_are_internal(objects):
    for service in of_kind(objects, "Service"):
        assert service["spec"]["type"] == "ClusterIP", label(service)


def test_namespaces_enforce_the_restricted_standard(objects):
    for namespace in of_kind(objects, "Namespace"):
        labels = namespace["metadata"]["labels"]
        for mode in ("enforce", "audit", "warn"):
            assert labels[f"pod-security.kubernetes.io/{mode}"] == "restricted"


# 443 is the port of the Service; the others are those of servers: kubeadm, minikube, MicroK8s.
API_SERVER_PORTS = [443, 6443, 8443, 16443]


def in_namespace(name):
    return {"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": name}}}


def policies_for(objects, labels):
    return [
        p
        for p in of_kind(objects, "NetworkPolicy")
        if (p["spec"]["podSelector"].get("matchLabels") or {}).items() <= labels.items()
    ]


def ports(policy, direction):
    return {(p["protocol"], p["port"]) for rule in policy["spec"].get(direction, []) for p in rule["ports"]}


@pytest.mark.parametrize("name", NAMES)
def test_only_named_network_flows_are_permitted(name):
    objects = objects_of(name)
    deny = [p for p in of_kind(objects, "NetworkPolicy") if p["metadata"]["name"] == "default-deny"]
    assert len(deny) == 1
    assert deny[0]["spec"] == {"podSelector": {}, "policyTypes": ["Ingress", "Egress"]}
    for policy in of_kind(objects, "NetworkPolicy"):
        types = policy["spec"]["policyTypes"]
        # A rule without its type in the list has no effect.
        for direction, kind in (("ingress", "Ingress"), ("egress", "Egress")):
            assert direction not in policy["spec"] or kind in types, label(policy)
            for rule in policy["spec"].get(direction, []):
                assert rule["ports"], f"{label(policy)} permits every port"
    for workload in workloads(objects):
        labels = pod_labels(workload)
        if labels["app.kubernetes.io/name"] != "order-service":
            continue
        found = policies_for(objects, labels)
        egress = set().union(*(ports(p, "egress") for p in found))
        ingress = set().union(*(ports(p, "ingress") for p in found))
        server, added = workload["kind"] == "Deployment", name.split("+")
        dns = 5353 if "openshift" in added else 53
        # With Cilium another policy permits it: test_platforms.py.
        with_api_server = server and "kubernetes-auth" in added and "kubernetes-auth/cilium" not in added
        api_server = {("TCP", port) for port in API_SERVER_PORTS} if with_api_server else set()
        assert egress == {("UDP", dns), ("TCP", dns), ("TCP", 5432)} | api_server, label(workload)
        assert ingress == ({("TCP", "http"), ("TCP", "metrics")} if server else set()), label(workload)
        for policy in found:
            for rule in policy["spec"].get("egress", []):
                everywhere = "kubernetes-auth/any-api-server" in added and policy["metadata"]["name"].endswith("-api-server")
                assert rule.get("to") or everywhere, f"{label(policy)} permits every destination"
            for rule in policy["spec"].get("ingress", []):
                if ("TCP", "metrics") in {(p["protocol"], p["port"]) for p in rule["ports"]}:
                    scrapers = ["monitoring"] + ["openshift-user-workload-monitoring"] * ("openshift" in added)
                    assert rule["from"] == [in_namespace(scraper) for scraper in scrapers], label(policy)
                    assert len(rule["ports"]) == 1, label(policy)
