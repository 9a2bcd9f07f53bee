"""The operator in the cluster, and a namespace with a database for OrderServices."""

import contextlib
import json

import kube

SYSTEM = "order-operator-system"
OPERATOR = "app.kubernetes.io/name=order-operator"
RESOURCE = "orderservices.orders.example.com"
URL = "postgres://orders:dev-only@order-service-postgres:5432/orders?sslmode=disable"


def apply_operator(tag):
    """The documented installation, with this tag of the image."""
    images = [{"name": "registry.example.com/order-operator", "newName": f"{kube.REGISTRY}/order-operator", "newTag": tag}]
    with kube.overlay("kustomize/operator", images=images) as directory:
        kube.kubectl("apply", "--server-side", "-k", directory)
    kube.kubectl("label", "namespace", SYSTEM, f"{kube.OURS}=true", "--overwrite")
    kube.rolled_out("order-operator", SYSTEM)


@contextlib.contextmanager
def installed():
    """Removes the operator and its CRD afterwards, and with the CRD all OrderServices, so there must be none before."""
    kube.claim(SYSTEM)
    if kube.get("crd", RESOURCE):
        found = json.loads(kube.kubectl("get", RESOURCE, "--all-namespaces", "-o", "json"))["items"]
        foreign = [i["metadata"]["namespace"] for i in found if not i["metadata"]["namespace"].startswith("e2e-")]
        assert not foreign, f"this cluster has OrderServices in {foreign}, which the tests would delete"
    try:
        apply_operator(kube.TAG)
        yield
    finally:
        kube.kubectl("delete", "-k", str(kube.ROOT / "kustomize/operator"), "--ignore-not-found", "--timeout=120s",
                     seconds=150)


def leader():
    """The name of the pod that holds the Lease."""
    lease = kube.get("lease", "order-operator", SYSTEM)
    holder = (lease or {}).get("spec", {}).get("holderIdentity") or ""
    return holder.split("_")[0] or None


def database(namespace, url=URL):
    """The PostgreSQL of the overlay `dev`, and the secret with its URL."""
    wanted = {("StatefulSet", "order-service-postgres"), ("Service", "order-service-postgres"),
              ("Secret", "order-service-postgres")}
    items = [i for i in kube.rendered(kube.ROOT / "kustomize/overlays/dev")
             if (i["kind"], i["metadata"]["name"]) in wanted]
    assert len(items) == len(wanted), items
    for item in items:
        item["metadata"]["namespace"] = namespace
    secret = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "orders-database"},
              "stringData": {"database-url": url}}
    kube.apply(*items, secret, namespace=namespace)
    kube.kubectl("-n", namespace, "rollout", "status", "statefulset/order-service-postgres", "--timeout=120s", seconds=150)


class Service:
    """An OrderService and what belongs to it."""

    def __init__(self, name, namespace):
        self.name, self.namespace = name, namespace
        self.selector = f"app.kubernetes.io/instance={name},app.kubernetes.io/component=server"

    def create(self, tag=kube.TAG, **spec):
        spec = {"image": kube.image(tag), "replicas": 2, "database": {"secretRef": {"name": "orders-database"}}} | spec
        kube.apply({"apiVersion": "orders.example.com/v1alpha1", "kind": "OrderService",
                    "metadata": {"name": self.name}, "spec": spec}, namespace=self.namespace)

    def change(self, **spec):
        self.kubectl("patch", RESOURCE, self.name, "--type=merge", "--patch", json.dumps({"spec": spec}))

    def kubectl(self, *arguments, **options):
        return kube.kubectl("-n", self.namespace, *arguments, **options)

    def get(self):
        return kube.get(RESOURCE, self.name, self.namespace)

    def deployment(self):
        return kube.get("deployment", self.name, self.namespace)

    def pods(self, ready=None):
        return kube.pods(self.namespace, self.selector, ready)

    def images(self):
        return {pod["spec"]["containers"][0]["image"] for pod in self.pods()}

    def condition(self, kind):
        """The condition if it refers to the current spec, otherwise an empty one."""
        item = self.get()
        for found in item.get("status", {}).get("conditions", []):
            if found["type"] == kind and found.get("observedGeneration") == item["metadata"]["generation"]:
                return found
        return {"status": None, "reason": None, "message": None}

    def wait_for(self, kind, status="True", reason=None, seconds=180):
        def there():
            found = self.condition(kind)
            return found if found["status"] == status and reason in (None, found["reason"]) else None

        def what():
            return f"{self.name}: {kind}={status} {reason or ''}: {json.dumps(self.get().get('status'), indent=1)}"

        return kube.until(what, there, seconds)

    def events(self, reason):
        found = kube.listed("events.events.k8s.io", self.namespace)
        return [e for e in found if e["regarding"]["name"] == self.name and e["reason"] == reason]
