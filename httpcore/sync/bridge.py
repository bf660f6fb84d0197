"""The bridge between the loop's thread and the thread of a blocking call.

The async API's own code runs in the caller's thread: its coroutines wait for nothing but the answer and its content,
and what they get these from, `ThreadedQueue`, blocks instead of suspending. `run` drives them. Only the exchange itself
is on the loop's thread: there a `ThreadedCollector` gets the callbacks, with no task for the call.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import enum
import sys
import threading
from collections import deque
from collections.abc import Callable, Coroutine, Iterable
from typing import TypeVar

from httpcore.body import BodyQueue
from httpcore.handlers import ConnectionInfo, Exchange, Timings
from httpcore.response import Response, ResponseCollector
from httpcore.sync.loop_thread import LoopThread, ring

__all__ = ["ThreadedCollector", "ThreadedExchange", "ThreadedQueue", "run", "wait_for"]

_T = TypeVar("_T")

# Seconds for which a thread waits for a lock without looking for signals. On Windows it does not look while it waits.
_PATIENCE = 0.2 if sys.platform == "win32" else -1


def run(coroutine: Coroutine[object, None, _T]) -> _T:
    """Runs a coroutine that blocks where others suspend, and returns what it returns."""
    try:
        coroutine.send(None)
    except StopIteration as stop:
        result: _T = stop.value
        return result
    coroutine.close()
    raise RuntimeError("a coroutine of the blocking API waited for something of the loop's")


def wait_for(coroutine: Coroutine[object, None, _T], thread: LoopThread) -> _T:
    """Runs a coroutine on the loop, and blocks until it is done. A signal's handler that raises cancels it."""
    try:
        thread.check()
        future = asyncio.run_coroutine_threadsafe(coroutine, thread.loop)
    except RuntimeError:
        coroutine.close()
        raise
    try:
        while _PATIENCE > 0 and not concurrent.futures.wait((future,), _PATIENCE).done:
            pass
        return future.result()
    except BaseException:
        future.cancel()
        raise


class _Awaited(enum.IntEnum):
    """What the caller's thread waits for."""

    NOTHING = 0
    CONTENT = 1  # all of it, or as much as may wait
    ANSWER = 2
    DATA = 3  # any piece of the content, or its end


_NOTHING, _CONTENT, _ANSWER, _DATA = _Awaited


