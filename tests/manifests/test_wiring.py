"""Names and numbers that must be consistent, and settings that prevent failed requests.

kube-linter: dangling-service, dangling-networkpolicy, dangling-horizontalpodautoscaler, invalid-target-ports,
liveness-port, readiness-port, startup-port, mismatching-selector, non-existent-service-account (in
test_security.py), unset-cpu-requirements, unset-memory-requirements, pdb-max-unavailable,
pdb-unhealthy-pod-eviction-policy, no-rolling-update-strategy, minimum-three-replicas, hpa-minimum-three-replicas,
no-anti-affinity (by topology spread), duplicate-env-var, restart-policy, job-ttl-seconds-after-finished (deliberately absent, see test_gitops.py),
priority of replicas under an autoscaler.
kube-score: pod-probes (liveness is not readiness), container-resources, container-ephemeral-storage-request-and-limit,
deployment-has-poddisruptionbudget, deployment-targeted-by-hpa-does-not-have-replicas-configured,
horizontalpodautoscaler-has-target, statefulset-has-servicename, label-values, environment-variable-key-duplication,
topology-spread.
"""

import re
import tomllib

import pytest
import yaml
from manifests import (
    IMAGE, NAMES, ROOT, build, containers, deployment, environment, inside, label, load, maintenance, migrate_job, objects_of,
    of_kind, only, pod_labels, pod_spec, rust_source, seconds, settings, text_of, workloads, write_overlay,
)

SETTINGS = settings()


@pytest.fixture(params=NAMES)
def objects(request):
    return objects_of(request.param)


def on(prefix):
    return [name for name in NAMES if name.split("+")[0] == prefix]


def effective_settings(workload, objects):
    return SETTINGS | environment(workload, objects)


def test_names_ports_and_addresses_are_those_of_the_contract(objects):
    container = containers(deployment(objects))[0]
    assert [(p["name"], p["containerPort"]) for p in container["ports"]] == [("http", 8080), ("metrics", 9090)]
    assert container["image"].startswith(IMAGE + ":")
    for kind in ("Service", "ServiceAccount", "PodDisruptionBudget"):
        assert only(objects, kind, "order-service")
    values = environment(deployment(objects), objects)
    assert values["BIND_ADDRESS"] == "0.0.0.0:8080"
    assert values["METRICS_ADDRESS"] == "0.0.0.0:9090"


@pytest.mark.parametrize("overlay", ["dev", "prod"])
def test_namespaces(overlay):
    for name in on(overlay):
        for item in objects_of(name):
            namespace = item["metadata"]["name"] if item["kind"] == "Namespace" else item["metadata"]["namespace"]
            assert namespace == f"order-service-{overlay}", label(item)


def test_every_setting_exists_and_is_valid(objects):
    for workload in (deployment(objects), migrate_job(objects), maintenance(objects)):
        for container in containers(workload):
            names = [e["name"] for e in container.get("env", [])]
            assert len(names) == len(set(names)), names
            assert set(names) <= set(SETTINGS), set(names) - set(SETTINGS)
        for key, value in environment(workload, objects).items():
            assert key in SETTINGS, f"{key} is no setting of the service"
            if re.fullmatch(r"\d+(ms|s|m|h)", SETTINGS[key] or ""):
                assert seconds(value) >= 0
            elif (SETTINGS[key] or "").isdigit():
                assert int(value) >= 1


def test_workers_come_from_the_cpu_request(objects):
    container = containers(deployment(objects))[0]
    workers = next(e for e in container["env"] if e["name"] == "WORKERS")
    assert workers["valueFrom"] == {
        "resourceFieldRef": {"containerName": container["name"], "resource": "requests.cpu", "divisor": "1"}
    }


def test_the_database_url_is_a_mounted_file(objects):
    for workload in (deployment(objects), migrate_job(objects), maintenance(objects)):
        container = containers(workload)[0]
        file = environment(workload, objects)["DATABASE_URL_FILE"]
        mount = next(m for m in container["volumeMounts"] if m["name"] == "database-url")
        assert file == mount["mountPath"] + "/database-url"
        volume = next(v for v in pod_spec(workload)["volumes"] if v["name"] == "database-url")
        source = volume.get("secret") or volume["projected"]["sources"][0]["secret"]
        assert [item["path"] for item in source["items"]] == ["database-url"]
        assert "DATABASE_URL" not in environment(workload, objects)


