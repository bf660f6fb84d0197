"""A loop's clock that a test moves, so that no test waits for a deadline."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable

import pytest_asyncio

__all__ = ["Clock", "clock", "turns", "until"]


async def turns(count: int = 10) -> None:
    """Lets the loop turn: in memory, whatever was going to happen by itself has happened then."""
    for _ in range(count):
        await asyncio.sleep(0)


async def until(condition: Callable[[], bool]) -> None:
    """Lets the loop turn until `condition()` holds."""
    for _ in iter(condition, True):
        await asyncio.sleep(0)


class Clock:
    """Takes the place of a loop's clock, and stands still unless it is moved.

    Attributes:
        now: seconds.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self.now = loop.time()
        loop.time = self.time  # type: ignore[method-assign]

    def time(self) -> float:
        """What `loop.time()` returns."""
        return self.now

    async def advance(self, seconds: float) -> None:
        """Moves the clock, and returns when the timers that are due by then have run, each at its own time."""
        end = self.now + seconds
        await turns()
        while (due := self._next()) is not None and due <= end:
            # A timer may fire up to the clock's resolution early; not so here.
            self.now = max(self.now, due)
            await turns()
        self.now = end
        await turns()

    def restore(self) -> None:
        """Gives the loop its own clock back."""
        del self._loop.time

    def _next(self) -> float | None:
        times = [handle.when() for handle in getattr(self._loop, "_scheduled", ()) if not handle.cancelled()]
        return min(times, default=None)


@pytest_asyncio.fixture
async def clock() -> AsyncIterator[Clock]:
    """The running loop's clock, in the test's hand."""
    clock = Clock(asyncio.get_running_loop())
    yield clock
    clock.restore()
