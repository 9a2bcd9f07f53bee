"""A thin client of the API server: paths and JSON, so that a test determines exactly what is sent."""

import json
import threading
import time

import kubernetes
import urllib3

GROUP = "orders.example.com/v1alpha1"
# kind → (API version, plural). Kinds without a namespace are in CLUSTER_WIDE.
KINDS = {
    "OrderService": (GROUP, "orderservices"),
    "Deployment": ("apps/v1", "deployments"),
    "ReplicaSet": ("apps/v1", "replicasets"),
    "Job": ("batch/v1", "jobs"),
    "CronJob": ("batch/v1", "cronjobs"),
    "HorizontalPodAutoscaler": ("autoscaling/v2", "horizontalpodautoscalers"),
    "PodDisruptionBudget": ("policy/v1", "poddisruptionbudgets"),
    "NetworkPolicy": ("networking.k8s.io/v1", "networkpolicies"),
    "Lease": ("coordination.k8s.io/v1", "leases"),
    "Event": ("events.k8s.io/v1", "events"),
    "Role": ("rbac.authorization.k8s.io/v1", "roles"),
    "RoleBinding": ("rbac.authorization.k8s.io/v1", "rolebindings"),
    "ClusterRole": ("rbac.authorization.k8s.io/v1", "clusterroles"),
    "ClusterRoleBinding": ("rbac.authorization.k8s.io/v1", "clusterrolebindings"),
    "CustomResourceDefinition": ("apiextensions.k8s.io/v1", "customresourcedefinitions"),
    "Namespace": ("v1", "namespaces"),
    "Node": ("v1", "nodes"),
    "Pod": ("v1", "pods"),
    "Secret": ("v1", "secrets"),
    "ConfigMap": ("v1", "configmaps"),
    "Service": ("v1", "services"),
    "ServiceAccount": ("v1", "serviceaccounts"),
}
CLUSTER_WIDE = {"Namespace", "Node", "ClusterRole", "ClusterRoleBinding", "CustomResourceDefinition"}
# The kinds of objects that an OrderService owns.
OWNED = (
    "Deployment", "Service", "ServiceAccount", "ConfigMap", "PodDisruptionBudget", "HorizontalPodAutoscaler",
    "NetworkPolicy", "Job", "CronJob",
)
MERGE = "application/merge-patch+json"
APPLY = "application/apply-patch+yaml"


class Rejected(Exception):
    """A response of the API server that is not 2xx."""

    def __init__(self, status, body):
        self.status = status
        self.body = body
        self.message = body.get("message", "")
        super().__init__(f"{status} {body.get('reason', '')}: {self.message}")


