"""Two processes of the service on a PostgreSQL, and a Prometheus that scrapes them, with the rules of the
monitoring component and the labels of the PodMonitor."""

import contextlib
import http.server
import json
import os
import re
import subprocess
import tempfile
import threading
import time
import urllib.error
import urllib.parse
import urllib.request
from pathlib import Path

import yaml
from load import JWKS, auth_file
from manifests import ROOT, TOOLS
from monitoring import RULES

BINARY = Path(os.environ.get("BINARY", ROOT / "target/debug/order-service"))
PROMETHEUS = TOOLS / "prometheus/usr/bin/prometheus"
KUBE_STATE = Path(__file__).with_name("kube-state-metrics.txt")
NAMESPACE = "order-service-prod"
PODS = ("order-service-a", "order-service-b")


def until(what, check, seconds=30):
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if (found := check()) is not None:
            return found
        time.sleep(0.1)
    raise TimeoutError(f"{what}: not within {seconds} s")


@contextlib.contextmanager
def process(command, log, **options):
    """A process that logs to a file and is ended by SIGTERM."""
    with log.open("wb") as out, subprocess.Popen(command, stdout=out, stderr=out, **options) as child:
        try:
            yield child
        finally:
            child.terminate()
            try:
                child.wait(60)
            except subprocess.TimeoutExpired:
                child.kill()
                raise


def wait_for_log(child, log, pattern):
    """Waits for a pattern in the log of a starting process and returns its groups."""
    def search():
        if child.poll() is not None:
            raise RuntimeError(f"ended with {child.returncode}: {log.read_text()}")
        match = re.search(pattern, log.read_text())
        return match and match.groups()

    return until(f"{pattern} in {log.name}", search)


class KubeState(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.send_header("Content-Type", "text/plain; version=0.0.4")
        self.end_headers()
        self.wfile.write(KUBE_STATE.read_bytes())

    def log_message(self, *_):
        pass


class Stack(contextlib.ExitStack):
    """Runs until the block ends. `api` has the addresses of the service's processes."""

    def __init__(self, interval=1):
        super().__init__()
        self.interval = interval
        self.api, self.metrics = [], []

    def __enter__(self):
        super().__enter__()
        try:
            self._start()
        except BaseException:
            self.close()
            raise
        return self

    def _start(self):
        self.dir = Path(self.enter_context(tempfile.TemporaryDirectory(prefix="monitoring-")))
        # PostgreSQL does not run as root and needs access to its directory.
        self.dir.chmod(0o711)
        self.database_url = self._postgres("start").strip()
        self.callback(self._postgres, "stop")
        (self.dir / "jwks.json").write_text(json.dumps(JWKS))
        self.auth_file = self.dir / "auth.toml"
        self.auth_file.write_text(auth_file(self.dir / "jwks.json"))
        for pod in PODS:
            self._service(pod)
        state = self.enter_context(http.server.ThreadingHTTPServer(("127.0.0.1", 0), KubeState))
        threading.Thread(target=state.serve_forever, daemon=True).start()
        self.callback(state.shutdown)
        self._prometheus(f"127.0.0.1:{state.server_port}")

    def _postgres(self, command, *arguments):
        done = subprocess.run([ROOT / "scripts/postgres.sh", command, self.dir / "pg", *arguments],
                              stdout=subprocess.PIPE, text=True, check=True)
        return done.stdout

    def database_down(self):
        self._postgres("stop", "fast")

    def database_up(self):
        self._postgres("up")

    def _service(self, pod):
        settings = {
            "DATABASE_URL": self.database_url, "MIGRATE_ON_START": "true", "LOG_FORMAT": "json",
            "BIND_ADDRESS": "127.0.0.1:0", "METRICS_ADDRESS": "127.0.0.1:0", "WORKERS": "1",
            "AUTH_FILE": str(self.auth_file)}
        log = self.dir / f"{pod}.log"
        child = self.enter_context(process([BINARY], log, env=os.environ | settings))
        api, metrics = wait_for_log(child, log, r'"msg":"serving","api":"([^"]*)","metrics":"([^"]*)"')
        self.api.append(api)
        self.metrics.append(metrics)

    def _prometheus(self, kube_state):
        rules = re.sub(r"interval: 30s", f"interval: {self.interval}s", RULES.read_text())
        (self.dir / "rules.yaml").write_text(rules)
        config = {
            "global": {"scrape_interval": f"{self.interval}s", "evaluation_interval": f"{self.interval}s"},
            "rule_files": ["rules.yaml"],
            "scrape_configs": [
                {"job_name": "order-service", "static_configs": [
                    {"targets": [address], "labels": {"namespace": NAMESPACE, "pod": pod}}
                    for pod, address in zip(PODS, self.metrics, strict=True)]},
                {"job_name": "kube-state-metrics", "honor_labels": True,
                 "static_configs": [{"targets": [kube_state]}]},
            ],
        }
        (self.dir / "prometheus.yaml").write_text(yaml.safe_dump(config))
        log = self.dir / "prometheus.log"
        child = self.enter_context(process([
            PROMETHEUS, f"--config.file={self.dir}/prometheus.yaml", f"--storage.tsdb.path={self.dir}/tsdb",
            "--web.listen-address=127.0.0.1:0", "--log.level=info"], log))
        self.prometheus, = wait_for_log(child, log, r'msg="Listening on" address=(\S+)')

    def api_request(self, path, **parameters):
        """The data of a response of Prometheus' API."""
        url = f"http://{self.prometheus}/api/v1/{path}?{urllib.parse.urlencode(parameters)}"
        try:
            with urllib.request.urlopen(url, timeout=10) as response:
                return json.load(response)["data"]
        except urllib.error.HTTPError as error:
            raise AssertionError(f"{parameters}: {error.read().decode()}") from error

    def query(self, expression):
        return self.api_request("query", query=expression)["result"]
