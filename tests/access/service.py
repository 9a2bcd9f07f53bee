"""The service under test: the real binary on SQLite, with an AUTH_FILE."""

import contextlib
import hashlib
import http.client
import json
import os
import re
import secrets
import subprocess
import tempfile
import time
import uuid
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
BINARY = Path(os.environ.get("BINARY", ROOT / "target/debug/order-service"))
ORDERS = "/api/v1/orders"


def toml(value):
    """A TOML value. JSON texts, numbers and arrays of texts are TOML as well."""
    return json.dumps(value)


def entry(table, **fields):
    return f"[[{table}]]\n" + "".join(f"{name} = {toml(value)}\n" for name, value in fields.items())


class ApiKey:
    """A key, and its entry for AUTH_FILE. The hash comes from hashlib."""

    def __init__(self, id, scopes=("orders:read",), **fields):
        self.credential = f"osk_{id}_{secrets.token_hex(32)}"
        self.bearer = f"Bearer {self.credential}"
        digest = hashlib.sha256(self.credential.encode()).hexdigest()
        expires = fields.pop("expires", None)
        self.entry = entry("api_key", id=id, sha256=digest, scopes=list(scopes), **fields)
        if expires:
            self.entry += f"expires = {expires}\n"


class Response:
    def __init__(self, response):
        self.status = response.status
        self.headers = response.headers
        self.body = response.read()
        self.request_id = self.headers["X-Request-Id"]

    def json(self):
        return json.loads(self.body)

    def kind(self):
        """The kind of a problem."""
        assert self.headers["Content-Type"] == "application/problem+json", self.body
        problem = self.json()
        assert problem["status"] == self.status
        return problem["type"].removeprefix("urn:problem:order-service:")


class Service:
    def __init__(self, auth_file, **settings):
        self.folder = tempfile.TemporaryDirectory()
        self.file = Path(self.folder.name, "auth.toml")
        self.file.write_text(auth_file)
        self.log_file = Path(self.folder.name, "log")
        environment = {name: value for name, value in os.environ.items() if not name.startswith(("AUTH_", "RATE_"))}
        self.environment = environment | {
            "AUTH_FILE": str(self.file), "DATABASE_URL": "sqlite::memory:", "BIND_ADDRESS": "127.0.0.1:0",
            "METRICS_ADDRESS": "127.0.0.1:0", "LOG_FORMAT": "json", "RUST_LOG": "info,order_service::access=debug",
        } | settings

    def __enter__(self):
        with self.log_file.open("wb") as log:
            self.process = subprocess.Popen([BINARY], env=self.environment, stderr=log)
        serving = self.wait_for(lambda line: line["msg"] == "serving")
        self.address, self.metrics_address = serving["api"], serving["metrics"]
        return self

    def __exit__(self, *_):
        self.process.terminate()
        assert self.process.wait(30) == 0
        self.folder.cleanup()

    def lines(self):
        # The last line may be incomplete.
        return [json.loads(line) for line in self.log_file.read_text().split("\n")[:-1]]

    def wait_for(self, wanted, seconds=10):
        """The first line of the log that is wanted."""
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            for line in self.lines():
                if wanted(line):
                    return line
            assert self.process.poll() is None, self.log_file.read_text()
            time.sleep(0.02)
        raise AssertionError("no such line in the log:\n" + self.log_file.read_text()[-3000:])

    def connect(self):
        """A connection that is closed at the end of a `with` block."""
        return contextlib.closing(http.client.HTTPConnection(self.address, timeout=30))

    def request(self, *authorization, method="GET", path=ORDERS, body=None, connection=None):
        """Sends a request with these values of Authorization."""
        with contextlib.nullcontext(connection) if connection else self.connect() as connection:
            connection.putrequest(method, path)
            connection.putheader("X-Request-Id", str(uuid.uuid4()))
            for value in authorization:
                connection.putheader("Authorization", value)
            data = json.dumps(body).encode() if body is not None else b""
            connection.putheader("Content-Length", str(len(data)))
            if data:
                connection.putheader("Content-Type", "application/json")
            connection.endheaders(data)
            return Response(connection.getresponse())

    def create(self, authorization):
        body = {"product_id": "sku-1", "quantity": 1}
        return self.request(authorization, method="POST", body=body)

    def audit(self, response):
        """The line of the audit record about a response."""
        return self.line_of(response, "order_service::audit")

    def access_line(self, response):
        return self.line_of(response, "order_service::access")

    def line_of(self, response, target):
        return self.wait_for(lambda line: line["target"] == target and line.get("request_id") == response.request_id)

    def metric(self, pattern):
        """The sum of the series that match."""
        with contextlib.closing(http.client.HTTPConnection(self.metrics_address, timeout=10)) as connection:
            connection.request("GET", "/metrics")
            text = connection.getresponse().read().decode()
        return sum(float(value) for value in re.findall(rf"^{pattern} (\S+)$", text, re.M))


def eventually(holds, seconds):
    """Waits until something holds."""
    until = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < until, "not within the time"
        time.sleep(0.05)
