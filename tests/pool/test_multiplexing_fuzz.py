"""Whatever happens in whatever order on connections that carry many: the books stay right, every request ends once."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from httpcore import ConnectError, ConnectionPool, ConnectTimeout, PoolLimits, Request, TimeoutConfig
from httpcore.testing import MemoryConnector
from tests.clock import Clock, turns
from tests.pool.books import check_books, check_empty
from tests.pool.multiplexing import HTTP2Server, streams
from tests.pool.test_fuzz import ORIGINS, Handler

STREAMS = (1, 2, 3, 100, 0)


class StartingHandler(Handler):
    """Calls `then` when it is started."""

    def exchange_started(self, exchange) -> None:
        then, self.then = self.then, None
        if then is not None:
            then()


class World:
    """A pool, the servers it is connected to, and what can happen to both."""

    def __init__(self, limits: PoolLimits, clock: Clock) -> None:
        self.connector: MemoryConnector[HTTP2Server] = MemoryConnector(self.make_server)
        self.pool = ConnectionPool(
            limits=limits, connector=self.connector, timeout=TimeoutConfig(4.0), http1=False, http2=True
        )
        self.clock = clock
        self.handlers: list[Handler] = []
        self.allowed = 2

    def make_server(self) -> HTTP2Server:
        return HTTP2Server(streams(self.allowed))

    def dispatch(self, number: int, handler: Handler | None = None) -> None:
        handler = Handler() if handler is None else handler
        self.handlers.append(handler)
        method = ("GET", "POST")[number % 2]
        body = (b"", b"x" * 100_000)[number % 5 == 4]
        request = Request(method, ORIGINS[number % 10 // 8], body=body)
        timeout = TimeoutConfig(4.0, connect_timeout=(4.0, 2.0, None)[number % 3])
        handler.exchange = self.pool.dispatch(request, handler, timeout=timeout)

    def dispatch_some(self, number: int) -> None:
        for _ in range(number % 6):
            self.dispatch(number)

    def dispatch_when_started(self, number: int) -> None:
        self.dispatch(number, StartingHandler(lambda: self.dispatch(number + 1)))

    def abort_when_started(self, number: int) -> None:
        self.dispatch(number, StartingHandler(lambda: self.abort(number)))

    def abort_all_when_started(self, number: int) -> None:
        self.dispatch(number, StartingHandler(self.abort_all))

    def dispatch_when_ended(self, number: int) -> None:
        self.dispatch(number, Handler(lambda: self.dispatch(number + 1)))

    def abort_when_ended(self, number: int) -> None:
        self.dispatch(number, Handler(lambda: self.abort(number)))

    def abort(self, number: int) -> None:
        if going := [handler for handler in self.handlers if hasattr(handler, "exchange") and not handler.ends]:
            going[number % len(going)].exchange.abort()

    def abort_all(self) -> None:
        for _ in self.handlers:
            self.abort(0)

    def answer(self, number: int) -> None:
        peer = self._peer(number)
        if peer is not None and peer.open:
            peer.answer(peer.open[number % len(peer.open)])

    def answer_all(self, number: int) -> None:
        peer = self._peer(number)
        while peer is not None and peer.open:
            peer.answer()

    def refuse(self, number: int) -> None:
        peer = self._peer(number)
        if peer is not None and peer.open:
            peer.refuse(peer.open[number % len(peer.open)])

    def go_away(self, number: int) -> None:
        peer = self._peer(number)
        if peer is not None:
            peer.go_away([0, *peer.open][number % (len(peer.open) + 1)])

    def set_streams(self, number: int) -> None:
        peer = self._peer(number)
        if peer is not None:
            peer.update_settings(streams(STREAMS[number % len(STREAMS)]))

    def set_streams_of_new_ones(self, number: int) -> None:
        self.allowed = STREAMS[number % len(STREAMS) if number < 100 else number % 4]

    def end(self, number: int) -> None:
        if peer := self._peer(number):
            peer.close()

    def reset(self, number: int) -> None:
        if peer := self._peer(number):
            peer.abort()

    def hold(self, number: int) -> None:
        self.connector.hold()

    def release(self, number: int) -> None:
        self.connector.release()

    def fail_a_dial(self, number: int) -> None:
        self.connector.fail_next(ConnectTimeout("the kernel gave up") if number % 2 else ConnectError("refused"))

    async def wait(self, number: int) -> None:
        await self.clock.advance(number % 8)

    async def turn(self, number: int) -> None:
        await turns(number % 4)

    def _peer(self, number: int) -> HTTP2Server | None:
        connected = [peer for peer in self.connector.peers if peer.connected and not peer.transport.is_closing()]
        return connected[number % len(connected)] if connected else None


STEPS = [
    World.dispatch,
    World.dispatch_some,
    World.dispatch_some,
    World.dispatch_some,
    World.dispatch_when_started,
    World.abort_when_started,
    World.abort_all_when_started,
    World.dispatch_when_ended,
    World.abort_when_ended,
    World.abort,
    World.answer,
    World.answer,
    World.answer_all,
    World.answer_all,
    World.refuse,
    World.go_away,
    World.set_streams,
    World.set_streams_of_new_ones,
    World.end,
    World.reset,
    World.hold,
    World.release,
    World.fail_a_dial,
    World.wait,
    World.turn,
    World.turn,
    World.turn,
    World.turn,
    World.turn,
]


async def _live(limits: PoolLimits, steps: list[tuple[Callable[[World, int], object], int]]) -> None:
    loop = asyncio.get_running_loop()
    reported: list[dict[str, object]] = []
    loop.set_exception_handler(lambda _, context: reported.append(context))
    clock = Clock(loop)
    world = World(limits, clock)
    for step, number in steps:
        if (waiting := step(world, number)) is not None:
            await waiting  # type: ignore[misc]
        check_books(world.pool)
    # Left alone, every request ends by a timeout at the latest. Only then is the pool closed.
    world.connector.release()
    for handler in world.handlers:
        handler.then = None
    for _ in range(12):
        await clock.advance(30)
        check_books(world.pool)
    assert [handler.ends for handler in world.handlers] == [1] * len(world.handlers)
    await world.pool.close()
    await turns()
    check_empty(world.pool)
    assert world.connector.open_transports == []
    assert reported == [], [context.get("exception") for context in reported]
    await world.connector.close_servers()
    clock.restore()


@pytest.mark.asyncio_only("the clock is that of asyncio's own loop")
@pytest.mark.parametrize(
    "limits",
    [
        PoolLimits(hard_limit=1),
        PoolLimits(hard_limit=3, per_origin_limit=2, max_waiters=4, keepalive_expiry=5.0),
        PoolLimits(hard_limit=4, soft_limit=1, max_age=6.0, keepalive_expiry=None),
    ],
    ids=["one", "per-origin", "ageing"],
)
@settings(max_examples=200, deadline=None, derandomize=True, database=None)
@given(steps=st.lists(st.tuples(st.sampled_from(STEPS), st.integers(0, 1000)), min_size=5, max_size=60))
def test_the_books_stay_right_whatever_happens_on_connections_that_carry_many(
    limits: PoolLimits, steps: list[tuple[Callable[[World, int], object], int]]
) -> None:
    asyncio.run(_live(limits, steps))
