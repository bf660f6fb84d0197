"""What the tests of `httpcore.testing` link protocols with: memory, and real TCP sockets to compare with."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable
from typing import cast

from httpcore.testing import memory_link
from httpcore.testing.changes import Changes

KERNEL_BUFFER = 64 * 1024
MORE_THAN_THE_KERNEL_TAKES = b"0123456789abcdef" * (128 * 1024)  # 2 MiB


class Recorder(asyncio.Protocol):
    """Writes down the callbacks it gets; what it does in one can be set with `on`."""

    def __init__(self) -> None:
        self.events: list[str] = []
        self.received = bytearray()
        self.sizes: list[int] = []
        self.error: Exception | None = None
        self.changes = Changes()
        self.reactions: dict[str, Callable[[], object]] = {}
        self.transport = cast(asyncio.Transport, None)

    def on(self, event: str, reaction: Callable[[], object]) -> None:
        self.reactions[event] = reaction

    def happened(self, event: str) -> object:
        if not (event == "data" and self.events[-1] == "data"):  # TCP may join or split what was written
            self.events.append(event)
        self.changes.notify()
        return self.reactions.get(event, lambda: None)()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)
        self.happened("made")

    def data_received(self, data: bytes) -> None:
        assert type(data) is bytes
        self.received += data
        self.sizes.append(len(data))
        self.happened("data")

    def eof_received(self) -> bool:
        return bool(self.happened("eof"))

    def pause_writing(self) -> None:
        self.happened("pause")

    def resume_writing(self) -> None:
        self.happened("resume")

    def connection_lost(self, exc: Exception | None) -> None:
        self.error = exc
        self.happened("lost")

    async def until(self, *events: str) -> None:
        await self.changes.wait_until(lambda: set(events) <= set(self.events))

    async def until_received(self, count: int) -> None:
        await self.changes.wait_until(lambda: len(self.received) >= count)


async def link_in_memory(client: asyncio.Protocol, server: asyncio.Protocol) -> None:
    memory_link(client, server, capacity=KERNEL_BUFFER)
    await turns()


async def link_over_tcp(client: asyncio.Protocol, server: asyncio.Protocol) -> None:
    loop = asyncio.get_running_loop()
    accepted = loop.create_future()

    def accept() -> asyncio.Protocol:
        accepted.set_result(None)
        return server

    # What is accepted inherits the listener's sizes: no auto-tuning into the megabytes.
    listener = await loop.create_server(accept, sock=_small_socket(("127.0.0.1", 0)))
    sock = _small_socket()
    await loop.sock_connect(sock, listener.sockets[0].getsockname())
    await loop.create_connection(lambda: client, sock=sock)
    await accepted
    await turns()
    listener.close()  # wait_closed would wait for the connections too, on Python 3.12 and newer


def _small_socket(address: tuple[str, int] | None = None) -> socket.socket:
    sock = socket.socket()
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, KERNEL_BUFFER)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, KERNEL_BUFFER)
    sock.setblocking(False)
    if address is not None:
        sock.bind(address)
    return sock


async def turns(count: int = 10) -> None:
    """Lets the loop turn: on loopback, whatever was going to happen by itself has happened then."""
    for _ in range(count):
        await asyncio.sleep(0)
