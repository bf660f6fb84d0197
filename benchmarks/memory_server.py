"""Servers for benchmarks/memory.py: as fast, or as slow, as the case needs, on bare sockets in a process of their own.

    python -m benchmarks.memory_server

Prints its port, and serves one connection after another until it is ended. What it does is in the path:

- `/small`: 13 bytes.
- `/zeros/<size>`: that many zero bytes, as fast as they are taken.
- `/bomb/<members>`: a gzip file of that many members, each a GiB of zeros in a MiB.
- `/slow-sink`: takes the request's content with breaks, then answers.
"""

from __future__ import annotations

import re
import socket
import time
import zlib
from functools import cache

from benchmarks.plan import SMALL

__all__ = ["GIB", "PACE"]

GIB = 1024**3
PACE = 128 * 1024
"""Bytes after which whoever is slow in a case rests for a millisecond: a tenth of what the other side could do."""

_CONTENT_LENGTH = re.compile(rb"^content-length: *([0-9]+)", re.IGNORECASE | re.MULTILINE)


@cache
def _member() -> bytes:
    """A gzip member of a GiB of zeros: about a MiB, DEFLATE's limit being 1:1032."""
    compressor = zlib.compressobj(9, wbits=31)
    block = bytes(1024 * 1024)
    return b"".join(compressor.compress(block) for _ in range(GIB // len(block))) + compressor.flush()


def _head(length: int, more: bytes = b"") -> bytes:
    return b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n%s\r\n" % (length, more)


def _answer(connection: socket.socket, head: bytes, rest: bytes) -> None:
    target = head.split(b" ", 2)[1].decode()
    name, _, argument = target.removeprefix("/").partition("/")
    if name == "zeros":
        block = bytes(256 * 1024)
        connection.sendall(_head(int(argument)))
        for _ in range(int(argument) // len(block)):
            connection.sendall(block)
    elif name == "bomb":
        member, members = _member(), int(argument)
        connection.sendall(_head(len(member) * members, b"Content-Encoding: gzip\r\n"))
        for _ in range(members):
            connection.sendall(member)
    elif name == "slow-sink":
        length = _CONTENT_LENGTH.search(head)
        assert length is not None
        left, since = int(length[1]) - len(rest), 0
        while left and (data := connection.recv(PACE)):
            left -= len(data)
            since += len(data)
            if since >= PACE:
                since = 0
                time.sleep(0.001)
        connection.sendall(_head(0))
    else:
        connection.sendall(_head(len(SMALL)) + SMALL)


def _serve(connection: socket.socket) -> None:
    received = b""
    while data := connection.recv(65536):
        received += data
        head, end, rest = received.partition(b"\r\n\r\n")
        if end:
            _answer(connection, head, rest)
            received = b""


def main() -> None:
    """Serves."""
    _member()  # it takes some seconds, and belongs to nobody's time
    with socket.create_server(("127.0.0.1", 0)) as listener:
        print(listener.getsockname()[1], flush=True)
        while True:
            connection, _ = listener.accept()
            with connection:
                try:
                    _serve(connection)
                except ConnectionError:
                    pass  # the client had enough, which is what some cases are about


if __name__ == "__main__":
    main()
