"""The peak of resident memory under attacks of hostile clients, with the settings of overlays/prod."""

import asyncio
import contextlib
import json
import re
import resource
import subprocess
import time

from parts import BODY, ORDERS, service_database
from processes import ROOT, SERVICE, Server

LARGE = {f"key-{i}": "\U0001F600" * 300 for i in range(50)}


def production():
    """The effective settings of the manifests: those of the overlay override those of the base."""
    settings = {}
    for file in ("base", "overlays/prod"):
        text = (ROOT / f"kustomize/{file}/kustomization.yaml").read_text()
        settings |= dict(re.findall(r"^ +- ([A-Z_]+)=(\S+)$", text, re.M))
    addresses = {"BIND_ADDRESS", "METRICS_ADDRESS", "RUST_LOG", "LOG_FORMAT"}
    return {name: value for name, value in settings.items() if name not in addresses} | {"WORKERS": "1"}


class Client:
    """One connection that writes HTTP requests directly."""

    def __init__(self, server, buffer=None):
        self.host, self.port = server.address.split(":")
        self.buffer = buffer

    async def open(self):
        # With a small limit, unread data stays in the server.
        self.reader, self.writer = await asyncio.open_connection(self.host, int(self.port), limit=self.buffer or 2**16)

    async def send(self, method, path, body=b"", *headers):
        head = [f"{method} {path} HTTP/1.1", "Host: localhost", f"Content-Length: {len(body)}",
                "Content-Type: application/json", *headers]
        self.writer.write("\r\n".join(head).encode() + b"\r\n\r\n" + body)
        await self.writer.drain()

    async def status(self):
        line = await asyncio.wait_for(self.reader.readline(), 60)
        return int(line.split()[1]) if line else 0

    def close(self):
        self.writer.transport.abort()


async def request(server, method, path, body=None, *headers):
    """Sends a request on its own connection; returns the status, and the headers and body as bytes."""
    client = Client(server)
    await client.open()
    try:
        data = b"" if body is None else json.dumps(body, ensure_ascii=False).encode()
        await client.send(method, path, data, "Connection: close", *headers)
        status = await client.status()
        return status, await asyncio.wait_for(client.reader.read(), 60)
    finally:
        client.close()


async def at_once(count, work):
    return await asyncio.gather(*(work(i) for i in range(count)), return_exceptions=True)


async def large_orders(server, count):
    for _ in range(count):
        body = {"product_id": "large", "quantity": 1, "metadata": LARGE}
        status, response = await request(server, "POST", ORDERS, body)
        assert status == 201, response
    return json.loads(response.split(b"\r\n\r\n", 1)[1])["id"]


async def send_and_never_read(server, path, clients):
    """Clients that send a request and never read the response."""
    async def one(_):
        client = Client(server, buffer=1024)
        await client.open()
        client.writer.transport.pause_reading()
        await client.send("GET", path)
        return client

    open_clients = await at_once(clients, one)
    await asyncio.sleep(8)
    for client in open_clients:
        if isinstance(client, Client):
            client.close()


async def concurrent_updates(server, _):
    order = await large_orders(server, 1)
    await at_once(300, lambda i: request(server, "PATCH", f"{ORDERS}/{order}", {"metadata": {"n": str(i)}}))


async def unread_pages(server, _):
    await large_orders(server, 120)
    await send_and_never_read(server, ORDERS, 40)


async def unread_feed(server, _):
    await large_orders(server, 120)
    await send_and_never_read(server, "/api/v1/events", 40)


async def blocked_key(server, url):
    hold = ("BEGIN; INSERT INTO idempotency_keys (tenant, key_hash, order_id, request_hash, hash_version, document, created_at) "
            "VALUES ('default', sha256('blocked'), gen_random_uuid(), sha256('x'), 1, '{}', now());\n")
    with subprocess.Popen(["psql", "-Xq", url], stdin=subprocess.PIPE, text=True) as holder:
        holder.stdin.write(hold)
        holder.stdin.flush()
        time.sleep(1)

        async def one(i):
            key = "blocked" if i % 10 == 0 else f"free-{i}"
            body = json.loads(BODY.replace("{n}", "1"))
            return await request(server, "POST", ORDERS, body, f"Idempotency-Key: {key}")

        await at_once(2_000, one)
        holder.stdin.close()


