"""Simulates the parts that the cluster lacks, so that the same tests run with nodes, without nodes, and with an
API server alone.

* nodes: a real cluster; nothing is simulated.
* controllers: Deployments and Jobs create pods, and this module writes their status, like a kubelet.
* server: an API server alone; this module also creates the pods and writes the status of Deployments and Jobs.

A test chooses the outcome of each image (`outcomes`): whether its pods become ready, crash, or cannot start.
"""

import contextlib
import copy
import hashlib
import json
import logging
import threading
import time
import uuid

from cluster import OWNED, Rejected, path_of
from pod_status import backing_off, finished, now, running

MEANING = {
    "nodes": "nothing is simulated",
    "controllers": "the suite simulates the kubelet",
    "server": "the suite simulates the kubelet and the controllers",
}
log = logging.getLogger("simulator")
# Seconds after which a simulated rollout exceeds its deadline, whatever the spec says, so that tests are fast.
PROGRESS_DEADLINE = 2.0


def surroundings(cluster, namespace):
    """"nodes", "controllers" or "server"."""
    for node in cluster.list("Node"):
        ready = [c for c in node["status"].get("conditions", []) if c["type"] == "Ready"]
        if ready and ready[0]["status"] == "True":
            return "nodes"
    # A suspended Job creates no pod, but its controller writes a condition.
    probe = {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {"name": "is-there-a-controller", "namespace": namespace},
        "spec": {"suspend": True, "template": {"spec": {
            "restartPolicy": "Never", "containers": [{"name": "none", "image": "none:none"}]}}},
    }
    cluster.create(probe)
    try:
        deadline = time.monotonic() + 10
        while time.monotonic() < deadline:
            if cluster.get("Job", "is-there-a-controller", namespace)["status"].get("conditions"):
                return "controllers"
            time.sleep(0.2)
        return "server"
    finally:
        cluster.delete("Job", "is-there-a-controller", namespace)


def finish_namespace(cluster, namespace):
    """Removes the finalizer of a deleted namespace, when no controller does."""
    with contextlib.suppress(Rejected):
        item = cluster.get("Namespace", namespace)
        if item:
            item["spec"]["finalizers"] = []
            cluster.request("PUT", path_of("Namespace", namespace) + "/finalize", item)


