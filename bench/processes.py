"""The processes of a benchmark: a PostgreSQL cluster, servers, the load generator, pgbench."""

import contextlib
import http.client
import json
import os
import re
import shutil
import socket
import subprocess
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
BIN = ROOT / "target/bench/release"
SERVICE = ROOT / "target/release/order-service"
TICKS = os.sysconf("SC_CLK_TCK")
POOL = 20


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


class Cluster:
    """A throw-away PostgreSQL cluster with full durability, and default settings besides those that are given."""

    def __init__(self, *settings):
        self.base = Path(tempfile.mkdtemp(prefix="order-service-bench-"))
        self.base.chmod(0o711)
        env = os.environ | {"POSTGRES_CONF": "\n".join(("fsync = on", *settings))}
        start = [ROOT / "scripts/postgres.sh", "start", self.base / "pg"]
        self.url = subprocess.run(start, env=env, check=True, capture_output=True, text=True).stdout.strip()
        self.postmaster = int((self.base / "pg/data/postmaster.pid").read_text().split()[0])

    def __enter__(self):
        return self

    def __exit__(self, *_):
        subprocess.run([ROOT / "scripts/postgres.sh", "stop", self.base / "pg"], check=False)
        shutil.rmtree(self.base, ignore_errors=True)

    @property
    def log(self):
        return self.base / "pg/log"

    def database(self, name):
        self.sql(self.url, f"CREATE DATABASE {name}")
        return self.url.rsplit("/", 1)[0] + "/" + name

    @staticmethod
    def sql(url, text):
        done = subprocess.run(
            ["psql", "-XqAt", "-v", "ON_ERROR_STOP=1", url, "-f", "-"],
            input=text, check=True, capture_output=True, text=True,
        )
        return done.stdout.strip()

    def version(self):
        return self.sql(self.url, "SHOW server_version").split()[0]

    def cpu_seconds(self):
        """CPU time of all server processes, including those that have ended."""
        ticks = 0
        for stat in Path("/proc").glob("[0-9]*/stat"):
            # The process may have ended meanwhile.
            with contextlib.suppress(FileNotFoundError, ProcessLookupError):
                fields = stat.read_text().rsplit(")", 1)[1].split()
                # Every server process is a child of the postmaster. That of an ended child counts for its parent.
                if stat.parent.name == str(self.postmaster):
                    ticks += sum(map(int, fields[11:15]))
                elif fields[1] == str(self.postmaster):
                    ticks += int(fields[11]) + int(fields[12])
        return ticks / TICKS


def run_measured(command, url):
    """Runs a command of the service. Returns seconds, its report, and its peak of resident memory in MiB.

    The peak is read while the command runs. That which the kernel reports at its end (`ru_maxrss`) includes the memory of
    this process, from which the command was started.
    """
    env = os.environ | {"DATABASE_URL": url, "RUST_LOG": "warn"}
    peak = 0
    with tempfile.TemporaryFile("w+") as output:
        began = time.perf_counter()
        process = subprocess.Popen(command, env=env, stdout=output)
        status = Path(f"/proc/{process.pid}/status")
        while process.poll() is None:
            # A process that has ended has no memory any more.
            if found := re.search(r"VmHWM:\s+(\d+) kB", status.read_text()):
                peak = int(found[1])
            time.sleep(0.01)
        took = time.perf_counter() - began
        output.seek(0)
        report = output.read()
    if process.returncode:
        raise SystemExit(f"{command[1]} exited with {process.returncode}: {report}")
    return took, json.loads(report), peak / 1024