def test_the_secret_is_that_of_the_contract():
    for name in NAMES:
        objects = objects_of(name)
        secret = pod_spec(deployment(objects))["volumes"][0]["secret"]
        volume = pod_spec(migrate_job(objects))["volumes"][0]
        sources = volume["projected"]["sources"]
        # Partitions belong to the role of the migration, and only their owner may drop them.
        assert pod_spec(maintenance(objects))["volumes"][0] == volume
        if "cloudnative-pg" in name:
            expected = ("order-service-db-app", "uri")
            assert only(objects, "Cluster")["metadata"]["name"] + "-app" == expected[0]
        else:
            expected = ("order-service-secrets", "database-url")
        assert (secret["secretName"], secret["items"][0]["key"]) == expected
        assert (sources[0]["secret"]["name"], sources[0]["secret"]["items"][0]["key"]) == expected
        # The secret of the migration's own role is optional, last, so that it takes precedence, and
        # projected whole, because Kubernetes rejects two items with one path.
        assert sources[1:] == [{"secret": {"name": "order-service-migrate-secrets", "optional": True}}]


def auth_volumes(objects):
    return [v for v in pod_spec(deployment(objects))["volumes"] if v["name"] == "auth"]


def needs_credentials(objects):
    """Whether the file with the credentials is required, and nothing is allowed without them."""
    container = containers(deployment(objects))[0]
    values = environment(deployment(objects), objects)
    mounts = {m["name"]: m for m in container["volumeMounts"]}
    [volume] = auth_volumes(objects)
    return (
        # Also as a reference to a ConfigMap or a secret.
        not [e for e in container["env"] if e["name"] == "AUTH_ANONYMOUS"]
        and "AUTH_ANONYMOUS" not in values
        and values.get("AUTH_FILE") == mounts["auth"]["mountPath"] + "/auth.toml"
        and mounts["auth"]["readOnly"] is True and "subPath" not in mounts["auth"]
        # Not optional: without the secret no pod starts.
        and volume["secret"] == {"secretName": "order-service-auth", "defaultMode": 0o440}
        and not [a for a in container["args"] if a.startswith("--auth")]
    )


@pytest.mark.parametrize("name", on("base") + on("prod"))
def test_callers_of_prod_need_credentials(name):
    assert needs_credentials(objects_of(name))
    # In no object and in no form.
    assert "AUTH_ANONYMOUS" not in text_of(name)


def patched(path, value):
    operation = {"op": "add", "path": f"/spec/template/spec/{path}", "value": value}
    target = {"kind": "Deployment", "name": "order-service"}
    return {"patches": [{"target": target, "patch": yaml.safe_dump([operation])}]}


OPENED = {
    "by the ConfigMap": {"configMapGenerator": [
        {"name": "order-service-config", "behavior": "merge", "literals": ["AUTH_ANONYMOUS=orders:read"]}]},
    "by a variable": patched("containers/0/env/-", {"name": "AUTH_ANONYMOUS", "value": "all"}),
    "by an argument": patched("containers/0/args/-", "--auth-anonymous=all"),
    "by an optional secret": patched("volumes/1/secret/optional", True),
    "by another secret": patched("volumes/1/secret/secretName", "other"),
    "without the file": patched("containers/0/env/3/value", "/none"),
}


@pytest.mark.parametrize("how", OPENED)
def test_an_opened_prod_is_detected(how):
    overlay = {"resources": [inside("overlays", "prod")], "namespace": "order-service-prod"} | OPENED[how]
    assert not needs_credentials(load(build(write_overlay("opened-" + how.replace(" ", "-"), overlay))))


def test_dev_is_open_and_needs_no_secret_of_credentials():
    for name in on("dev"):
        objects = objects_of(name)
        if "kubernetes-auth" in name:
            assert needs_credentials(objects)
        else:
            assert environment(deployment(objects), objects)["AUTH_ANONYMOUS"] == "all"
            assert not auth_volumes(objects)
            assert "AUTH_FILE" not in environment(deployment(objects), objects)


