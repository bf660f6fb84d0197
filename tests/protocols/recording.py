"""What these tests drive a protocol with: a handler that checks its callbacks, a client with a peer, a clock."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import cast

from httpcore.config import TimeoutConfig, TimeoutTypes
from httpcore.handlers import Exchange, ResponseHandler, ResponseHead
from httpcore.headers import Headers
from httpcore.protocols import HTTP11Protocol
from httpcore.protocols.codec import Codec
from httpcore.request import Request
from httpcore.testing import ScriptedPeer, memory_link
from httpcore.testing.changes import Changes
from httpcore.trace import TraceHook
from httpcore.upgraded import UpgradedStream

NO_TIMEOUT = TimeoutConfig()
URL = "http://example.org/path?query"

# What may follow what: the contract of handlers.ResponseHandler. "write" stands for pause_writing and resume_writing.
_MAY_FOLLOW = {
    "": {"started"},
    "started": {"informational", "response", "failed"},
    "informational": {"informational", "response", "failed"},
    "response": {"data", "complete", "upgraded", "failed"},
    "data": {"data", "complete", "failed"},
    "upgraded": {"complete", "failed"},
    "complete": set[str](),
    "failed": set[str](),
}


class Recorder(ResponseHandler):
    """Writes down its callbacks and whether they keep the contract; `on` says what it does in one besides.

    Attributes:
        names: the callbacks in order, as in `_MAY_FOLLOW`.
        events: (name, *what it was given), where consecutive pieces of data are joined.
        violations: in words, what the contract forbids.
    """

    def __init__(self) -> None:
        self.names: list[str] = []
        self.events: list[tuple[object, ...]] = []
        self.violations: list[str] = []
        self.exchange = cast(Exchange, None)
        self.head: ResponseHead | None = None
        self.body = bytearray()
        self.pieces: list[bytes] = []
        self.trailers: Headers | None = None
        self.error: BaseException | None = None
        self.stream: UpgradedStream | None = None
        self.changes = Changes()
        self.reactions: dict[str, Callable[[], object]] = {}
        self.writing_paused = False
        self.keep_stream = True

    def on(self, name: str, reaction: Callable[[], object]) -> Recorder:
        """Calls `reaction` in the callback of that name, every time."""
        self.reactions[name] = reaction
        return self

    @property
    def ended(self) -> bool:
        return self.error is not None or self.trailers is not None

    @property
    def statuses(self) -> list[int]:
        return [cast(int, event[1]) for event in self.events if event[0] in ("informational", "response")]

    async def end(self) -> Recorder:
        """Waits for the exchange's end."""
        await self.changes.wait_until(lambda: self.ended)
        return self

    async def until(self, name: str, count: int = 1) -> Recorder:
        """Waits for the callback of that name."""
        await self.changes.wait_until(lambda: self.names.count(name) >= count)
        return self

    async def until_body(self, body: bytes) -> Recorder:
        """Waits for the body to have come to `body`."""
        await self.changes.wait_until(lambda: self.body == body)
        return self

    def _note(self, name: str, *facts: object) -> None:
        last = next((before for before in reversed(self.names) if not before.endswith("_writing")), "")
        if not name.endswith("_writing"):
            if name not in _MAY_FOLLOW[last]:
                self.violations.append(f"{name} after {last or 'nothing'}")
        elif last in ("", "complete", "failed"):
            self.violations.append(f"{name} after {last or 'nothing'}")
        self.names.append(name)
        if name == "data" and self.events[-1][0] == "data":
            self.events[-1] = ("data", cast(bytes, self.events[-1][1]) + cast(bytes, facts[0]))
        else:
            self.events.append((name, *facts))
        self.changes.notify()
        reaction = self.reactions.get(name)
        if reaction is not None:
            reaction()

    def exchange_started(self, exchange: Exchange) -> None:
        self.exchange = exchange
        self._note("started")

    def informational_received(self, status_code: int, headers: Headers) -> None:
        self._note("informational", status_code, list(headers))

    def response_received(self, head: ResponseHead) -> None:
        self.head = head
        self._note("response", head.status_code, head.reason, head.http_version, list(head.headers))

    def data_received(self, data: bytes) -> None:
        if type(data) is not bytes or not data:
            self.violations.append(f"data_received({data!r:.40})")
        self.body += data
        self.pieces.append(data)
        self._note("data", data)

    def response_complete(self, trailers: Headers) -> None:
        self.trailers = trailers
        self._note("complete", list(trailers))

    def exchange_failed(self, exc: BaseException) -> None:
        self.error = exc
        self._note("failed", type(exc))

    def connection_upgraded(self, stream: UpgradedStream) -> None:
        self.stream = stream
        self._note("upgraded")

    def pause_writing(self) -> None:
        if self.writing_paused:
            self.violations.append("pause_writing twice")
        self.writing_paused = True
        self._note("pause_writing")

    def resume_writing(self) -> None:
        if not self.writing_paused:
            self.violations.append("resume_writing without pause_writing")
        self.writing_paused = False
        self._note("resume_writing")


class Client:
    """A protocol under test, on a link in memory to a scripted peer."""

    def __init__(
        self, *, segment: int | None = None, capacity: int = 64 * 1024, codec: type[Codec] | None = None
    ) -> None:
        self.protocol = HTTP11Protocol(codec)
        self.peer = ScriptedPeer(close_on_eof=True)
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

    async def answer(
        self, response: bytes, request: Request | None = None, *, then: str = "", timeout: TimeoutTypes = 5.0
    ) -> Recorder:
        """Sends a request, answers with `response`, then with "eof" or "reset" if asked to; returns at the end."""
        recorder = self.dispatch(request, timeout=timeout)
        await self.peer.receive_until(b"\r\n\r\n")
        self.peer.send(response)
        if then == "eof":
            self.peer.send_eof()
        await recorder.end()
        return recorder

    async def answer_early(self, request: Request) -> Recorder:
        """Sends a request, answers at once, and returns at the end."""
        recorder = self.dispatch(request)
        self.peer.send(response(b"Content-Length: 0"))
        return await recorder.end()

    async def finish(self) -> None:
        """Closes both ends, and checks what every recorder heard."""
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
            assert type(recorder.error).__module__.partition(".")[0] not in ("h11", "ssl")


def response(*fields: bytes, body: bytes = b"", status: bytes = b"200 OK", version: bytes = b"HTTP/1.1") -> bytes:
    """A response as its status line, header lines and body, which nothing is added to."""
    return b"".join(line + b"\r\n" for line in (version + b" " + status, *fields, b"")) + body


class Clock:
    """A loop's clock that stands still while the loop is busy, and jumps to the next timer when it is not.

    Attributes:
        now: seconds.
        timers: how many timers were made.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop, monkeypatch) -> None:
        self.now = 1000.0
        self.timers = 0
        selector = loop._selector  # type: ignore[attr-defined]
        select, call_at = selector.select, loop.call_at

        def jump(timeout: float | None) -> object:
            ready = select(0)
            if ready or timeout == 0:
                return ready
            if timeout is None:  # another thread reads a file; or the test hangs, and has its own timeout
                return select(None)
            self.now += timeout
            return ready

        def counting_call_at(*args, **kwargs) -> object:
            self.timers += 1
            return call_at(*args, **kwargs)

        monkeypatch.setattr(loop, "time", lambda: self.now)
        monkeypatch.setattr(loop, "call_at", counting_call_at)
        monkeypatch.setattr(selector, "select", jump)