class Server:
    """A server under test, started by the command `under` if there is one."""

    def __init__(self, binary, url, under=(), **settings):
        self.address = f"127.0.0.1:{free_port()}"
        self.metrics_address = f"127.0.0.1:{free_port()}"
        env = os.environ | {
            "DATABASE_URL": url, "BIND_ADDRESS": self.address, "METRICS_ADDRESS": self.metrics_address,
            "RUST_LOG": "warn", "LOG_FORMAT": "json",
        } | settings
        began = time.perf_counter()
        self.process = subprocess.Popen([*under, binary], env=env, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        self.wait_ready()
        self.started_in = time.perf_counter() - began

    def wait_ready(self):
        host, port = self.address.split(":")
        request = f"GET /readyz HTTP/1.1\r\nhost: {self.address}\r\nconnection: close\r\n\r\n".encode()
        until = time.perf_counter() + 60
        while time.perf_counter() < until:
            with contextlib.suppress(OSError), socket.create_connection((host, int(port)), 5) as s:
                s.sendall(request)
                if s.recv(12).endswith(b"200"):
                    return
            time.sleep(0.0002)
        raise SystemExit(f"no server on {self.address} within 60 s")

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.terminate()
        self.process.wait(30)

    def cpu_seconds(self):
        fields = Path(f"/proc/{self.process.pid}/stat").read_text().rsplit(")", 1)[1].split()
        return (int(fields[11]) + int(fields[12])) / TICKS

    def context_switches(self):
        """Context switches of all threads so far."""
        count = 0
        for thread in Path(f"/proc/{self.process.pid}/task").iterdir():
            # The thread may have ended meanwhile.
            with contextlib.suppress(FileNotFoundError, ProcessLookupError):
                status = (thread / "status").read_text()
                count += sum(map(int, re.findall(r"(?:non)?voluntary_ctxt_switches:\s+(\d+)", status)))
        return count

    def memory(self, field="VmRSS"):
        """Memory of the process in MiB."""
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        return int(re.search(rf"{field}:\s+(\d+) kB", status)[1]) / 1024

    def sockets(self):
        """The number of open sockets."""
        count = 0
        for fd in Path(f"/proc/{self.process.pid}/fd").iterdir():
            # The descriptor may have been closed meanwhile.
            with contextlib.suppress(FileNotFoundError):
                count += "socket" in os.readlink(fd)
        return count

    def get(self, path):
        """The status, headers and body of a response."""
        return self.request("GET", path)

    def request(self, method, path, body=None, headers=()):
        """The status, headers and body of a response."""
        with contextlib.closing(http.client.HTTPConnection(self.address, timeout=30)) as connection:
            connection.request(method, path, body, dict(headers))
            response = connection.getresponse()
            return response.status, response.headers, response.read()

    def metrics(self):
        connection = http.client.HTTPConnection(self.metrics_address, timeout=10)
        connection.request("GET", "/metrics")
        return connection.getresponse().read().decode()


def load_command(server, path, *options):
    return [BIN / "load", server.address, path, *map(str, options)]


def load(server, path, *options, nice=0):
    """Sends load to a server and returns the numbers, with the server's CPU time per response."""
    before = server.cpu_seconds()
    command = ["nice", "-n", str(nice), *load_command(server, path, *options)]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    result = json.loads(done.stdout)
    if result["responses"]:
        result["cpu_us"] = (server.cpu_seconds() - before) / result["responses"] * 1e6
    return result


def pgbench(url, script, seconds, n=0, rate=None, warm_up=0, settings=()):
    """Transactions of one prepared statement, with as many clients as a pool has connections.

    The script is a file, or one of those in bench/pgbench/. The settings are those of the sessions.

    With a rate, transactions are due at random times (a Poisson process), their latencies count from these times, and
    percentiles are returned. The first seconds of `warm_up` do not count for them.
    """
    with tempfile.TemporaryDirectory() as folder:
        logs = ["-R", f"{rate:.1f}", "-l", f"--log-prefix={folder}/log"] if rate else []
        command = [
            shutil.which("pgbench") or newest_pgbench(), "-n", "-M", "prepared", "-c", str(POOL), "-j", "2",
            "-T", str(seconds), "-D", f"n={n}", *logs, "-f", ROOT / "bench/pgbench" / script, url,
        ]
        env = os.environ | {"PGOPTIONS": " ".join(f"-c {setting}" for setting in settings)}
        done = subprocess.run(command, env=env, check=True, capture_output=True, text=True)
        result = {
            "ok_per_second": float(re.search(r"tps = ([\d.]+)", done.stdout)[1]),
            "responses": int(re.search(r"actually processed: (\d+)", done.stdout)[1]),
        }
        return result | (latencies(Path(folder), warm_up) if rate else {})


def latencies(folder, warm_up):
    """Percentiles in milliseconds from the transaction logs of pgbench (PostgreSQL manual, "Per-Transaction Logging")."""
    ended = []
    for log in folder.iterdir():
        for line in log.read_text().splitlines():
            _, _, micros, _, seconds, fraction, *_ = line.split()
            ended.append((int(seconds) + int(fraction) / 1e6, int(micros)))
    start = min(ended)[0] + warm_up
    micros = sorted(latency for at, latency in ended if at >= start)
    quantiles = {"p50": 0.5, "p90": 0.9, "p99": 0.99, "p999": 0.999, "max": 1.0}
    return {name: micros[min(int(len(micros) * q), len(micros) - 1)] / 1000 for name, q in quantiles.items()}


def newest_pgbench():
    return sorted(Path("/usr/lib/postgresql").glob("*/bin/pgbench"))[-1]
