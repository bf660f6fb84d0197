"""What must be true of a pool's books between any two steps of its loop."""

from __future__ import annotations

import asyncio
from collections import Counter
from itertools import pairwise

from httpcore import ConnectionPool
from httpcore.pool.slot import Lane, Slot, SlotState
from httpcore.pool.slots import Slots
from httpcore.protocols.http2 import HTTP2Protocol
from httpcore.protocols.http11 import HTTP11Protocol
from httpcore.protocols.states import ConnectionState

__all__ = ["check_books", "check_empty"]


def check_books(pool: ConnectionPool) -> None:
    """Asserts every invariant of the books of `pool`, and of those of its connections to proxies below them."""
    slots = pool._slots
    if slots is None:
        return
    states = _check_slots(slots)
    assert pool.num_connections == states.total()
    assert pool.num_keepalive_connections == states[SlotState.IDLE]
    assert pool.num_active_connections == states.total() - states[SlotState.IDLE]
    below = slots._below
    if below is None:
        return
    _check_slots(below)
    assert below._below is None
    assert below.loop is slots.loop
    assert below.closed == slots.closed
    # Connections to proxies have no limit of their own: each is for one that is counted.
    assert below.waiting_count == 0
    if below._all or below._lanes:
        _check_tunnels(slots, below)


def check_empty(pool: ConnectionPool) -> None:
    """Asserts that nothing is left in any of the books: no slot, no lane, no waiter, no timer."""
    check_books(pool)
    slots = pool._slots
    while slots is not None:
        assert slots._all == set()
        assert slots._lanes == {}
        assert not slots._idle
        assert slots.waiting_count == 0
        assert slots._waiters._for_place == []
        assert slots._waiters._listed_count == 0
        assert slots._waiters._deadlines._groups == {}
        assert slots._dials.count == slots._draining == 0
        assert slots._idle.expiry.when is None
        assert slots._idle.expiry._handle is None
        slots = slots._below


def _check_slots(slots: Slots) -> Counter[SlotState]:
    """Asserts what holds for the books of one level; returns how many slots are in each state."""
    if not slots._all and not slots._lanes:  # as it is at most steps, on the level that is not used
        assert slots.count == slots.idle_count == slots.waiting_count == slots._dials.count == slots._draining == 0
        assert slots._waiters._listed_count == 0
        return Counter()
    states = Counter(slot.state for slot in slots._all)
    assert states[SlotState.CLOSED] == 0
    assert slots.count == len(slots._all) == states.total()
    assert slots.idle_count == len(slots._idle) == states[SlotState.IDLE]
    for slot in slots._all:
        _check_slot(slot, slots)
    for route, lane in slots._lanes.items():
        assert lane.route == route
        _check_lane(lane, slots)
    _check_limits(slots, states[SlotState.DRAINING])
    if slots.closed:
        assert not slots._idle
        assert slots.waiting_count == 0
        assert not any(lane.dialling for lane in slots._lanes.values())
    return states


def _check_tunnels(slots: Slots, below: Slots) -> None:
    """Asserts that what goes on below is for a dial above that runs."""
    asked = sum(len(lane.dialling) for lane in below._lanes.values())
    asked += sum(slot.reserved is not None for slot in below._all)
    for lane in below._lanes.values():
        assert lane.route.proxy is not None
        assert not lane.route.tunnel
        for waiter in lane.dialling:
            assert waiter.exchange.request.method == b"CONNECT"
    for slot in below._all:
        protocol = slot.protocol
        if isinstance(protocol, HTTP11Protocol):
            exchange = protocol._exchange
            asked += exchange is not None and not exchange.ended and protocol.state == ConnectionState.ACTIVE
        elif isinstance(protocol, HTTP2Protocol):
            asked += sum(not stream.exchange.ended for stream in protocol._members)
    assert asked <= slots._dials.count, "a tunnel is asked for that nobody waits for"


def _check_slot(slot: Slot, slots: Slots) -> None:
    lane, protocol = slot.lane, slot.protocol
    assert slots._lanes[lane.route] is lane
    assert (slot in slots._idle._slots) == (slot.state == SlotState.IDLE)
    if slot.reserved is not None:
        assert slot.state == SlotState.CONNECTING
        assert slot.reserved._holder is slot
        assert not slot.reserved.ended
    if slot.state == SlotState.CONNECTING:
        assert protocol is None
        assert slot.task is not None
        assert not slot.task.done() or slot.task.cancelled()  # whose end the loop is about to report
        assert slot not in lane.idle and slot not in lane.spare
        return
    assert slot.task is None
    assert slot.cause is None
    assert protocol is not None
    assert not protocol.closed
    assert protocol.on_change is not None
    assert protocol.closing == (slot.state == SlotState.DRAINING)
    assert (slot in lane.idle) == (slot.state == SlotState.IDLE and protocol.available > 0)
    if slot.state == SlotState.IDLE:
        assert protocol.in_flight == 0
    elif slot.state == SlotState.DRAINING:
        assert protocol.available == 0
    if isinstance(protocol, HTTP11Protocol):
        assert not slot.multiplexed
        _check_http11(slot, protocol)
    else:
        assert isinstance(protocol, HTTP2Protocol)
        assert slot.multiplexed
        assert (slot.state == SlotState.ACTIVE) == (protocol.in_flight > 0 and not protocol.closing)
        assert (slot in lane.spare) == (slot.state == SlotState.ACTIVE and protocol.available > 0)
        for stream in protocol._members:
            assert stream.exchange.ended or stream.exchange._holder is stream


