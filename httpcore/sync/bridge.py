"""The bridge between the loop's thread and the thread of a blocking call.

The async API's own code runs in the caller's thread: its coroutines wait for nothing but the answer and its content,
and what they get these from, `ThreadedQueue`, blocks instead of suspending. `run` drives them. Only the exchange itself
is on the loop's thread: there a `ThreadedCollector` gets the callbacks, with no task for the call.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Callable, Coroutine, Iterable, Iterator
from queue import SimpleQueue
from typing import Any, TypeVar

from httpcore.body import BodyQueue
from httpcore.handlers import ConnectionInfo, Exchange, Timings
from httpcore.response import Response, ResponseCollector

__all__ = ["PulledBody", "ThreadedCollector", "ThreadedExchange", "ThreadedQueue", "run"]

_T = TypeVar("_T")


def run(coroutine: Coroutine[Any, Any, _T]) -> _T:
    """Runs a coroutine that blocks where others suspend, and returns what it returns."""
    try:
        coroutine.send(None)
    except StopIteration as stop:
        result: _T = stop.value
        return result
    coroutine.close()
    raise RuntimeError("a coroutine of the blocking API waited for something of the loop's")


class ThreadedQueue(BodyQueue):
    """A `BodyQueue` between two threads, and with it the answer, and what the caller's thread is asked to do meanwhile.

    The loop's thread puts and ends; the caller's waits and gets. Both may find the other at work at any point, so all
    that both look at is looked at and changed under one lock.

    Args:
        loop: the loop.
        high_water, low_water: as for `BodyQueue`.
    """

    __slots__ = ("_awaits_data", "_inbox", "_lock", "_loop", "_outcome", "_waiting", "exchange")

    def __init__(self, loop: asyncio.AbstractEventLoop, high_water: int, low_water: int) -> None:
        super().__init__(high_water, low_water)
        self._loop = loop
        self._lock = threading.Lock()
        self._inbox: SimpleQueue[Callable[[], None] | None] = SimpleQueue()  # None only wakes
        self._waiting = False
        self._awaits_data = False  # whether the caller waits for any content, and not for all of it
        self._outcome: Response | BaseException | None = None
        self.exchange: Exchange | None = None

    # The future of a ResponseCollector. On the loop's thread.

    def get_loop(self) -> asyncio.AbstractEventLoop:
        """Returns the loop."""
        return self._loop

    def done(self) -> bool:
        """Whether there is an answer, or an error in its place."""
        return self._outcome is not None

    def set_result(self, response: Response) -> None:
        """The answer is there."""
        self._settle(response)

    def set_exception(self, exc: BaseException) -> None:
        """There will be no answer."""
        self._settle(exc)

    def _settle(self, outcome: Response | BaseException) -> None:
        with self._lock:
            self._outcome = outcome
            wake = self._waiting and (self._awaits_data or isinstance(outcome, BaseException))
        if wake:
            self._inbox.put(None)

    # The queue. On the loop's thread.

    def put(self, data: bytes) -> None:
        """Queues `data`."""
        with self._lock:
            if self._finished:
                return
            self._chunks.append(data)
            self._size += len(data)
            pause = self._size > self._high_water and not self._paused
            self._paused = self._paused or pause
            wake = self._waiting and (self._awaits_data or pause)
        if wake:
            self._inbox.put(None)
        if pause:
            self.pause()

    def finish(self) -> None:
        """Says that everything was put."""
        with self._lock:
            wake = self._waiting and not self._finished
            self._finished = True
        if wake:
            self._inbox.put(None)

    def fail(self, error: BaseException) -> None:
        """Says that no more will come because of `error`. In any thread."""
        with self._lock:
            if self._finished:
                return
            self._error = error
        self.finish()

    def ask(self, job: Callable[[], None]) -> None:
        """Asks the caller's thread, once it waits, to do `job`."""
        self._inbox.put(job)

    # The caller's thread.

    def wait_for_answer(self, *, streamed: bool) -> Response:
        """Blocks until the answer is there; unless it is `streamed`, with all of its content or as much as may wait.

        Raises:
            BaseException: there will be none.
        """

        def ready() -> bool:
            outcome = self._outcome
            if isinstance(outcome, BaseException):
                return True
            return outcome is not None and (streamed or self._finished or self._paused)

        self._wait(ready, awaits_data=streamed)
        outcome = self._outcome
        if isinstance(outcome, Response):
            return outcome
        assert outcome is not None
        self._outcome = None  # it refers to this frame, once it is raised
        raise outcome

    async def get(self) -> bytes:
        """Returns the next chunk; b"" once all were read. Blocks."""
        self._wait(lambda: bool(self._chunks) or self._finished, awaits_data=True)
        with self._lock:
            if not self._chunks:
                if self._error is not None:
                    raise self._error
                return b""
            chunk = self._chunks.popleft()
            self._size -= len(chunk)
            resume = self._has_room()
        if resume:
            self.resume()
        return chunk

    def take_all(self) -> bytes:
        """Returns what is queued."""
        with self._lock:
            taken = self._chunks[0] if len(self._chunks) == 1 else b"".join(self._chunks)
            self._chunks.clear()
            self._size = 0
            resume = self._has_room()
        if resume:
            self.resume()
        return taken

    def clear(self) -> None:
        """Drops what is queued."""
        with self._lock:
            self._chunks.clear()
            self._size = 0

    def _has_room(self) -> bool:
        resume = self._paused and self._size <= self._low_water
        if resume:
            self._paused = False
        return resume

    def _wait(self, ready: Callable[[], bool], *, awaits_data: bool) -> None:
        while True:
            with self._lock:
                if ready():
                    self._waiting = False
                    return
                self._waiting = True
                self._awaits_data = awaits_data
            job = self._inbox.get()  # a signal's handler may raise here
            if job is not None:
                job()


