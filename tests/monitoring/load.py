"""Clients of the API: every use case and some invalid requests, at a bounded rate."""

import hashlib
import http.client
import json
import random
import threading
import time
import uuid

MERGE = {"Content-Type": "application/merge-patch+json"}
API_KEY = f"osk_load_{'0' * 64}"
# The public key of RFC 8037, appendix A.2. Nobody here has tokens of this issuer; its keys have an age.
JWKS = {"keys": [{"kty": "OKP", "crv": "Ed25519", "kid": "1", "x": "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}]}


def auth_file(jwks_file):
    """The content of AUTH_FILE that accepts the clients."""
    return f"""
[[api_key]]
id = "load"
sha256 = "{hashlib.sha256(API_KEY.encode()).hexdigest()}"
scopes = ["orders:read", "orders:write", "events:read"]

[[issuer]]
issuer = "https://login.example.com/"
audiences = ["order-service"]
jwks_file = "{jwks_file}"
"""


def one_product(dice):
    return {"product_id": f"sku-{dice.randrange(20)}", "quantity": dice.randint(1, 9)}


def basket(dice):
    lines = [one_product(dice) | {"unit_amount": dice.randint(100, 9999)} for _ in range(dice.randint(1, 5))]
    discount = {"product_id": "discount", "quantity": 1, "unit_amount": -dice.randint(1, 100)}
    return {"items": [*lines, discount], "currency": "EUR", "external_id": f"shop-{uuid.uuid4()}"}


class Load:
    """Clients in threads, each with one connection, until the block ends."""

    def __init__(self, addresses, clients=6, pause=0.02):
        self.stopping = threading.Event()
        self.pause = pause
        # Responses by status; 0 is a request without a response.
        self.responses = {}
        self.lock = threading.Lock()
        self.threads = [
            threading.Thread(target=self._client, args=(addresses[n % len(addresses)], n)) for n in range(clients)]

    def __enter__(self):
        for thread in self.threads:
            thread.start()
        return self

    def __exit__(self, *_):
        self.stopping.set()
        for thread in self.threads:
            thread.join()

    def _client(self, address, seed):
        dice = random.Random(seed)
        connection = http.client.HTTPConnection(address, timeout=15)
        ids = []
        while not self.stopping.is_set():
            try:
                status = self._round(connection, dice, ids)
            except OSError:
                # The next request opens the connection again.
                connection.close()
                status = 0
            except http.client.HTTPException:
                connection.close()
                status = 0
            with self.lock:
                self.responses[status] = self.responses.get(status, 0) + 1
            time.sleep(self.pause * dice.random() * 2)
        connection.close()

    @staticmethod
    def _round(connection, dice, ids):
        def send(method, path, body=None, headers=None):
            text = None if body is None else json.dumps(body)
            every = {"Content-Type": "application/json", "Authorization": f"Bearer {API_KEY}"}
            connection.request(method, path, text, every | (headers or {}))
            response = connection.getresponse()
            return response.status, response.read()

        known = dice.choice(ids) if ids else uuid.uuid4()
        kind = dice.random()
        if kind < 0.35 or not ids:
            key = {"Idempotency-Key": str(uuid.uuid4())}
            order = one_product(dice) if dice.random() < 0.5 else basket(dice)
            status, text = send("POST", "/api/v1/orders", order, key)
            if status == 201:
                ids.append(json.loads(text)["id"])
                del ids[:-50]
            if dice.random() < 0.2:
                status, _ = send("POST", "/api/v1/orders", order, key)
        elif kind < 0.6:
            status, _ = send("GET", f"/api/v1/orders/{known}")
        elif kind < 0.75:
            status, _ = send("GET", "/api/v1/orders")
        elif kind < 0.77:
            status, _ = send("GET", "/api/v1/orders?status=pending&status=confirmed&order=asc&limit=10")
        elif kind < 0.78:
            status, _ = send("GET", f"/api/v1/orders?product_id=sku-{dice.randrange(20)}&limit=10")
        elif kind < 0.79:
            status, _ = send("GET", f"/api/v1/orders?product_id=sku-{dice.randrange(20)}",
                             headers={"Accept": "application/x-ndjson"})
        elif kind < 0.8:
            status, _ = send("POST", "/api/v1/orders/batch", {"orders": [one_product(dice), basket(dice), {}]})
        elif kind < 0.88:
            status, _ = send("PATCH", f"/api/v1/orders/{known}", {"metadata": {"seen": str(dice.random())}}, MERGE)
        elif kind < 0.92:
            status, _ = send("GET", "/api/v1/events?limit=20")
        elif kind < 0.94:
            status, _ = send("GET", f"/api/v1/orders/{known}/events")
        elif kind < 0.96:
            status, _ = send("POST", "/api/v1/orders", {"product_id": "sku", "quantity": 0})
        elif kind < 0.97:
            status, _ = send("GET", f"/api/v1/orders/{uuid.uuid4()}")
        elif kind < 0.98:
            status, _ = send("GET", "/api/v1/orders", headers={"Authorization": "Bearer osk_load_unknown"})
        else:
            status, _ = send("GET", "/readyz")
        return status
