"""Whatever happens in whatever order: the books of a pool stay right, every request ends once, and nothing is left."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from httpcore import ConnectError, ConnectionPool, PoolClosed, PoolLimits, Request, ResponseHandler, TimeoutConfig
from httpcore.handlers import Exchange
from httpcore.headers import Headers
from httpcore.testing import MemoryConnector, ScriptedPeer
from tests.clock import Clock, turns
from tests.pool.books import check_books, check_empty

ORIGINS = ("http://a/", "http://b/", "http://c/")
OK = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok"
ANSWERS = (
    OK,
    OK[:-1],  # the rest comes later, or never
    OK.replace(b"\r\n\r\n", b"\r\nconnection: close\r\n\r\n"),
    OK + b"more",
    b"HTTP/1.1 103 Early\r\n\r\n",
    b"HTTP/1.1 200 OK\r\n\r\n",  # until the connection is closed
    b"HTTP/1.1 200 OK\r\nkeep-alive: timeout=2\r\ncontent-length: 0\r\n\r\n",
    b"HTTP/1.1 101 Hm\r\n\r\n",
    b"\0",
)


class Handler(ResponseHandler):
    """Counts its ends; `then` is called at the end, and may do anything to the pool."""

    def __init__(self, then: Callable[[], object] | None = None) -> None:
        self.ends = 0
        self.then = then
        self.exchange: Exchange

    def response_complete(self, trailers: Headers) -> None:
        self._end()

    def exchange_failed(self, exc: BaseException) -> None:
        self._end()

    def _end(self) -> None:
        self.ends += 1
        if self.then is not None:
            self.then()


class World:
    """A pool, the servers it is connected to, and what can happen to both."""

    def __init__(self, limits: PoolLimits, clock: Clock) -> None:
        self.connector: MemoryConnector[ScriptedPeer] = MemoryConnector(lambda: ScriptedPeer(close_on_eof=True))
        self.pool = ConnectionPool(limits=limits, connector=self.connector, timeout=TimeoutConfig(4.0))
        self.clock = clock
        self.handlers: list[Handler] = []

    def dispatch(self, number: int, then: Callable[[], object] | None = None) -> None:
        handler = Handler(then)
        self.handlers.append(handler)
        method = ("GET", "POST")[number % 2]
        body = (b"", b"x" * 100_000)[number % 5 == 4]
        request = Request(method, ORIGINS[number % len(ORIGINS)], body=body)
        handler.exchange = self.pool.dispatch(request, handler)

    def dispatch_in_a_callback(self, number: int) -> None:
        self.dispatch(number, lambda: self.dispatch(number + 1))

    def abort_in_a_callback(self, number: int) -> None:
        self.dispatch(number, lambda: self.abort(number))

    def abort(self, number: int) -> None:
        if going := [handler for handler in self.handlers if hasattr(handler, "exchange") and not handler.ends]:
            going[number % len(going)].exchange.abort()

    def answer(self, number: int) -> None:
        if peer := self._peer(number):
            peer.send(ANSWERS[number // 8 % len(ANSWERS)])

    def answer_well(self, number: int) -> None:
        if peer := self._peer(number):
            peer.send(OK)

    def end(self, number: int) -> None:
        if peer := self._peer(number):
            peer.close()

    def answer_and_end(self, number: int) -> None:
        self.answer(number)
        self.end(number)

    def reset(self, number: int) -> None:
        if peer := self._peer(number):
            peer.abort()

    def hold(self, number: int) -> None:
        self.connector.hold()

    def release(self, number: int) -> None:
        self.connector.release()

    def fail_a_dial(self, number: int) -> None:
        self.connector.fail_next(ConnectError("refused"))

    async def wait(self, number: int) -> None:
        await self.clock.advance(number % 8)

    async def turn(self, number: int) -> None:
        await turns(number % 4)

    def _peer(self, number: int) -> ScriptedPeer | None:
        connected = [peer for peer in self.connector.peers if peer.connected and not peer.transport.is_closing()]
        return connected[number % len(connected)] if connected else None


STEPS = [
    World.dispatch,
    World.dispatch,
    World.dispatch,
    World.dispatch_in_a_callback,
    World.abort_in_a_callback,
    World.abort,
    World.answer,
    World.answer_well,
    World.answer_well,
    World.end,
    World.answer_and_end,
    World.reset,
    World.hold,
    World.release,
    World.fail_a_dial,
    World.wait,
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
    for _ in range(len(world.handlers) + 1):
        await clock.advance(30)
        check_books(world.pool)
    assert [handler.ends for handler in world.handlers] == [1] * len(world.handlers)
    await world.pool.close()
    await turns()
    check_empty(world.pool)
    assert world.connector.open_transports == []
    assert reported == []
    await world.connector.close_servers()
    clock.restore()


@pytest.mark.asyncio_only("the clock is that of asyncio's own loop")
@pytest.mark.parametrize(
    "limits",
    [
        PoolLimits(hard_limit=1),
        PoolLimits(hard_limit=2, per_origin_limit=1, max_waiters=2, keepalive_expiry=5.0),
        PoolLimits(hard_limit=3, soft_limit=1, max_age=6.0, keepalive_expiry=None),
    ],
    ids=["one", "per-origin", "ageing"],
)
@settings(max_examples=200, deadline=None, derandomize=True, database=None)
@given(steps=st.lists(st.tuples(st.sampled_from(STEPS), st.integers(0, 1000)), min_size=5, max_size=60))
def test_the_books_stay_right_whatever_happens(
    limits: PoolLimits, steps: list[tuple[Callable[[World, int], object], int]]
) -> None:
    asyncio.run(_live(limits, steps))


async def test_a_task_factory_that_runs_tasks_at_once_does_not_upset_the_books() -> None:
    loop = asyncio.get_running_loop()
    loop.set_task_factory(getattr(asyncio, "eager_task_factory", None))  # where there is one: from Python 3.12 on
    connector = MemoryConnector(ScriptedPeer)
    connector.fail_next(ConnectError("refused"))
    pool = ConnectionPool(connector=connector)
    with pytest.raises(ConnectError, match="refused"):
        await pool.request("GET", ORIGINS[0])
    check_empty(pool)
    request = asyncio.create_task(pool.request("POST", ORIGINS[0], body=_parts()))
    peer = await connector.accept()
    await peer.receive_until(b"0\r\n\r\n")
    peer.send(OK)
    assert (await request).body == b"ok"
    await pool.close(force=True)
    with pytest.raises(PoolClosed):
        await pool.request("GET", ORIGINS[0])
    check_empty(pool)
    peer.close()
    await peer.closed()


async def _parts():
    yield b"one"
    yield b"two"
