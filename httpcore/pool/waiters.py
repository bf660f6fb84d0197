"""Waiters: the FIFO of exchanges that wait for a connection, and the only place that decides who is next (rule P3).

An exchange waits in its lane, the requests that could share a connection, in one of two ways:

- *dialling*: a connection is being made on its behalf, or one that should carry it besides the exchange on whose behalf
  it is made: it has *joined* then. The dial belongs to its slot, not to the exchange: whichever connection is there
  first, a made one or a freed one, goes to the lane's oldest.
- *queued*: no connection may be made for now. The first of a lane is also in `_for_place`, the queue across lanes,
  unless the lane's own limit stands against it.

Within a lane the dialling are all older than the queued, as places are given in order, and who loses a place again goes
back to the front. The steps take as long with many waiters as with few: the queues are `OrderedDict`s, since the first
key of a plain dict is found in linear time once many before it were deleted, and the queue across lanes is a heap, of
one entry for each lane.
"""

from __future__ import annotations

import asyncio
import heapq
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING

from httpcore.exceptions import ConnectTimeout, Phase, PoolClosed, PoolTimeout
from httpcore.protocols.deadlines import Deadlines
from httpcore.protocols.exchange import HTTPExchange

if TYPE_CHECKING:
    from httpcore.pool.slot import Lane

__all__ = ["OVERTAKE_LIMIT", "Waiter", "Waiters"]

# How many times a freed connection may go to its own lane although an exchange of another lane has waited longer. To
# serve that one, the connection would have to be closed and another made, so strict order would end in nothing but
# handshakes once two busy origins meet the limit; and with no bound the other lane might wait for ever. Arbitrary.
# A connection that carries many at once is allowed as many times more, ...
OVERTAKE_LIMIT = 16
_MAX_OVERTAKE_WIDTH = 100  # ... up to this


class Waiter:
    """One waiting exchange; its holder until it is started."""

    __slots__ = ("dialling", "exchange", "joined", "lane", "listed", "overtaken", "ticket", "timeout", "waiters")

    def __init__(self, waiters: Waiters, exchange: HTTPExchange, lane: Lane, ticket: int) -> None:
        self.waiters = waiters
        self.exchange = exchange
        self.lane = lane
        self.ticket = ticket  # its place in the order of arrival, across lanes
        self.dialling = False
        self.joined = False  # whether no dial was begun for it: it is dialling by those of others
        self.listed = False  # whether it is in the queue across lanes
        self.overtaken = 0
        self.timeout: float | None = None  # seconds of the deadline that runs: the pool timeout, or the connect timeout

    def abandon(self, exchange: HTTPExchange) -> None:
        """The exchange failed while it waited."""
        self.waiters.remove(self)
        self.waiters.left(self.lane)


