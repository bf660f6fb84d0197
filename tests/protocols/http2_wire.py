"""HTTP/2 as bytes: frames that say whatever a test wants, and a client whose server sends just these.

Field blocks are written without compression, so that each means the same wherever it is sent.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from h2.errors import ErrorCodes
from hyperframe.frame import GoAwayFrame, HeadersFrame, PingFrame, RstStreamFrame

from httpcore.config import HTTP2Config, TimeoutTypes
from httpcore.protocols import HTTP2Protocol
from httpcore.protocols.http2_frames import FrameType
from httpcore.request import Request
from httpcore.testing import memory_link
from httpcore.testing.frame_peer import FramePeer
from tests.protocols.recording import NO_TIMEOUT, URL, Recorder

__all__ = [
    "ACK",
    "END_HEADERS",
    "END_STREAM",
    "FIRST",
    "OK",
    "PADDED",
    "PRIORITY_FLAG",
    "WireClient",
    "answer",
    "block",
    "data",
    "field",
    "frame",
    "goaway",
    "head",
    "number",
    "ping",
    "rst",
    "settings",
    "trailers",
    "update",
    "wire_client",
]

END_STREAM = ACK = 0x1
END_HEADERS, PADDED, PRIORITY_FLAG = 0x4, 0x8, 0x20
OK = (b":status", b"200")


def number(value: int, size: int = 4) -> bytes:
    return value.to_bytes(size, "big")


def frame(kind: int, stream_id: int = 0, payload: bytes = b"", flags: int = 0) -> bytes:
    return number(len(payload), 3) + bytes((kind, flags)) + number(stream_id) + payload


def _text(data: bytes) -> bytes:
    size = len(data)
    if size < 127:
        return bytes((size,)) + data
    prefix, size = bytearray(b"\x7f"), size - 127
    while size > 127:
        prefix.append(size % 128 + 128)
        size //= 128
    return bytes(prefix) + bytes((size,)) + data


def field(name: bytes, value: bytes) -> bytes:
    """A literal that is not indexed (RFC 7541 6.2.2)."""
    return b"\0" + _text(name) + _text(value)


def block(*fields: tuple[bytes, bytes]) -> bytes:
    return b"".join(field(name, value) for name, value in fields)


def head(stream_id: int, *fields: tuple[bytes, bytes], flags: int = END_HEADERS) -> bytes:
    return frame(FrameType.HEADERS, stream_id, block(*fields), flags)


def trailers(stream_id: int, *fields: tuple[bytes, bytes]) -> bytes:
    return head(stream_id, *fields, flags=END_HEADERS | END_STREAM)


def data(stream_id: int, content: bytes, flags: int = 0) -> bytes:
    return frame(FrameType.DATA, stream_id, content, flags)


def answer(stream_id: int, content: bytes = b"ok") -> bytes:
    return head(stream_id, OK) + data(stream_id, content, END_STREAM)


def settings(*pairs: tuple[int, int], flags: int = 0, stream_id: int = 0) -> bytes:
    return frame(
        FrameType.SETTINGS, stream_id, b"".join(number(code, 2) + number(value) for code, value in pairs), flags
    )


def rst(stream_id: int, code: int = ErrorCodes.CANCEL) -> bytes:
    return frame(FrameType.RST_STREAM, stream_id, number(code))


def ping(payload: bytes = b"12345678", flags: int = 0) -> bytes:
    return frame(FrameType.PING, 0, payload, flags)


def update(stream_id: int, increment: int) -> bytes:
    return frame(FrameType.WINDOW_UPDATE, stream_id, number(increment))


def goaway(last_stream_id: int, code: int = ErrorCodes.NO_ERROR, debug_data: bytes = b"") -> bytes:
    return frame(FrameType.GOAWAY, 0, number(last_stream_id) + number(code) + debug_data)


FIRST = settings((0x3, 100)) + settings(flags=ACK)  # what a server begins with


class WireClient:
    """A protocol under test, on a link in memory to a server that sends what the test says, and nothing by itself."""

    def __init__(self, *, config: HTTP2Config | None, segment: int | None, capacity: int) -> None:
        self.protocol = HTTP2Protocol(config)
        self.peer = FramePeer()
        self.recorders: list[Recorder] = []
        self.loop_errors: list[dict[str, object]] = []
        self.transport, self.peer_transport = memory_link(self.protocol, self.peer, segment=segment, capacity=capacity)

    def dispatch(
        self, request: Request | None = None, recorder: Recorder | None = None, *, timeout: TimeoutTypes = NO_TIMEOUT
    ) -> Recorder:
        """Sends a request, a plain GET by default; the recorder's contract is checked when the test ends."""
        recorder = Recorder() if recorder is None else recorder
        self.recorders.append(recorder)
        self.protocol.dispatch(request or Request("GET", URL), recorder, timeout=timeout)
        return recorder

    async def ask(
        self, request: Request | None = None, recorder: Recorder | None = None, *, timeout: TimeoutTypes = NO_TIMEOUT
    ) -> tuple[Recorder, int]:
        """Sends a request; returns once its head has come to the peer, with the stream's number."""
        recorder = self.dispatch(request, recorder, timeout=timeout)
        stream_id = recorder.exchange.stream_id
        assert stream_id is not None
        await self.peer.receive_frame(HeadersFrame, stream_id)
        return recorder, stream_id

    async def cancel(self, recorder: Recorder) -> None:
        """Aborts an exchange, and has the server confirm that it knows."""
        stream_id = recorder.exchange.stream_id
        assert stream_id is not None
        recorder.exchange.abort()
        await self.peer.receive_reset(stream_id)
        self.peer.send(ping(await self.peer.receive_ping(), ACK))
        await self.settle()

    async def settle(self) -> None:
        """Returns once the client has handled all that was sent before."""
        self.peer.send(ping(b"settled?"))
        while await self.peer.receive_ping_ack() != b"settled?":
            pass

    async def still_works(self) -> None:
        """Checks that another request is answered."""
        assert not self.protocol.closing
        recorder, stream_id = await self.ask()
        self.peer.send(answer(stream_id))
        await recorder.end()
        assert recorder.statuses == [200]
        assert recorder.body == b"ok"
        assert recorder.names[-1] == "complete"

    @property
    def resets(self) -> list[tuple[int, int]]:
        """RST_STREAM that came to the server: (stream, error code)."""
        return [(item.stream_id, item.error_code) for item in self.peer.frames if isinstance(item, RstStreamFrame)]

    @property
    def goaways(self) -> list[int]:
        """The error codes of GOAWAY that came to the server."""
        return [item.error_code for item in self.peer.frames if isinstance(item, GoAwayFrame)]

    @property
    def pongs(self) -> int:
        """How many answers to PING came to the server."""
        return sum(isinstance(item, PingFrame) and "ACK" in item.flags for item in self.peer.frames)

    async def finish(self) -> None:
        """Closes both ends, and checks what every recorder and the loop heard."""
        for transport in (self.transport, self.peer_transport):
            transport.abort()
        await self.protocol.wait_closed()
        await self.peer.closed()
        assert self.loop_errors == []
        assert self.protocol.closed
        assert self.protocol.in_flight == self.protocol.available == 0
        for recorder in self.recorders:
            assert recorder.violations == []
            assert recorder.ended, recorder.names
            assert recorder.exchange.ended
            assert type(recorder.error).__module__.partition(".")[0] not in ("h2", "hpack", "hyperframe", "ssl")


@asynccontextmanager
async def wire_client(
    first: bytes = FIRST,
    *,
    config: HTTP2Config | None = None,
    segment: int | None = None,
    capacity: int = 64 * 1024,
) -> AsyncIterator[WireClient]:
    """Makes a connected client, whose server has sent `first`; checks it at the end."""
    client = WireClient(config=config, segment=segment, capacity=capacity)
    asyncio.get_running_loop().set_exception_handler(lambda loop, context: client.loop_errors.append(context))
    await client.peer.receive_settings()
    client.peer.frames.clear()
    if first:
        client.peer.send(first)
        await client.peer.receive_settings_ack()
    try:
        yield client
    except BaseException:  # the test has failed: what it leaves behind is not to hide why
        client.transport.abort()
        client.peer_transport.abort()
        raise
    await client.finish()
