"""PulledBody: a request's body that is read in the thread of a blocking call, where reading may block."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Callable, Iterator

from httpcore.sync.bridge import ThreadedQueue
from httpcore.sync.loop_thread import LoopThread

__all__ = ["PulledBody"]


class PulledBody:
    """What the loop iterates over, and the caller's thread reads, while it waits for the answer or for content.

    Args:
        thread: the loop's.
        queue: where the caller's thread waits.
        open_body: gives the chunks, from the beginning; called in the caller's thread, for each time the body is sent.
    """

    def __init__(self, thread: LoopThread, queue: ThreadedQueue, open_body: Callable[[], Iterator[bytes]]) -> None:
        self._thread = thread
        self._queue = queue
        self._open = open_body

    def __aiter__(self) -> AsyncIterator[bytes]:
        return _Pull(self._thread, self._queue, self._open)


class _Pull:
    """One time that the body is sent."""

    def __init__(self, thread: LoopThread, queue: ThreadedQueue, open_body: Callable[[], Iterator[bytes]]) -> None:
        self._thread = thread
        self._queue = queue
        self._open = open_body
        self._parts: Iterator[bytes] | None = None
        self._pulling = threading.Lock()  # one thread may read a response, and another close it
        self._closed = False
        queue.on_left.append(self.close)

    def __aiter__(self) -> AsyncIterator[bytes]:
        return self

    async def __anext__(self) -> bytes:
        future: asyncio.Future[bytes | None] = self._thread.loop.create_future()
        self._queue.ask(lambda: self._pull(future))
        part = await future
        if part is None:
            raise StopAsyncIteration
        return part

    # In the caller's thread.

    def _pull(self, future: asyncio.Future[bytes | None]) -> None:
        part: bytes | None = None
        error: Exception | None = None
        with self._pulling:
            if self._closed:
                return
            try:
                if self._parts is None:
                    self._parts = self._open()
                part = next(self._parts, None)
            except (StopIteration, StopAsyncIteration) as exc:  # of the opening, or strayed: no end of the body
                error = RuntimeError(f"a request's body raised {type(exc).__name__}")
                error.__cause__ = exc
            except Exception as exc:
                error = exc
        if self._closed:
            self.close()
        self._thread.submit_if_open(_settle, future, part, error)

    def close(self) -> None:
        """Closes the iterator, so that a generator's own `finally` runs now: nobody wants any more."""
        self._closed = True
        if not self._pulling.acquire(blocking=False):
            return  # by another thread, which closes it after the piece at hand
        try:
            parts, self._parts = self._parts, None
            close = getattr(parts, "close", None)
            if close is not None:
                close()
        except Exception as exc:  # the answer is there, or an error that matters more
            message = "a request's body raised when it was closed"
            self._thread.submit_if_open(
                self._thread.loop.call_exception_handler, {"message": message, "exception": exc}
            )
        finally:
            self._pulling.release()


def _settle(future: asyncio.Future[bytes | None], part: bytes | None, error: Exception | None) -> None:
    if future.done():  # nobody wants it any more
        return
    if error is None:
        future.set_result(part)
    else:
        future.set_exception(error)
