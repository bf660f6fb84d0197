"""Dials: the connections that are being made, how many there have to be, and for whom.

How many exchanges a connection that is being made should carry, its lane's `width`, is known from those that were made:
one for HTTP/1, what the server allows for HTTP/2. Until the first one was made everybody joins its dial, so that a
hundred requests make one connection where one is enough. Invariant: no more exchanges wait for dials than these should
carry. `balance` restores it when a dial ended, or turned out to carry less.
"""

from __future__ import annotations

import asyncio
import functools
import itertools
from collections.abc import Awaitable, Callable
from typing import TypeAlias

from httpcore.config import PoolLimits
from httpcore.exceptions import HTTPCoreError, PoolClosed
from httpcore.pool.idle import IdleSlots
from httpcore.pool.routes import Route
from httpcore.pool.slot import Lane, Slot
from httpcore.pool.waiters import Waiter, Waiters
from httpcore.protocols.base import HTTPProtocol
from httpcore.protocols.exchange import HTTPExchange
from httpcore.trace import TraceHook

__all__ = ["Dial", "Dials"]

Dial: TypeAlias = Callable[[Route, float | None, TraceHook | None], Awaitable[HTTPProtocol]]
"""Makes the connection of a route within so many seconds; see `connector.dial`."""


class Dials:
    """Takes places in a pool, and makes connections for them.

    Args:
        loop: the loop.
        limits: how many places there are.
        slots: all slots that there are. New ones are added here, and taken out by who frees them.
        idle: those that may be closed for their places.
        waiters: for whom.
        dial: makes a connection for a route.
    """

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        limits: PoolLimits,
        slots: set[Slot],
        idle: IdleSlots,
        waiters: Waiters,
        dial: Dial,
    ) -> None:
        self._loop = loop
        self._limit = limits.hard_limit
        self._slots = slots
        self._idle = idle
        self._waiters = waiters
        self._dial = dial
        self.count = 0  # those that run
        # Assigned by the owner. A dial has ended when they are called.
        self.connected: Callable[[Slot, HTTPProtocol], None]
        self.failed: Callable[[Slot, HTTPCoreError], None]

    @property
    def has_room(self) -> bool:
        """Whether there may be a further slot."""
        return self._limit is None or len(self._slots) < self._limit

    def crowded_by_others(self, lane: Lane) -> bool:
        """Whether there is no room, and whose turn it is to have a place waits in another lane."""
        first = None if self.has_room else self._waiters.first_for_place()
        return first is not None and first.lane is not lane

    def make_room(self) -> None:
        """Closes an idle connection if there is no room, and somebody in another lane waits for a place."""
        first = None if self.has_room else self._waiters.first_for_place()
        if first is not None:
            self._idle.evict(1, first.lane)

    def open(self, lane: Lane, exchange: HTTPExchange, cause: Waiter | None) -> Slot:
        """Makes a slot, and begins to make its connection, within the connect timeout of `exchange`, which caused it.

        Args:
            lane: its lane.
            exchange: for whom.
            cause: the same one as it waits; `None` if the slot is to be reserved for it.
        """
        slot = Slot(lane, cause)
        lane.count += 1
        lane.connecting += cause is not None
        self._slots.add(slot)
        self.count += 1
        # Not by the loop's task factory: an eager one would run the dial before the books are in order.
        dial = self._run(slot, exchange.timeout.connect_timeout, exchange.trace)
        slot.task = asyncio.Task(dial, loop=self._loop)
        slot.task.add_done_callback(functools.partial(self._task_done, slot))
        return slot

    def balance(self, lane: Lane, *, anew: bool) -> None:
        """Restores what is true of those who wait, after a dial of `lane` ended, or what it should carry has changed.

        No more wait for dials than these should carry: further ones are begun, and if there is no room for them, or
        somebody of another lane has waited for longer, the youngest go back to the queue, and idle connections are
        closed for them. And nobody is queued while there is room.

        Args:
            lane: the lane.
            anew: whether who joined a dial, and gets one of its own now, may wait for it as long as any other.
        """
        if lane.serving is not None:  # who serves does so afterwards
            return
        width = lane.width
        missing = len(lane.dialling) - lane.connecting * width
        if missing > 0:
            for waiter in list(itertools.islice(lane.dialling, lane.connecting * width, None, width)):
                first = self._waiters.first_for_place()
                if not self.has_room or lane.full or (first is not None and first.ticket < waiter.ticket):
                    break
                self._waiters.begin(waiter, anew=anew)
                self.open(lane, waiter.exchange, waiter)
                missing -= width
            if missing > 0:
                self._waiters.put_back(lane, missing)
        self.grant()
        if missing > 0 and lane.queued and not lane.full and not self.has_room:
            places = -(-missing // width)
            self._idle.evict(places if lane.limit is None else min(places, lane.limit - lane.count), lane)

    def grant(self) -> None:
        """Begins dials for the queued, the oldest first, while there is room."""
        while self.has_room and (waiter := self._waiters.first_for_place()) is not None:
            lane = waiter.lane
            if lane.serving is not None:  # what is spare may do for it
                return
            if not lane.joinable:
                self._waiters.begin(waiter, anew=True)
                self.open(lane, waiter.exchange, waiter)
            self._waiters.promote(lane)

    def _task_done(self, slot: Slot, task: asyncio.Task[None]) -> None:
        # A task that is cancelled before its first step runs none of its code.
        if slot.task is task:
            self._end(slot)
            self.failed(slot, PoolClosed("the pool was closed before a connection was made"))

    async def _run(self, slot: Slot, seconds: float | None, trace: TraceHook | None) -> None:
        protocol: HTTPProtocol | None = None
        error: HTTPCoreError
        try:
            protocol = await self._dial(slot.lane.route, seconds, trace)
        except HTTPCoreError as exc:
            error = exc
        except asyncio.CancelledError:
            error = PoolClosed("the pool was closed while a connection was made")
        self._end(slot)
        if protocol is None:
            self.failed(slot, error)
        else:
            self.connected(slot, protocol)

    def _end(self, slot: Slot) -> None:
        slot.task = None
        self.count -= 1
        slot.lane.connecting -= slot.cause is not None
