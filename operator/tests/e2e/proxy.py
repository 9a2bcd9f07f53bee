"""A TCP proxy in front of the API server, to interrupt or silence the connections of the operator."""

import select
import socket
import threading
from urllib.parse import urlsplit


class Proxy:
    """Forwards bytes, so TLS is end to end."""

    def __init__(self, url):
        target = urlsplit(url)
        self._target = (target.hostname, target.port or 443)
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        self._open = set()
        self._lock = threading.Lock()
        self._refusing = False
        # A new connection uses the latest of these events; once the event is set, the connection stays silent.
        self._silent = threading.Event()
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self):
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            if self._refusing:
                client.close()
                continue
            threading.Thread(target=self._forward, args=(client,), daemon=True).start()

    def _forward(self, client):
        try:
            server = socket.create_connection(self._target, timeout=5)
        except OSError:
            client.close()
            return
        server.settimeout(None)
        silent = self._silent
        pair = {client: server, server: client}
        with self._lock:
            self._open.update(pair)
        try:
            while True:
                for source in select.select(list(pair), [], [], 1)[0]:
                    data = source.recv(65536)
                    if not data:
                        return
                    # A silent network accepts data and delivers nothing.
                    if not silent.is_set():
                        pair[source].sendall(data)
        except OSError:
            return
        finally:
            with self._lock:
                self._open.difference_update(pair)
            for end in pair:
                end.close()

    def cut(self):
        """Closes all connections and rejects new ones."""
        self._refusing = True
        with self._lock:
            for end in self._open:
                try:
                    end.shutdown(socket.SHUT_RDWR)
                except OSError:
                    pass

    def silence(self):
        """Keeps all connections and accepts new ones, but delivers nothing."""
        self._silent.set()

    def mend(self):
        """New connections work. Silent ones stay silent, as behind a firewall that lost its state."""
        self._refusing = False
        self._silent = threading.Event()

    def close(self):
        self._listener.close()
        self.cut()