def test_migration_and_maintenance_need_no_credentials(objects):
    for job in (migrate_job(objects), maintenance(objects)):
        assert not [key for key in environment(job, objects) if key.startswith("AUTH_")]
        assert not {volume["name"] for volume in pod_spec(job)["volumes"]} - {"database-url", "archive"}


def test_shutdown_fits_into_the_grace_period(objects):
    workload = deployment(objects)
    values = effective_settings(workload, objects)
    time = {key: seconds(values[key]) for key in (
        "DRAIN_DELAY", "SHUTDOWN_TIMEOUT", "REQUEST_TIMEOUT", "POOL_ACQUIRE_TIMEOUT", "STATEMENT_TIMEOUT")}
    grace = pod_spec(workload)["terminationGracePeriodSeconds"]
    margin = 5
    assert time["DRAIN_DELAY"] == 5 or grace > 60
    # A request that runs when the shutdown starts may use its whole timeout.
    assert time["SHUTDOWN_TIMEOUT"] >= time["REQUEST_TIMEOUT"]
    # After that the server gives the store 2 × (acquire + statement) to finish accepted work.
    pattern = r"pool_acquire_timeout\s*\+\s*[\w.]*statement_timeout\)\s*\*\s*2\b"
    assert re.search(pattern, rust_source("src/server")), "the sum below must match the code"
    needed = (time["DRAIN_DELAY"] + time["SHUTDOWN_TIMEOUT"]
              + 2 * (time["POOL_ACQUIRE_TIMEOUT"] + time["STATEMENT_TIMEOUT"]))
    assert needed + margin <= grace, f"{needed} s and {margin} s margin do not fit into {grace} s"
    # A pod is removed from the endpoints before it stops accepting.
    probe = containers(workload)[0]["readinessProbe"]
    assert probe["timeoutSeconds"] * 1 < time["DRAIN_DELAY"]


def test_probes(objects):
    for workload in of_kind(objects, "Deployment", "StatefulSet"):
        for container in containers(workload):
            names = {port["name"] for port in container["ports"]}
            probes = {kind: container[kind + "Probe"] for kind in ("startup", "liveness", "readiness")}
            handlers = {
                kind: {k: v for k, v in probe.items() if k in ("httpGet", "tcpSocket", "exec", "grpc")}
                for kind, probe in probes.items()
            }
            assert handlers["liveness"] != handlers["readiness"], label(workload)
            for probe in probes.values():
                port = (probe.get("httpGet") or probe.get("tcpSocket") or {}).get("port")
                assert port is None or port in names, label(workload)
    probes = containers(deployment(objects))[0]
    assert probes["livenessProbe"]["httpGet"] == probes["startupProbe"]["httpGet"] == {"path": "/healthz", "port": "http"}
    assert probes["readinessProbe"]["httpGet"] == {"path": "/readyz", "port": "http"}
    # The service responds before the probe times out.
    pattern = r"RESPONSE_TIMEOUT: Duration = Duration::from_millis\((\d+)\)"
    [own] = map(int, re.findall(pattern, rust_source("src", "readiness.rs")))
    assert own / 1000 < probes["readinessProbe"]["timeoutSeconds"]


def test_resources(objects):
    for workload in workloads(objects):
        for container in containers(workload):
            resources = container["resources"]
            assert set(resources["requests"]) == {"cpu", "memory", "ephemeral-storage"}, label(workload)
            assert set(resources["limits"]) == {"memory", "ephemeral-storage"}, label(workload)
    resources = containers(deployment(objects))[0]["resources"]
    assert (resources["requests"]["cpu"], resources["requests"]["memory"]) == ("100m", "32Mi")
    assert resources["limits"]["memory"] == "128Mi"


def test_rollout(objects):
    spec = deployment(objects)["spec"]
    assert spec["strategy"] == {"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": 0, "maxSurge": 1}}
    assert spec["minReadySeconds"] >= seconds(environment(deployment(objects), objects)["DRAIN_DELAY"])
    assert spec["progressDeadlineSeconds"] > spec["minReadySeconds"] + 60
    # The first attempt of the migration may wait this long for the database without a stuck rollout.
    wait = migrate_job(objects)["spec"]["template"]["spec"]["containers"][0]["args"]
    assert wait == ["migrate", "--wait", "60s"]


