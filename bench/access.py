"""What credentials cost: requests with an API key, with a signed token and without credentials."""

import base64
import hashlib
import json
import re
import secrets
import subprocess
import tempfile
import time
from pathlib import Path

from parts import CLIENTS, ORDERS, POST, ids, order_id, refill, service_database
from processes import SERVICE, Server, load

ISSUER = "https://issuer.example.com/"
SCOPES = "orders:read orders:write"
KINDS = {"post": [ORDERS, *POST], "get": [ORDERS + "/{id}", "--ids"]}


def base64url(data):
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def openssl(*arguments, data=None):
    return subprocess.run(["openssl", *arguments], input=data, check=True, capture_output=True).stdout


class Credentials:
    """An AUTH_FILE, and the values of `Authorization` that it accepts."""

    def __init__(self, folder):
        folder = Path(folder)
        private, key_set = folder / "private.pem", folder / "jwks.json"
        openssl("genrsa", "-out", private, "2048")
        modulus = openssl("rsa", "-in", private, "-noout", "-modulus").split(b"=")[1].strip()
        key_set.write_text(json.dumps({"keys": [
            {"kty": "RSA", "kid": "1", "alg": "RS256", "n": base64url(bytes.fromhex(modulus.decode())), "e": "AQAB"}]}))
        api_key = f"osk_bench_{secrets.token_hex(32)}"
        self.file = folder / "auth.toml"
        self.file.write_text(
            f'[[issuer]]\nissuer = "{ISSUER}"\naudiences = ["order-service"]\njwks_file = "{key_set}"\n'
            f'[[api_key]]\nid = "bench"\nsha256 = "{hashlib.sha256(api_key.encode()).hexdigest()}"\n'
            f"scopes = {json.dumps(SCOPES.split())}\n")
        self.values = {"none": None, "api_key": f"Bearer {api_key}", "token": f"Bearer {self.token(private)}"}

    @staticmethod
    def token(private):
        header = {"alg": "RS256", "kid": "1", "typ": "at+jwt"}
        claims = {"iss": ISSUER, "aud": "order-service", "sub": "bench", "scope": SCOPES, "iat": int(time.time()),
                  "exp": int(time.time()) + 24 * 3600, "client_id": "bench", "jti": secrets.token_hex(16)}
        message = ".".join(base64url(json.dumps(part).encode()) for part in (header, claims))
        return f"{message}.{base64url(openssl('dgst', '-sha256', '-sign', private, data=message.encode()))}"

    def settings(self):
        return {"AUTH_FILE": str(self.file), "AUTH_ANONYMOUS": "orders:read,orders:write"}


def check(service, credentials):
    """Proves that the service verifies these credentials; otherwise the figures would mean nothing."""
    for name, value in credentials.values.items():
        if (got := status(service, value)) != 200:
            raise SystemExit(f"the service responds with {got} to the credential {name}")
        # The last character of a signature holds bits that a decoder may ignore.
        if value and (got := status(service, value[:-6] + ("0" if value[-6] != "0" else "1") + value[-5:])) != 401:
            raise SystemExit(f"the service responds with {got} to a wrong credential {name}")


def status(service, authorization):
    headers = {"Authorization": authorization} if authorization else {}
    return service.request("GET", f"{ORDERS}/{order_id(1)}", headers=headers)[0]


def send(service, kind, authorization, *options):
    request = KINDS[kind] if kind == "post" else [*KINDS[kind], ids()]
    credential = ["--authorization", authorization] if authorization else []
    result = load(service, *request, *credential, *options)
    if failed := result["failed"] + result["rejected"]:
        raise SystemExit(f"{failed} requests failed")
    return result


def access(cluster, options):
    """CPU per request, alternately. The differences are small, so there are at least five rounds."""
    url = service_database(cluster, "access")
    rounds = []
    with tempfile.TemporaryDirectory() as folder:
        credentials = Credentials(folder)
        with Server(SERVICE, url, **credentials.settings()) as service:
            refill(cluster, url)
            check(service, credentials)
            for number in range(max(5, options.rounds)):
                names = list(credentials.values)
                # The order rotates.
                names = names[number % len(names):] + names[: number % len(names)]
                rounds.append({kind: {} for kind in KINDS})
                for kind in KINDS:
                    for name in names:
                        refill(cluster, url)
                        rounds[-1][kind][name] = send(service, kind, credentials.values[name], "--connections", CLIENTS,
                                                      "--duration", f"{options.seconds}s")
                    figures = (f"{name} {rounds[-1][kind][name]['cpu_us']:.2f}" for name in credentials.values)
                    print(f"round {number + 1} {kind}: CPU µs {'  '.join(figures)}", flush=True)
    return {"rounds": rounds}


def instructions(cluster, _):
    """Instructions of the process per request of one client, counted by callgrind."""
    url = service_database(cluster, "instructions")
    counts = {kind: {} for kind in KINDS}
    with tempfile.TemporaryDirectory() as folder:
        credentials = Credentials(folder)
        callgrind = ["valgrind", "--tool=callgrind", f"--callgrind-out-file={folder}/count"]
        # Everything takes fifty times as long.
        slow = {"REQUEST_TIMEOUT": "60s", "STATEMENT_TIMEOUT": "60s"}
        with Server(SERVICE, url, callgrind, **credentials.settings(), **slow) as service:
            refill(cluster, url)
            check(service, credentials)
            for kind in KINDS:
                for name, value in credentials.values.items():
                    # Fills the caches and prepares the statements.
                    send(service, kind, value, "--connections", 1, "--duration", "2s")
                    counts[kind][name] = counted(service, folder, kind, value)
                print(f"{kind}: instructions " + "  ".join(f"{n} {c:.0f}" for n, c in counts[kind].items()), flush=True)
    return counts


def counted(service, folder, kind, authorization):
    pid = str(service.process.pid)
    before = set(Path(folder).glob("count*"))
    subprocess.run(["callgrind_control", "--zero", pid], check=True, capture_output=True)
    responses = send(service, kind, authorization, "--connections", 1, "--duration", "5s")["responses"]
    subprocess.run(["callgrind_control", "--dump", pid], check=True, capture_output=True)
    dumps = set(Path(folder).glob("count*")) - before
    total = sum(int(re.search(r"^(?:totals|summary): (\d+)", dump.read_text(), re.M)[1]) for dump in dumps)
    return total / responses
