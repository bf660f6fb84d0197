"""Slots: the books of one pool on one loop.

Theory of operation. A `Slot` is one unit of the pool's limit. It exists before its connection, has exactly one owner at
every moment, and is freed in one place, `_freed`, when its connection is gone:

| state      | owner                                  | leaves by                                                     |
|------------|----------------------------------------|---------------------------------------------------------------|
| CONNECTING | its own dial, which no cancelled request ends | the dial: ACTIVE, IDLE, or CLOSED if it failed          |
| ACTIVE     | its exchange (or the upgraded stream)  | the response's end: IDLE or ACTIVE again; DRAINING; CLOSED     |
| IDLE       | the pool's idle order                  | leased; expired, evicted, or closed by the server: DRAINING    |
| DRAINING   | its connection, which is closing       | the connection's end: CLOSED                                   |

Everything here is synchronous: no decision is interrupted between looking at the books and changing them (rule P1), so
there are no locks. Every step is O(1) in the number of connections, routes and waiters (rule P6).
"""

from __future__ import annotations

import asyncio
import functools
import os
import random
from collections import OrderedDict
from collections.abc import AsyncGenerator, Awaitable, Callable
from typing import TypeAlias

from httpcore.config import PoolLimits
from httpcore.exceptions import ConnectError, HTTPCoreError, Phase, PoolClosed, PoolTimeout
from httpcore.pool.retries import may_replay
from httpcore.pool.routes import Route
from httpcore.pool.slot import SLOT, Lane, Slot, SlotEvent, SlotState
from httpcore.pool.waiters import Waiters
from httpcore.protocols.base import HTTPProtocol
from httpcore.protocols.deadlines import Deadline
from httpcore.protocols.exchange import HTTPExchange
from httpcore.trace import ConnectionClosed, RequestReplayed, SlotWaitStarted, TraceHook, emit

__all__ = ["Dial", "Slots"]

_AGE_JITTER = 0.1  # the part of max_age by which it is shortened at random
_HINT_MARGIN = 1.0  # seconds before the server's own keep-alive timeout at which a connection is no longer used

Dial: TypeAlias = Callable[[Route, float | None, TraceHook | None], Awaitable[HTTPProtocol]]
"""Makes the connection of a route within so many seconds; see `connector.dial`."""


