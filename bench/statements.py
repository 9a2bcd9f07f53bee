"""The statements that the service sends for a request, as scripts of pgbench."""

import hashlib
import re

from parts import BODY, ORDERS, PRELOADED, order_id
from processes import SERVICE, Server

KEY = "key"
# For each operation: the request, a part of its statement, and the types of the parameters.
REQUESTS = {
    "post": ("POST", ORDERS, "INSERT INTO idempotency_keys",
             ["text", "text[]", "uuid[]", "text[]", "text[]", "bigint[]", "jsonb[]", "timestamptz[]", "bytea[]", "bytea[]",
              "json[]", "int[]", "text[]", "text[]", "text[]", "smallint", "uuid[]", "smallint[]", "text[]", "int[]",
              "bigint[]", "text[]"]),
    "first_page": ("GET", ORDERS, "FROM orders", ["text", "bigint", "bigint"]),
    "get": ("GET", f"{ORDERS}/{order_id(PRELOADED)}", "FROM orders", ["text[]", "uuid[]"]),
}
# What precedes the statement, so that each transaction has another order: the last digits of its id.
NUMBERS = {
    # The clients of pgbench create orders in turn, so new orders are at the right edge of the indexes, as in the service.
    "post": "\\set n :n + 1\n\\set id :n * 100 + :client_id\n",
    "first_page": "",
    "get": f"\\set id random(1, {PRELOADED})\n",
}
NEW_ID = "lpad(to_hex(:id::bigint), 32, '0')::uuid::text"


def scripts(cluster, url, folder):
    """Writes a script for each operation. Returns the files and the settings of their sessions."""
    name = url.rsplit("/", 1)[1]
    before = cluster.log.stat().st_size
    cluster.sql(url, f"ALTER DATABASE {name} SET log_min_duration_statement = 0")
    with Server(SERVICE, url) as server:
        files = {kind: write(cluster.log, server, kind, folder / f"{kind}.sql") for kind in REQUESTS}
    cluster.sql(url, f"ALTER DATABASE {name} RESET log_min_duration_statement")
    planner = set(re.findall(r"SET (enable_\w+|jit) = (\w+)", cluster.log.read_bytes()[before:].decode()))
    if not planner:
        raise SystemExit("no settings of the service's sessions in the log")
    # Without its feed, a write has no position (src/store/postgres/position.rs).
    feed = cluster.sql(url, "SELECT xmin FROM feed")
    return files, [*(f"{setting}={value}" for setting, value in sorted(planner)), f"order_service.feed={feed}"]


def write(log, server, kind, file):
    method, path, part, types = REQUESTS[kind]
    before = log.stat().st_size
    body = BODY.replace("{n}", "1") if method == "POST" else None
    headers = {"content-type": "application/json", "idempotency-key": KEY} if body else {}
    status, _, text = server.request(method, path, body, headers)
    if status >= 300:
        raise SystemExit(f"{method} {path}: {status} {text.decode()}")
    statement, values = logged(log.read_bytes()[before:].decode(), part)
    if len(values) != len(types):
        raise SystemExit(f"the statement of {kind} has {len(values)} parameters instead of {len(types)}")
    # What the transactions must not have in common: the order, and the hash of the idempotency key.
    own = {}
    if kind != "first_page":
        own[re.search(r"[0-9a-f]{8}-[0-9a-f-]{27}", " ".join(values))[0]] = NEW_ID
    if kind == "post":
        own[hashlib.sha256(KEY.encode()).hexdigest()] = f"encode(sha256({NEW_ID}::bytea), 'hex')"
    if missing := [value for value in own if not any(value in literal for literal in values)]:
        raise SystemExit(f"the statement of {kind} has no parameter with {missing[0]}")
    parameters = [f"{expression(literal, own)}::{name}" for literal, name in zip(values, types)]
    statement = re.sub(r"\$(\d+)", lambda found: parameters[int(found[1]) - 1], statement)
    file.write_text(f"{NUMBERS[kind]}{statement};\n")
    return file


def logged(log, part):
    """The last statement in the log that has this part, and its parameters as literals."""
    entries = re.findall(r"LOG:  duration: \S+ ms  execute \S+: (.*?)\n[^\t\n]*DETAIL:  parameters: (.*?)\n(?!\t)", log, re.DOTALL)
    found = [entry for entry in entries if part in entry[0]]
    if not found:
        raise SystemExit(f"no statement with {part} in the log")
    statement, details = found[-1]
    return statement, re.findall(r"\$\d+ = ('(?:[^']|'')*'|NULL)", details)


def expression(literal, own):
    """The literal, with the expressions for those parts of it that differ in each transaction."""
    # pgbench takes a colon before a letter for a variable.
    literal = re.sub(r":(?=[A-Za-z_])", ": ", literal)
    for value, new in own.items():
        if value in literal:
            return f"replace({literal}, '{value}', {new})"
    return literal