class Simulator:
    """Simulates the missing part of a cluster in some namespaces until it is closed."""

    def __init__(self, cluster, namespaces, surrounding, every=0.1):
        self.cluster = cluster
        self.namespaces = namespaces
        self.surrounding = surrounding
        # (image, "server" or "migrate") → "ready" | "crash" | "missing" | "hang", (exit code, message)
        self.outcomes = {}
        self.every = every
        self.errors = []
        self._since = {}
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        if surrounding != "nodes":
            self._thread.start()

    def close(self):
        self._stop.set()
        if self._thread.is_alive():
            self._thread.join(30)

    def _run(self):
        while not self._stop.wait(self.every):
            for namespace in list(self.namespaces):
                try:
                    if self.surrounding == "server":
                        for deployment in self.cluster.list("Deployment", namespace):
                            self._quietly(self._deployment, deployment)
                        for job in self.cluster.list("Job", namespace):
                            self._quietly(self._job, job)
                    for pod in self.cluster.list("Pod", namespace):
                        self._quietly(self._pod, pod)
                except Exception as error:  # noqa: BLE001 - recorded in `errors`, which the fixture checks
                    log.warning("%s: %s", namespace, error)
                    self.errors.append(error)

    def _quietly(self, simulate, item):
        """Ignores that the object was deleted or changed before the write."""
        try:
            simulate(item)
        except Rejected as rejected:
            if rejected.status not in (404, 409):
                raise

    # --- kubelet

    def _outcome(self, spec, role, otherwise):
        return self.outcomes.get((spec["containers"][0]["image"], role), otherwise)

    def _pod(self, pod):
        if pod["metadata"].get("deletionTimestamp") or pod["spec"].get("nodeName"):
            return
        if any(owner["kind"] == "Job" for owner in pod["metadata"].get("ownerReferences", [])):
            outcome = self._outcome(pod["spec"], "migrate", (0, ""))
            if pod["status"]["phase"] in ("Succeeded", "Failed") or outcome == "hang":
                return
            status = finished(pod, *outcome)
        else:
            outcome = self._outcome(pod["spec"], "server", "ready")
            if outcome == "hang":
                return
            status = running(pod) if outcome == "ready" else backing_off(pod, outcome)
            before = pod["status"].get("containerStatuses")
            if before and before[0]["state"].keys() == status["containerStatuses"][0]["state"].keys():
                return
        self._set_status(pod, status)

    def _set_status(self, item, status):
        """Replaces the status: a merge patch would keep old conditions."""
        if item.get("status") != status:
            item = item | {"status": status}
            meta = item["metadata"]
            self.cluster.request("PUT", path_of(item["kind"], meta["name"], meta["namespace"]) + "/status", item)

    # --- controller of Deployments, in an API server alone

    def _deployment(self, deployment):
        meta, spec = deployment["metadata"], deployment["spec"]
        namespace, wanted = meta["namespace"], spec["replicas"]
        digest = hashlib.sha256(json.dumps(spec["template"], sort_keys=True).encode()).hexdigest()[:10]
        new_set = self._replica_set(deployment, digest)
        selector = ",".join(f"{k}={v}" for k, v in spec["selector"]["matchLabels"].items())
        pods = [p for p in self.cluster.list("Pod", namespace, selector) if not p["metadata"].get("deletionTimestamp")]
        new = [p for p in pods if p["metadata"]["labels"].get("pod-template-hash") == digest]
        old = [p for p in pods if p not in new]
        good = self._outcome(spec["template"]["spec"], "server", "ready") == "ready"
        # A bad revision gets only its surge of one pod, because maxUnavailable is 0.
        share = wanted if good or not old else min(wanted, 1)
        for _ in range(share - len(new)):
            new.append(self.cluster.create(self._pod_of(spec["template"], new_set, {"pod-template-hash": digest})))
        new, surplus = new[:share], new[share:]
        ready = [p for p in new if _is_ready(p)]
        old, leaving = ([], old) if len(ready) >= wanted else (old[:wanted], old[wanted:])
        for pod in surplus + leaving:
            self.cluster.delete("Pod", pod["metadata"]["name"], namespace)
        available = len(ready) + len([p for p in old if _is_ready(p)])
        self._set_status(deployment, self._deployment_status(deployment, digest, wanted, new, old, ready, available))
        counts = {"replicas": len(new), "readyReplicas": len(ready), "availableReplicas": len(ready)}
        self._set_status(new_set, {"observedGeneration": new_set["metadata"].get("generation", 1), **counts})

    def _deployment_status(self, deployment, digest, wanted, new, old, ready, available):
        uid = deployment["metadata"]["uid"]
        done = len(ready) >= wanted
        # The deadline starts again when a template becomes the current one, also if its ReplicaSet exists.
        current, began = self._since.get(uid, (None, 0.0))
        if current != digest:
            began = time.monotonic()
            self._since[uid] = digest, began
        if done:
            progressing = ("True", "NewReplicaSetAvailable")
        elif time.monotonic() - began > PROGRESS_DEADLINE:
            progressing = ("False", "ProgressDeadlineExceeded")
        else:
            progressing = ("True", "ReplicaSetUpdated")
        enough = ("True", "MinimumReplicasAvailable") if available >= wanted else ("False", "MinimumReplicasUnavailable")
        before = {c["type"]: c for c in deployment.get("status", {}).get("conditions", [])}
        conditions = []
        for kind, (status, reason) in (("Available", enough), ("Progressing", progressing)):
            was = before.get(kind)
            same = was and (was["status"], was.get("reason")) == (status, reason)
            fresh = {"type": kind, "status": status, "reason": reason, "message": "simulated by the suite",
                     "lastUpdateTime": now(), "lastTransitionTime": now()}
            conditions.append(was if same else fresh)
        counts = {
            "replicas": len(new) + len(old), "updatedReplicas": len(new), "readyReplicas": available,
            "availableReplicas": available, "unavailableReplicas": len(new) + len(old) - available,
        }
        return {"observedGeneration": deployment["metadata"]["generation"], "conditions": conditions,
                **{k: v for k, v in counts.items() if v}}

    def _replica_set(self, deployment, digest):
        meta, spec = deployment["metadata"], deployment["spec"]
        name = f"{meta['name']}-{digest}"
        found = self.cluster.get("ReplicaSet", name, meta["namespace"])
        if found is None:
            template = copy.deepcopy(spec["template"])
            template["metadata"]["labels"]["pod-template-hash"] = digest
            labels = template["metadata"]["labels"]
            found = self.cluster.create({
                "apiVersion": "apps/v1", "kind": "ReplicaSet",
                "metadata": {"name": name, "namespace": meta["namespace"], "labels": labels,
                             "ownerReferences": [_owner(deployment)]},
                "spec": {"replicas": spec["replicas"], "template": template,
                         "selector": {"matchLabels": spec["selector"]["matchLabels"] | {"pod-template-hash": digest}}},
            })
        return found

    # --- controller of Jobs

    def _job(self, job):
        meta = job["metadata"]
        if job["spec"].get("suspend") or any(c["type"] in ("Complete", "Failed") for c in job["status"].get("conditions", [])):
            return
        template = job["spec"]["template"]
        if self._outcome(template["spec"], "migrate", (0, "")) == "hang":
            return
        pods = self.cluster.list("Pod", meta["namespace"], f"batch.kubernetes.io/job-name={meta['name']}")
        if not pods:
            self.cluster.create(self._pod_of(template, job, {"batch.kubernetes.io/job-name": meta["name"]}))
            return
        phase = pods[0]["status"]["phase"]
        if phase not in ("Succeeded", "Failed"):
            return
        kinds = ("SuccessCriteriaMet", "Complete") if phase == "Succeeded" else ("FailureTarget", "Failed")
        reason = "CompletionsReached" if phase == "Succeeded" else "PodFailurePolicy"
        status = {"startTime": now(10), "uncountedTerminatedPods": {}, "ready": 0, "terminating": 0,
                  phase.lower(): 1,
                  "conditions": [{"type": kind, "status": "True", "reason": reason, "message": "simulated by the suite",
                                  "lastProbeTime": now(), "lastTransitionTime": now()} for kind in kinds]}
        if phase == "Succeeded":
            status["completionTime"] = now()
        self._set_status(job, status)

    def _pod_of(self, template, owner, labels):
        meta = owner["metadata"]
        return {
            "apiVersion": "v1", "kind": "Pod",
            "metadata": {
                "name": f"{meta['name'][:50]}-{uuid.uuid4().hex[:5]}",
                "namespace": meta["namespace"],
                "labels": template["metadata"]["labels"] | labels,
                "annotations": template["metadata"].get("annotations", {}),
                "ownerReferences": [_owner(owner)],
            },
            "spec": template["spec"],
        }

    # --- garbage collector

    def collect_garbage(self, namespace):
        """Deletes objects whose owner is gone; with controllers this is not needed."""
        if self.surrounding != "server":
            return
        kinds = ("OrderService", *OWNED, "Secret", "ReplicaSet", "Pod")
        while True:
            items = [item for kind in kinds for item in self.cluster.list(kind, namespace)]
            alive = {item["metadata"]["uid"] for item in items}
            orphans = [i for i in items if any(o["uid"] not in alive for o in i["metadata"].get("ownerReferences", []))]
            if not orphans:
                return
            for item in orphans:
                self.cluster.delete(item["kind"], item["metadata"]["name"], namespace)


def _owner(item):
    return {"apiVersion": item["apiVersion"], "kind": item["kind"], "name": item["metadata"]["name"],
            "uid": item["metadata"]["uid"], "controller": True, "blockOwnerDeletion": True}


def _is_ready(pod):
    return any(c["type"] == "Ready" and c["status"] == "True" for c in pod.get("status", {}).get("conditions", []))
