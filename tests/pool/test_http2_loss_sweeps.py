"""An HTTP/2 connection is lost at every byte, or refuses what it carries: an error or an answer from the next one."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass

import pytest
from h2.events import StreamEnded
from hyperframe.frame import HeadersFrame

from httpcore import (
    PUSHED,
    ConnectionPool,
    HTTPCoreError,
    PoolLimits,
    ReadError,
    RemoteProtocolError,
    Request,
    WriteError,
)
from httpcore.handlers import Exchange, ResponseHead
from httpcore.pool.retries import MAX_REPLAYS_UNPROCESSED
from httpcore.testing import MemoryConnector
from httpcore.testing.frame_peer import FramePeer
from tests.clock import turns, until
from tests.pool.books import check_books, check_empty
from tests.pool.multiplexing import HTTP2Server
from tests.pool.peers import RecordingHandler
from tests.protocols.http2_wire import END_STREAM, FIRST, OK, answer, data, goaway, head

ONE_CONNECTION = PoolLimits(hard_limit=1)


class SlowHandler(RecordingHandler):
    """Does not read the response until it is told to."""

    def response_received(self, head: ResponseHead) -> None:
        super().response_received(head)
        assert self.exchange is not None
        self.exchange.pause_reading()


class PushingHandler(RecordingHandler):
    """Pushes a part of a body."""

    def exchange_started(self, exchange: Exchange) -> None:
        super().exchange_started(exchange)
        exchange.write(b"some of it")


class Stuck:
    """A body, given as a function, that waits in its middle for ever; but not when it is sent again."""

    def __init__(self) -> None:
        self.begun = self.open = 0

    async def __call__(self) -> AsyncIterator[bytes]:
        self.begun += 1
        self.open += 1
        try:
            yield b"some of it"
            if self.begun == 1:
                await asyncio.get_running_loop().create_future()
        finally:
            self.open -= 1


@dataclass
class Kind:
    """One of the requests.

    Attributes:
        path: its URL's path, and name.
        idempotent, replayable: whether it may be sent twice, and whether its body can be.
    """

    path: str
    method: str = "GET"
    body: Callable[[], object] = bytes
    make_handler: type[RecordingHandler] = RecordingHandler
    replayable: bool = True

    @property
    def idempotent(self) -> bool:
        return self.method != "POST"


KINDS = [
    Kind("/half"),
    Kind("/answered"),
    Kind("/unanswered"),
    Kind("/post", "POST", lambda: b"all of it"),
    Kind("/slow", make_handler=SlowHandler),
    Kind("/put", "PUT", lambda: b"all of it"),
    Kind("/uploading", "POST", Stuck),
    Kind("/one-shot", "POST", Stuck, replayable=False),
    Kind("/pushing", "POST", lambda: PUSHED, PushingHandler, replayable=False),
]
HALF, ANSWERED, SLOW = 0, 1, 4  # what comes of the others does not come from the first server


def transcript(first_id: int) -> list[bytes]:
    """Returns what the first server sends, as frames, if KINDS have the streams from `first_id` on."""
    half, answered, slow = (first_id + 2 * index for index in (HALF, ANSWERED, SLOW))
    return [
        head(half, OK, (b"content-length", b"6")),
        head(answered, OK),
        data(half, b"half"),
        head(slow, OK),
        data(slow, b"slow, "),
        data(answered, b"answer", END_STREAM),
        data(slow, b"held", END_STREAM),
    ]


BODIES = {HALF: b"half", ANSWERED: b"answer", SLOW: b"slow, held"}


class Losses:
    """The requests, on a first connection whose server is scripted; those behind it answer with "ok"."""

    def __init__(self, limits: PoolLimits | None = None) -> None:
        self.peers: list[FramePeer] = []
        self.connector = MemoryConnector(self._make)
        self.pool = ConnectionPool(limits=limits, http1=False, connector=self.connector)
        self.handlers: list[RecordingHandler] = []
        self.stuck: list[Stuck] = []
        self.first_id = 1

    def _make(self) -> FramePeer:
        self.peers.append(HTTP2Server(None, HTTP2Server.answer) if self.peers else FramePeer())
        return self.peers[-1]

    async def begin(self, *, warm: bool) -> None:
        """Sends all, and returns once they are there."""
        if warm:
            request = asyncio.create_task(self.pool.request("GET", "http://a/warm"))
            first = await self.connector.accept()
            await first.receive_frame(HeadersFrame, 1)
            first.send(FIRST + answer(1))
            await request
            self.first_id = 3
        for kind in KINDS:
            handler = kind.make_handler()
            body = kind.body()
            if isinstance(body, Stuck):
                self.stuck.append(body)
                body = body if kind.replayable else body()
            self.handlers.append(handler)
            self.pool.dispatch(Request(kind.method, "http://a" + kind.path, body=body), handler)  # type: ignore[arg-type]
        await until(lambda: bool(self.peers))
        await self.peers[0].receive_frame(HeadersFrame, self.first_id + 2 * (len(KINDS) - 1))
        await turns(2)

    def ids(self) -> dict[int, int]:
        """Returns the index in KINDS of each stream."""
        return {self.first_id + 2 * index: index for index in range(len(KINDS))}

    async def end(self, outcomes: dict[int, str], received: dict[int, bytes]) -> None:
        """Waits for the end of all, and checks what became of each: "whole", "again" or "error"."""
        await turns(3)
        slow = self.handlers[SLOW]
        if slow.head is not None and not slow.ended:
            assert slow.exchange is not None
            slow.exchange.resume_reading()
        for index, (kind, handler) in enumerate(zip(KINDS, self.handlers, strict=True)):
            if index == SLOW and outcomes[SLOW] == "again":
                await until(lambda: slow.head is not None)
                assert slow.exchange is not None
                slow.exchange.resume_reading()
            await handler.until_ended()
            if outcomes[index] == "whole":
                assert (handler.completed, handler.content) == (True, BODIES[index]), kind
            elif outcomes[index] == "again":
                assert (handler.completed, handler.content) == (True, b"ok"), (kind, handler.error)
            else:
                check_error(handler.error)
                assert handler.content in (received[index], b""), kind
                assert handler.content == b"" or index in (HALF, SLOW)
        check_books(self.pool)
        again = [KINDS[index].path for index, outcome in outcomes.items() if outcome == "again"]
        assert sorted(self.arrived_again) == sorted(again)
        assert len(self.peers) == 1 + bool(again)
        assert (await self.pool.request("GET", "http://a/next")).body == b"ok"
        await self.pool.close()
        check_empty(self.pool)
        await turns(3)
        assert not any(stuck.open for stuck in self.stuck)
        for peer in self.peers[1:]:
            assert isinstance(peer, HTTP2Server)
            assert peer.violation is None

    @property
    def arrived_again(self) -> list[str]:
        """The paths of what came to the later servers."""
        return [path for peer in self.peers[1:] if isinstance(peer, HTTP2Server) for path in peer.targets.values()]


def check_error(error: BaseException | None) -> None:
    assert isinstance(error, HTTPCoreError)
    assert isinstance(error, (RemoteProtocolError, ReadError, WriteError)), error
    assert (error.request_sent, error.host) == (True, "a")
    assert error.phase is not None


def heard(frames: list[bytes], size: int, ids: dict[int, int]) -> tuple[set[int], set[int], dict[int, bytes]]:
    """Returns whose heads, whose ends and which contents are among the first bytes of the transcript."""
    heads, ends, received = set(), set(), dict.fromkeys(range(len(KINDS)), b"")
    for frame in frames:
        size -= len(frame)
        if size < 0:
            break
        kind, flags, index = frame[3], frame[4], ids[int.from_bytes(frame[5:9])]
        if kind == 1:
            heads.add(index)
        else:
            received[index] += frame[9:]
        if kind == 0 and flags & END_STREAM:
            ends.add(index)
    return heads, ends, received


@pytest.mark.parametrize("reset", [False, True], ids=["end", "reset"])
@pytest.mark.parametrize("warm", [False, True], ids=["cold", "warm"])
async def test_a_connection_lost_after_any_byte_answers_or_fails_or_sends_again_each_request(
    warm: bool, reset: bool
) -> None:
    first = b"" if warm else FIRST
    outcomes: dict[int, str] = {}
    for count in range(len(first) + len(b"".join(transcript(1))) + 1):
        losses = Losses(ONE_CONNECTION)
        await losses.begin(warm=warm)
        frames = transcript(losses.first_id)
        losses.peers[0].send((first + b"".join(frames))[:count])
        await turns(3)
        if reset:
            losses.peers[0].abort()
        else:
            losses.peers[0].close()
        heads, ends, received = heard(frames, count - len(first), losses.ids())
        for index, kind in enumerate(KINDS):
            if index in ends:
                outcomes[index] = "whole"
            else:
                again = index not in heads and kind.idempotent and (warm or index > 0)
                outcomes[index] = "again" if again else "error"
        await losses.end(outcomes, received)
    assert list(outcomes.values()) == ["error", "whole", "again", "error", "whole", "again", "error", "error", "error"]


@pytest.mark.parametrize("room", [False, True], ids=["one connection", "room for another"])
async def test_goaway_between_any_frames_sends_again_what_is_above_whatever_its_method(room: bool) -> None:
    seen: set[str] = set()
    for last_index in range(-1, len(KINDS) + 1):
        for cut in range(len(transcript(1)) + 1):
            losses = Losses(None if room else ONE_CONNECTION)
            await losses.begin(warm=True)
            last_id = 2**31 - 1 if last_index == len(KINDS) else losses.first_id + 2 * last_index
            frames = transcript(losses.first_id)
            losses.peers[0].send(b"".join(frames[:cut]) + goaway(last_id))
            await turns(3)
            heads, ends, received = heard(frames, len(b"".join(frames[:cut])), losses.ids())
            outcomes = {}
            for index, kind in enumerate(KINDS):
                again = kind.replayable if index > last_index else kind.idempotent
                outcomes[index] = "whole" if index in ends else "again" if again and index not in heads else "error"
            if room:  # nobody waits for those that are still answered
                for index in range(last_index + 1, len(KINDS)):
                    if index != SLOW:
                        await losses.handlers[index].until_ended()
            losses.peers[0].close()
            await losses.end(outcomes, received)
            for index, kind in enumerate(KINDS):
                if kind.method == "POST":
                    assert (index <= last_index) + losses.arrived_again.count(kind.path) <= 1
            seen.update(outcomes.values())
    assert seen == {"whole", "again", "error"}


class RefusingServer(HTTP2Server):
    """Refuses what it is told to, and answers the rest.

    Args:
        refuses: is asked for each request, by its path, as soon as its head came.
    """

    def __init__(self, refuses: Callable[[str], bool]) -> None:
        super().__init__()
        self._refuses = refuses
        self._asked: set[int] = set()

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        for stream_id in list(self.open):
            ended = any(isinstance(event, StreamEnded) and event.stream_id == stream_id for event in self.events)
            if stream_id not in self._asked and self._refuses(self.targets[stream_id]):
                self.refuse(stream_id)
            elif ended:
                self.answer(stream_id)
            self._asked.add(stream_id)


async def ask_refusing(
    refuses: Callable[[str], bool], limits: PoolLimits | None, arrivals: Counter[str]
) -> dict[str, RecordingHandler]:
    """Sends requests of all kinds to servers that refuse some; returns what became of them."""

    def asked(path: str) -> bool:
        arrivals[path] += 1
        return refuses(path)

    async def body() -> AsyncIterator[bytes]:
        yield b"some of it"
        await asyncio.sleep(0)
        yield b"the rest"

    connector = MemoryConnector(lambda: RefusingServer(asked))
    pool = ConnectionPool(limits=limits, http1=False, connector=connector)
    assert (await pool.request("GET", "http://a/warm")).body == b"ok"
    handlers = {}
    for path, method, content in (
        ("/get", "GET", b""),
        ("/post", "POST", b"all of it"),
        ("/put", "PUT", b"all of it"),
        ("/streamed", "POST", body),
        ("/one-shot", "POST", body()),
    ):
        handlers[path] = RecordingHandler()
        pool.dispatch(Request(method, "http://a" + path, body=content), handlers[path])
    for handler in handlers.values():
        await handler.until_ended()
    check_books(pool)
    assert (await pool.request("GET", "http://a/next")).body == b"ok"
    await pool.close()
    check_empty(pool)
    await turns(3)
    assert all(peer.violation is None for peer in connector.peers)
    return handlers


PATHS = ["/get", "/post", "/put", "/streamed", "/one-shot"]


@pytest.mark.parametrize("limits", [None, ONE_CONNECTION], ids=["unlimited", "one connection"])
@pytest.mark.parametrize("refused", [*([path] for path in PATHS), PATHS, PATHS[:4]], ids=" ".join)
async def test_requests_that_are_refused_once_are_sent_again(refused: list[str], limits: PoolLimits | None) -> None:
    arrivals: Counter[str] = Counter()
    handlers = await ask_refusing(lambda path: path in refused and arrivals[path] == 1, limits, arrivals)
    for path, handler in handlers.items():
        if path in refused and path == "/one-shot":  # its body was begun
            check_error(handler.error)
            assert "REFUSED_STREAM" in str(handler.error)
            assert arrivals[path] == 1
        else:
            assert (handler.completed, handler.content) == (True, b"ok"), (path, handler.error)
            assert arrivals[path] == 1 + (path in refused)


@pytest.mark.parametrize("limits", [None, ONE_CONNECTION], ids=["unlimited", "one connection"])
@pytest.mark.parametrize("refused", [*([path] for path in PATHS[:4]), PATHS], ids=" ".join)
async def test_requests_that_are_refused_always_fail_in_the_end(refused: list[str], limits: PoolLimits | None) -> None:
    arrivals: Counter[str] = Counter()
    handlers = await ask_refusing(lambda path: path in refused, limits, arrivals)
    for path, handler in handlers.items():
        if path in refused:
            check_error(handler.error)
            assert "REFUSED_STREAM" in str(handler.error)
            assert arrivals[path] == (1 if path == "/one-shot" else 1 + MAX_REPLAYS_UNPROCESSED)
        else:
            assert (handler.completed, handler.content, arrivals[path]) == (True, b"ok", 1)
