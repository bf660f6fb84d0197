"""What a plain request may cost: frames for each chunk, tasks and timers for each request (DESIGN 6)."""

from __future__ import annotations

import asyncio
import gc
import sys
import weakref
from collections import Counter
from pathlib import Path
from types import FrameType

import pytest

import httpcore
from httpcore.body import BodyQueue
from httpcore.config import TimeoutConfig
from httpcore.request import Request
from tests.protocols.recording import NO_TIMEOUT, URL, Recorder, response

PACKAGE = str(Path(httpcore.__file__).parent)
CHUNKS = 50


class Frames:
    """Counts the package's own Python functions that are entered, but for its testing tools'."""

    def __init__(self) -> None:
        self.entered: Counter[str] = Counter()

    def _profile(self, frame: FrameType, event: str, arg: object) -> None:
        code = frame.f_code
        if event == "call" and code.co_filename.startswith(PACKAGE) and "testing" not in code.co_filename:
            self.entered[code.co_qualname] += 1

    def __enter__(self) -> Frames:
        sys.setprofile(self._profile)
        return self

    def __exit__(self, *exc_info: object) -> None:
        sys.setprofile(None)


class Queueing(Recorder):
    """A handler whose `data_received` is a queue's `put`, as that of `Response` is."""

    def __init__(self) -> None:
        super().__init__()
        self.queue = BodyQueue()
        self.data_received = self.queue.put  # type: ignore[method-assign]


def pieces(framing: str) -> tuple[bytes, bytes]:
    """A response's head, and a piece of its content."""
    if framing == "chunks":
        return response(b"Transfer-Encoding: chunked"), b"3e8\r\n" + b"x" * 1000 + b"\r\n"
    if framing == "length":
        return response(b"Content-Length: 10000000"), b"x" * 1000
    return response(), b"x" * 1000


@pytest.mark.parametrize("framing", ["length", "chunks", "until the end"])
@pytest.mark.parametrize("timeout", [NO_TIMEOUT, TimeoutConfig(5)], ids=["no timeout", "timeout"])
async def test_a_chunk_enters_at_most_four_frames(client, framing, timeout):
    head, piece = pieces(framing)
    recorder = client.dispatch(None, Queueing(), timeout=timeout)
    client.peer.send(head)
    await recorder.until("response")
    protocol, queue = client.protocol, recorder.queue
    with Frames() as frames:
        for _ in range(CHUNKS):
            protocol.data_received(piece)
    assert queue.size == CHUNKS * 1000
    assert frames.entered["HTTP11Protocol.data_received"] == CHUNKS
    assert frames.entered["BodyQueue.put"] == CHUNKS
    assert frames.entered.total() <= 4 * CHUNKS, frames.entered
    recorder.exchange.abort()


@pytest.mark.parametrize("framing", ["length", "chunks", "until the end"])
async def test_a_chunk_enters_at_most_four_frames_when_somebody_waits_for_it(client, framing):
    head, piece = pieces(framing)
    recorder = client.dispatch(None, Queueing(), timeout=TimeoutConfig(5))
    client.peer.send(head)
    await recorder.until("response")
    protocol, queue = client.protocol, recorder.queue
    for _ in range(CHUNKS):
        reader = asyncio.ensure_future(queue.get())
        await asyncio.sleep(0)
        with Frames() as frames:
            protocol.data_received(piece)
        assert 0 < frames.entered.total() <= 4, frames.entered
        assert await reader == b"x" * 1000
    recorder.exchange.abort()


@pytest.mark.parametrize("method", ["GET", "POST"])
async def test_a_plain_request_makes_no_task_and_no_timer(client, clock, method):
    """The first on a connection makes the one timer of its read deadline."""
    tasks: list[object] = []

    def factory(loop: asyncio.AbstractEventLoop, coroutine, **options):
        tasks.append(coroutine)
        return asyncio.Task(coroutine, loop=loop, **options)

    timeout = TimeoutConfig(5)
    await client.answer(response(b"Content-Length: 0"), timeout=timeout)
    timers = clock.timers
    asyncio.get_running_loop().set_task_factory(factory)
    recorder = Recorder()
    for _ in range(10):
        request = Request(method, URL, body=b"" if method == "GET" else b"x" * 60_000)
        recorder = client.dispatch(request, timeout=timeout)
        if method == "POST":
            await client.peer.receive_until(b"x" * 60_000)
        client.peer.send(response(b"Content-Length: 2", body=b"ok"))
        await recorder.end()
    asyncio.get_running_loop().set_task_factory(None)
    assert recorder.body == b"ok"
    assert tasks == []
    assert clock.timers == timers


async def test_a_chunk_makes_no_timer(client, clock):
    recorder = client.dispatch(timeout=TimeoutConfig(5))
    client.peer.send(response(b"Content-Length: 1000"))
    await recorder.until("response")
    timers = clock.timers
    for _ in range(1000):
        client.protocol.data_received(b"x")
    assert recorder.names[-1] == "complete"
    assert clock.timers == timers


async def test_an_exchange_leaves_no_cycle_behind(client):
    """What a request used is freed when it ends, and not by the garbage collector some time later."""
    await client.answer(response(b"Content-Length: 0"))
    gc.collect()
    gc.disable()
    try:
        for transcript in (
            response(b"Content-Length: 2", body=b"ok"),
            response(b"Transfer-Encoding: chunked") + b"0\r\n\r\n",
        ):
            recorder = await client.answer(transcript)
            handler = weakref.ref(recorder)
            assert recorder.exchange.ended
            client.recorders.remove(recorder)
            del recorder
            assert handler() is None
    finally:
        gc.enable()
