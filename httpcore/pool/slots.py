"""Slots: the books of one pool on one loop.

Theory of operation. A `Slot` is one unit of the pool's limit. It exists before its connection, has exactly one owner at
every moment, and is freed in one place, `_freed`, when its connection is gone:

| state      | owner                                  | leaves by                                                     |
|------------|----------------------------------------|---------------------------------------------------------------|
| CONNECTING | its own dial, which no cancelled request ends | the dial: ACTIVE, IDLE, or CLOSED if it failed          |
| ACTIVE     | its exchanges (or the upgraded stream) | a response's end: IDLE or ACTIVE again; DRAINING; CLOSED       |
| IDLE       | the pool's idle order                  | leased; expired, evicted, or closed by the server: DRAINING    |
| DRAINING   | its connection, which is closing       | the connection's end: CLOSED; what it carries may end before   |

A connection that can carry several exchanges at once, HTTP/2's, is also among its lane's `spare` ones while it is
ACTIVE and could carry more.

Everything here is synchronous: no decision is interrupted between looking at the books and changing them (rule P1), so
there are no locks. Every step is O(1) in the number of connections, routes and waiters, per request (rule P6).
"""

from __future__ import annotations

import asyncio
import functools
import os

from httpcore.config import PoolLimits
from httpcore.exceptions import ConnectError, ConnectTimeout, HTTPCoreError, Phase, PoolClosed, PoolTimeout, copy_error
from httpcore.pool.dials import Dial, Dials
from httpcore.pool.idle import IdleSlots
from httpcore.pool.lifeline import Lifeline
from httpcore.pool.retries import may_replay
from httpcore.pool.routes import Route
from httpcore.pool.slot import LEASE, SLOT, Lane, Slot, SlotEvent, SlotState
from httpcore.pool.waiters import Waiters
from httpcore.protocols.base import HTTPProtocol
from httpcore.protocols.exchange import HTTPExchange
from httpcore.protocols.http11 import HTTP11Protocol
from httpcore.trace import ConnectionClosed, RequestReplayed, SlotWaitStarted, TraceHook, emit

__all__ = ["Slots"]

_FOR_ANOTHER = "its place is needed for another origin, which has waited for long"