async def writes_that_hang(server, url):
    """Creates orders while no standby confirms commits, and counts the connections to the database."""
    most = 0
    sql = server.cluster.sql
    sql(url, "ALTER SYSTEM SET synchronous_standby_names = 'nobody'")
    sql(url, "SELECT pg_reload_conf()")
    try:
        posting = asyncio.create_task(at_once(500, lambda _: request(
            server, "POST", ORDERS, {"product_id": "p", "quantity": 1})))
        for _ in range(40):
            await asyncio.sleep(0.5)
            count = "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'order-service'"
            most = max(most, int(await asyncio.to_thread(sql, url, count)))
        posting.cancel()
    finally:
        sql(url, "ALTER SYSTEM RESET synchronous_standby_names")
        sql(url, "SELECT pg_reload_conf()")
    return {"database_connections": most}


async def streams_that_leave(server, _):
    stays = []
    for _ in range(800):
        client = Client(server)
        await client.open()
        await client.send("GET", "/api/v1/events", b"", "Accept: text/event-stream")
        stays.append(client)

    async def one(_):
        client = Client(server)
        await client.open()
        await client.send("GET", "/api/v1/events", b"", "Accept: text/event-stream")
        client.close()

    for _ in range(10):
        await at_once(300, one)
    status, _ = await request(server, "GET", ORDERS)
    assert status == 200, status
    for client in stays:
        client.close()


async def slow_heads(server, _):
    clients = []
    for _ in range(4_000):
        client = Client(server)
        with contextlib.suppress(OSError):
            await client.open()
            client.writer.write(b"GET / HTTP/1.1\r\nX-Slow: ")
            clients.append(client)
    await asyncio.sleep(3)
    status, _ = await request(server, "GET", "/healthz")
    assert status == 200, status
    for client in clients:
        client.close()


async def too_large_bodies(server, _):
    async def one(_):
        client = Client(server)
        await client.open()
        with contextlib.suppress(OSError):
            await client.send("POST", ORDERS, b"x" * 10_000_000)
            assert await client.status() == 413
        client.close()

    for _ in range(4):
        await at_once(25, one)


async def not_http(server, _):
    async def one(_):
        client = Client(server)
        await client.open()
        client.writer.write(b"\x16\x03\x01")
        with contextlib.suppress(OSError, asyncio.TimeoutError):
            await client.status()
        client.close()

    for _ in range(20):
        await at_once(100, one)
    status, _ = await request(server, "GET", "/healthz")
    assert status == 200, status


ATTACKS = {
    "300 concurrent updates of one order of 60 KB": concurrent_updates,
    "40 clients that do not read a page of large orders": unread_pages,
    "40 clients that do not read a page of the feed": unread_feed,
    "2 000 orders, every tenth with a blocked key": blocked_key,
    "500 orders while no commit is confirmed": writes_that_hang,
    "800 idle streams, and 3 000 that connect and disconnect": streams_that_leave,
    "4 000 connections that never finish a head": slow_heads,
    "100 bodies of 10 MB": too_large_bodies,
    "2 000 connections that do not speak HTTP": not_http,
}


def attacks(cluster, _):
    """Runs each attack on a new process."""
    # The attacks open thousands of connections on both sides.
    most = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    results = {}
    for number, (name, attack) in enumerate(ATTACKS.items()):
        url = service_database(cluster, f"attack_{number}")
        with Server(SERVICE, url, **production()) as server:
            server.cluster = cluster
            more = asyncio.run(attack(server, url)) or {}
            results[name] = {"memory_peak_mib": server.memory("VmHWM")} | more
        figures = ", ".join(f"{key} {value:.0f}" for key, value in results[name].items())
        print(f"{name}: {figures}", flush=True)
    return {"settings": production(), "attacks": results}