class Waiters:
    """Everybody who waits in one pool.

    Args:
        loop: the loop.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._tickets = 0
        self._for_place: list[tuple[int, Waiter]] = []  # a heap; those not `listed` have gone
        self._listed_count = 0
        self._deadlines: Deadlines[Waiter] = Deadlines(loop, self._expired)
        self.queued_count = 0
        # Assigned by the pool:
        self.report: Callable[[], str]  # says what the pool looks like
        self.left: Callable[[Lane], None]  # is told when an exchange that waited in a lane failed

    def dial(self, exchange: HTTPExchange, lane: Lane, *, joins: bool) -> Waiter:
        """Lets `exchange` wait for a dial of `lane`: one that the caller begins for it, or one that runs (`joins`)."""
        self._tickets += 1
        waiter = Waiter(self, exchange, lane, self._tickets)
        self._set_dialling(waiter, joins=joins)
        return waiter

    def queue(self, exchange: HTTPExchange, lane: Lane) -> None:
        """Lets `exchange` wait in `lane` until a connection may be made, or is free."""
        self._tickets += 1
        waiter = Waiter(self, exchange, lane, self._tickets)
        lane.queued[waiter] = None
        self._set_queued(waiter)
        if len(lane.queued) == 1:
            self.enter(lane)

    def close(self, lanes: Iterable[Lane]) -> None:
        """Fails all who wait, in these `lanes`, and ends the timers. Nobody may wait any more."""
        for lane in lanes:
            for waiter in (*lane.dialling, *lane.queued):
                waiter.exchange.fail(PoolClosed("the pool was closed while the request waited for a connection"))
        self._deadlines.close()

    def remove(self, waiter: Waiter) -> None:
        """Takes `waiter` out, wherever it is."""
        if waiter.dialling:
            del waiter.lane.dialling[waiter]
            self._set_timeout(waiter, None)
        else:
            self._unqueue(waiter)

    def take(self, lane: Lane) -> HTTPExchange | None:
        """Takes out the exchange that a free connection of `lane`, in which somebody waits, goes to.

        Returns `None` where it is the turn of somebody in another lane to have the place.
        """
        waiter = next(iter(lane.dialling or lane.queued))
        if waiter.dialling:  # it was given a place already; to refuse a connection would leave it with none
            self.remove(waiter)
            return waiter.exchange
        heap = self._for_place
        if (heap and heap[0][1] is waiter) or self.may_overtake(lane, waiter.ticket):
            self._unqueue(waiter)
            return waiter.exchange
        return None

    def may_overtake(self, lane: Lane, ticket: float = float("inf")) -> bool:
        """Whether the exchange with that ticket (a new one) may have a connection of `lane` that can carry it.

        If not, it is the turn of somebody in another lane, who gets the place if the connection is closed.
        """
        first = self.first_for_place()
        if first is None or first.ticket >= ticket:
            return True
        first.overtaken += 1
        if first.overtaken <= OVERTAKE_LIMIT * min(lane.width, _MAX_OVERTAKE_WIDTH):
            return True
        first.overtaken = 0  # it needs one place, and the connection may take long to end
        return False

    def take_failed(self, lane: Lane, cause: Waiter | None, *, timed_out: bool) -> list[HTTPExchange]:
        """Takes out those who hear of a dial that failed, which does not run any more.

        Args:
            lane: its lane.
            cause: for whom it was begun; `None` if that was for nobody here.
            timed_out: whether it took too long. That is the end for the one for whom it was begun, and for nobody who
                began to wait later. Any other failure is one for all whom the dials that still run are not expected to
                carry.
        """
        missing = len(lane.dialling) - lane.connecting * lane.width
        if timed_out:
            failed = []
            if cause is not None and cause in lane.dialling:
                failed = [cause]
            elif missing > 0 and not (first := next(iter(lane.dialling))).joined:  # it had one, which served another
                failed = [first]
        else:
            failed = [waiter for waiter, _ in zip(lane.dialling, range(missing), strict=False)]
        for waiter in failed:
            self.remove(waiter)
        return [waiter.exchange for waiter in failed]

    def put_back(self, lane: Lane, count: int) -> None:
        """Queues as many of the youngest for whom no connection is made any more, before all who are queued."""
        for _ in range(count):
            waiter, _ = lane.dialling.popitem()
            self._set_timeout(waiter, None)
            lane.queued[waiter] = None
            lane.queued.move_to_end(waiter, last=False)
            self._set_queued(waiter)
        self.enter(lane)

    def begin(self, waiter: Waiter, *, anew: bool) -> None:
        """Lets `waiter`, queued or dialling, wait for a dial of its own, which the caller begins.

        Args:
            waiter: the one.
            anew: whether it may take as long as the connect timeout from now on, or from when the waiter joined.
        """
        if not waiter.dialling:
            self._unqueue(waiter)
            self._set_dialling(waiter, joins=False)
        waiter.joined = False
        if anew:
            self._set_timeout(waiter, None)  # the dial has one

    def promote(self, lane: Lane) -> None:
        """Lets as many of the queued join the dials that run as these should carry."""
        while lane.queued and lane.joinable:
            waiter = next(iter(lane.queued))
            self._unqueue(waiter)
            self._set_dialling(waiter, joins=True)

    def first_for_place(self) -> Waiter | None:
        """Returns the oldest for whom a connection would be made if there were room in the pool."""
        heap = self._for_place
        while heap:
            waiter = heap[0][1]
            lane = waiter.lane
            if waiter.listed and not lane.full and next(iter(lane.queued)) is waiter:
                return waiter
            heapq.heappop(heap)  # its lane was filled, or older ones came back: `enter` lists it again
            self._listed_count -= waiter.listed
            waiter.listed = False
        return None

    def enter(self, lane: Lane) -> None:
        """Lists the oldest queued of `lane`, if the lane's own limit does not stand against it.

        To be called when one of the lane's connections ended, or its first queued changed: so whoever is first in a
        lane that is not full is always listed.
        """
        first = next(iter(lane.queued), None)
        if first is not None and not first.listed and (lane.limit is None or not lane.full):
            first.listed = True
            self._listed_count += 1
            heapq.heappush(self._for_place, (first.ticket, first))
            if len(self._for_place) > 2 * self._listed_count + 16:  # the others have gone
                self._for_place = list({entry[0]: entry for entry in self._for_place if entry[1].listed}.values())
                heapq.heapify(self._for_place)

    def _set_dialling(self, waiter: Waiter, *, joins: bool) -> None:
        waiter.dialling = True
        waiter.joined = joins
        waiter.lane.dialling[waiter] = None
        waiter.exchange.wait(waiter, Phase.CONNECTING)
        # The dial that is begun for somebody has the limit of its own.
        self._set_timeout(waiter, waiter.exchange.timeout.connect_timeout if joins else None)

    def _set_queued(self, waiter: Waiter) -> None:
        waiter.dialling = waiter.joined = False
        self.queued_count += 1
        waiter.exchange.wait(waiter, Phase.WAITING)
        waiter.timeout = seconds = waiter.exchange.timeout.pool_timeout
        if seconds is not None:
            self._deadlines.set(waiter, seconds)

    def _unqueue(self, waiter: Waiter) -> None:
        lane = waiter.lane
        del lane.queued[waiter]
        self.queued_count -= 1
        if waiter.timeout is not None:
            self._deadlines.discard(waiter, waiter.timeout)
            waiter.timeout = None
        if waiter.listed:
            waiter.listed = False
            self._listed_count -= 1
            heap = self._for_place
            while heap and not heap[0][1].listed:
                heapq.heappop(heap)
        if lane.queued:
            self.enter(lane)

    def _set_timeout(self, waiter: Waiter, seconds: float | None) -> None:
        if waiter.timeout is not None:
            self._deadlines.discard(waiter, waiter.timeout)
        waiter.timeout = seconds
        if seconds is not None:
            self._deadlines.set(waiter, seconds)

    def _expired(self, waiter: Waiter) -> None:
        seconds = waiter.timeout
        if waiter.dialling:
            waiter.exchange.fail(ConnectTimeout(f"no connection was made within {seconds} seconds"))
        else:
            text = f"no connection became free within {seconds} seconds: {self.report()}"
            waiter.exchange.fail(PoolTimeout(text))
