"""Servers that speak HTTP/2, and links on which the server chooses the version, for the tests of the pool."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Callable, Iterable, Mapping
from typing import TypeVar

from h2.errors import ErrorCodes
from h2.events import RequestReceived, StreamEnded, StreamReset
from h2.settings import SettingCodes
from hyperframe.frame import GoAwayFrame

from httpcore import ConnectionPool, PoolLimits
from httpcore.testing import HTTP2Peer, MemoryConnector
from tests.pool.peers import RecordingHandler

_PeerT = TypeVar("_PeerT", bound=asyncio.Protocol)

__all__ = ["Chosen", "HTTP2Server", "all_ended", "choosing_connector", "http2_connector", "http2_pool", "streams"]


def streams(limit: int) -> dict[SettingCodes | int, int]:
    """The SETTINGS of a server that allows so many streams."""
    return {SettingCodes.MAX_CONCURRENT_STREAMS: limit}


class HTTP2Server(HTTP2Peer):
    """A server that answers when it is told to, or at once.

    Args:
        settings: what its first SETTINGS frame says.
        respond: called with it and the stream once a whole request came.

    Attributes:
        targets: the path of each request that came, by its stream.
        open: the streams of requests that wait for their answer, in order.
    """

    def __init__(
        self,
        settings: Mapping[SettingCodes | int, int] | None = None,
        respond: Callable[[HTTP2Server, int], object] | None = None,
    ) -> None:
        super().__init__(streams(100) if settings is None else settings)
        self.respond_at_once = respond
        self.targets: dict[int, str] = {}
        self.open: list[int] = []
        self._noted = 0  # events

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        while self._noted < len(self.events):
            event = self.events[self._noted]
            self._noted += 1
            if isinstance(event, RequestReceived):
                assert event.stream_id is not None
                fields = dict(event.headers or ())
                self.targets[event.stream_id] = fields[b":path"].decode()
                self.open.append(event.stream_id)
            elif isinstance(event, StreamReset) and event.stream_id in self.open:
                self.open.remove(event.stream_id)
            elif isinstance(event, StreamEnded) and self.respond_at_once is not None:
                assert event.stream_id is not None
                self.respond_at_once(self, event.stream_id)

    def answer(self, stream_id: int | None = None) -> str:
        """Answers a request, the first one unless another is named; returns its path."""
        stream_id = self.open[0] if stream_id is None else stream_id
        self.open.remove(stream_id)
        self.respond(stream_id, 200, (), b"ok")
        return self.targets[stream_id]

    def refuse(self, stream_id: int) -> None:
        """Refuses a request with REFUSED_STREAM."""
        self.open.remove(stream_id)
        self.reset(stream_id, ErrorCodes.REFUSED_STREAM)

    def go_away(self, last_stream_id: int) -> None:
        """Sends GOAWAY: requests above that were not processed."""
        frame = GoAwayFrame(0)
        frame.last_stream_id = last_stream_id
        self.send_frame(frame)
        self.open = [stream_id for stream_id in self.open if stream_id <= last_stream_id]


def http2_connector(
    settings: Mapping[SettingCodes | int, int] | None = None, *, answers: bool = False
) -> MemoryConnector[HTTP2Server]:
    """Makes a connector to servers that speak HTTP/2 by prior knowledge: for a pool with `http1=False`."""
    return MemoryConnector(lambda: HTTP2Server(settings, HTTP2Server.answer if answers else None))


class Chosen:
    """What the link in memory has in place of a TLS object: it says what the server chose."""

    def __init__(self, versions: Iterable[str]) -> None:
        self._versions = iter(versions)

    def selected_alpn_protocol(self) -> str:
        return next(self._versions)

    def read(self, size: int) -> bytes:
        raise ssl.SSLZeroReturnError


def choosing_connector(
    versions: Iterable[str], http1: Callable[[], _PeerT], *, answers: bool = False
) -> MemoryConnector[_PeerT | HTTP2Server]:
    """Makes a connector to servers that choose "h2" or "http/1.1" for each connection: for `https`.

    Args:
        versions: what they choose, one after the other.
        http1: makes those that speak HTTP/1.1.
        answers: whether those that speak HTTP/2 answer at once.
    """
    chosen = list(versions)
    for_servers = iter(chosen)

    def make() -> _PeerT | HTTP2Server:
        return HTTP2Server(None, HTTP2Server.answer if answers else None) if next(for_servers) == "h2" else http1()

    return MemoryConnector(make, client_extra={"ssl_object": Chosen(chosen)})


def http2_pool(connector: MemoryConnector[HTTP2Server], limits: PoolLimits | None = None, **options) -> ConnectionPool:
    """Makes a pool that speaks HTTP/2 by prior knowledge."""
    return ConnectionPool(limits=limits, connector=connector, http1=False, **options)


async def all_ended(handlers: Iterable[RecordingHandler]) -> None:
    """Waits until every request has ended."""
    for handler in handlers:
        await handler.until_ended()
