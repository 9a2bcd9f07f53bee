"""The tail of the latency at many rates, beside pgbench and the baseline at the same rates."""

import statistics
import tempfile
from contextlib import ExitStack
from pathlib import Path

from parts import BASELINE, CLIENTS, ORDERS, POST, PRELOADED, ids, plain_database, service_database, settle
from processes import SERVICE, Server, load, pgbench
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
        options.scripts, options.session = scripts(cluster, urls["service"], folder)
        servers = {"service": stack.enter_context(Server(SERVICE, urls["service"])),
                   "baseline": stack.enter_context(Server(BASELINE, urls["baseline"]))}
        return {kind: one_kind(kind, servers, cluster, urls, options) for kind in KINDS}


def one_kind(kind, servers, cluster, urls, options):
    path, how, baseline_path = KINDS[kind]
    settle(cluster, urls)
    closed = {
        "service": lambda: send(servers["service"], path, how, options),
        "pgbench": lambda: statement(kind, urls, options, options.seconds, 10**9),
        "baseline": lambda: send(servers["baseline"], baseline_path, how, options),
    }
    maxima = {target: undisturbed(lambda target=target, run=run: observed(run, kind, target, cluster, urls))["ok_per_second"]
              for target, run in closed.items()}
    print(f"{kind}: at most " + ", ".join(f"{target} {rate:.0f}/s" for target, rate in maxima.items()), flush=True)
    points = []
    for fraction in FRACTIONS:
        rate = fraction * min(maxima["service"], maxima["pgbench"])
        # Above its maximum, the latency of the baseline only tells for how long it was measured.
        targets = ["service", "pgbench", *(["baseline"] if rate < maxima["baseline"] else [])]
        rounds = [one_round(number, rate, kind, targets, servers, cluster, urls, options) for number in range(options.rounds)]
        points.append({"fraction": fraction, "rate": rate, "rounds": rounds})
        report(kind, points[-1])
    return {"maxima": maxima, "points": points}


def send(server, path, how, options, *more):
    """Load on one path of a server, in a closed loop unless `more` has a rate."""
    return load(server, path, *how, "--ids", ids(), "--connections", CLIENTS, "--duration", f"{options.seconds}s", *more)


def statement(kind, urls, options, *how, **more):
    """pgbench with the service's statement."""
    return pgbench(urls["service"], options.scripts[kind], *how, settings=options.session, **more)


def one_round(number, rate, kind, targets, servers, cluster, urls, options):
    """One measurement of each target, in an order that rotates."""
    first = number % len(targets)
    return {target: undisturbed(lambda: measure(target, number, rate, kind, servers, cluster, urls, options))
            for target in targets[first:] + targets[:first]}


def undisturbed(run):
    """Repeats a measurement while the hypervisor ran something else on the processors, and returns the least disturbed.

    Such a pause of a few milliseconds becomes the p99 of whatever runs at that moment.
    """
    results = []
    while len(results) < ATTEMPTS and (not results or results[-1]["stolen"] > STOLEN):
        results.append(run())
    return min(results, key=lambda result: result["stolen"]) | {"repeated": len(results) - 1}


def observed(run, kind, target, cluster, urls, server=None):
    """What is measured with the same content of the database each time, and the state of the machine meanwhile."""
    if kind == "post":
        database = "baseline" if target == "baseline" else "service"
        settle(cluster, {database: urls[database]})
    machine = Machine(server)
    result = run()
    return result | machine.since(result["responses"])


def measure(target, number, rate, kind, servers, cluster, urls, options):
    path, how, baseline_path = KINDS[kind]

    def send_at_rate():
        where = path if target == "service" else baseline_path
        return send(servers[target], where, how, options, "--rate", f"{rate:.0f}", "--poisson")

    def execute_at_rate():
        first_order = (number * 10 + round(rate)) * 10**6
        return statement(kind, urls, options, options.seconds + 1, first_order, rate, warm_up=1)

    run = execute_at_rate if target == "pgbench" else send_at_rate
    result = observed(run, kind, target, cluster, urls, servers.get(target))
    if target == "service" and (bad := result["failed"] + result["rejected"]):
        raise SystemExit(f"{bad} requests were rejected or failed")
    if target == "pgbench" and kind == "post":
        created = int(cluster.sql(urls["service"], "SELECT count(*) FROM orders")) - PRELOADED
        if created != result["responses"]:
            raise SystemExit(f"{result['responses']} transactions of pgbench created {created} orders")
    return result


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
