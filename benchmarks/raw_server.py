"""A server of fixed bytes, for what nginx does not do: many small chunks, and answers that are held back.

    python -m benchmarks.raw_server

Prints its port, and serves until it is ended. What it does is in the path:

- `/small`: 13 bytes.
- `/chunks`: `CHUNKS` chunks of `CHUNK` bytes, in one piece.
- `/held/head`: nothing until they are released, then 13 bytes.
- `/held/body`: head and half of the content until then.
- `/held/<number>`: 13 bytes, as soon as so many are held. `/release`: releases them.
"""

from __future__ import annotations

import asyncio
import resource
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import ClassVar, cast

from benchmarks.cores import pinned
from benchmarks.plan import CHUNK, CHUNKS, SMALL

__all__ = ["running_raw_server"]

_HALF = len(SMALL) // 2


def _answer(content: bytes) -> bytes:
    return b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: %d\r\n\r\n%b" % (len(content), content)


def _chunked() -> bytes:
    head = b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nTransfer-Encoding: chunked\r\n\r\n"
    return head + b"%x\r\n%b\r\n" % (CHUNK, b"c" * CHUNK) * CHUNKS + b"0\r\n\r\n"


class _Server(asyncio.Protocol):
    """One connection; those whose answer is held are in `held`, with what is still to be said."""

    held: ClassVar[dict[_Server, bytes]] = {}
    watchers: ClassVar[list[tuple[int, _Server]]] = []
    fixed: ClassVar[dict[bytes, bytes]] = {}

    def __init__(self) -> None:
        self._received = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        self._received += data
        while b"\r\n\r\n" in self._received:
            head, _, self._received = self._received.partition(b"\r\n\r\n")
            self._answer(head.split(b" ", 2)[1])

    def _answer(self, path: bytes) -> None:
        answer = _answer(SMALL)
        if path == b"/held/head":
            self._hold(answer)
        elif path == b"/held/body":
            self.transport.write(answer[:-_HALF])
            self._hold(answer[-_HALF:])
        elif path.startswith(b"/held/"):
            self.watchers.append((int(path.removeprefix(b"/held/")), self))
            self._tell_watchers()
        elif path == b"/release":
            for connection, rest in self.held.items():
                connection.transport.write(rest)
            self.held.clear()
            self.transport.write(answer)
        else:
            self.transport.write(self.fixed.get(path, answer))

    def _hold(self, rest: bytes) -> None:
        self.held[self] = rest
        self._tell_watchers()

    def _tell_watchers(self) -> None:
        for watcher in list(self.watchers):
            count, connection = watcher
            if len(self.held) >= count:
                self.watchers.remove(watcher)
                connection.transport.write(_answer(SMALL))

    def connection_lost(self, exc: Exception | None) -> None:
        self.held.pop(self, None)


@contextmanager
def running_raw_server(core: int | None) -> Iterator[str]:
    """Runs it in a process of its own, on `core` alone unless that is `None`; gives the beginning of its URLs."""
    command = [sys.executable, "-m", "benchmarks.raw_server"]
    with pinned(core), subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server:
        try:
            assert server.stdout is not None
            yield f"http://127.0.0.1:{int(server.stdout.readline())}"
        finally:
            server.terminate()


async def _serve() -> None:
    _Server.fixed[b"/chunks"] = _chunked()
    server = await asyncio.get_running_loop().create_server(_Server, "127.0.0.1", 0, backlog=4096)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


def main() -> None:
    """Serves."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    asyncio.run(_serve())


if __name__ == "__main__":
    main()
