"""What stands around an HTTP2Protocol in a test of its life: its owner, requests that wait, who replays what fails."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import cast

from h2.settings import SettingCodes

from httpcore.exceptions import HTTPCoreError
from httpcore.protocols import HTTP2Protocol
from httpcore.protocols.exchange import HTTPExchange
from httpcore.protocols.states import HTTP2ConnectionState
from httpcore.request import Request
from httpcore.testing import HTTP2Peer, IncomingRequest
from tests.clock import turns
from tests.protocols.http2_script import HTTP2Client
from tests.protocols.recording import URL, Recorder

__all__ = [
    "LOSSES",
    "MAX_STREAMS",
    "Gate",
    "Replays",
    "Watch",
    "announce",
    "answer",
    "gone",
    "stay_open",
    "unprocessed",
]

MAX_STREAMS = SettingCodes.MAX_CONCURRENT_STREAMS

LOSSES: dict[str, Callable[[HTTP2Peer], None]] = {
    "eof": lambda peer: peer.send_eof(),
    "close": lambda peer: peer.close(),
    "reset": lambda peer: peer.abort(),
}


class Watch:
    """An owner: writes down what it could know of the connection each time that it is told of a change.

    Attributes:
        seen: (available, in_flight, closing, closed).
    """

    def __init__(self, client: HTTP2Client) -> None:
        self.seen: list[tuple[int, int, bool, bool]] = []
        client.protocol.on_change = self

    def __call__(self, changed: object) -> None:
        protocol = cast(HTTP2Protocol, changed)
        self.seen.append((protocol.available, protocol.in_flight, protocol.closing, protocol.closed))

    @property
    def last(self) -> tuple[int, int, bool, bool]:
        return self.seen[-1]


class Gate:
    """The body of a GET whose first chunk, and so the request's head, waits until the gate is opened."""

    def __init__(self) -> None:
        self.opened = asyncio.Event()
        self.request = Request("GET", URL, body=self.chunks())

    async def chunks(self):
        await self.opened.wait()
        yield b"behind the gate"


class Replays:
    """Who replays the exchanges of these recorders: keeps them, made ready for another connection."""

    def __init__(self, *recorders: Recorder) -> None:
        self.exchanges: list[HTTPExchange] = []
        self.errors: list[HTTPCoreError] = []
        self.unprocessed: list[bool] = []
        for recorder in recorders:
            cast(HTTPExchange, recorder.exchange).replay = self

    def __call__(self, exchange: HTTPExchange, error: HTTPCoreError) -> bool:
        self.unprocessed.append(exchange.unprocessed)
        self.errors.append(error)
        self.exchanges.append(exchange)
        exchange.rewind()
        return True


def unprocessed(recorder: Recorder) -> bool:
    """Whether the connection was certain that the server had done nothing with the request."""
    return cast(HTTPExchange, recorder.exchange).unprocessed


async def announce(client: HTTP2Client, limit: int) -> None:
    """Lets the server allow so many streams; returns once the client has taken that in."""
    client.peer.update_settings({MAX_STREAMS: limit})
    await client.peer.receive_settings_ack()


async def answer(client: HTTP2Client, *asked: tuple[Recorder, IncomingRequest]) -> None:
    """Answers requests, one after the other."""
    for recorder, incoming in asked:
        client.peer.respond(incoming.stream_id, body=b"to its end")
        await recorder.end()
        assert recorder.statuses[-1:] == [200]
        assert recorder.body == b"to its end"


async def stay_open(client: HTTP2Client) -> None:
    """Lets happen what happens by itself; the connection is to be there still."""
    await turns()
    assert not client.protocol.closed
    assert not client.transport.is_closing()


async def gone(client: HTTP2Client) -> None:
    """Waits for the connection's end, of which nothing is to be left."""
    await client.protocol.wait_closed()
    assert client.protocol.state == HTTP2ConnectionState.CLOSED
    assert (client.protocol.available, client.protocol.in_flight) == (0, 0)
    assert (client.protocol.closing, client.protocol.closed) == (True, True)
