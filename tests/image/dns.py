"""A name server for one name: dns.py ADDRESS NAME. The name resolves to 127.0.0.1; others do not exist."""

import socket
import struct
import sys


def response(query, known):
    labels, at = [], 12
    while query[at]:
        labels.append(query[at + 1:at + 1 + query[at]].decode().lower())
        at += query[at] + 1
    question = query[12:at + 5]
    kind = struct.unpack("!H", question[-4:-2])[0]
    found = ".".join(labels) == known
    # For types other than A (AAAA), the name exists without data.
    records = b"\xc0\x0c" + struct.pack("!HHIH4s", 1, 1, 0, 4, socket.inet_aton("127.0.0.1")) if found and kind == 1 else b""
    flags = 0x8580 if found else 0x8583
    return query[:2] + struct.pack("!HHHHH", flags, 1, bool(records), 0, 0) + question + records


server = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
server.bind((sys.argv[1], 53))
print("ready", flush=True)
while True:
    query, client = server.recvfrom(512)
    server.sendto(response(query, sys.argv[2]), client)
