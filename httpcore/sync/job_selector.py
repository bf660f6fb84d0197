"""JobSelector: how other threads reach an asyncio loop, and are reached by it, with as few system calls as can be.

`call_soon_threadsafe` writes to a socket for every call, which the loop reads, twice. What waits here is found by a
loop that is awake without that; one that sleeps is woken by eight bytes.
"""

from __future__ import annotations

import asyncio
import contextvars
import os
import selectors
import sys
import threading
from collections import deque
from collections.abc import Callable

__all__ = ["JobSelector", "ring"]

_ONE = (1).to_bytes(8, sys.byteorder)  # what an eventfd counts by


def ring(bell: threading.Lock) -> None:
    """Releases the lock for which a thread waits."""
    try:
        bell.release()
    except RuntimeError:
        pass  # it is released already, and the thread about to find that out


class JobSelector(selectors.DefaultSelector):
    """The selector of a `SelectorEventLoop`, which also has the loop call what other threads submit.

    Attributes:
        loop: the loop, to be set before it runs.
    """

    loop: asyncio.AbstractEventLoop

    def __init__(self) -> None:
        super().__init__()
        self._jobs: deque[tuple[contextvars.Context, Callable[..., object], tuple[object, ...]]] = deque()
        self._bells: list[threading.Lock] = []
        # Whether the loop sleeps, or is about to without another look at the jobs. Who submits looks at it after the
        # job is there, the loop looks at the jobs after it is set: one of them sees what the other did.
        self._asleep = False
        if hasattr(os, "eventfd"):
            self._woken = self._wakes = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
        else:
            self._woken, self._wakes = os.pipe()
            os.set_blocking(self._woken, False)
            os.set_blocking(self._wakes, False)
        self.register(self._woken, selectors.EVENT_READ)

    def submit(self, callback: Callable[..., object], *args: object) -> None:
        """Has the loop call it, soon, in the context of who asks. In any thread.

        Raises:
            RuntimeError: the loop is closed.
        """
        if self.loop.is_closed():
            raise RuntimeError("Event loop is closed")
        self._jobs.append((contextvars.copy_context(), callback, args))
        if self._asleep:
            try:
                os.write(self._wakes, _ONE)
            except BlockingIOError:
                pass  # it was woken very often already

    def wake(self, bell: threading.Lock) -> None:
        """Releases the lock for which another thread waits, before the loop sleeps. On the loop's thread."""
        self._bells.append(bell)

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        """What a selector does; and the jobs."""
        if self._bells:
            self._ring()
        if timeout is None or timeout > 0:
            self._asleep = True
            if self._jobs:
                timeout = 0
        ready = super().select(timeout)
        self._asleep = False
        for index, (key, _) in enumerate(ready):
            if key.fd == self._woken:
                os.read(self._woken, 4096)
                del ready[index]
                break
        jobs = self._jobs
        for _ in range(len(jobs)):  # those that jobs submit have their turn after what else is ready
            context, callback, args = jobs.popleft()
            try:
                context.run(callback, *args)
            except Exception as exc:
                self.loop.call_exception_handler({"message": f"Exception in {callback!r}", "exception": exc})
        return ready

    def close(self) -> None:
        """Closes it. What wakes it stays open: another thread might write to its number at this very moment."""
        self._ring()
        super().close()

    def _ring(self) -> None:
        bells, self._bells = self._bells, []
        for bell in bells:
            ring(bell)