def _check_http11(slot: Slot, protocol: HTTP11Protocol) -> None:
    assert slot not in slot.lane.spare
    if slot.state == SlotState.IDLE:
        assert protocol.state == ConnectionState.IDLE
        assert protocol.available == 1
    elif slot.state == SlotState.DRAINING:
        assert protocol.in_flight == 0
    elif protocol.state == ConnectionState.ACTIVE:
        assert protocol._exchange is not None
        assert not protocol._exchange.ended
        assert protocol._exchange._holder is protocol
        assert protocol.available == 0
        assert protocol.in_flight == 1
    else:
        assert protocol.state == ConnectionState.UPGRADED


def _check_lane(lane: Lane, slots: Slots) -> None:
    mine = [slot for slot in slots._all if slot.lane is lane]
    assert lane.count == len(mine)
    assert lane.count or lane.queued or lane.dialling, "an empty lane was not forgotten"
    in_order = [slot for slot in slots._idle if slot.lane is lane and slot in lane.idle]
    if any(slot.multiplexed for slot in mine):  # one may be of no use for a while, and its turn be later then
        assert set(lane.idle) == set(in_order)
    else:
        assert list(lane.idle) == in_order, "the idle orders disagree"
    assert set(lane.spare) <= set(mine)
    assert lane.serving is None
    waiting = [*lane.dialling, *lane.queued]
    assert not (waiting and lane.idle), "somebody waits although a connection is idle"
    assert not (waiting and lane.spare), "somebody waits although a connection can carry more"
    assert all(one.ticket < other.ticket for one, other in pairwise(waiting)), "not in the order of arrival"
    dials = [slot for slot in mine if slot.state == SlotState.CONNECTING]
    assert lane.connecting == sum(slot.cause is not None for slot in dials)
    assert lane.width >= 1
    if not lane.route.http2:
        assert lane.width == 1
    # Invariant I1 of the dials.
    assert len(lane.dialling) <= lane.connecting * lane.width, "somebody waits for a connection that nobody makes"
    for waiter in waiting:
        assert waiter.lane is lane
        assert waiter.exchange._holder is waiter
        assert not waiter.exchange.ended
        assert waiter.dialling == (waiter in lane.dialling)
        timeouts = waiter.exchange.timeout
        if not waiter.dialling:
            assert waiter.timeout == timeouts.pool_timeout
        elif waiter.joined:
            assert lane.route.http2
            assert waiter.timeout == timeouts.connect_timeout
        deadlines = slots._waiters._deadlines._groups.get(waiter.timeout or 0.0)
        assert (waiter.timeout is not None) == (deadlines is not None and waiter in deadlines.items)
    if lane.queued and not lane.full:
        first = next(iter(lane.queued))
        assert first.listed and (first.ticket, first) in slots._waiters._for_place


def _check_limits(slots: Slots, draining: int) -> None:
    limits, waiters = slots._limits, slots._waiters
    lanes = slots._lanes.values()
    assert slots._dials.count == sum(slot.task is not None for slot in slots._all)
    assert slots._draining == draining
    assert waiters.queued_count == sum(len(lane.queued) for lane in lanes)
    listed = {waiter for _, waiter in waiters._for_place if waiter.listed}
    assert len(listed) == waiters._listed_count
    assert all(waiter in waiter.lane.queued for waiter in listed)
    if limits.hard_limit is not None:
        # A request that is sent again gets its new slot while the old one's connection ends.
        assert len(slots._all) - draining <= limits.hard_limit
    if limits.per_origin_limit is not None:
        for lane in lanes:
            ending = sum(slot.state == SlotState.DRAINING and slot.lane is lane for slot in slots._all)
            assert lane.count - ending <= limits.per_origin_limit
    if limits.soft_limit is not None:
        assert len(slots._idle) <= limits.soft_limit
    # Who joined a dial that turned out to carry less is queued all the same.
    if limits.max_waiters is not None and not any(lane.route.http2 for lane in lanes):
        assert (
            slots.waiting_count <= limits.max_waiters + draining
        )  # who gets an idle connection's place waits for its end
    wants_place = any(not waiter.lane.full for waiter in listed)
    if wants_place:
        assert not slots._dials.has_room, "somebody waits for a place that is free"
        first = waiters.first_for_place()
        assert first is not None
        # Those of its own lane cannot be used for now.
        assert draining or all(slot.lane is first.lane for slot in slots._idle), "an idle one keeps its place"
    if slots._idle and limits.keepalive_expiry is not None:
        assert slots._idle.expiry.when is not None, "nothing will close the idle connections"
        assert slots._idle.expiry._handle is not None
        assert slots._idle.expiry.when <= max(slot.expires_at for slot in slots._idle._slots) + limits.keepalive_expiry
    assert isinstance(slots.loop, asyncio.AbstractEventLoop)