class Slots:
    """The connections of one pool on one loop, and who waits for them.

    Args:
        loop: the running loop.
        limits: what there may be.
        dial: makes a connection for a route.
        trace: the pool's hook, for what happens to idle connections.
    """

    def __init__(
        self, loop: asyncio.AbstractEventLoop, limits: PoolLimits, dial: Dial, trace: TraceHook | None
    ) -> None:
        self.loop = loop
        self.pid = os.getpid()  # a forked child shares the sockets, and must leave them alone
        self.closed = False
        self._limits = limits
        self._dial = dial
        self._trace = trace
        self._lanes: dict[Route, Lane] = {}
        self._all: set[Slot] = set()  # all that are not CLOSED
        self._idle: OrderedDict[Slot, None] = OrderedDict()  # all that are IDLE, the one idle for longest first
        # Counted, as a report is made for each request that times out.
        self._connecting = 0  # dials that run
        self._draining = 0  # slots that are DRAINING
        self._waiters = Waiters(loop)
        self._waiters.report = self.report
        self._waiters.left = self._forget_lane
        self._expiry = Deadline(loop, self._expire)
        self._gone: asyncio.Future[None] | None = None  # completed when the last slot is freed; see wait_gone
        self._lifeline = self._live()
        self._start_lifeline()

    # What the pool asks for.

    @property
    def count(self) -> int:
        """How many slots there are."""
        return len(self._all)

    @property
    def idle_count(self) -> int:
        """How many of them are idle."""
        return len(self._idle)

    @property
    def waiting_count(self) -> int:
        """How many exchanges are queued, because no connection may be made for them now."""
        return self._waiters.queued_count

    def report(self) -> str:
        """Returns what the pool looks like, in words."""
        active = self.count - self.idle_count - self._connecting - self._draining
        return (
            f"{self.count} connections (limit {self._limits.hard_limit}, "
            f"per origin {self._limits.per_origin_limit}): {active} active, {self.idle_count} idle, "
            f"{self._connecting} connecting, {self._draining} closing; {self.waiting_count} requests queued"
        )

    def submit(self, exchange: HTTPExchange, route: Route) -> None:
        """Starts `exchange` on a connection of `route`: now, or when it is its turn."""
        lane = self._lanes.get(route)
        if lane is None:
            lane = self._lanes[route] = Lane(route, self._limits.per_origin_limit)
            lane.replay = functools.partial(self._replay, lane)
        while lane.idle:
            slot = next(reversed(lane.idle))
            if self._usable(slot):
                self._lease(slot, exchange)
                return
        may_open = self._has_room and not lane.full
        if exchange.trace is not None:
            emit(exchange.trace, SlotWaitStarted(self.loop.time(), not may_open), self.loop)
        if may_open:
            self._waiters.add(exchange, lane, dialling=True)
            self._open(lane, exchange)
        elif self._refuses_waiters and (lane.full or not self._idle):
            self._forget_lane(lane)
            exchange.fail(PoolTimeout(f"too many requests wait already: {self.report()}"))
        else:
            self._waiters.add(exchange, lane, dialling=False)
            if not lane.full and self._idle:
                self._close_idle(next(iter(self._idle)), "its place is needed for another origin")

    def _replay(self, lane: Lane, exchange: HTTPExchange, error: HTTPCoreError) -> bool:
        """Sends `exchange`, whose connection died, again on a new one if that is allowed; returns whether it is.

        The dead connection's slot is still counted at this point, and freed by who called. So the new one may exceed
        the limit in the books for as long as this call takes, but never in sockets.
        """
        if self.closed or not may_replay(exchange, error):
            return False
        if exchange.trace is not None:
            emit(exchange.trace, RequestReplayed(self.loop.time(), error), self.loop)
        exchange.rewind()
        slot = self._open(lane, exchange)
        slot.reserved = exchange
        exchange.wait(slot, Phase.CONNECTING)
        return True

    def close(self, *, force: bool) -> None:
        """Takes nobody any more: ends who waits, dials and idle connections; the others too if `force`."""
        self.closed = True
        self._expiry.close()
        for lane in list(self._lanes.values()):
            for waiter in (*lane.dialling, *lane.queued):
                waiter.exchange.fail(PoolClosed("the pool was closed while the request waited for a connection"))
        self._waiters.close()
        for slot in list(self._all):
            if slot.task is not None:
                slot.task.cancel()
                continue
            assert slot.protocol is not None
            if force:
                slot.protocol.abort(PoolClosed("the pool was closed"))
            else:
                slot.protocol.close("the pool was closed")
        self._end_lifeline()

    async def wait_gone(self, *, force: bool) -> None:
        """Returns once the slots that `close` ends are freed: unless `force`, not those that still carry a response."""
        while any(force or slot.state != SlotState.ACTIVE for slot in self._all):
            if self._gone is None:
                self._gone = self.loop.create_future()
            await asyncio.shield(self._gone)

    # Opening.

    @property
    def _refuses_waiters(self) -> bool:
        return self._limits.max_waiters is not None and self.waiting_count >= self._limits.max_waiters

    @property
    def _has_room(self) -> bool:
        return self._limits.hard_limit is None or len(self._all) < self._limits.hard_limit

    def _open(self, lane: Lane, cause: HTTPExchange) -> Slot:
        """Makes a slot, and begins to make its connection, within the connect timeout of whoever caused it."""
        if lane.count == 0:
            self._lanes[lane.route] = lane  # a replay's lane may have been forgotten meanwhile
        slot = Slot(lane)
        lane.count += 1
        self._all.add(slot)
        self._connecting += 1
        # Not by the loop's task factory: an eager one would run the dial before the books are in order.
        dial = self._run_dial(slot, cause.timeout.connect_timeout, cause.trace)
        slot.task = asyncio.Task(dial, loop=self.loop)
        slot.task.add_done_callback(functools.partial(self._dial_ended, slot))
        return slot

    def _dial_ended(self, slot: Slot, task: asyncio.Task[None]) -> None:
        # A task that is cancelled before its first step runs none of its code.
        if slot.task is task:
            slot.task = None
            self._connecting -= 1
            self._dial_failed(slot, PoolClosed("the pool was closed before a connection was made"))

    async def _run_dial(self, slot: Slot, seconds: float | None, trace: TraceHook | None) -> None:
        protocol: HTTPProtocol | None = None
        error: HTTPCoreError
        try:
            protocol = await self._dial(slot.lane.route, seconds, trace)
        except HTTPCoreError as exc:
            error = exc
        except asyncio.CancelledError:
            error = PoolClosed("the pool was closed while a connection was made")
        slot.task = None
        self._connecting -= 1
        if protocol is None:
            self._dial_failed(slot, error)
        else:
            self._connected(slot, protocol)

    def _connected(self, slot: Slot, protocol: HTTPProtocol) -> None:
        slot.protocol = protocol
        protocol.on_change = functools.partial(self._protocol_changed, slot)
        if self._limits.max_age is not None:
            age = self._limits.max_age * (1.0 - _AGE_JITTER * random.random())  # not a secret
            slot.retires_at = self.loop.time() + age
        if self.closed:
            protocol.close("the pool was closed")
        if protocol.ready() and not protocol.closing:
            self._protocol_changed(slot, protocol)
        else:
            self._dial_failed(slot, ConnectError("the connection was closed as soon as it was made"))

    def _dial_failed(self, slot: Slot, error: HTTPCoreError) -> None:
        exchange = slot.reserved or self._waiters.take_dialling(slot.lane)
        slot.reserved = None
        if exchange is not None:
            exchange.wait(slot, exchange.phase_before_start)  # it is in no queue any more
        if slot.protocol is None:
            self._freed(slot)
        else:
            self._protocol_changed(slot, slot.protocol)
        if exchange is not None:
            exchange.fail(error)

    # Leasing.

    def _usable(self, slot: Slot) -> bool:
        """Whether an idle or freed slot can carry an exchange. One that cannot is closing from then on."""
        assert slot.protocol is not None
        now = self.loop.time()
        if now >= slot.retires_at:
            slot.protocol.close("it reached max_age")
        elif now >= slot.expires_at:
            slot.protocol.close("its keep-alive time is over")
        return slot.protocol.ready()

    def _lease(self, slot: Slot, exchange: HTTPExchange) -> None:
        assert slot.protocol is not None
        if slot.state == SlotState.IDLE:
            self._unidle(slot)
        slot.state = SLOT[slot.state, SlotEvent.LEASE]
        exchange.replay = slot.lane.replay
        slot.protocol.start(exchange)

    def _protocol_changed(self, slot: Slot, protocol: HTTPProtocol) -> None:
        """The connection came to be, or became free, closing, or closed."""
        if protocol.available:
            self._release(slot)
        elif protocol.closed:
            self._freed(slot)
        elif protocol.closing:
            if slot.state == SlotState.IDLE:
                self._unidle(slot)
                if self._trace is not None:
                    reason = ConnectionClosed(self.loop.time(), protocol.info.connection_id, protocol.close_reason)
                    emit(self._trace, reason, self.loop)
            self._draining += slot.state != SlotState.DRAINING
            slot.state = SLOT[slot.state, SlotEvent.DRAIN]

    def _release(self, slot: Slot) -> None:
        """Gives a connection that can carry an exchange to who is next, or keeps it."""
        if slot.reserved is None and not slot.lane.dialling and not slot.lane.queued:
            self._keep(slot)
            return
        slot.expires_at = float("inf")
        if self._usable(slot):
            exchange, slot.reserved = slot.reserved or self._waiters.take(slot.lane), None
            if exchange is not None:
                self._lease(slot, exchange)
            else:
                assert slot.protocol is not None
                slot.protocol.close("its place is needed for another origin, which has waited for long")

    def _keep(self, slot: Slot) -> None:
        assert slot.protocol is not None
        now = self.loop.time()
        hint = slot.protocol.keep_alive_hint
        expiry = self._limits.keepalive_expiry
        slot.expires_at = float("inf") if expiry is None else now + expiry
        if hint is not None:
            slot.expires_at = min(slot.expires_at, now + max(hint - _HINT_MARGIN, hint / 2))
        slot.state = SLOT[slot.state, SlotEvent.RELEASE]
        self._idle[slot] = None
        slot.lane.idle[slot] = None
        if self._limits.soft_limit is not None and len(self._idle) > self._limits.soft_limit:
            self._close_idle(next(iter(self._idle)), "there are more idle connections than soft_limit")
        elif self._waiters.want_place and not self._has_room:
            # Somebody of another origin waits for a place: an idle connection gives its own up.
            self._close_idle(slot, "its place is needed for another origin")
        elif expiry is not None and self._expiry.when is None:
            self._expiry.arm(now + expiry)

    def _unidle(self, slot: Slot) -> None:
        del self._idle[slot]
        del slot.lane.idle[slot]

    # Ending.

    def _close_idle(self, slot: Slot, reason: str) -> None:
        assert slot.protocol is not None
        slot.protocol.close(reason)

    def _expire(self) -> None:
        """Closes what has been idle for too long.

        Idle connections expire in the order they became idle, but for those whose server said that it keeps them for
        less: these end when they come first here, or when somebody wants them.
        """
        expiry = self._limits.keepalive_expiry
        assert expiry is not None
        now = self.loop.time()
        while self._idle:
            slot = next(iter(self._idle))
            if slot.expires_at > now:
                self._expiry.arm(slot.expires_at)
                return
            self._close_idle(slot, "it was idle for longer than keepalive_expiry")

    def _freed(self, slot: Slot) -> None:
        """The slot's connection is gone, or never came: the one place where a place in the pool is freed."""
        if slot.state == SlotState.IDLE:
            self._unidle(slot)
        self._draining -= slot.state == SlotState.DRAINING
        slot.state = SLOT[slot.state, SlotEvent.CLOSE]
        slot.protocol = None
        lane = slot.lane
        lane.count -= 1
        self._all.discard(slot)
        self._waiters.enter(lane)
        while self._has_room and not self.closed and (waiter := self._waiters.grant_place()) is not None:
            self._open(waiter.lane, waiter.exchange)
        self._forget_lane(lane)
        if self._gone is not None:
            self._gone.set_result(None)
            self._gone = None

    def _forget_lane(self, lane: Lane) -> None:
        if lane.count == 0 and not lane.queued and not lane.dialling:
            self._lanes.pop(lane.route, None)

    # The loop's end.

    async def _live(self) -> AsyncGenerator[None, None]:
        """Lives as long as the loop: `asyncio.run` closes async generators before it closes the loop.

        So a pool that was not closed leaves no open socket behind, and works on the next loop.
        """
        try:
            yield
        finally:
            if not self.closed:
                self.close(force=True)

    def _start_lifeline(self) -> None:
        # The first step is what makes the loop know of a generator. It runs to the `yield` without waiting.
        try:
            self._lifeline.__anext__().send(None)
        except StopIteration:
            pass

    def _end_lifeline(self) -> None:
        # Nothing waits in its `finally` either. When the loop is ending it, it is on its way already.
        try:
            self._lifeline.aclose().send(None)
        except (StopIteration, RuntimeError):
            pass
