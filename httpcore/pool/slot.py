"""Slot and Lane: what the books of a pool consist of. `Slots` keeps them."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from enum import IntEnum

from httpcore.pool.routes import Route
from httpcore.pool.waiters import Waiter
from httpcore.protocols.base import HTTPProtocol
from httpcore.protocols.exchange import HTTPExchange, Replay
from httpcore.protocols.states import Transitions

__all__ = ["SLOT", "Lane", "Slot", "SlotEvent", "SlotState"]


class SlotState(IntEnum):
    """The life of a slot."""

    CONNECTING = 0
    ACTIVE = 1
    IDLE = 2
    DRAINING = 3
    CLOSED = 4


class SlotEvent(IntEnum):
    """What moves a slot."""

    LEASE = 0
    RELEASE = 1
    DRAIN = 2
    CLOSE = 3


SLOT: Transitions[SlotState, SlotEvent] = Transitions(
    {
        (SlotState.CONNECTING, SlotEvent.LEASE): SlotState.ACTIVE,
        (SlotState.CONNECTING, SlotEvent.RELEASE): SlotState.IDLE,
        (SlotState.CONNECTING, SlotEvent.DRAIN): SlotState.DRAINING,
        (SlotState.CONNECTING, SlotEvent.CLOSE): SlotState.CLOSED,
        (SlotState.ACTIVE, SlotEvent.LEASE): SlotState.ACTIVE,  # handed on directly
        (SlotState.ACTIVE, SlotEvent.RELEASE): SlotState.IDLE,
        (SlotState.ACTIVE, SlotEvent.DRAIN): SlotState.DRAINING,
        (SlotState.ACTIVE, SlotEvent.CLOSE): SlotState.CLOSED,
        (SlotState.IDLE, SlotEvent.LEASE): SlotState.ACTIVE,
        (SlotState.IDLE, SlotEvent.DRAIN): SlotState.DRAINING,
        (SlotState.IDLE, SlotEvent.CLOSE): SlotState.CLOSED,
        (SlotState.DRAINING, SlotEvent.DRAIN): SlotState.DRAINING,
        (SlotState.DRAINING, SlotEvent.CLOSE): SlotState.CLOSED,
    }
)


class Lane:
    """What has to do with one route: how many slots, which of them are idle, and who waits.

    While one of its slots is idle nobody waits in it, as a freed connection goes to who waits first.
    """

    __slots__ = ("count", "dialling", "idle", "limit", "queued", "replay", "route")

    def __init__(self, route: Route, limit: int | None) -> None:
        self.route = route
        self.limit = limit
        self.count = 0  # slots that are not CLOSED
        self.idle: OrderedDict[Slot, None] = OrderedDict()  # the one used last is at the end, and is used next
        self.dialling: OrderedDict[Waiter, None] = OrderedDict()  # owned by Waiters, as is ...
        self.queued: OrderedDict[Waiter, None] = OrderedDict()
        self.replay: Replay | None = None  # what an exchange on one of its connections asks to be sent again

    @property
    def full(self) -> bool:
        """Whether its own limit forbids a further slot."""
        return self.limit is not None and self.count >= self.limit


class Slot:
    """One unit of the pool's limit."""

    __slots__ = ("expires_at", "lane", "protocol", "reserved", "retires_at", "state", "task")

    def __init__(self, lane: Lane) -> None:
        self.lane = lane
        self.state = SlotState.CONNECTING
        self.protocol: HTTPProtocol | None = None
        self.task: asyncio.Task[None] | None = None  # the dial
        self.reserved: HTTPExchange | None = None  # for whom alone it was made: one that is sent again
        self.retires_at = float("inf")  # no new exchange from then on: max_age
        self.expires_at = float("inf")  # while IDLE: no new exchange from then on

    def abandon(self, exchange: HTTPExchange) -> None:
        """The exchange for which it was reserved failed; the dial goes on, and serves somebody else."""
        self.reserved = None
