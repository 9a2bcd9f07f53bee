"""Load from pods of the cluster, so that requests pass through the Service as those of clients do."""

import contextlib
import json
import os
from pathlib import Path

import kube

# Has Perl. The overlay `dev` needs this image anyway.
IMAGE = os.environ.get("E2E_LOAD_IMAGE", "postgres:17.5-bookworm")
CLIENTS = int(os.environ.get("E2E_LOAD_CLIENTS", "20"))
# Milliseconds between the requests of one client, so that the load does not displace the cluster on a small node.
PAUSE = int(os.environ.get("E2E_LOAD_PAUSE_MS", "5"))
USER = 999
HARDENED = {
    "allowPrivilegeEscalation": False,
    "readOnlyRootFilesystem": True,
    "capabilities": {"drop": ["ALL"]},
}
POD_SECURITY = {"runAsNonRoot": True, "runAsUser": USER, "seccompProfile": {"type": "RuntimeDefault"}}


class Load:
    """Requests of some clients to a Service until `stop`."""

    def __init__(self, namespace):
        self.namespace = namespace
        self.result = None

    def stop(self):
        """Ends the requests and returns {"requests": …, "failures": {reason: …}, "longest_s": …}."""
        if self.result is None:
            kube.kubectl("-n", self.namespace, "exec", "load", "--", "sh", "-c", "kill -TERM 1")
            kube.until(lambda: f"the load ends: {self._log()}", self._ended, 60)
            self.result = json.loads(self._log().splitlines()[-1])
            # Without requests, their number of failures would say nothing.
            assert self.result["requests"] > 20 * CLIENTS, self.result
        return self.result

    @property
    def failed(self):
        return sum(self.result["failures"].values())

    def summary(self):
        """The result as a figure."""
        return {"requests": self.result["requests"], "failed": self.failed, "longest_s": self.result["longest_s"]}

    def _ended(self):
        return kube.get("pod", "load", self.namespace)["status"]["phase"] in ("Succeeded", "Failed")

    def _log(self):
        return kube.kubectl("-n", self.namespace, "logs", "load")


@contextlib.contextmanager
def load(service, service_namespace):
    """Runs in a namespace of its own: the NetworkPolicies of the service admit it by the label of clients."""
    with kube.namespace("e2e-load", **{"orders.example.com/client": "true"}) as namespace:
        script = (Path(__file__).parent / "load.pl").read_text()
        command = ["perl", "/load/load.pl", f"{service}.{service_namespace}.svc", "80", str(CLIENTS), str(PAUSE)]
        container = {
            "name": "load", "image": IMAGE, "command": command, "securityContext": HARDENED,
            "resources": {"requests": {"cpu": "50m", "memory": "32Mi"}, "limits": {"memory": "256Mi"}},
            "volumeMounts": [{"name": "script", "mountPath": "/load"}, {"name": "tmp", "mountPath": "/tmp"}],
        }
        kube.apply(
            {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "load"}, "data": {"load.pl": script}},
            {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "load"}, "spec": {
                "restartPolicy": "Never", "automountServiceAccountToken": False, "terminationGracePeriodSeconds": 5,
                "securityContext": POD_SECURITY, "containers": [container],
                "volumes": [{"name": "script", "configMap": {"name": "load"}}, {"name": "tmp", "emptyDir": {}}]}},
            namespace=namespace,
        )
        running = Load(namespace)
        kube.until(lambda: f"the load runs: {kube.get('pod', 'load', namespace)['status']}",
                   lambda: kube.get("pod", "load", namespace)["status"].get("phase") == "Running", 60)
        kube.until("the load has started", lambda: "started" in running._log(), 30)
        yield running


def assert_nothing_failed(running):
    result = running.stop()
    assert running.failed == 0, f"{running.failed} of {result['requests']} requests failed: {result['failures']}"
