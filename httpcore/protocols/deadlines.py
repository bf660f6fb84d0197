"""Deadline: a timer that is moved far more often than it fires."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

__all__ = ["Deadline"]


class Deadline:
    """Calls `callback` when the loop's clock passes `when`.

    Moving the deadline to later, or taking it back, is an assignment to `when`: the one loop timer stays as it is,
    and looks at `when` once it fires. So a deadline that is moved for every chunk makes a timer every few seconds,
    not for every chunk.

    Attributes:
        when: seconds of the loop's clock, `None` while there is no deadline. May be assigned `None`, or a later
            time than the one it was last armed with; `arm` takes any time.
    """

    __slots__ = ("_callback", "_due", "_handle", "_loop", "when")

    def __init__(self, loop: asyncio.AbstractEventLoop, callback: Callable[[], None]) -> None:
        self._loop = loop
        self._callback = callback
        self._handle: asyncio.Handle | None = None
        self._due = 0.0  # when _handle is to fire; uvloop's handles do not know where that is at once
        self.when: float | None = None

    def arm(self, when: float) -> None:
        """Sets the deadline, to whatever time."""
        self.when = when
        handle = self._handle
        if handle is None or self._due > when:
            if handle is not None:
                handle.cancel()
            self._due = when
            self._handle = self._loop.call_at(when, self._fire)

    def close(self) -> None:
        """Takes the deadline back for good, and the timer with it."""
        self.when = None
        if self._handle is not None:
            self._handle.cancel()
            self._handle = None

    def _fire(self) -> None:
        handle, self._handle = self._handle, None
        if self.when is None or handle is None:
            return
        # The loop fires what is due within its clock's resolution; `_due` is the time it fired for.
        if self.when > self._due:
            self._due = self.when
            self._handle = self._loop.call_at(self.when, self._fire)
        else:
            self.when = None
            self._callback()
