"""Credentials: the service in the cluster accepts those of its secret, also after the secret has changed."""

import time

import figures
import kube
import load
import operator_install
import pytest
from operator_install import Service

# In the pod of the client. Prints the status of a request.
REQUEST = r"""
use IO::Socket::INET;
my ($host, $path, $key) = @ARGV;
my $socket = IO::Socket::INET->new(PeerAddr => $host, PeerPort => 80, Timeout => 5) or die "connect: $@";
my $header = $key eq '' ? '' : "Authorization: Bearer $key\r\n";
print $socket "GET $path HTTP/1.1\r\nHost: $host\r\n${header}Connection: close\r\n\r\n";
print +(split / /, <$socket>)[1];
"""


@pytest.fixture(scope="module")
def namespace():
    with operator_install.installed(), kube.namespace("e2e-access") as name:
        operator_install.database(name)
        yield name


@pytest.fixture(scope="module")
def client(namespace):
    """Sends a request with a key and returns the status."""
    pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "client"}, "spec": {
        "restartPolicy": "Never", "automountServiceAccountToken": False, "terminationGracePeriodSeconds": 1,
        "securityContext": load.POD_SECURITY,
        "containers": [{"name": "client", "image": load.IMAGE, "command": ["sleep", "3600"],
                        "securityContext": load.HARDENED}]}}
    kube.apply(pod, namespace=namespace)
    kube.kubectl("-n", namespace, "wait", "pod/client", "--for=condition=Ready", "--timeout=60s", seconds=90)

    def status(key="", path="/api/v1/orders"):
        return int(kube.kubectl("-n", namespace, "exec", "client", "--", "perl", "-e", REQUEST, "orders", path, key))

    return status


@pytest.fixture(scope="module")
def service(namespace):
    return Service("orders", namespace)


def _key(namespace, name, scopes):
    """(key, entry of the file), made by the command of the image."""
    pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": f"key-{name}"}, "spec": {
        "restartPolicy": "Never", "automountServiceAccountToken": False,
        "securityContext": load.POD_SECURITY | {"runAsUser": 65532},
        "containers": [{"name": "key", "image": kube.image(kube.TAG), "imagePullPolicy": "IfNotPresent",
                        "args": ["api-key", "--id", name, "--scopes", scopes], "securityContext": load.HARDENED}]}}
    kube.apply(pod, namespace=namespace)
    kube.kubectl("-n", namespace, "wait", f"pod/key-{name}", "--for=jsonpath={.status.phase}=Succeeded",
                 "--timeout=60s", seconds=90)
    lines = kube.kubectl("-n", namespace, "logs", f"key-{name}").splitlines()
    # The key goes to standard error, and the log of a container has both.
    [key] = [line for line in lines if line.startswith("osk_")]
    return key, "\n".join(line for line in lines if line != key) + "\n"


def _secret(namespace, *entries):
    kube.apply({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "orders-auth"},
                "stringData": {"auth.toml": "".join(entries)}}, namespace=namespace)


def test_requests_need_a_key_with_the_right_scope_and_a_changed_secret_needs_no_rollout(service, client):
    namespace = service.namespace
    first, entry = _key(namespace, "first", "orders:read")
    _secret(namespace, entry)
    service.create(replicas=1, auth={"secretRef": {"name": "orders-auth"}})
    service.wait_for("Ready")
    service.wait_for("Secured", reason="CredentialsRequired", seconds=30)
    assert client() == 401
    assert client("osk_first_" + "0" * 64) == 401
    assert client(first) == 200
    assert client(first, "/api/v1/events") == 403

    pods = {p["metadata"]["uid"] for p in service.pods()}
    second, other = _key(namespace, "second", "orders:read")
    assert client(second) == 401
    began = time.monotonic()
    _secret(namespace, other)
    # The kubelet updates a mounted secret within about two minutes, and the service reads it after at most 10 s.
    kube.until("the new key is accepted", lambda: client(second) == 200, 180, every=1)
    figures.record("a changed key is accepted", seconds=round(time.monotonic() - began))
    assert client(first) == 401
    assert {p["metadata"]["uid"] for p in service.pods()} == pods
