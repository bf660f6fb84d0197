"""BodyQueue: the bytes between a protocol, which is pushed to, and one reader, which pulls."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable

__all__ = ["DEFAULT_HIGH_WATER", "DEFAULT_LOW_WATER", "BodyQueue"]

DEFAULT_HIGH_WATER = 64 * 1024  # bytes: asyncio's own high-water mark for writing
DEFAULT_LOW_WATER = 16 * 1024  # bytes


def _nothing() -> None:
    pass


class BodyQueue:
    """What `asyncio.Queue` does, counted in bytes, for one producer on the loop and one reader.

    The producer is never refused and never waits: it is asked to pause when more than `high_water` bytes are
    queued, unless the reader was waiting for them, and to resume when no more than `low_water` are. What the queue may
    hold is therefore `high_water`, or one read where that is more, and what the producer had in hand when it was asked
    (asyncio reads 256 KiB at most at a time).

    Args:
        high_water: bytes above which `pause` is called.
        low_water: bytes at or below which `resume` is called.
        pause: asks the producer to pause.
        resume: asks it to resume.
    """

    __slots__ = (
        "_chunks",
        "_error",
        "_finished",
        "_high_water",
        "_low_water",
        "_paused",
        "_size",
        "_waiter",
        "pause",
        "resume",
    )

    def __init__(
        self,
        high_water: int = DEFAULT_HIGH_WATER,
        low_water: int = DEFAULT_LOW_WATER,
        pause: Callable[[], None] = _nothing,
        resume: Callable[[], None] = _nothing,
    ) -> None:
        self.pause = pause
        self.resume = resume
        self._high_water = high_water
        self._low_water = low_water
        self._chunks: deque[bytes] = deque()
        self._size = 0
        self._paused = False  # whether `pause` was called last
        self._finished = False  # no more will be put; _error says whether that is a success
        self._error: BaseException | None = None
        self._waiter: asyncio.Future[None] | None = None  # set by get, completed by _wake: one reader at a time

    @property
    def size(self) -> int:
        """How many bytes wait to be read."""
        return self._size

    def put(self, data: bytes) -> None:
        """Queues `data` and wakes the reader. Ignored once the queue has ended: nobody will read it."""
        if self._finished:
            return
        self._chunks.append(data)
        self._size += len(data)
        waiter = self._waiter
        if waiter is not None and not waiter.done():  # as _wake, but for its frame
            waiter.set_result(None)  # and takes this at once: a pause for each read would cost more than the read
        elif self._size > self._high_water and not self._paused:
            self._paused = True
            self.pause()

    def finish(self) -> None:
        """Says that everything was put. What is queued can still be read."""
        if not self._finished:
            self._finished = True
            if self._waiter is not None:
                self._wake()

    def fail(self, error: BaseException) -> None:
        """Says that no more will come because of `error`, which the reader gets after what is queued."""
        if not self._finished:
            self._error = error
            self.finish()

    def clear(self) -> None:
        """Drops what is queued: nobody will read it."""
        self._chunks.clear()
        self._size = 0

    def complete_within(self, limit: int | None) -> bool:
        """Whether all is there, nothing went wrong, and what is queued is no more than `limit` bytes."""
        return self._finished and self._error is None and (limit is None or self._size <= limit)

    def take_all(self) -> bytes:
        """Returns what is queued, without waiting, and resumes the producer."""
        chunks = self._chunks
        taken = chunks[0] if len(chunks) == 1 else b"".join(chunks)
        chunks.clear()
        self._size = 0
        if self._paused:
            self._resume_below_low_water()
        return taken

    async def get(self) -> bytes:
        """Returns the next chunk, in the order they were put; b"" once all were read.

        Raises:
            BaseException: what `fail` was given, after the last chunk.
            RuntimeError: another task is reading.
        """
        while not self._chunks:
            if self._finished:
                if self._error is not None:
                    raise self._error
                return b""
            if self._waiter is not None:
                raise RuntimeError("another task is reading this response already")
            self._waiter = asyncio.get_running_loop().create_future()
            try:
                await self._waiter
            finally:
                self._waiter = None
        chunk = self._chunks.popleft()
        self._size -= len(chunk)
        if self._paused:
            self._resume_below_low_water()
        return chunk

    def _resume_below_low_water(self) -> None:
        if self._paused and self._size <= self._low_water:
            self._paused = False
            self.resume()

    def _wake(self) -> None:
        assert self._waiter is not None
        if not self._waiter.done():
            self._waiter.set_result(None)
