"""Waiters: the FIFO of exchanges that wait for a connection, and the only place that decides who is next (rule P3).

An exchange waits in its lane, the requests that could share a connection, in one of two ways:

- *dialling*: a connection is being made on its behalf. The dial belongs to its slot, not to the exchange: whichever
  connection is there first, a made one or a freed one, goes to the lane's oldest.
- *queued*: no connection may be made for now. It is also in `_for_place`, the queue across lanes, unless the lane's own
  limit stands against it.

Within a lane the dialling are all older than the queued, as places are given in order. All steps are O(1): the queues
are `OrderedDict`s, since the first key of a plain dict is found in linear time once many before it were deleted.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Callable
from typing import TYPE_CHECKING

from httpcore.exceptions import Phase, PoolTimeout
from httpcore.protocols.deadlines import Deadline
from httpcore.protocols.exchange import HTTPExchange

if TYPE_CHECKING:
    from httpcore.pool.slot import Lane

__all__ = ["OVERTAKE_LIMIT", "Waiter", "Waiters"]

# How many times a freed connection may go to its own lane although an exchange of another lane has waited longer. To
# serve that one, the connection would have to be closed and another made, so strict order would end in nothing but
# handshakes once two busy origins meet the limit; and with no bound the other lane might wait for ever. Arbitrary.
OVERTAKE_LIMIT = 16


class Waiter:
    """One waiting exchange; its holder until it is started."""

    __slots__ = ("dialling", "exchange", "expires_at", "lane", "overtaken", "ticket", "timeouts", "waiters")

    def __init__(self, waiters: Waiters, exchange: HTTPExchange, lane: Lane, ticket: int) -> None:
        self.waiters = waiters
        self.exchange = exchange
        self.lane = lane
        self.ticket = ticket  # its place in the order of arrival, across lanes
        self.dialling = False
        self.overtaken = 0
        self.timeouts: _Timeouts | None = None  # where its pool timeout runs, while queued
        self.expires_at = 0.0

    def abandon(self, exchange: HTTPExchange) -> None:
        """The exchange failed while it waited."""
        self.waiters.remove(self)
        self.waiters.left(self.lane)

    def expire(self) -> None:
        """The pool timeout has passed."""
        seconds = self.exchange.timeout.pool_timeout
        self.exchange.fail(PoolTimeout(f"no connection became free within {seconds} seconds: {self.waiters.report()}"))


class _Timeouts:
    """The queued who have the same pool timeout. They expire in the order they came, so one timer does for all.

    Takes itself out of `registry` once its timer finds nobody.
    """

    __slots__ = ("_deadline", "_loop", "_queued", "_registry", "_seconds")

    def __init__(self, loop: asyncio.AbstractEventLoop, seconds: float, registry: dict[float, _Timeouts]) -> None:
        self._loop = loop
        self._seconds = seconds
        self._registry = registry
        registry[seconds] = self
        self._queued: OrderedDict[Waiter, None] = OrderedDict()
        self._deadline = Deadline(loop, self._expire)

    def add(self, waiter: Waiter) -> None:
        waiter.timeouts = self
        waiter.expires_at = self._loop.time() + self._seconds
        self._queued[waiter] = None
        if self._deadline.when is None:
            self._deadline.arm(waiter.expires_at)

    def remove(self, waiter: Waiter) -> None:
        # The deadline stays where it is, for whoever is first when it comes.
        waiter.timeouts = None
        del self._queued[waiter]

    def close(self) -> None:
        self._deadline.close()

    def _expire(self) -> None:
        now = self._loop.time()
        while self._queued:
            first = next(iter(self._queued))
            if first.expires_at > now:
                self._deadline.arm(first.expires_at)
                return
            first.expire()  # which takes it out
        self.close()
        self._registry.pop(self._seconds, None)


class Waiters:
    """Everybody who waits in one pool.

    Args:
        loop: the loop.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._tickets = 0
        self._for_place: OrderedDict[Waiter, None] = OrderedDict()
        self._timeouts: dict[float, _Timeouts] = {}  # by seconds; as good as always there is one
        self.queued_count = 0
        # Assigned by the pool:
        self.report: Callable[[], str]  # says what the pool looks like
        self.left: Callable[[Lane], None]  # is told when an exchange that waited in a lane failed

    def add(self, exchange: HTTPExchange, lane: Lane, *, dialling: bool) -> Waiter:
        """Lets `exchange` wait in `lane`."""
        self._tickets += 1
        waiter = Waiter(self, exchange, lane, self._tickets)
        if dialling:
            waiter.dialling = True
            lane.dialling[waiter] = None
            exchange.wait(waiter, Phase.CONNECTING)
        else:
            lane.queued[waiter] = None
            self.queued_count += 1
            if lane.limit is None or not lane.full:
                self._for_place[waiter] = None
            exchange.wait(waiter, Phase.WAITING)
            if exchange.timeout.pool_timeout is not None:
                seconds = exchange.timeout.pool_timeout
                timeouts = self._timeouts.get(seconds) or _Timeouts(self._loop, seconds, self._timeouts)
                timeouts.add(waiter)
        return waiter

    def close(self) -> None:
        """Ends the timers. Nobody may be queued any more."""
        for timeouts in self._timeouts.values():
            timeouts.close()
        self._timeouts.clear()

    def remove(self, waiter: Waiter) -> None:
        """Takes `waiter` out, wherever it is."""
        if waiter.dialling:
            del waiter.lane.dialling[waiter]
        else:
            self._unqueue(waiter)

    def take(self, lane: Lane) -> HTTPExchange | None:
        """Takes out the exchange that a freed connection of `lane`, in which somebody waits, goes to.

        Returns `None` where it is the turn of somebody in another lane to have the place.
        """
        waiter = next(iter(lane.dialling or lane.queued))
        # Who is dialling was given a place already; to refuse a connection would leave it with none.
        first = None if waiter.dialling else self._first_for_place()
        if first is not None and first.ticket < waiter.ticket:
            first.overtaken += 1
            if first.overtaken > OVERTAKE_LIMIT:
                return None
        self.remove(waiter)
        return waiter.exchange

    def take_dialling(self, lane: Lane) -> HTTPExchange | None:
        """Takes out the oldest for whom a connection is being made: it hears of a dial that failed."""
        waiter = next(iter(lane.dialling), None)
        if waiter is None:
            return None
        self.remove(waiter)
        return waiter.exchange

    @property
    def want_place(self) -> bool:
        """Whether a connection would be made for somebody if there were room in the pool."""
        return self._first_for_place() is not None

    def grant_place(self) -> Waiter | None:
        """Returns the oldest for whom a connection may be made, there being room in the pool; it dials from then on."""
        waiter = self._first_for_place()
        if waiter is not None:
            self._unqueue(waiter)
            waiter.dialling = True
            waiter.lane.dialling[waiter] = None
            waiter.exchange.wait(waiter, Phase.CONNECTING)
        return waiter

    def enter(self, lane: Lane) -> None:
        """Lets the oldest queued of `lane` wait for a place, if the lane's own limit does not stand against it.

        To be called when one of the lane's connections ended. With this, and with the same in `_unqueue`, whoever is
        first in a lane that is not full is always in `_for_place`.
        """
        first = next(iter(lane.queued), None)
        if first is not None and first not in self._for_place and not lane.full:
            self._for_place[first] = None
            if first.ticket < next(iter(self._for_place)).ticket:
                self._for_place.move_to_end(first, last=False)

    def _first_for_place(self) -> Waiter | None:
        while self._for_place:
            waiter = next(iter(self._for_place))
            if waiter.lane.limit is None or not waiter.lane.full:
                return waiter
            del self._for_place[waiter]  # its lane was filled meanwhile; `enter` brings it back
        return None

    def _unqueue(self, waiter: Waiter) -> None:
        del waiter.lane.queued[waiter]
        self._for_place.pop(waiter, None)
        self.queued_count -= 1
        if waiter.timeouts is not None:
            waiter.timeouts.remove(waiter)
        if waiter.lane.limit is not None:  # without a limit of its own, all of a lane are in _for_place
            self.enter(waiter.lane)
