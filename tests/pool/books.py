"""What must be true of a pool's books between any two steps of its loop."""

from __future__ import annotations

import asyncio
from collections import Counter
from itertools import pairwise

from httpcore import ConnectionPool
from httpcore.pool.slot import Lane, Slot, SlotState
from httpcore.pool.slots import Slots
from httpcore.protocols.http11 import HTTP11Protocol
from httpcore.protocols.states import ConnectionState

__all__ = ["check_books", "check_empty"]


def check_books(pool: ConnectionPool) -> None:
    """Asserts every invariant of the books of `pool`."""
    slots = pool._slots
    if slots is None:
        return
    states = Counter(slot.state for slot in slots._all)
    assert states[SlotState.CLOSED] == 0
    assert pool.num_connections == len(slots._all) == states.total()
    assert pool.num_keepalive_connections == len(slots._idle) == states[SlotState.IDLE]
    assert pool.num_active_connections == states.total() - states[SlotState.IDLE]
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


def check_empty(pool: ConnectionPool) -> None:
    """Asserts that nothing is left: no slot, no lane, no waiter, no timer."""
    check_books(pool)
    slots = pool._slots
    if slots is None:
        return
    assert slots._all == set()
    assert slots._lanes == {}
    assert not slots._idle
    assert slots.waiting_count == 0
    assert not slots._waiters._for_place
    assert slots._waiters._timeouts == {}
    assert slots._connecting == slots._draining == 0
    assert slots._expiry.when is None
    assert slots._expiry._handle is None


def _check_slot(slot: Slot, slots: Slots) -> None:
    lane, protocol = slot.lane, slot.protocol
    assert slots._lanes[lane.route] is lane
    assert (slot in slots._idle) == (slot in lane.idle) == (slot.state == SlotState.IDLE)
    if slot.reserved is not None:
        assert slot.state == SlotState.CONNECTING
        assert slot.reserved._holder is slot
        assert not slot.reserved.ended
    if slot.state == SlotState.CONNECTING:
        assert protocol is None
        assert slot.task is not None
        assert not slot.task.done() or slot.task.cancelled()  # whose end the loop is about to report
        return
    assert slot.task is None
    assert isinstance(protocol, HTTP11Protocol)
    assert not protocol.closed
    assert protocol.on_change is not None
    if slot.state == SlotState.IDLE:
        assert protocol.state == ConnectionState.IDLE
        assert protocol.available == 1
        assert protocol.in_flight == 0
    elif slot.state == SlotState.DRAINING:
        assert protocol.closing
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
    assert list(lane.idle) == [slot for slot in slots._idle if slot.lane is lane], "the idle orders disagree"
    waiting = [*lane.dialling, *lane.queued]
    assert not (waiting and lane.idle), "somebody waits although a connection is idle"
    assert all(one.ticket < other.ticket for one, other in pairwise(waiting)), "not in the order of arrival"
    dials = sum(slot.state == SlotState.CONNECTING and slot.reserved is None for slot in mine)
    assert len(lane.dialling) <= dials, "somebody waits for a connection that nobody makes"
    for waiter in waiting:
        assert waiter.lane is lane
        assert waiter.exchange._holder is waiter
        assert not waiter.exchange.ended
        assert waiter.dialling == (waiter in lane.dialling)
        limited = not waiter.dialling and waiter.exchange.timeout.pool_timeout is not None
        assert (waiter.timeouts is not None) == limited, "the pool timeout runs when and only when one is queued"
    if lane.queued and not lane.full:
        assert next(iter(lane.queued)) in slots._waiters._for_place


def _check_limits(slots: Slots, draining: int) -> None:
    limits, waiters = slots._limits, slots._waiters
    lanes = slots._lanes.values()
    assert slots._connecting == sum(slot.task is not None for slot in slots._all)
    assert slots._draining == draining
    assert waiters.queued_count == sum(len(lane.queued) for lane in lanes)
    assert all(waiter in waiter.lane.queued for waiter in waiters._for_place)
    if limits.hard_limit is not None:
        # A request that is sent again gets its new slot while the old one's connection ends.
        assert len(slots._all) - draining <= limits.hard_limit
    if limits.per_origin_limit is not None:
        for lane in lanes:
            ending = sum(slot.state == SlotState.DRAINING and slot.lane is lane for slot in slots._all)
            assert lane.count - ending <= limits.per_origin_limit
    if limits.soft_limit is not None:
        assert len(slots._idle) <= limits.soft_limit
    if limits.max_waiters is not None:
        assert (
            slots.waiting_count <= limits.max_waiters + draining
        )  # who gets an idle connection's place waits for its end
    wants_place = any(not waiter.lane.full for waiter in waiters._for_place)
    if wants_place:
        assert not slots._has_room, "somebody waits for a place that is free"
        assert not slots._idle or draining, "somebody waits for the place of an idle connection"
    if slots._idle and limits.keepalive_expiry is not None:
        assert slots._expiry.when is not None, "nothing will close the idle connections"
        assert slots._expiry._handle is not None
        assert slots._expiry.when <= max(slot.expires_at for slot in slots._idle) + limits.keepalive_expiry
    assert isinstance(slots.loop, asyncio.AbstractEventLoop)