def test_spread(objects):
    workload = deployment(objects)
    constraints = pod_spec(workload)["topologySpreadConstraints"]
    assert {c["topologyKey"] for c in constraints} == {"topology.kubernetes.io/zone", "kubernetes.io/hostname"}
    for constraint in constraints:
        assert constraint["matchLabelKeys"] == ["pod-template-hash"]
        assert constraint["maxSkew"] == 1
        assert constraint["labelSelector"]["matchLabels"].items() <= pod_labels(workload).items()


def test_scrape_annotations(objects):
    annotations = deployment(objects)["spec"]["template"]["metadata"]["annotations"]
    assert annotations == {
        "prometheus.io/scrape": "true", "prometheus.io/port": "9090", "prometheus.io/path": "/metrics"}


def test_the_autoscaler_owns_the_replicas(objects):
    scalers = of_kind(objects, "HorizontalPodAutoscaler")
    if scalers:
        assert "replicas" not in deployment(objects)["spec"]
        spec = scalers[0]["spec"]
        assert spec["scaleTargetRef"] == {"apiVersion": "apps/v1", "kind": "Deployment", "name": "order-service"}
        assert spec["minReplicas"] >= 2 and spec["maxReplicas"] > spec["minReplicas"]
        assert {"scaleUp", "scaleDown"} == set(spec["behavior"])
        assert spec["behavior"]["scaleDown"]["stabilizationWindowSeconds"] >= 300
    else:
        assert deployment(objects)["spec"]["replicas"] == 1


def test_prod_has_a_replica_in_each_of_three_zones():
    for name in on("prod"):
        scaler = only(objects_of(name), "HorizontalPodAutoscaler")
        assert scaler["spec"]["minReplicas"] >= 3
        zone = pod_spec(deployment(objects_of(name)))["topologySpreadConstraints"][0]
        assert (zone["topologyKey"], zone["whenUnsatisfiable"]) == ("topology.kubernetes.io/zone", "DoNotSchedule")
        assert zone["nodeTaintsPolicy"] == "Honor"
    for name in on("dev"):
        assert not of_kind(objects_of(name), "HorizontalPodAutoscaler")


def test_connections_stay_below_the_limit_of_postgresql():
    """(replicas + rollout + draining) × (pool + readiness + events) + migration + maintenance ≤ max_connections − reserved."""
    for name in on("prod") + on("dev"):
        objects = objects_of(name)
        workload = deployment(objects)
        scalers = of_kind(objects, "HorizontalPodAutoscaler")
        most = scalers[0]["spec"]["maxReplicas"] if scalers else workload["spec"]["replicas"]
        # The Deployment creates the next pod while the one that it has just stopped still drains.
        most += workload["spec"]["strategy"]["rollingUpdate"]["maxSurge"] + 1
        values = effective_settings(workload, objects)
        allowed = 100
        for cluster in of_kind(objects, "Cluster"):
            assert int(cluster["spec"]["postgresql"]["parameters"]["max_connections"]) == allowed
        assert most * (int(values["POOL_MAX_SIZE"]) + 2) + 2 <= allowed - 3, name
        assert int(values["POOL_MIN_IDLE"]) <= int(values["POOL_MAX_SIZE"])


def test_disruption_budget(objects):
    spec = only(objects, "PodDisruptionBudget")["spec"]
    assert spec["maxUnavailable"] == 1 and "minAvailable" not in spec
    assert spec["unhealthyPodEvictionPolicy"] == "AlwaysAllow"


def matches(selector, workload):
    return selector.items() <= pod_labels(workload).items()


def test_selectors_match_only_their_pods(objects):
    server, jobs = deployment(objects), (migrate_job(objects), maintenance(objects))
    for workload in of_kind(objects, "Deployment", "StatefulSet"):
        assert matches(workload["spec"]["selector"]["matchLabels"], workload), label(workload)
    for item in of_kind(objects, "Service", "PodDisruptionBudget", "PodMonitor"):
        selector = item["spec"]["selector"]
        selector = selector.get("matchLabels", selector)
        found = [w for w in workloads(objects) if matches(selector, w)]
        assert len(found) == 1, f"{label(item)} selects {[label(w) for w in found]}"
        assert found[0] not in jobs, f"{label(item)} selects {label(found[0])}"
    for job in jobs:
        assert not matches(server["spec"]["selector"]["matchLabels"], job), label(job)
    for policy in of_kind(objects, "NetworkPolicy"):
        selector = policy["spec"]["podSelector"].get("matchLabels", {})
        if "cnpg.io/cluster" in selector:
            assert selector["cnpg.io/cluster"] == only(objects, "Cluster")["metadata"]["name"]
        else:
            assert any(matches(selector, w) for w in workloads(objects)), label(policy)