class ThreadedQueue(BodyQueue):
    """A `BodyQueue` between two threads, and with it the answer, and what the caller's thread is asked to do meanwhile.

    The loop's thread puts and ends; the caller's waits and gets. Both may find the other at work at any point, so all
    that both look at is looked at and changed under one lock. A wake-up may come for nothing, but none is ever missing:
    who waits says so under the lock, and looks there again after each.

    Args:
        thread: the loop's.
        high_water, low_water: as for `BodyQueue`.

    Attributes:
        exchange: the exchange, on the loop's thread; `None` before it was made.
        on_left: called in the caller's thread once it waits no more, and does no more jobs.
    """

    __slots__ = ("_awaited", "_bell", "_jobs", "_left", "_lock", "_outcome", "_thread", "exchange", "on_left")

    def __init__(self, thread: LoopThread, high_water: int, low_water: int) -> None:
        super().__init__(high_water, low_water)
        self._thread = thread
        self._lock = threading.Lock()
        self._bell = threading.Lock()  # the caller's thread waits for it; held but for a wake-up
        self._bell.acquire()
        self._jobs: deque[Callable[[], None]] = deque()
        self._awaited = _NOTHING
        self._outcome: Response | BaseException | None = None
        self._left = False
        self.exchange: Exchange | None = None
        self.on_left: list[Callable[[], None]] = []

    # The future of a ResponseCollector. On the loop's thread.

    def get_loop(self) -> asyncio.AbstractEventLoop:
        """Returns the loop."""
        return self._thread.loop

    def done(self) -> bool:
        """Whether nobody waits for an answer any more."""
        return self._left

    def set_result(self, response: Response) -> None:
        """The answer is there."""
        with self._lock:
            self._outcome = response
            wake = self._awaited >= _ANSWER
        if wake:
            self._thread.wake(self._bell)

    def set_exception(self, exc: BaseException) -> None:
        """There will be no answer."""
        with self._lock:
            self._outcome = exc
            wake = self._awaited
        if wake:
            self._thread.wake(self._bell)

    # The queue. On the loop's thread, but for `fail`.

    def put(self, data: bytes) -> None:
        """Queues `data`."""
        with self._lock:
            if self._finished:
                return
            self._chunks.append(data)
            self._size += len(data)
            pause = self._size > self._high_water and not self._paused
            if pause:
                self._paused = True
            wake = self._awaited == _DATA or (pause and self._awaited)
        if wake:
            self._thread.wake(self._bell)
        if pause:
            self.pause()

    def finish(self) -> None:
        """Says that everything was put."""
        with self._lock:
            wake = self._awaited and not self._finished
            self._finished = True
        if wake:
            self._thread.wake(self._bell)

    def fail(self, error: BaseException) -> None:
        """Says that no more will come because of `error`. In any thread."""
        with self._lock:
            if self._finished:
                return
            self._error = error
            self._finished = True
            wake = self._awaited
        if wake:
            ring(self._bell)

    def ask(self, job: Callable[[], None]) -> None:
        """Asks the caller's thread, once it waits, to do `job`."""
        with self._lock:
            self._jobs.append(job)
            wake = self._awaited
        if wake:
            self._thread.wake(self._bell)

    # The caller's thread.

    def wait_for_answer(self, *, streamed: bool) -> Response:
        """Blocks until the answer is there; unless it is `streamed`, with all of its content or as much as may wait.

        Raises:
            BaseException: there will be none.
        """
        self._wait(_ANSWER if streamed else _CONTENT)
        outcome, self._outcome = self._outcome, None  # it refers to this queue; or to this frame, once it is raised
        if isinstance(outcome, Response):
            return outcome
        assert outcome is not None
        try:
            raise outcome
        finally:
            del outcome

    async def get(self) -> bytes:
        """Returns the next chunk; b"" once all were read. Blocks."""
        self._wait(_DATA)
        with self._lock:
            if self._chunks:
                chunk = self._chunks.popleft()
                self._size -= len(chunk)
                resume = self._has_room()
            else:
                chunk, resume = b"", False
        if resume:
            self.resume()
        if not chunk:
            self.leave()
            if self._error is not None:
                raise self._error
        return chunk

    def take_all(self) -> bytes:
        """Returns what is queued, which is the rest."""
        with self._lock:
            taken = self._chunks[0] if len(self._chunks) == 1 else b"".join(self._chunks)
            self._chunks.clear()
            self._size = 0
            resume = self._has_room()
        if resume:
            self.resume()
        self.leave()
        return taken

    def clear(self) -> None:
        """Drops what is queued: nobody will read it."""
        with self._lock:
            self._chunks.clear()
            self._size = 0
        self.leave()

    def leave(self) -> None:
        """Says that nobody will wait any more."""
        self._left = True
        while self.on_left:
            self.on_left.pop()()

    def _has_room(self) -> bool:
        resume = self._paused and self._size <= self._low_water
        if resume:
            self._paused = False
        return resume

    def _is_there(self, awaited: _Awaited) -> bool:
        if awaited == _DATA:
            return bool(self._chunks) or self._finished
        outcome = self._outcome
        if outcome is None or awaited == _ANSWER:
            return outcome is not None
        return self._finished or self._paused or not isinstance(outcome, Response)

    def _wait(self, awaited: _Awaited) -> None:
        while True:
            with self._lock:
                if self._is_there(awaited):
                    return
                self._awaited = awaited
                job = self._jobs.popleft() if self._jobs else None
            try:
                if job is not None:
                    job()
                else:
                    self._thread.check()
                    while not self._bell.acquire(True, _PATIENCE):  # a signal's handler may raise here
                        pass
            finally:
                self._awaited = _NOTHING


class ThreadedExchange(Exchange):
    """An exchange, for threads that are not the loop's: what it is asked to do it does there, soon."""

    __slots__ = ("_exchange", "_thread", "request")

    def __init__(self, exchange: Exchange, thread: LoopThread) -> None:
        self._exchange = exchange
        self._thread = thread
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
        self._thread.submit_if_open(self._exchange.pause_reading)

    def resume_reading(self) -> None:
        self._thread.submit_if_open(self._exchange.resume_reading)

    def write(self, data: bytes | bytearray | memoryview) -> None:
        self._thread.submit_if_open(self._exchange.write, bytes(data))

    def write_eof(self, trailers: Iterable[tuple[bytes | str, bytes | str]] = ()) -> None:
        self._thread.submit_if_open(self._exchange.write_eof, list(trailers))

    def abort(self, error: BaseException | None = None) -> None:
        if not self._exchange.ended:  # which it stays: every response that was read is closed as well
            self._thread.submit_if_open(self._exchange.abort, error)


class ThreadedCollector(ResponseCollector):
    """The handler of a blocking call. Runs on the loop's thread.

    Args:
        thread: the loop's.
        queue: what the caller's thread waits for.
        decode, max_body_size: as for `ResponseCollector`.
    """

    def __init__(self, thread: LoopThread, queue: ThreadedQueue, *, decode: bool, max_body_size: int | None) -> None:
        super().__init__(queue, queue, decode=decode, max_body_size=max_body_size)
        self._thread = thread

    def exchange_started(self, exchange: Exchange) -> None:
        """Keeps the exchange for the response, in a form for the caller's thread."""
        self._exchange = threaded = ThreadedExchange(exchange, self._thread)
        self.queue.pause = exchange.pause_reading  # called on the loop's thread; and this one not:
        self.queue.resume = threaded.resume_reading
