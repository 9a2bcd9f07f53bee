"""The overlay `dev` on nodes: from nothing to ready, replacement and eviction of pods under load."""

import json
import time

import figures
import kube
import load
import pytest

NAMESPACE = "order-service-dev"
SERVER = "app.kubernetes.io/name=order-service,app.kubernetes.io/component=server"
NAME = "deployment/order-service"


@pytest.fixture(scope="module")
def dev():
    """The overlay, as the documentation installs it."""
    kube.claim(NAMESPACE)
    began = time.monotonic()
    try:
        kube.kubectl("apply", "-k", str(kube.ROOT / "kustomize/overlays/dev"))
        kube.kubectl("label", "namespace", NAMESPACE, f"{kube.OURS}=true")
        kube.rolled_out("order-service", NAMESPACE)
        yield time.monotonic() - began
    finally:
        kube.delete_namespace(NAMESPACE)


@pytest.fixture(scope="module")
def three(dev):
    """Three pods of the overlay."""
    _scale(3)


def _kubectl(*arguments, **options):
    return kube.kubectl("-n", NAMESPACE, *arguments, **options)


def _scale(replicas):
    _kubectl("scale", NAME, f"--replicas={replicas}")
    kube.rolled_out("order-service", NAMESPACE)
    kube.until(f"{replicas} pods", lambda: len(kube.pods(NAMESPACE, SERVER)) == replicas, 60)


def _set(*variables):
    _kubectl("set", "env", NAME, *variables)
    kube.rolled_out("order-service", NAMESPACE)


def _replaced():
    """Replaces all pods and waits until the old ones have ended, since a failure may come at their end."""
    before = {p["metadata"]["uid"] for p in kube.listed("pods", NAMESPACE, SERVER)}
    _kubectl("rollout", "restart", NAME)
    kube.rolled_out("order-service", NAMESPACE)
    kube.until("the old pods end",
               lambda: not before & {p["metadata"]["uid"] for p in kube.listed("pods", NAMESPACE, SERVER)}, 90)


def _settings(pod):
    """The settings in the first lines of the log."""
    [line] = [line for line in _kubectl("logs", pod).splitlines() if '"starting"' in line]
    return json.loads(line)


def test_is_ready_from_nothing(dev):
    figures.record("overlay dev from nothing to ready", seconds=round(dev, 1))
    [pod] = kube.pods(NAMESPACE, SERVER, ready=True)
    assert pod["spec"]["containers"][0]["image"] == kube.image("dev")
    [job] = kube.listed("jobs", NAMESPACE, "app.kubernetes.io/component=migrate")
    assert kube.is_true(job, "Complete"), job["status"]


def test_the_namespace_rejects_a_pod_that_is_not_hardened(dev):
    with pytest.raises(kube.Failed, match="violates PodSecurity"):
        _kubectl("run", "soft", "--image=none:none", "--dry-run=server")


def test_the_root_file_system_is_read_only(dev):
    """Writes into the root of a running container, to a directory that the user of the container owns."""
    [pod] = kube.pods(NAMESPACE, SERVER, ready=True)
    name, user = pod["metadata"]["name"], pod["spec"]["securityContext"]["runAsUser"]
    probe = {
        "name": "probe", "image": load.IMAGE, "targetContainerName": "order-service",
        "command": ["sh", "-c", "stat -c %u /proc/1/root/data && touch /proc/1/root/data/file"],
        "securityContext": load.HARDENED | {"runAsUser": user},
    }
    path = f"/api/v1/namespaces/{NAMESPACE}/pods/{name}/ephemeralcontainers"
    pod["spec"]["ephemeralContainers"] = [probe]
    kube.kubectl("replace", "--raw", path, "-f", "-", stdin=json.dumps(pod))

    def ended():
        statuses = kube.get("pod", name, NAMESPACE)["status"].get("ephemeralContainerStatuses", [])
        return statuses and statuses[0]["state"].get("terminated")

    state = kube.until("the probe ends", ended, 60)
    log = _kubectl("logs", name, "-c", "probe")
    # The owner shows that only the read-only file system prevents the write.
    assert log.startswith(f"{user}\n"), log
    assert "Read-only file system" in log, log
    assert state["exitCode"] == 1, state


@pytest.mark.parametrize(("request_", "workers"), [("100m", "1"), ("1100m", "2")])
def test_workers_follow_the_cpu_request(dev, request_, workers):
    _kubectl("set", "resources", NAME, f"--requests=cpu={request_}")
    kube.rolled_out("order-service", NAMESPACE)
    try:
        [pod] = kube.pods(NAMESPACE, SERVER, ready=True)
        assert _settings(pod["metadata"]["name"])["workers"] == workers
    finally:
        _kubectl("set", "resources", NAME, "--requests=cpu=100m")
        kube.rolled_out("order-service", NAMESPACE)


def test_a_rolling_update_fails_no_request(three):
    began = time.monotonic()
    with load.load("order-service", NAMESPACE) as running:
        _replaced()
        load.assert_nothing_failed(running)
    figures.record("rolling update of three pods", clients=load.CLIENTS, **running.summary(),
                   seconds=round(time.monotonic() - began))


def test_without_a_drain_delay_a_rolling_update_fails_requests(three):
    """The control: the load notices the failures that DRAIN_DELAY prevents."""
    _set("DRAIN_DELAY=0s")
    try:
        for attempt in range(1, 4):
            with load.load("order-service", NAMESPACE) as running:
                _replaced()
                running.stop()
            if running.failed:
                break
        figures.record("rolling update of three pods, DRAIN_DELAY=0s", clients=load.CLIENTS, attempts=attempt,
                       **running.summary())
        assert running.failed, f"three rolling updates without a drain failed nothing: {running.result}"
    finally:
        _set("DRAIN_DELAY=5s")


def test_an_eviction_fails_no_request_and_the_budget_limits_evictions(three):
    with load.load("order-service", NAMESPACE) as running:
        rejected = sum(_evict(pod["metadata"]["name"]) for pod in kube.pods(NAMESPACE, SERVER))
        kube.rolled_out("order-service", NAMESPACE)
        kube.until("the evicted pods end", lambda: len(kube.listed("pods", NAMESPACE, SERVER)) == 3, 90)
        load.assert_nothing_failed(running)
    # The second and the third eviction are attempted at once, while a pod is missing.
    assert rejected >= 2, f"the budget rejected {rejected} evictions"
    figures.record("eviction of three pods", clients=load.CLIENTS, **running.summary(), rejected_evictions=rejected)


def _evict(name):
    """Evicts the pod as soon as the budget admits it, and returns how many attempts were rejected."""
    body = {"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": name, "namespace": NAMESPACE}}
    path = f"/api/v1/namespaces/{NAMESPACE}/pods/{name}/eviction"
    rejected = 0

    def evicted():
        nonlocal rejected
        try:
            kube.kubectl("create", "--raw", path, "-f", "-", stdin=json.dumps(body))
        except kube.Failed as failed:
            assert "disruption budget" in str(failed), failed
            rejected += 1
            return False
        return True

    kube.until(f"{name} is evicted", evicted, 120, every=1)
    return rejected