def test_services_refer_to_existing_ports(objects):
    for service in of_kind(objects, "Service"):
        target = next(w for w in workloads(objects) if matches(service["spec"]["selector"], w))
        names = {port["name"] for c in containers(target) for port in c["ports"]}
        for port in service["spec"]["ports"]:
            assert port["targetPort"] in names, label(service)
    for workload in of_kind(objects, "StatefulSet"):
        assert only(objects, "Service", workload["spec"]["serviceName"])


def test_config_maps_and_claims_exist(objects):
    names = {c["metadata"]["name"] for c in of_kind(objects, "ConfigMap")}
    for workload in workloads(objects):
        for container in containers(workload):
            for source in container.get("envFrom", []):
                assert source["configMapRef"]["name"] in names, label(workload)
        claims = {c["metadata"]["name"] for c in of_kind(objects, "PersistentVolumeClaim")}
        for volume in pod_spec(workload).get("volumes", []):
            if "persistentVolumeClaim" in volume:
                assert volume["persistentVolumeClaim"]["claimName"] in claims, label(workload)
        # Every volume is mounted, every mount has a volume.
        volumes = {v["name"] for v in pod_spec(workload).get("volumes", [])}
        volumes |= {c["metadata"]["name"] for c in workload["spec"].get("volumeClaimTemplates", [])}
        mounted = {m["name"] for c in containers(workload) for m in c.get("volumeMounts", [])}
        assert volumes == mounted, label(workload)


def test_labels_are_valid(objects):
    for item in objects:
        labels = dict(item["metadata"].get("labels", {}))
        if item in workloads(objects):
            labels |= pod_labels(item)
        assert item["kind"] == "ConfigMap" or labels, label(item)
        for key, value in labels.items():
            assert re.fullmatch(r"([A-Za-z0-9]([A-Za-z0-9._-]{0,61}[A-Za-z0-9])?)?", value), f"{label(item)} {key}={value}"


def test_dev_needs_no_other_objects():
    """The generated URL has the address and the password of the component's database."""
    objects = objects_of("dev")
    decoded = {}
    import base64
    for secret in of_kind(objects, "Secret"):
        decoded[secret["metadata"]["name"]] = {k: base64.b64decode(v).decode() for k, v in secret["data"].items()}
    url = re.fullmatch(r"postgres://(\w+):([\w-]+)@([\w-]+):(\d+)/(\w+)\?sslmode=disable",
                       decoded["order-service-secrets"]["database-url"])
    user, password, host, port, database = url.groups()
    assert password == decoded["order-service-postgres"]["password"]
    service = only(objects, "Service", host)
    assert [p["port"] for p in service["spec"]["ports"]] == [int(port)]
    container = containers(only(objects, "StatefulSet"))[0]
    values = {e["name"]: e["value"] for e in container["env"]}
    assert (values["POSTGRES_USER"], values["POSTGRES_DB"]) == (user, database)
    assert f"--username={user}" in container["readinessProbe"]["exec"]["command"]
    assert not of_kind(objects_of("prod"), "Secret"), "the manifests of prod contain no secret"


def test_the_version_is_that_of_the_program():
    version = tomllib.loads((ROOT / "Cargo.toml").read_text())["workspace"]["package"]["version"]
    for name in ("base", "prod"):
        for workload in (deployment(objects_of(name)), migrate_job(objects_of(name)), maintenance(objects_of(name))):
            assert containers(workload)[0]["image"].split("@")[0] == f"{IMAGE}:{version}"
            for labels in (workload["metadata"]["labels"], pod_labels(workload)):
                assert labels["app.kubernetes.io/version"] == version, label(workload)