class Slots:
    """The connections of one pool on one loop, and who waits for them.

    Args:
        loop: the running loop.
        limits: what there may be.
        dial: makes a connection for a route.
        trace: the pool's hook, for what happens to idle connections.
        below: the books of those connections through which these ones go, and which close with them.
    """

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        limits: PoolLimits,
        dial: Dial,
        trace: TraceHook | None,
        below: Slots | None = None,
    ) -> None:
        self.loop = loop
        self.pid = os.getpid()  # a forked child shares the sockets, and must leave them alone
        self.closed = False
        self._limits = limits
        self._trace = trace
        self._below = below
        self._lanes: dict[Route, Lane] = {}
        self._all: set[Slot] = set()  # all that are not CLOSED
        self._draining = 0  # how many of them are DRAINING: counted, as each request that times out has a report
        self._idle = IdleSlots(loop, limits)
        self._waiters = Waiters(loop)
        self._waiters.report = self.report
        self._waiters.left = self._left
        self._dials = Dials(loop, limits, self._all, self._idle, self._waiters, dial)
        self._dials.connected = self._connected
        self._dials.failed = self._dial_failed
        self._gone: asyncio.Future[None] | None = None  # completed when the last slot is freed; see wait_gone
        self._lifeline = Lifeline(functools.partial(self.close, force=True))

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
        active = self.count - self.idle_count - self._dials.count - self._draining
        return (
            f"{self.count} connections (limit {self._limits.hard_limit}, "
            f"per origin {self._limits.per_origin_limit}): {active} active, {self.idle_count} idle, "
            f"{self._dials.count} connecting, {self._draining} closing; {self.waiting_count} requests queued"
        )

    def submit(self, exchange: HTTPExchange, route: Route, *, refusable: bool = True) -> None:
        """Starts `exchange` on a connection of `route`: now, or when it is its turn.

        `max_waiters` may refuse it if it is `refusable`.
        """
        lane = self._lanes.get(route) or self._add_lane(route)
        if lane.spare and (slot := self._find_spare(lane)) is not None:
            self._lease(slot, exchange)
            return
        while lane.idle:
            slot = next(reversed(lane.idle))
            if slot.usable():
                self._lease(slot, exchange)
                return
        joins = lane.width > 1 and lane.joinable and not lane.queued
        may_open = self._dials.has_room and not lane.full
        if exchange.trace is not None:
            emit(exchange.trace, SlotWaitStarted(self.loop.time(), not joins and not may_open), self.loop)
        if joins:
            self._waiters.dial(exchange, lane, joins=True)
        elif lane.serving is not None and may_open:  # what is spare goes to older ones first, but may do for it too
            self._waiters.queue(exchange, lane)
        elif may_open:
            self._dials.open(lane, exchange, self._waiters.dial(exchange, lane, joins=False))
        elif refusable and self._refuses_waiters(lane):
            self._left(lane)
            exchange.fail(PoolTimeout(f"too many requests wait already: {self.report()}"))
        else:
            self._waiters.queue(exchange, lane)
            if self._idle and not lane.full:
                self._idle.evict(1, lane)

    def _refuses_waiters(self, lane: Lane) -> bool:
        limit = self._limits.max_waiters
        if limit is None or self.waiting_count < limit or lane.serving is not None:
            return False
        return lane.full or not self._idle  # whose place it could have otherwise

    def _add_lane(self, route: Route) -> Lane:
        lane = self._lanes[route] = Lane(route, self._limits.per_origin_limit)
        lane.replay = functools.partial(self._replay, route, alone=True)
        lane.replay_shared = functools.partial(self._replay, route, alone=False)
        return lane

    def _replay(self, route: Route, exchange: HTTPExchange, error: HTTPCoreError, *, alone: bool) -> bool:
        """Sends `exchange`, whose connection failed it, again if that is allowed; returns whether it is.

        One that was `alone` on a connection gets a new one of its own. The dead one's slot is still counted at this
        point, and freed by who called. So the new one may exceed the limit in the books for as long as this call
        takes, but never in sockets. The many exchanges of one connection wait for others like new ones.
        """
        if self.closed or not may_replay(exchange, error):
            return False
        if exchange.trace is not None:
            emit(exchange.trace, RequestReplayed(self.loop.time(), error), self.loop)
        exchange.rewind()
        lane = self._lanes.get(route) or self._add_lane(route)
        if alone and lane.width == 1:
            slot = self._dials.open(lane, exchange, None)
            slot.reserved = exchange
            exchange.wait(slot, Phase.CONNECTING)
        else:
            self.submit(exchange, route, refusable=False)
        return True

    def close(self, *, force: bool) -> None:
        """Takes nobody any more: ends who waits, dials and idle connections; the others too if `force`."""
        self.closed = True
        self._idle.close()
        self._waiters.close(tuple(self._lanes.values()))
        for slot in list(self._all):
            slot.end(PoolClosed("the pool was closed"), force=force)
        if self._below is not None:
            self._below.close(force=force)
        self._lifeline.end()

    async def wait_gone(self, *, force: bool) -> None:
        """Returns once the slots that `close` ends are freed: unless `force`, not those that still carry a response."""
        for slot in tuple(self._all) if force else ():
            slot.reset_tunnels()  # whoever had them has them no more
        while any(force or not slot.busy for slot in self._all):
            if self._gone is None:
                self._gone = self.loop.create_future()
            await asyncio.shield(self._gone)
        if self._below is not None:
            await self._below.wait_gone(force=force or not self._all)

    # What dials end with.

    def _connected(self, slot: Slot, protocol: HTTPProtocol) -> None:
        slot.protocol = protocol
        slot.multiplexed = not isinstance(protocol, HTTP11Protocol)
        protocol.on_change = functools.partial(self._protocol_changed, slot)
        if self._limits.max_age is not None:
            slot.retire_after(self._limits.max_age, self.loop.time())
        if self.closed:
            protocol.close("the pool was closed")
        if not protocol.ready():
            self._dial_failed(slot, ConnectError("the connection was closed as soon as it was made"))
            return
        if not protocol.available:
            protocol.close("the server allows no requests")
            self._dial_failed(slot, ConnectError("the connection was made, but the server allows no requests on it"))
            return
        slot.cause = None
        slot.lane.width = protocol.available
        if slot.reserved is not None:
            exchange, slot.reserved = slot.reserved, None
            self._lease(slot, exchange)
        if slot.state == SlotState.CONNECTING or (slot.state == SlotState.ACTIVE and slot.multiplexed):
            self._protocol_changed(slot, protocol)
        self._dials.balance(slot.lane, anew=True)

    def _dial_failed(self, slot: Slot, error: HTTPCoreError) -> None:
        if slot.reserved is not None:
            failed = [slot.reserved]
        else:
            failed = self._waiters.take_failed(slot.lane, slot.cause, timed_out=isinstance(error, ConnectTimeout))
        slot.reserved = slot.cause = None
        for exchange in failed:
            exchange.wait(slot, exchange.phase_before_start)  # it is in no queue any more
        if slot.protocol is None:
            self._freed(slot)
        else:
            self._protocol_changed(slot, slot.protocol)
        errors = [error, *(copy_error(error) for _ in failed[1:])]  # each says what its own exchange was doing
        for exchange, each in zip(failed, errors, strict=False):
            exchange.fail(each)

    # Leasing.

    def _lease(self, slot: Slot, exchange: HTTPExchange) -> None:
        assert slot.protocol is not None
        if slot.state == SlotState.IDLE:
            self._idle.remove(slot)
        slot.state = LEASE[slot.state]
        if not slot.multiplexed:
            exchange.replay = slot.lane.replay
            slot.protocol.start(exchange)
            return
        exchange.replay = slot.lane.replay_shared
        slot.expires_at = float("inf")
        if slot.protocol.available > 1:
            slot.lane.spare[slot] = None  # first: its handler may dispatch another
        else:
            slot.lane.spare.pop(slot, None)
        slot.protocol.start(exchange)
        self._settle(slot)

    def _protocol_changed(self, slot: Slot, protocol: HTTPProtocol) -> None:
        """The connection came to be, or can take more or fewer exchanges, or is closing, or closed."""
        if slot.multiplexed and not protocol.closing:
            self._share(slot, protocol)
        elif protocol.available:
            self._release(slot)
        elif protocol.closed:
            self._freed(slot)
        elif protocol.closing:
            if slot.state == SlotState.IDLE:
                self._idle.remove(slot)
                if self._trace is not None:
                    reason = ConnectionClosed(self.loop.time(), protocol.info.connection_id, protocol.close_reason)
                    emit(self._trace, reason, self.loop)
            slot.lane.spare.pop(slot, None)
            self._draining += slot.state != SlotState.DRAINING
            slot.state = SLOT[slot.state, SlotEvent.DRAIN]

    def _release(self, slot: Slot) -> None:
        """Gives a connection that carries nothing, and can carry one exchange, to who is next, or keeps it."""
        lane = slot.lane
        if not lane.dialling and not lane.queued:
            self._keep(slot)
            return
        slot.expires_at = float("inf")
        if slot.usable():
            exchange = self._waiters.take(lane)
            if exchange is not None:
                self._lease(slot, exchange)
            else:
                slot.close(_FOR_ANOTHER)

    def _keep(self, slot: Slot) -> None:
        self._idle.add(slot)
        if self._waiters.queued_count and self._dials.crowded_by_others(slot.lane) and slot.state == SlotState.IDLE:
            # Somebody of another origin waits for a place: an idle connection gives its own up.
            slot.close("its place is needed for another origin")

    # Sharing: what is different for connections that can carry several exchanges at once.

    def _share(self, slot: Slot, protocol: HTTPProtocol) -> None:
        """Gives what the connection can carry to who is next, and puts the slot where it belongs."""
        lane = slot.lane
        available = protocol.available
        if available:  # if not, that may say nothing about other connections: this server does not answer, perhaps
            lane.width = available + protocol.in_flight
        if not available or lane.serving is not None or not (lane.dialling or lane.queued):
            self._settle(slot)
        else:
            lane.spare[slot] = None
            self._serve(lane, slot)
        if lane.dialling or lane.queued:
            self._dials.balance(lane, anew=True)

    def _serve(self, lane: Lane, slot: Slot) -> None:
        """Starts who waits in `lane` on its spare connections, the oldest first.

        Handlers that are started may do anything: dispatch another, which has to wait for its turn then; abort others;
        close the pool. So each step looks at everything again. What carries nothing then is idle only at the end.
        """
        lane.serving = {slot: None}
        try:
            while (lane.dialling or lane.queued) and lane.spare:
                slot = next(reversed(lane.spare))
                if self._can_take(slot):
                    exchange = self._waiters.take(lane)
                    if exchange is not None:
                        self._lease(slot, exchange)
                    else:
                        slot.close(_FOR_ANOTHER)
        finally:
            changed, lane.serving = lane.serving, None
        for slot in changed:
            self._settle(slot)
        self._dials.grant()
        self._left(lane)

    def _settle(self, slot: Slot) -> None:
        """Puts a slot where it belongs by what its connection carries now, and could."""
        lane, protocol = slot.lane, slot.protocol
        if protocol is None or protocol.closing:
            return
        available = protocol.available
        if lane.serving is not None:
            lane.serving[slot] = None
        elif not protocol.in_flight:
            lane.spare.pop(slot, None)
            if slot.state != SlotState.IDLE:
                self._keep(slot)
            if not available:  # it is idle, and may be closed for that; but nobody can use it for now
                lane.idle.pop(slot, None)
            elif slot.state == SlotState.IDLE:
                lane.idle[slot] = None
            return
        if available:
            lane.spare[slot] = None
        else:
            lane.spare.pop(slot, None)

    def _find_spare(self, lane: Lane) -> Slot | None:
        """Returns a connection that carries some exchanges and takes one more."""
        while lane.spare and not lane.dialling and not lane.queued:  # those are being served, and come first
            slot = next(reversed(lane.spare))
            if self._can_take(slot):
                if self._waiters.may_overtake(lane):
                    return slot
                slot.close(_FOR_ANOTHER)
        return None

    def _can_take(self, slot: Slot) -> bool:
        """Whether a spare connection can carry one more. One that cannot is spare no longer."""
        able = slot.protocol is not None and slot.protocol.available > 0 and slot.usable()
        if not able:
            slot.lane.spare.pop(slot, None)
        return able

    # Ending.

    def _freed(self, slot: Slot) -> None:
        """The slot's connection is gone, or never came: the one place where a place in the pool is freed."""
        if slot.state == SlotState.IDLE:
            self._idle.remove(slot)
        self._draining -= slot.state == SlotState.DRAINING
        slot.state = SLOT[slot.state, SlotEvent.CLOSE]
        slot.protocol = None
        lane = slot.lane
        lane.count -= 1
        self._all.discard(slot)
        lane.spare.pop(slot, None)
        self._waiters.enter(lane)
        self._dials.balance(lane, anew=False)
        self._left(lane)
        if self._gone is not None:
            self._gone.set_result(None)
            self._gone = None

    def _left(self, lane: Lane) -> None:
        """A slot, or somebody who waited, left `lane`: it may be the turn of somebody else to have a place now."""
        if self._idle and not self._draining:
            self._dials.make_room()
        if lane.count == 0 and not lane.queued and not lane.dialling:
            self._lanes.pop(lane.route, None)
