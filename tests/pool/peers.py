"""Servers and handlers for the tests of the pool."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Iterable
from typing import cast

import h11

from httpcore import ResponseHandler
from httpcore.handlers import Exchange, ResponseHead
from httpcore.headers import Headers
from httpcore.testing import HTTP11Peer, MemoryConnector
from httpcore.testing.changes import Changes
from tests.clock import turns

__all__ = ["Arrivals", "AutoPeer", "RecordingHandler", "answer", "auto_connector"]


class Arrivals:
    """Counts the heads of requests that reached a server, by their `x-id` header."""

    def __init__(self) -> None:
        self.counts: Counter[bytes] = Counter()


class AutoPeer(asyncio.Protocol):
    """A server that answers every request with 200 and "ok", in memory or on a socket.

    Args:
        arrivals: where heads are counted.
        respond: answers instead; called once the whole request came.
    """

    def __init__(self, arrivals: Arrivals | None = None, respond: Callable[[AutoPeer], None] | None = None) -> None:
        self.arrivals = Arrivals() if arrivals is None else arrivals
        self.respond = respond
        self.http = h11.Connection(h11.SERVER)
        self.requests: list[h11.Request] = []
        self.body = b""
        self.size = 0  # bytes of requests
        self.transport: asyncio.Transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        transport = cast(asyncio.Transport, transport)
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        self.size += len(data)
        self.http.receive_data(data)
        while True:
            event = self.http.next_event()
            if isinstance(event, h11.Request):
                self.requests.append(event)
                self.body = b""
                self.arrivals.counts[dict(event.headers).get(b"x-id", b"")] += 1
            elif isinstance(event, h11.Data):
                self.body += bytes(event.data)
            elif isinstance(event, h11.EndOfMessage):
                (self.respond or AutoPeer.answer)(self)
                if self.http.our_state is not h11.DONE:
                    return
                self.http.start_next_cycle()
            else:
                return

    def answer(self, body: bytes = b"ok") -> None:
        """Sends a response."""
        headers = [("content-length", str(len(body)))]
        data = self.http.send(h11.Response(status_code=200, headers=headers, reason=b"OK"))
        content = b"" if self.requests[-1].method == b"HEAD" else self.http.send(h11.Data(data=body)) or b""
        self.transport.write((data or b"") + content + (self.http.send(h11.EndOfMessage()) or b""))


def auto_connector(arrivals: Arrivals | None = None) -> MemoryConnector[AutoPeer]:
    """Makes a connector to servers that answer."""
    return MemoryConnector(lambda: AutoPeer(arrivals))


async def answer(
    connector: MemoryConnector[HTTP11Peer],
    index: int,
    headers: Iterable[tuple[str, str]] = (),
    body: bytes = b"ok",
) -> str:
    """Answers the next request on one of the connections, in the order they were made; returns its target."""
    request, _ = await connector.peers[index].receive_request()
    connector.peers[index].send_response(200, headers, body)
    await turns()
    return request.target.decode()


class RecordingHandler(ResponseHandler):
    """Writes down what it is told."""

    def __init__(self) -> None:
        self.exchange: Exchange | None = None
        self.head: ResponseHead | None = None
        self.content = b""
        self.completed = False
        self.error: BaseException | None = None
        self._changes = Changes()

    def exchange_started(self, exchange: Exchange) -> None:
        assert self.exchange is None
        self.exchange = exchange
        self._changes.notify()

    def response_received(self, head: ResponseHead) -> None:
        self.head = head
        self._changes.notify()

    def data_received(self, data: bytes) -> None:
        self.content += data

    def response_complete(self, trailers: Headers) -> None:
        assert not self.ended
        self.completed = True
        self._changes.notify()

    def exchange_failed(self, exc: BaseException) -> None:
        assert not self.ended
        self.error = exc
        self._changes.notify()

    @property
    def started(self) -> bool:
        return self.exchange is not None

    @property
    def ended(self) -> bool:
        return self.completed or self.error is not None

    async def until_started(self) -> None:
        await self._changes.wait_until(lambda: self.started)

    async def until_ended(self) -> None:
        await self._changes.wait_until(lambda: self.ended)