class ThreadedExchange(Exchange):
    """An exchange, for threads that are not the loop's: what it is asked to do it does there, soon."""

    __slots__ = ("_exchange", "_loop", "request")

    def __init__(self, exchange: Exchange, loop: asyncio.AbstractEventLoop) -> None:
        self._exchange = exchange
        self._loop = loop
        self.request = exchange.request

    @property
    def connection_info(self) -> ConnectionInfo | None:  # type: ignore[override]  # nobody assigns it
        return self._exchange.connection_info

    @property
    def stream_id(self) -> int | None:  # type: ignore[override]
        return self._exchange.stream_id

    @property
    def ended(self) -> bool:  # type: ignore[override]
        return self._exchange.ended

    @property
    def timings(self) -> Timings:
        return self._exchange.timings

    def pause_reading(self) -> None:
        self._soon(self._exchange.pause_reading)

    def resume_reading(self) -> None:
        self._soon(self._exchange.resume_reading)

    def write(self, data: bytes | bytearray | memoryview) -> None:
        self._soon(self._exchange.write, bytes(data))

    def write_eof(self, trailers: Iterable[tuple[bytes | str, bytes | str]] = ()) -> None:
        self._soon(self._exchange.write_eof, list(trailers))

    def abort(self, error: BaseException | None = None) -> None:
        self._soon(self._exchange.abort, error)

    def _soon(self, callback: Callable[..., object], *args: object) -> None:
        try:
            self._loop.call_soon_threadsafe(callback, *args)
        except RuntimeError:
            pass  # the loop is closed, and the connection with it


class ThreadedCollector(ResponseCollector):
    """The handler of a blocking call. Runs on the loop's thread."""

    def exchange_started(self, exchange: Exchange) -> None:
        """Keeps the exchange for the response, in a form for the caller's thread."""
        threaded = ThreadedExchange(exchange, self.loop)
        super().exchange_started(threaded)
        self.queue.pause = exchange.pause_reading  # called on the loop's thread; and this one not:
        self.queue.resume = threaded.resume_reading


class PulledBody:
    """A request's body that is iterated over in the caller's thread, whenever the loop asks for a piece.

    The caller's thread does so while it waits for the answer, or for content. What it reads from may block.

    Args:
        queue: who asks it.
        open_body: gives the iterator; called there too.
    """

    def __init__(self, queue: ThreadedQueue, open_body: Callable[[], Iterator[bytes]]) -> None:
        self._queue = queue
        self._open = open_body
        self._parts: Iterator[bytes] | None = None

    def __aiter__(self) -> AsyncIterator[bytes]:
        return self

    async def __anext__(self) -> bytes:
        loop = self._queue.get_loop()
        future: asyncio.Future[bytes | None] = loop.create_future()

        def settle(part: bytes | None, error: BaseException | None) -> None:
            if future.done():  # nobody wants it any more
                return
            if error is None:
                future.set_result(part)
            else:
                future.set_exception(error)

        def pull() -> None:
            part, error = None, None
            try:
                if self._parts is None:
                    self._parts = self._open()
                part = next(self._parts, None)
            except Exception as exc:
                error = exc
            loop.call_soon_threadsafe(settle, part, error)

        self._queue.ask(pull)
        part = await future
        if part is None:
            raise StopAsyncIteration
        return part

    def close(self) -> None:
        """Closes a generator: in the caller's thread, once nothing will ask for more."""
        close = getattr(self._parts, "close", None)
        if close is not None:
            close()
