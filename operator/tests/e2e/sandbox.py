"""A namespace for tests, with the service account of the operator, and operators that run on this machine as
that account."""

import base64
import copy
import json
import os
import secrets
import shutil
import signal
import socket
import subprocess
import tempfile
import time
import urllib.request
from pathlib import Path

import simulator
import manifests
from cluster import OWNED, path_of, until
from proxy import Proxy

KUBECONFIG = os.environ.get("KUBECONFIG", "")
BINARY = Path(os.environ.get("OPERATOR", manifests.ROOT / "target/debug/order-operator"))
LABELS = {"app.kubernetes.io/part-of": "order-operator-e2e"}
# With nodes these must be images that the cluster can pull; without nodes only their names matter.
IMAGE = os.environ.get("E2E_IMAGE", "registry.example.com/order-service:1.0.0")
NEXT_IMAGE = os.environ.get("E2E_NEXT_IMAGE", "registry.example.com/order-service:1.1.0")
DATABASE_URL = os.environ.get("E2E_DATABASE_URL", "postgres://orders:e2e@db.example.com/orders")


class Operator:
    """One process of the operator, with its log."""

    def __init__(self, kubeconfig, directory, name, *arguments, environment=None):
        self.name = name
        self.log = directory / f"{name}.log"
        self.ports = {"health": _free_port(), "metrics": _free_port()}
        env = {
            "PATH": os.environ["PATH"],
            "KUBECONFIG": str(kubeconfig),
            "POD_NAME": name,
            "HEALTH_ADDRESS": f"127.0.0.1:{self.ports['health']}",
            "METRICS_ADDRESS": f"127.0.0.1:{self.ports['metrics']}",
            "LOG_FORMAT": "json",
            **(environment or {}),
        }
        with self.log.open("w") as log:
            self.process = subprocess.Popen([str(BINARY), *arguments], env=env, stdout=log, stderr=log)

    def signal(self, number):
        self.process.send_signal(number)

    def stop(self, seconds=30):
        """Sends SIGTERM and returns the exit code."""
        if self.process.poll() is None:
            self.signal(signal.SIGCONT)
            self.signal(signal.SIGTERM)
        return self.process.wait(seconds)

    def kill(self):
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait(10)

    def http(self, path):
        """(status, text); (None, reason) without a response."""
        url = f"http://127.0.0.1:{self.ports['metrics' if path == '/metrics' else 'health']}{path}"
        try:
            with urllib.request.urlopen(url, timeout=2) as response:
                return response.status, response.read().decode()
        except urllib.error.HTTPError as error:
            return error.code, error.read().decode()
        except OSError as error:
            return None, str(error)

    def metrics(self):
        """series → value."""
        status, text = self.http("/metrics")
        assert status == 200, f"{self.name}: /metrics returned {status} {text}"
        lines = [line for line in text.splitlines() if line and not line.startswith("#")]
        return {series: float(value) for series, value in (line.rsplit(" ", 1) for line in lines)}

    def sum(self, metric):
        """The sum over all labels."""
        return sum(value for series, value in self.metrics().items() if series.split("{")[0] == metric)


