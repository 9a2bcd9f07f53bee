"""A server for key sets and discovery documents that behaves as each test wants."""

import datetime
import ipaddress
import json
import ssl
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID


class KeyServer:
    """Serves `routes`: from a path to a function of the request handler. Records the requests."""

    def __init__(self, certificate=None):
        self.routes, self.requests = {}, []
        recorded, routes = self.requests, self.routes

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self):
                recorded.append((time.monotonic(), self.path, dict(self.headers)))
                try:
                    routes.get(self.path, status(404))(self)
                except (BrokenPipeError, ConnectionResetError, ssl.SSLError):
                    pass

            def log_message(self, *_):
                pass

        class Server(ThreadingHTTPServer):
            def handle_error(self, request, client_address):
                """A client that distrusts the certificate is an expected error."""

        self.server = Server(("127.0.0.1", 0), Handler)
        scheme = "http"
        if certificate:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(certificate)
            self.server.socket = context.wrap_socket(self.server.socket, server_side=True, do_handshake_on_connect=False)
            scheme = "https"
        self.url = f"{scheme}://127.0.0.1:{self.server.server_port}"

    def __enter__(self):
        threading.Thread(target=self.server.serve_forever, args=(0.05,), daemon=True).start()
        return self

    def __exit__(self, *_):
        self.server.shutdown()
        self.server.server_close()

    def times(self, path):
        return [at for at, requested, _ in self.requests if requested == path]

    def headers(self, path):
        return [headers for _, requested, headers in self.requests if requested == path]


def send(body, status=200, **headers):
    """Sends a body (bytes or JSON)."""
    data = body if isinstance(body, bytes) else json.dumps(body).encode()

    def route(handler):
        handler.send_response(status)
        for name, value in ({"Content-Length": str(len(data))} | headers).items():
            handler.send_header(name.replace("_", "-"), value)
        handler.end_headers()
        handler.wfile.write(data)

    return route


def status(code):
    return send(b"", code)


def slow(seconds, then):
    def route(handler):
        time.sleep(seconds)
        then(handler)

    return route


def drip(body, pause):
    """Sends a body byte by byte."""

    def route(handler):
        handler.send_response(200)
        handler.send_header("Content-Length", str(len(body)))
        handler.end_headers()
        for byte in body:
            handler.wfile.write(bytes([byte]))
            time.sleep(pause)

    return route


def endless(handler):
    """Sends valid JSON until the client closes the connection."""
    handler.send_response(200)
    handler.end_headers()
    handler.wfile.write(b'{"keys":[')
    for _ in range(100_000):
        handler.wfile.write(b" " * 1024)


def authority(folder):
    """Writes the certificate of a private CA to ca.pem, and one for 127.0.0.1 and one for another host."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "private CA")])
    ca = certificate(name, key, name, key, x509.BasicConstraints(True, None))
    (folder / "ca.pem").write_bytes(pem(ca))
    for file, host in (("server.pem", x509.IPAddress(ipaddress.ip_address("127.0.0.1"))),
                       ("other.pem", x509.DNSName("other.example.com"))):
        own = ec.generate_private_key(ec.SECP256R1())
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "key server")])
        made = certificate(subject, own, name, key, x509.SubjectAlternativeName([host]))
        private = own.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8,
                                    serialization.NoEncryption())
        (folder / file).write_bytes(private + pem(made))


def certificate(subject, key, issuer, issuer_key, extension):
    now = datetime.datetime.now(datetime.UTC)
    builder = x509.CertificateBuilder(issuer, subject, key.public_key(), x509.random_serial_number(),
                                      now - datetime.timedelta(hours=1), now + datetime.timedelta(hours=1))
    return builder.add_extension(extension, critical=True).sign(issuer_key, hashes.SHA256())


def pem(certificate):
    return certificate.public_bytes(serialization.Encoding.PEM)
