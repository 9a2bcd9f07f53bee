"""The tail of the latency at many rates, beside pgbench and the baseline at the same rates."""

import statistics
import tempfile
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from parts import BASELINE, CLIENTS, ORDERS, POST, PRELOADED, ids, plain_database, service_database, settle
from processes import SERVICE, Cluster, Server, load, pgbench
from statements import scripts

# The part of the processors' time that the hypervisor may give to others during a measurement, and how often a
# measurement is made at most.
STOLEN = 0.005
ATTEMPTS = 4
FRACTIONS = [n / 10 for n in range(1, 10)]
# For each operation: the path, the options of the load, and the path of the baseline. Each request gets another one of
# the ids.
KINDS = {
    "post": (ORDERS, POST, ORDERS + "-same-rows"),
    "first_page": (ORDERS, [], ORDERS),
    "get": (ORDERS + "/{id}", [], ORDERS + "/{id}"),
}


def tail(cluster, options):
    """Open loops with random (Poisson) arrivals, as pgbench has them, at fractions of the smaller of the two maxima.

    pgbench executes the service's own statements in the service's database.
    """
    urls = {"service": service_database(cluster, "tail"), "baseline": plain_database(cluster, "tail_baseline")}
    settle(cluster, urls)
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        statements = scripts(cluster, urls["service"], folder)
        servers = {"service": stack.enter_context(Server(SERVICE, urls["service"])),
                   "baseline": stack.enter_context(Server(BASELINE, urls["baseline"]))}
        return {kind: one_kind(Subjects(kind, cluster, urls, servers, statements, options.seconds), options.rounds)
                for kind in KINDS}


def one_kind(subjects, rounds):
    settle(subjects.cluster, subjects.urls)
    maxima = {target: subjects.measure(target)["ok_per_second"] for target in ("service", "pgbench", "baseline")}
    print(f"{subjects.kind}: at most " + ", ".join(f"{target} {rate:.0f}/s" for target, rate in maxima.items()), flush=True)
    points = []
    for fraction in FRACTIONS:
        rate = fraction * min(maxima["service"], maxima["pgbench"])
        # Above its maximum, the latency of the baseline only tells for how long it was measured.
        targets = ["service", "pgbench", *(["baseline"] if rate < maxima["baseline"] else [])]
        points.append({"fraction": fraction, "rate": rate,
                       "rounds": [one_round(number, subjects, targets, rate) for number in range(rounds)]})
        report(subjects.kind, points[-1])
    return {"maxima": maxima, "points": points}


def one_round(number, subjects, targets, rate):
    """One measurement of each target, in an order that rotates."""
    first = number % len(targets)
    return {target: subjects.measure(target, rate, number) for target in targets[first:] + targets[:first]}


@dataclass
class Subjects:
    """What is measured for one operation."""

    kind: str
    cluster: Cluster
    urls: dict
    servers: dict
    # The scripts of pgbench and the settings of its sessions.
    statements: tuple
    seconds: int

    def measure(self, target, rate=None, number=0):
        """The numbers of one target at a rate, or without a rate in a closed loop.

        The measurement is repeated while the hypervisor runs something else on the processors, and the least disturbed
        one counts: such a pause of a few milliseconds becomes the p99 of whatever runs at that moment.
        """
        results = []
        while len(results) < ATTEMPTS and (not results or results[-1]["stolen"] > STOLEN):
            if self.kind == "post":
                # The transactions of pgbench create the same orders in each attempt.
                database = "baseline" if target == "baseline" else "service"
                settle(self.cluster, {database: self.urls[database]})
            machine = Machine(self.servers.get(target))
            result = self.execute(rate, number) if target == "pgbench" else self.send(target, rate)
            results.append(result | machine.since(result["responses"]))
            self.check(target, result)
        return min(results, key=lambda result: result["stolen"]) | {"repeated": len(results) - 1}

    def send(self, target, rate):
        """Load on a server."""
        path, how, baseline_path = KINDS[self.kind]
        open_loop = ["--rate", f"{rate:.0f}", "--poisson"] if rate else []
        return load(self.servers[target], path if target == "service" else baseline_path, *how, "--ids", ids(),
                    "--connections", CLIENTS, "--duration", f"{self.seconds}s", *open_loop)

    def execute(self, rate, number):
        """pgbench with the service's statement."""
        files, settings = self.statements
        # After the orders that exist already.
        first_order = (number * 10 + round(rate or 1)) * 10**6
        warm_up = 1 if rate else 0
        return pgbench(self.urls["service"], files[self.kind], self.seconds + warm_up, first_order, rate, warm_up, settings)

    def check(self, target, result):
        """Ends the benchmark if the service has rejected requests, or if pgbench has not created what it counts."""
        if target == "service" and (bad := result["failed"] + result["rejected"]):
            raise SystemExit(f"{bad} requests were rejected or failed")
        if target == "pgbench" and self.kind == "post":
            created = int(self.cluster.sql(self.urls["service"], "SELECT count(*) FROM orders")) - PRELOADED
            if created != result["responses"]:
                raise SystemExit(f"{result['responses']} transactions of pgbench created {created} orders")


class Machine:
    """How busy the processors are, the time that the hypervisor took, and the context switches of a server, between two
    moments."""

    def __init__(self, server=None):
        self.server = server
        self.before = self.now()

    def now(self):
        with open("/proc/stat") as stat:
            ticks = [int(field) for field in stat.readline().split()[1:9]]
        # Idle, and waiting for the disk.
        idle = ticks[3] + ticks[4]
        stolen = ticks[7]
        return sum(ticks), idle, stolen, self.server.context_switches() if self.server else 0

    def since(self, responses):
        everything, idle, stolen, switches = (now - before for now, before in zip(self.now(), self.before))
        everything = max(everything, 1)
        result = {"busy": 1 - idle / everything, "stolen": stolen / everything}
        if self.server:
            result["switches"] = switches / max(responses, 1)
        return result


def at(point, target, field):
    """The median over the rounds; `None` if the target cannot serve the rate."""
    measured = [r[target][field] for r in point["rounds"] if target in r]
    return statistics.median(measured) if measured else None


def report(kind, point):
    cells = "  ".join(
        f"{target} p50 {at(point, target, 'p50'):.2f} p99 {at(point, target, 'p99'):.2f} p99.9 {at(point, target, 'p999'):.2f} "
        f"busy {at(point, target, 'busy'):.0%}" for target in point["rounds"][0])
    print(f"{kind} {point['fraction']:.1f} ({point['rate']:.0f}/s): {cells}  "
          f"{at(point, 'service', 'switches'):.1f} context switches", flush=True)
