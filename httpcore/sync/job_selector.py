"""JobSelector: how other threads reach an asyncio loop, and are reached by it, with few system calls. Linux alone.

`call_soon_threadsafe` writes to a socket for every call, which the loop reads, twice. What waits here is found by a
loop that is awake without that; one that sleeps is woken by a write that nobody has to read.
"""

from __future__ import annotations

import asyncio
import contextvars
import math
import os
import select
import selectors
import sys
import threading
from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from _typeshed import FileDescriptorLike

__all__ = ["JobSelector"]

assert sys.platform == "linux"  # which mypy understands, too

_ONE = (1).to_bytes(8, sys.byteorder)  # what is written to an eventfd
_MAX_EVENTS = 256  # in one turn of the loop; more wait for the next


class JobSelector(selectors.EpollSelector):
    """The selector of a `SelectorEventLoop`, which also has the loop call what other threads submit.

    Attributes:
        loop: the loop, to be set before it runs.
    """

    loop: asyncio.AbstractEventLoop

    def __init__(self) -> None:
        super().__init__()
        self._keys: dict[int, selectors.SelectorKey] = {}
        self._jobs: deque[tuple[contextvars.Context, Callable[..., object], tuple[object, ...]]] = deque()
        self._bells: list[threading.Lock] = []
        # Whether the loop sleeps, or is about to without another look at the jobs. Who submits looks at it after the
        # job is there, the loop looks at the jobs after it is set: one of them sees what the other did.
        self._asleep = False
        self._epoll = select.epoll.fromfd(os.dup(self.fileno()))  # the same one, to be asked without detours
        self._eventfd = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
        self._epoll.register(self._eventfd, select.EPOLLIN | select.EPOLLET)

    def submit(self, callback: Callable[..., object], *args: object) -> None:
        """Has the loop call it, soon, in the context of who asks. In any thread.

        Raises:
            RuntimeError: the loop is closed.
        """
        if self.loop.is_closed():
            raise RuntimeError("Event loop is closed")
        self._jobs.append((contextvars.copy_context(), callback, args))
        if self._asleep:
            os.write(self._eventfd, _ONE)

    def wake(self, bell: threading.Lock) -> None:
        """Releases the lock for which another thread waits, before the loop sleeps. On the loop's thread."""
        self._bells.append(bell)

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        """What a selector does; and the jobs."""
        if self._bells:
            self._ring()
        if timeout is None:
            timeout = -1
        elif timeout > 0:
            timeout = math.ceil(timeout * 1000) / 1000  # or the loop would turn and turn in the last millisecond
        if timeout:
            self._asleep = True
            if self._jobs:
                timeout = 0
        events = self._epoll.poll(timeout, _MAX_EVENTS)
        self._asleep = False
        ready = []
        for fd, flags in events:
            key = self._keys.get(fd)
            if key is not None:  # not the eventfd's
                # An error or a hang-up is for both to find out.
                found = (selectors.EVENT_READ if flags & ~select.EPOLLOUT else 0) | (
                    selectors.EVENT_WRITE if flags & ~select.EPOLLIN else 0
                )
                ready.append((key, found & key.events))
        jobs = self._jobs
        if not jobs:
            return ready
        for _ in range(len(jobs)):  # those that are submitted meanwhile have their turn after what is ready
            context, callback, args = jobs.popleft()
            try:
                context.run(callback, *args)
            except Exception as exc:
                self.loop.call_exception_handler({"message": f"Exception in {callback!r}", "exception": exc})
        # A job may have stopped watching, and watched again: asyncio, told of the old key, would end the new one. What
        # is left out here is still ready at the next poll.
        return [(key, found) for key, found in ready if self._keys.get(key.fd) is key]

    def register(self, fileobj: FileDescriptorLike, events: int, data: object = None) -> selectors.SelectorKey:
        """What a selector does."""
        key = super().register(fileobj, events, data)
        self._keys[key.fd] = key
        return key

    def unregister(self, fileobj: FileDescriptorLike) -> selectors.SelectorKey:
        """What a selector does."""
        key = super().unregister(fileobj)
        del self._keys[key.fd]
        return key

    def modify(self, fileobj: FileDescriptorLike, events: int, data: object = None) -> selectors.SelectorKey:
        """What a selector does."""
        key = super().modify(fileobj, events, data)
        self._keys[key.fd] = key
        return key

    def close(self) -> None:
        """Closes it. The eventfd stays open: another thread might be about to write to its number."""
        self._ring()
        self._keys.clear()
        self._epoll.close()
        super().close()

    def _ring(self) -> None:
        bells, self._bells = self._bells, []
        for bell in bells:
            try:
                bell.release()
            except RuntimeError:
                pass  # it is released already, and the thread about to find that out
