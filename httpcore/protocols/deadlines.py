"""Deadline: a timer that is moved far more often than it fires. Deadlines: many of them, on one timer per length."""

from __future__ import annotations

import asyncio
import functools
from collections import OrderedDict
from collections.abc import Callable, Hashable
from typing import Generic, TypeVar

__all__ = ["Deadline", "Deadlines"]

_ItemT = TypeVar("_ItemT", bound=Hashable)


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


class Deadlines(Generic[_ItemT]):
    """The deadlines of many items, of which most have the same length: one timer for each length.

    Those that have the same length expire in the order they were set, so the timer only needs to look at the first.

    Args:
        loop: the loop.
        expired: called with an item whose deadline has passed, after it was taken out.
    """

    __slots__ = ("_expired", "_groups", "_loop")

    def __init__(self, loop: asyncio.AbstractEventLoop, expired: Callable[[_ItemT], None]) -> None:
        self._loop = loop
        self._expired = expired
        self._groups: dict[float, _Group[_ItemT]] = {}  # by seconds; mostly there is one

    def set(self, item: _ItemT, seconds: float) -> None:
        """Lets `item` expire in so many seconds; anew, if it is set already."""
        group = self._groups.get(seconds)
        if group is None:
            group = self._groups[seconds] = _Group(self._loop, self._expire, seconds)
        when = self._loop.time() + seconds
        items = group.items
        items[item] = when
        items.move_to_end(item)
        if group.deadline.when is None:
            group.deadline.arm(when)

    def discard(self, item: _ItemT, seconds: float) -> None:
        """Takes back the deadline of `item`, which was set to so many seconds, if it is set."""
        group = self._groups.get(seconds)
        if group is not None:  # the timer stays where it is, for whoever is first when it fires
            group.items.pop(item, None)

    def close(self) -> None:
        """Takes all of them back, and the timers with them."""
        for group in self._groups.values():
            group.deadline.close()
            group.items.clear()  # this may be called for one of them
        self._groups.clear()

    def _expire(self, group: _Group[_ItemT]) -> None:
        now = self._loop.time()
        while group.items:
            item, when = next(iter(group.items.items()))
            if when > now:
                group.deadline.arm(when)
                return
            del group.items[item]
            self._expired(item)
        if self._groups.get(group.seconds) is group:
            del self._groups[group.seconds]


class _Group(Generic[_ItemT]):
    """The items whose deadlines have one length, in the order they expire."""

    __slots__ = ("deadline", "items", "seconds")

    def __init__(
        self, loop: asyncio.AbstractEventLoop, expire: Callable[[_Group[_ItemT]], None], seconds: float
    ) -> None:
        self.seconds = seconds
        self.items: OrderedDict[_ItemT, float] = OrderedDict()
        self.deadline = Deadline(loop, functools.partial(expire, self))
