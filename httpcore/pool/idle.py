"""IdleSlots: the connections that carry nothing, in the order they became idle, and what ends them."""

from __future__ import annotations

import asyncio
import itertools
from collections import OrderedDict
from collections.abc import Iterator

from httpcore.config import PoolLimits
from httpcore.pool.slot import RELEASE, Lane, Slot
from httpcore.protocols.deadlines import Deadline

__all__ = ["IdleSlots"]

_HINT_MARGIN = 1.0  # seconds before the server's own keep-alive timeout at which a connection is no longer used


class IdleSlots:
    """All slots that are IDLE, the one idle for longest first.

    Args:
        loop: the loop.
        limits: how many there may be, and for how long.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop, limits: PoolLimits) -> None:
        self._loop = loop
        self._limits = limits
        self._slots: OrderedDict[Slot, None] = OrderedDict()
        self.expiry = Deadline(loop, self._expire)

    def __len__(self) -> int:
        return len(self._slots)

    def __iter__(self) -> Iterator[Slot]:
        return iter(self._slots)

    def add(self, slot: Slot) -> None:
        """Keeps a slot whose connection carries nothing, if `soft_limit` lets it."""
        assert slot.protocol is not None
        now = self._loop.time()
        hint = slot.protocol.keep_alive_hint
        limits = self._limits
        expiry = limits.keepalive_expiry
        slot.expires_at = float("inf") if expiry is None else now + expiry
        if hint is not None:
            slot.expires_at = min(slot.expires_at, now + max(hint - _HINT_MARGIN, hint / 2))
        slot.state = RELEASE[slot.state]
        self._slots[slot] = None
        slot.lane.idle[slot] = None
        if limits.soft_limit is not None and len(self._slots) > limits.soft_limit:
            next(iter(self._slots)).close("there are more idle connections than soft_limit")
        elif expiry is not None and self.expiry.when is None:
            self.expiry.arm(now + expiry)

    def remove(self, slot: Slot) -> None:
        """Takes out a slot that is leased, or whose connection is closing."""
        del self._slots[slot]
        slot.lane.idle.pop(slot, None)

    def evict(self, count: int, lane: Lane) -> None:
        """Closes as many, those idle for longest first, as their places are needed for `lane`.

        Its own stay: who waits although they are idle waits for their servers to allow requests again.
        """
        others = (slot for slot in self._slots if slot.lane is not lane)
        for slot in list(itertools.islice(others, max(count, 0))):
            slot.close("its place is needed for another origin")

    def close(self) -> None:
        """Ends the timer."""
        self.expiry.close()

    def _expire(self) -> None:
        """Closes what has been idle for too long.

        Idle connections expire in the order they became idle, but for those whose server said that it keeps them for
        less: these end when they come first here, or when somebody wants them.
        """
        assert self._limits.keepalive_expiry is not None
        now = self._loop.time()
        while self._slots:
            slot = next(iter(self._slots))
            if slot.expires_at > now:
                self.expiry.arm(slot.expires_at)
                return
            slot.close("it was idle for longer than keepalive_expiry")
