"""What the tests of HTTP2Protocol drive it with: a client whose server is scripted frame by frame."""

from __future__ import annotations

from hyperframe.frame import Frame

from httpcore.config import HTTP2Config, TimeoutTypes
from httpcore.protocols import HTTP2Protocol
from httpcore.request import Request
from httpcore.testing import HTTP2Peer, IncomingRequest, memory_link
from httpcore.trace import TraceHook
from tests.protocols.recording import NO_TIMEOUT, URL, Recorder

__all__ = ["HTTP2Client", "shape"]


class HTTP2Client:
    """A protocol under test, on a link in memory to a scripted peer."""

    def __init__(
        self,
        peer: HTTP2Peer | None = None,
        *,
        config: HTTP2Config | None = None,
        segment: int | None = None,
        capacity: int = 64 * 1024,
    ) -> None:
        self.protocol = HTTP2Protocol(config)
        self.peer = HTTP2Peer() if peer is None else peer
        self.recorders: list[Recorder] = []
        self.transport, self.peer_transport = memory_link(self.protocol, self.peer, segment=segment, capacity=capacity)

    def dispatch(
        self,
        request: Request | None = None,
        recorder: Recorder | None = None,
        *,
        timeout: TimeoutTypes = NO_TIMEOUT,
        trace: TraceHook | None = None,
    ) -> Recorder:
        """Sends a request, a plain GET by default; the recorder's contract is checked when the test ends."""
        recorder = Recorder() if recorder is None else recorder
        self.recorders.append(recorder)
        exchange = self.protocol.dispatch(request or Request("GET", URL), recorder, timeout=timeout, trace=trace)
        assert recorder.names[0] == "started"
        assert recorder.exchange is exchange
        return recorder

    async def ask(
        self, request: Request | None = None, recorder: Recorder | None = None, *, timeout: TimeoutTypes = NO_TIMEOUT
    ) -> tuple[Recorder, IncomingRequest]:
        """Sends a request; returns once its head has come to the peer, who has taken those before it as well then."""
        recorder = self.dispatch(request, recorder, timeout=timeout)
        while (incoming := await self.peer.receive_request()).stream_id != recorder.exchange.stream_id:
            pass
        return recorder, incoming

    async def answer(
        self, request: Request | None = None, *, status: int = 200, headers=(), body: bytes = b"", trailers=()
    ) -> Recorder:
        """Sends a request and answers it; returns at the end."""
        recorder, incoming = await self.ask(request)
        self.peer.respond(incoming.stream_id, status, headers, body, trailers)
        return await recorder.end()

    async def settle(self) -> None:
        """Returns once each end has handled all that the other had sent before."""
        self.peer.ping(b"settled?")
        while await self.peer.receive_ping_ack() != b"settled?":
            pass
        asked = len(self.peer.frames)
        self.protocol.h2.ping(b"settled?")
        self.protocol.flush()
        while b"settled?" not in [getattr(frame, "opaque_data", b"") for frame in self.peer.frames[asked:]]:
            await self.peer.receive_ping()

    async def still_works(self) -> None:
        """Checks that another request is answered, and that SETTINGS and PING are acknowledged."""
        assert not self.protocol.closing
        recorder = await self.answer(body=b"ok")
        assert (recorder.statuses, bytes(recorder.body), recorder.names[-1]) == ([200], b"ok", "complete")
        self.peer.update_settings({})
        await self.peer.receive_settings_ack()
        await self.settle()

    async def finish(self) -> None:
        """Closes both ends, and checks what every recorder heard, and that no window has lost a byte."""
        assert self.peer.violation is None
        if all(recorder.ended for recorder in self.recorders) and not self.protocol.closing and self.peer.auto_ack:
            await self.settle()
            assert self.protocol.in_flight == 0
            assert self.protocol.window.waiting == 0
            assert self.protocol.window.open == self.peer.h2.outbound_flow_control_window
            assert self.protocol.h2.outbound_flow_control_window == self.peer.h2.inbound_flow_control_window
        for transport in (self.transport, self.peer_transport):
            transport.abort()
        await self.protocol.wait_closed()
        await self.peer.closed()
        assert self.protocol.closed
        assert self.protocol.in_flight == self.protocol.available == 0
        for recorder in self.recorders:
            assert recorder.violations == []
            assert recorder.ended, recorder.names
            assert [name for name in recorder.names if name in ("complete", "failed")] == recorder.names[-1:]
            assert recorder.exchange.ended
            assert type(recorder.error).__module__.partition(".")[0] not in ("h2", "hpack", "hyperframe", "ssl")


def shape(peer: HTTP2Peer, stream_id: int = 1) -> list[str]:
    """Describes the frames that came on a stream but for their bytes: "HEADERS", "DATA 5", "DATA 0 END"."""
    return [_describe(frame) for frame in peer.frames if frame.stream_id == stream_id]


def _describe(frame: Frame) -> str:
    words = [type(frame).__name__.removesuffix("Frame").upper()]
    if words == ["DATA"]:
        words.append(str(frame.body_len))
    if "END_STREAM" in frame.flags:
        words.append("END")
    return " ".join(words)