class Sandbox:
    def __init__(self, cluster, surrounding, label):
        self.cluster = cluster
        self.surrounding = surrounding
        self.namespace = f"osvc-e2e-{label}-{secrets.token_hex(3)}"
        self.directory = Path(tempfile.mkdtemp(prefix="order-operator-e2e-"))
        self.operators = []
        self._proxies = []
        self._cluster_wide = []
        self._make_namespace()
        self.kubeconfig = self._account()
        self.simulator = simulator.Simulator(cluster, [self.namespace], surrounding)

    # --- set-up

    def _make_namespace(self):
        # Restricted, like the installed namespace: a pod that is not hardened is rejected.
        pod_security = manifests.only("Namespace", "order-operator-system")["metadata"]["labels"]
        self.cluster.create({
            "apiVersion": "v1", "kind": "Namespace",
            "metadata": {"name": self.namespace, "labels": pod_security | LABELS},
        })

    def _account(self):
        """A kubeconfig with a token of a ServiceAccount with exactly the rules of the manifests."""
        rules = {
            "order-operator": manifests.only("ClusterRole", "order-operator")["rules"],
            "order-operator-leader-election": manifests.only("Role", "order-operator-leader-election")["rules"],
            "order-operator-key": manifests.only("Role", "order-operator-key")["rules"],
        }
        key = copy.deepcopy(manifests.only("Secret", "order-operator-key"))
        key["metadata"]["namespace"] = self.namespace
        self.cluster.create(key)
        self.cluster.create({"apiVersion": "v1", "kind": "ServiceAccount",
                             "metadata": {"name": "order-operator", "namespace": self.namespace}})
        for name, granted in rules.items():
            meta = {"name": name, "namespace": self.namespace}
            self.cluster.create({"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "Role",
                                 "metadata": meta, "rules": granted})
            self.cluster.create({"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "RoleBinding",
                                 "metadata": meta, "subjects": [self._subject()],
                                 "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": name}})
        return self.write_kubeconfig("kubeconfig", self.cluster.host)

    def _subject(self):
        return {"kind": "ServiceAccount", "name": "order-operator", "namespace": self.namespace}

    def grant_everywhere(self):
        """Grants the same rules in the whole cluster, as the default installation does."""
        meta = {"name": self.namespace, "labels": LABELS}
        rbac = {"apiVersion": "rbac.authorization.k8s.io/v1"}
        role = rbac | {"kind": "ClusterRole", "metadata": meta,
                       "rules": manifests.only("ClusterRole", "order-operator")["rules"]}
        binding = rbac | {"kind": "ClusterRoleBinding", "metadata": meta, "subjects": [self._subject()],
                          "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole",
                                      "name": self.namespace}}
        for item in (role, binding):
            self.cluster.create(item)
            self._cluster_wide.append(item)

    def write_kubeconfig(self, name, server):
        configuration = self.cluster.configuration
        path = path_of("ServiceAccount", "order-operator", self.namespace) + "/token"
        token = self.cluster.request("POST", path, {
            "apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": {"expirationSeconds": 7200}})
        authority = Path(configuration.ssl_ca_cert).read_bytes() if configuration.ssl_ca_cert else b""
        cluster = {"server": server, "certificate-authority-data": base64.b64encode(authority).decode()}
        if server != self.cluster.host:
            # Through the proxy the client still sees the certificate of the API server.
            cluster["tls-server-name"] = self.cluster.host.split("//")[1].split(":")[0]
        config = {
            "apiVersion": "v1", "kind": "Config", "current-context": "e2e",
            "clusters": [{"name": "e2e", "cluster": cluster}],
            "users": [{"name": "e2e", "user": {"token": token["status"]["token"]}}],
            "contexts": [{"name": "e2e", "context": {"cluster": "e2e", "user": "e2e", "namespace": self.namespace}}],
        }
        file = self.directory / name
        file.touch(mode=0o600)
        file.write_text(json.dumps(config))
        return file

    # --- operators

    def start(self, name=None, proxy=None, arguments=None, environment=None, wait=True):
        """Starts an operator, by default for this namespace only."""
        name = name or f"operator-{len(self.operators)}"
        kubeconfig = self.kubeconfig
        if proxy:
            kubeconfig = self.write_kubeconfig(f"{name}.kubeconfig", f"https://127.0.0.1:{proxy.port}")
        if arguments is None:
            arguments = ("--namespace", self.namespace)
        # As in components/namespaced.
        settings = {"POD_NAMESPACE": self.namespace, "LEASE_NAME": "order-operator"}
        operator = Operator(kubeconfig, self.directory, name, *arguments, environment=settings | (environment or {}))
        self.operators.append(operator)
        if wait:
            until(f"{name} is ready: {operator.log}", lambda: operator.http("/readyz")[0] == 200, 20)
        return operator

    def proxy(self):
        made = Proxy(self.cluster.host)
        self._proxies.append(made)
        return made

    def lease(self):
        found = self.cluster.list("Lease", self.namespace)
        return max(found, key=lambda item: item["spec"].get("renewTime", ""), default=None)

    def leader(self):
        """The name of the operator that holds the lease, or None."""
        lease = self.lease()
        holder = lease and lease["spec"].get("holderIdentity")
        found = [o for o in self.operators if holder and holder.startswith(o.name + "_")]
        return found[0] if found else None

    # --- OrderServices

    def secret(self, name="orders-db", url=DATABASE_URL):
        return self.cluster.apply({"apiVersion": "v1", "kind": "Secret",
                                   "metadata": {"name": name, "namespace": self.namespace},
                                   "data": {"database-url": base64.b64encode(url.encode()).decode()}})

    def auth_secret(self, name, identity="e2e"):
        """A secret with an AUTH_FILE that the service accepts; nobody has the key."""
        file = f'[[api_key]]\nid = "{identity}"\nsha256 = "{"0" * 64}"\nscopes = ["orders:read"]\n'
        return self.cluster.apply({"apiVersion": "v1", "kind": "Secret",
                                   "metadata": {"name": name, "namespace": self.namespace},
                                   "data": {"auth.toml": base64.b64encode(file.encode()).decode()}})

    def order_service(self, name, image=IMAGE, **spec):
        """The object as a user writes it."""
        if "replicas" not in spec and "autoscaling" not in spec:
            spec["replicas"] = 2
        return {
            "apiVersion": "orders.example.com/v1alpha1", "kind": "OrderService",
            "metadata": {"name": name, "namespace": self.namespace},
            "spec": {"image": image, "database": {"secretRef": {"name": "orders-db"}}, **spec},
        }

    def running(self, name, **spec):
        """An OrderService that was created and is Ready."""
        self.secret()
        self.cluster.create(self.order_service(name, **spec))
        self.wait_for(name, "Ready")
        return name

    def change(self, name, **spec):
        """Merges into the spec; None removes a field."""
        return self.cluster.patch("OrderService", name, self.namespace, {"spec": spec})

    def get(self, kind, name):
        return self.cluster.get(kind, name, self.namespace)

    def condition(self, name, kind):
        """The condition if it refers to the current spec."""
        item = self.get("OrderService", name)
        for condition in item.get("status", {}).get("conditions", []):
            if condition["type"] == kind and condition.get("observedGeneration") == item["metadata"]["generation"]:
                return condition
        return None

    def wait_for(self, name, kind, status="True", reason=None, seconds=60):
        def there():
            found = self.condition(name, kind)
            right = found and found["status"] == status and reason in (None, found["reason"])
            return found if right else None

        try:
            return until(f"{name}: {kind}={status} {reason or ''}", there, seconds)
        except AssertionError as error:
            item = self.get("OrderService", name)
            raise AssertionError(f"{error}\n{json.dumps(item.get('status', {}), indent=1)}") from None

    def owned(self, name):
        """All objects that the OrderService owns."""
        uid = self.get("OrderService", name)["metadata"]["uid"]
        items = [item for kind in OWNED for item in self.cluster.list(kind, self.namespace)]
        return [i for i in items if any(o["uid"] == uid for o in i["metadata"].get("ownerReferences", []))]

    def versions(self, *names):
        """The resource versions of these OrderServices and of all objects that they own; any write changes them."""
        items = [item for name in names for item in [self.get("OrderService", name), *self.owned(name)]]
        return {(i["kind"], i["metadata"]["name"]): i["metadata"]["resourceVersion"] for i in items}

    def events(self, name, reason=None):
        found = [e for e in self.cluster.list("Event", self.namespace) if e.get("regarding", {}).get("name") == name]
        return [e for e in found if reason in (None, e["reason"])]

    # --- tear-down

    def forbidden(self):
        """Log lines about a right that the rules of the manifests lack."""
        logs = [(o.name, line) for o in self.operators for line in o.log.read_text().splitlines()]
        return [f"{name}: {line}" for name, line in logs if "forbidden" in line.lower()]

    def close(self):
        for operator in self.operators:
            operator.kill()
        for item in self.cluster.list("OrderService", self.namespace):
            self.cluster.delete("OrderService", item["metadata"]["name"], self.namespace)
        self.simulator.close()
        for proxy in self._proxies:
            proxy.close()
        self.simulator.collect_garbage(self.namespace)
        for item in self._cluster_wide:
            self.cluster.delete(item["kind"], item["metadata"]["name"])
        self.cluster.delete("Namespace", self.namespace)
        if self.surrounding == "server":
            simulator.finish_namespace(self.cluster, self.namespace)
        if not os.environ.get("E2E_KEEP_LOGS"):
            shutil.rmtree(self.directory, ignore_errors=True)


def _free_port():
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return listener.getsockname()[1]


def stopped_for(operator, seconds):
    """Sends SIGSTOP, and SIGCONT after this many seconds."""
    operator.signal(signal.SIGSTOP)
    time.sleep(seconds)
    operator.signal(signal.SIGCONT)
