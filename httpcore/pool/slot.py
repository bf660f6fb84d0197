"""Slot and Lane: what the books of a pool consist of. `Slots` keeps them."""

from __future__ import annotations

import asyncio
import random
from collections import OrderedDict
from enum import IntEnum

from httpcore.exceptions import HTTPCoreError
from httpcore.pool.routes import Route
from httpcore.pool.waiters import Waiter
from httpcore.protocols.base import HTTPProtocol
from httpcore.protocols.exchange import HTTPExchange, Replay
from httpcore.protocols.http11 import HTTP11Protocol
from httpcore.protocols.states import Transitions

__all__ = ["LEASE", "RELEASE", "SLOT", "UNKNOWN_WIDTH", "Lane", "Slot", "SlotEvent", "SlotState"]

UNKNOWN_WIDTH = 2**31 - 1
"""What a connection is expected to carry while the version of HTTP is not known: enough that everybody waits for it."""


_AGE_JITTER = 0.1  # the part of max_age by which it is shortened at random


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


LEASE = SLOT.on(SlotEvent.LEASE)
RELEASE = SLOT.on(SlotEvent.RELEASE)


class Lane:
    """What has to do with one route: how many slots, which of them can take an exchange, and who waits.

    While one of its slots can take an exchange nobody waits in it, as what becomes free goes to who waits first.
    """

    __slots__ = (
        "connecting",
        "count",
        "dialling",
        "idle",
        "limit",
        "queued",
        "replay",
        "replay_shared",
        "route",
        "serving",
        "spare",
        "width",
    )

    def __init__(self, route: Route, limit: int | None) -> None:
        self.route = route
        self.limit = limit
        self.count = 0  # slots that are not CLOSED
        self.idle: OrderedDict[Slot, None] = OrderedDict()  # the one used last is at the end, and is used next
        self.spare: OrderedDict[Slot, None] = OrderedDict()  # those that carry some, and can take more
        self.width = UNKNOWN_WIDTH if route.http2 else 1  # exchanges that a connection which is made should carry
        self.connecting = 0  # dials that run, but for those reserved for an exchange that is sent again
        self.dialling: OrderedDict[Waiter, None] = OrderedDict()  # owned by Waiters, as is ...
        self.queued: OrderedDict[Waiter, None] = OrderedDict()
        self.serving: dict[Slot, None] | None = None  # while spare slots go to who waits: those that changed meanwhile
        # What an exchange asks to be sent again: one that has a connection for itself, and one that shares it.
        self.replay: Replay | None = None
        self.replay_shared: Replay | None = None

    @property
    def full(self) -> bool:
        """Whether its own limit forbids a further slot."""
        return self.limit is not None and self.count >= self.limit

    @property
    def joinable(self) -> bool:
        """Whether a connection that is being made should carry one more than those who wait for it."""
        return self.width > 1 and len(self.dialling) < self.connecting * self.width


class Slot:
    """One unit of the pool's limit."""

    __slots__ = ("cause", "expires_at", "lane", "multiplexed", "protocol", "reserved", "retires_at", "state", "task")

    def __init__(self, lane: Lane, cause: Waiter | None) -> None:
        self.lane = lane
        self.state = SlotState.CONNECTING
        self.protocol: HTTPProtocol | None = None
        self.multiplexed = False  # whether its connection can carry several exchanges at once
        self.task: asyncio.Task[None] | None = None  # the dial
        self.cause = cause  # for whom the dial was begun; None if that was for `reserved`
        self.reserved: HTTPExchange | None = None  # for whom alone it was made: one that is sent again
        self.retires_at = float("inf")  # no new exchange from then on: max_age
        self.expires_at = float("inf")  # while IDLE: no new exchange from then on

    @property
    def busy(self) -> bool:
        """Whether it carries an exchange, or an upgraded stream."""
        return self.state == SlotState.ACTIVE or (self.protocol is not None and self.protocol.in_flight > 0)

    def usable(self) -> bool:
        """Whether its connection may carry one exchange more. One that may not is closing from then on."""
        protocol = self.protocol
        assert protocol is not None
        now = protocol.loop.time()
        if now >= self.retires_at:
            protocol.close("it reached max_age")
        elif now >= self.expires_at:
            protocol.close("its keep-alive time is over")
        return protocol.ready()

    def retire_after(self, seconds: float, now: float) -> None:
        """Lets its connection take no new exchange after `seconds`, shortened at random."""
        self.retires_at = now + seconds * (1.0 - _AGE_JITTER * random.random())  # not a secret

    def close(self, reason: str) -> None:
        """Asks its connection to take no further exchange, and to close after those it carries."""
        assert self.protocol is not None
        self.protocol.close(reason)

    def end(self, error: HTTPCoreError, *, force: bool) -> None:
        """Ends its dial, or closes its connection: now if `force`, and what it carries fails with `error`."""
        if self.task is not None:
            self.task.cancel()
            return
        assert self.protocol is not None
        if force:
            self.protocol.abort(error)
        else:
            self.protocol.close(str(error))

    def reset_tunnels(self) -> None:
        """Ends the tunnels that its connection carries, if that is of HTTP/2, without waiting for the proxy's part."""
        if isinstance(self.protocol, HTTP11Protocol):
            return
        from httpcore.protocols.http2 import HTTP2Protocol  # it was imported when the connection was made

        if isinstance(self.protocol, HTTP2Protocol):
            for stream in tuple(self.protocol.streams.values()):
                stream.abort_tunnel()

    def abandon(self, exchange: HTTPExchange) -> None:
        """The exchange for which it was reserved failed; the dial goes on, and serves somebody else."""
        self.reserved = None