class Cluster:
    """Requests to one API server, as the user of the kubeconfig."""

    def __init__(self, kubeconfig, context=None):
        client = kubernetes.config.new_client_from_config(config_file=kubeconfig, context=context, persist_config=False)
        # Several threads simulate controllers; each has a connection.
        client.configuration.connection_pool_maxsize = 16
        self._client = kubernetes.client.ApiClient(client.configuration)
        self._pool = self._client.rest_client.pool_manager
        self.configuration = client.configuration
        self.host = client.configuration.host.rstrip("/")

    def _headers(self, content_type=None):
        headers = {"Accept": "application/json", "User-Agent": "order-operator-e2e"}
        if content_type:
            headers["Content-Type"] = content_type
        for setting in self.configuration.auth_settings().values():
            headers[setting["key"]] = setting["value"]
        return headers

    def request(self, method, path, body=None, content_type="application/json", query=None):
        """The decoded response; raises Rejected for any other than 2xx."""
        data = None if body is None else json.dumps(body).encode()
        response = self._pool.request(
            method, self.host + path + _query(query), body=data,
            headers=self._headers(content_type if data else None),
            timeout=urllib3.Timeout(connect=5, read=30), retries=False,
        )
        text = response.data.decode()
        if response.status >= 300:
            try:
                raise Rejected(response.status, json.loads(text))
            except ValueError:
                raise Rejected(response.status, {"message": text}) from None
        return json.loads(text) if text.startswith(("{", "[")) else text

    def get(self, kind, name, namespace=None):
        """The object, or None if there is none."""
        try:
            return self.request("GET", path_of(kind, name, namespace))
        except Rejected as rejected:
            if rejected.status == 404:
                return None
            raise

    def list(self, kind, namespace=None, selector=None):
        query = {"labelSelector": selector} if selector else None
        found = self.request("GET", path_of(kind, None, namespace), query=query)["items"]
        for item in found:
            item["apiVersion"], item["kind"] = KINDS[kind][0], kind
        return found

    def create(self, item):
        return self.request("POST", path_of(item["kind"], None, item["metadata"].get("namespace")), item)

    def apply(self, item, manager="order-operator-e2e", force=True):
        """Server-side apply with a field manager of the suite."""
        path = path_of(item["kind"], item["metadata"]["name"], item["metadata"].get("namespace"))
        query = {"fieldManager": manager, "force": str(force).lower()}
        return self.request("PATCH", path, item, APPLY, query)

    def patch(self, kind, name, namespace, body, subresource=None, manager="order-operator-e2e", content_type=MERGE):
        path = path_of(kind, name, namespace) + (f"/{subresource}" if subresource else "")
        return self.request("PATCH", path, body, content_type, {"fieldManager": manager})

    def delete(self, kind, name, namespace=None, propagation="Background"):
        """Deletes if it is there."""
        try:
            body = {"kind": "DeleteOptions", "apiVersion": "v1", "propagationPolicy": propagation}
            self.request("DELETE", path_of(kind, name, namespace), body)
        except Rejected as rejected:
            if rejected.status != 404:
                raise

    def watch(self, kind, namespace, version, seconds):
        """(type, object) of each event within this many seconds."""
        query = {"watch": "1", "resourceVersion": version, "timeoutSeconds": str(seconds), "allowWatchBookmarks": "true"}
        response = self._pool.request(
            "GET", self.host + path_of(kind, None, namespace) + _query(query), headers=self._headers(),
            timeout=urllib3.Timeout(connect=5, read=seconds + 10), retries=False, preload_content=False,
        )
        try:
            buffer = b""
            for chunk in response.stream(65536, decode_content=True):
                buffer += chunk
                *lines, buffer = buffer.split(b"\n")
                for line in lines:
                    event = json.loads(line)
                    yield event["type"], event["object"]
        finally:
            response.release_conn()


def path_of(kind, name=None, namespace=None):
    version, plural = KINDS[kind]
    root = f"/api/{version}" if "/" not in version else f"/apis/{version}"
    within = f"/namespaces/{namespace}" if namespace and kind not in CLUSTER_WIDE else ""
    return root + within + f"/{plural}" + (f"/{name}" if name else "")


def _query(query):
    from urllib.parse import urlencode

    return "?" + urlencode(query) if query else ""


def until(what, predicate, seconds=30.0, every=0.1):
    """The first truthy value of the predicate; fails with `what` at the deadline."""
    deadline = time.monotonic() + seconds
    while True:
        value = predicate()
        if value:
            return value
        if time.monotonic() > deadline:
            raise AssertionError(f"not within {seconds} s: {what}")
        time.sleep(every)


def never(what, predicate, seconds, every=0.1):
    """Fails as soon as the predicate is truthy within the time."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        value = predicate()
        assert not value, f"{what}: {value}"
        time.sleep(every)


class Recorder:
    """Every version of one kind's objects in a namespace, in order: a short dip is recorded too."""

    def __init__(self, cluster, kind, namespace):
        self.seen = []
        self._stop = threading.Event()
        listed = cluster.request("GET", path_of(kind, None, namespace))
        self.seen.extend(("ADDED", item) for item in listed["items"])
        self._run = lambda: self._follow(cluster, kind, namespace, listed["metadata"]["resourceVersion"])
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _follow(self, cluster, kind, namespace, version):
        while not self._stop.is_set():
            for change, item in cluster.watch(kind, namespace, version, 2):
                version = item["metadata"]["resourceVersion"]
                if change != "BOOKMARK":
                    self.seen.append((change, item))

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self._stop.set()
        self._thread.join(10)
