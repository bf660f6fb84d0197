"""Multiplexing: connections that carry many exchanges at once."""

from __future__ import annotations

import asyncio
import functools
from collections.abc import Callable
from pathlib import Path
from types import FrameType

import pytest

from httpcore import (
    ConnectionPool,
    PoolClosed,
    PoolLimits,
    Request,
    ResponseClosed,
    TimeoutConfig,
)
from httpcore.headers import Headers
from httpcore.pool import slots
from httpcore.pool.waiters import OVERTAKE_LIMIT
from httpcore.trace import ConnectionClosed, TraceEvent
from tests.clock import Clock, turns, until
from tests.pool.conftest import Send, Watch
from tests.pool.multiplexing import (
    all_ended,
    http2_connector,
    http2_pool,
    streams,
)
from tests.pool.peers import RecordingHandler, auto_connector
from tests.pool.test_waiters import CallCounter

NO_TIMEOUT = TimeoutConfig(None)


class PoolCalls(CallCounter):
    """Counts the calls of the pool's own functions, and of what these call directly in C."""

    def _profile(self, frame: FrameType, event: str, arg: object) -> None:
        if frame.f_code.co_filename.startswith(str(Path(slots.__file__).parent)):
            super()._profile(frame, event, arg)


class StartingHandler(RecordingHandler):
    """Does something when it is started."""

    def __init__(self, act: Callable[[], object]) -> None:
        super().__init__()
        self.act = act

    def exchange_started(self, exchange) -> None:
        super().exchange_started(exchange)
        self.act()


# How many connections.


async def test_a_hundred_requests_at_once_share_the_first_connection(watched: Watch, send: Send) -> None:
    connector = http2_connector(answers=True)
    pool = watched(http2_pool(connector))
    handlers = [send(pool) for _ in range(100)]
    await all_ended(handlers)
    assert all(handler.completed for handler in handlers)
    assert len(connector.dials) == 1
    assert (pool.num_connections, pool.num_keepalive_connections) == (1, 1)


async def test_a_request_joins_a_connection_that_carries_others(watched: Watch, send: Send) -> None:
    connector = http2_connector()
    pool = watched(http2_pool(connector))
    first = send(pool)
    await turns()
    second = send(pool)
    assert first.started and second.started  # at once, in the same call
    await turns()
    server = connector.peers[0]
    assert server.open == [1, 3]
    server.answer(3)
    await second.until_ended()
    assert not first.ended
    assert pool.num_active_connections == 1
    server.answer()
    await first.until_ended()
    assert pool.num_keepalive_connections == 1
    assert len(connector.dials) == 1


async def test_more_requests_than_streams_make_further_connections_each_for_as_many(watched: Watch, send: Send) -> None:
    connector = http2_connector(streams(10))
    pool = watched(http2_pool(connector))
    first = send(pool)
    await turns()
    handlers = [first, *(send(pool) for _ in range(34))]
    await turns()
    assert [len(server.open) for server in connector.peers] == [10, 10, 10, 5]
    for server in connector.peers:
        while server.open:
            server.answer()
    await all_ended(handlers)
    assert len(connector.dials) == 4


async def test_at_the_limit_requests_wait_for_a_stream_in_their_order(watched: Watch, send: Send) -> None:
    connector = http2_connector(streams(2))
    pool = watched(http2_pool(connector, PoolLimits(hard_limit=1)))
    send(pool, "http://a/0")
    await turns()
    handlers = [send(pool, f"http://a/{index}") for index in range(1, 8)]
    await turns()
    assert pool.num_waiting_requests == 6
    server = connector.peers[0]
    answered = []
    while server.open:
        answered.append(server.answer(server.open[-1]))
        await turns()
    assert answered == ["/1", "/2", "/3", "/4", "/5", "/6", "/7", "/0"]
    assert all(handler.completed for handler in handlers)
    assert len(connector.dials) == 1


async def test_a_limit_that_the_server_raises_or_lowers_is_followed(watched: Watch, send: Send) -> None:
    connector = http2_connector(streams(2))
    pool = watched(http2_pool(connector, PoolLimits(hard_limit=1)))
    send(pool)
    await turns()
    for _ in range(5):
        send(pool)
    await turns()
    server = connector.peers[0]
    assert len(server.open) == 2
    server.update_settings(streams(4))
    await turns()
    assert len(server.open) == 4
    server.update_settings(streams(1))
    await turns()
    for left in (3, 2, 1, 1, 1, 0):
        server.answer()
        await turns()
        assert len(server.open) == left
    assert pool.num_keepalive_connections == 1


async def test_a_server_that_allows_no_requests_for_a_while_is_waited_for(watched: Watch, send: Send) -> None:
    connector = http2_connector()
    pool = watched(http2_pool(connector, PoolLimits(hard_limit=1)))
    first = send(pool)
    await turns()
    server = connector.peers[0]
    server.update_settings(streams(0))
    server.answer()
    await first.until_ended()
    assert pool.num_keepalive_connections == 1
    second = send(pool)
    await turns()
    assert (second.started, pool.num_waiting_requests) == (False, 1)
    server.update_settings(streams(1))
    await turns()
    server.answer()
    await second.until_ended()
    assert second.completed
    assert len(connector.dials) == 1


async def test_the_place_of_a_connection_whose_server_allows_no_requests_goes_to_another_origin(
    watched: Watch, send: Send
) -> None:
    connector = http2_connector()
    pool = watched(http2_pool(connector, PoolLimits(hard_limit=1)))
    first = send(pool)
    await turns()
    connector.peers[0].update_settings(streams(0))
    connector.peers[0].answer()
    await first.until_ended()
    other = send(pool, "http://b/")
    await turns()
    connector.peers[1].answer()
    await other.until_ended()
    assert other.completed


# Handlers that do things while they are started.


async def test_a_handler_that_dispatches_when_started_makes_no_further_connection(watched: Watch, send: Send) -> None:
    connector = http2_connector(answers=True)
    pool = watched(http2_pool(connector))
    more: list[RecordingHandler] = []
    handlers = [StartingHandler(lambda: more.append(send(pool))) for _ in range(20)]
    for handler in handlers:
        pool.dispatch(Request("GET", "http://a/"), handler)
    await all_ended([*handlers])
    await all_ended(more)
    assert len(more) == 20
    assert all(handler.completed for handler in (*handlers, *more))
    assert len(connector.dials) == 1


async def test_what_a_handler_dispatches_when_started_waits_behind_older_ones(watched: Watch, send: Send) -> None:
    connector = http2_connector(streams(3))
    pool = watched(http2_pool(connector, PoolLimits(hard_limit=1, max_waiters=10)))
    send(pool, "http://a/first")
    await turns()
    full = [send(pool, "http://a/full") for _ in range(2)]
    late: list[RecordingHandler] = []
    for _ in range(3):
        handler = StartingHandler(lambda: late.append(send(pool, "http://a/late")))
        pool.dispatch(Request("GET", "http://a/early"), handler)
    server = connector.peers[0]
    await turns()
    server.update_settings(streams(8))
    await turns()
    assert [*server.targets.values()] == ["/first", *["/full"] * 2, *["/early"] * 3, *["/late"] * 2]
    while server.open:
        server.answer()
        await turns()
    await all_ended([*full, *late])
    assert len(connector.dials) == 1


async def test_a_handler_that_closes_the_pool_when_started_ends_all_who_wait(watched: Watch, send: Send) -> None:
    connector = http2_connector()
    pool = watched(http2_pool(connector))
    closing: list[asyncio.Task[None]] = []
    first = StartingHandler(lambda: closing.append(asyncio.ensure_future(pool.close(force=True))))
    pool.dispatch(Request("GET", "http://a/"), first)
    assert pool._slots is not None
    second = StartingHandler(functools.partial(pool._slots.close, force=True))
    pool.dispatch(Request("GET", "http://a/"), second)
    third = send(pool)
    await all_ended([first, second, third])
    await closing[0]
    assert isinstance(third.error, PoolClosed)
    assert not third.started
    assert pool.num_connections == 0


async def test_a_thousand_handlers_that_abort_when_started_are_all_served_without_recursion(watched: Watch) -> None:
    connector = http2_connector()
    pool = http2_pool(connector, PoolLimits(hard_limit=2), timeout=NO_TIMEOUT)

    class Aborting(RecordingHandler):
        def exchange_started(self, exchange) -> None:
            super().exchange_started(exchange)
            exchange.abort()

    handlers = [Aborting() for _ in range(1000)]
    for handler in handlers:
        pool.dispatch(Request("GET", "http://a/"), handler)
    await all_ended([*handlers])
    assert all(isinstance(handler.error, ResponseClosed) for handler in handlers)
    await pool.close()


# Ends.


async def test_close_lets_what_is_being_read_be_read_and_waits_for_the_rest_alone(watched: Watch, send: Send) -> None:
    connector = http2_connector()
    pool = watched(http2_pool(connector))
    handlers = [send(pool), send(pool)]
    idle = send(pool, "http://b/")
    await turns()
    connector.peers[1].answer()
    await idle.until_ended()
    await asyncio.wait_for(pool.close(), 5)
    assert pool.num_connections == 1
    assert not any(handler.ended for handler in handlers)
    server = connector.peers[0]
    for _ in range(2):
        server.answer()
    await all_ended(handlers)
    assert all(handler.completed for handler in handlers)
    await until(lambda: pool.num_connections == 0)


async def test_close_by_force_ends_all_that_a_connection_carries(watched: Watch, send: Send) -> None:
    connector = http2_connector()
    pool = watched(http2_pool(connector))
    handlers = [send(pool) for _ in range(5)]
    await turns()
    await pool.close(force=True)
    assert all(isinstance(handler.error, PoolClosed) for handler in handlers)
    assert pool.num_connections == 0


async def test_a_busy_connection_gives_its_place_up_after_it_has_overtaken_another_origin_often_enough(
    watched: Watch, send: Send
) -> None:
    connector = http2_connector(streams(2), answers=True)
    pool = watched(http2_pool(connector, PoolLimits(hard_limit=1), timeout=NO_TIMEOUT))
    await send(pool).until_ended()
    server = connector.peers[0]
    server.respond_at_once = None
    long = send(pool, "http://a/long")
    other = send(pool, "http://b/")
    await turns()
    for _ in range(OVERTAKE_LIMIT * 2):
        handler = send(pool, "http://a/short")
        assert handler.started
        await turns()
        server.answer(server.open[-1])
        await handler.until_ended()
    last = send(pool, "http://a/last")
    assert not last.started
    server.answer()
    await all_ended([long, other, last])
    assert other.completed and last.completed
    assert [dial.origin.host for dial in connector.dials] == ["a", "b", "a"]


async def test_a_connection_that_reached_max_age_takes_nothing_more_and_ends_with_what_it_carries(
    watched: Watch, clock: Clock, send: Send
) -> None:
    connector = http2_connector()
    events: list[TraceEvent] = []
    limits = PoolLimits(max_age=10, keepalive_expiry=None)
    pool = watched(http2_pool(connector, limits, timeout=NO_TIMEOUT, trace=events.append))
    old = send(pool)
    await clock.advance(8.9)
    same = send(pool)
    await clock.advance(1.2)
    new = send(pool)
    await turns()
    assert [len(server.open) for server in connector.peers] == [2, 1]
    for server in connector.peers:
        while server.open:
            server.answer()
    await all_ended([old, same, new])
    await turns()
    assert pool.num_connections == 1
    closed = [event.reason for event in events if isinstance(event, ConnectionClosed)]
    assert set(closed) == {"it reached max_age"}


async def test_an_idle_connection_that_carried_many_expires(watched: Watch, clock: Clock, send: Send) -> None:
    connector = http2_connector(answers=True)
    pool = watched(http2_pool(connector, PoolLimits(keepalive_expiry=5)))
    await all_ended([send(pool) for _ in range(3)])
    await clock.advance(4)
    await send(pool).until_ended()
    await clock.advance(4)
    assert pool.num_keepalive_connections == 1
    await clock.advance(2)
    assert pool.num_connections == 0


async def test_an_idle_connection_is_not_used_while_the_server_has_not_confirmed_resets(
    watched: Watch, send: Send
) -> None:
    connector = http2_connector(streams(1))
    pool = watched(http2_pool(connector))
    await turns()
    exchange = pool.dispatch(Request("GET", "http://a/"), RecordingHandler())
    await turns()
    server = connector.peers[0]
    server.auto_ack = False
    exchange.abort()
    assert pool.num_keepalive_connections == 1
    second = send(pool)
    await turns()
    assert second.started and len(connector.dials) == 2
    server.auto_ack = True
    server.acknowledge()
    await turns()
    third = send(pool)
    assert third.started and len(connector.dials) == 2
    await turns()
    for peer in connector.peers:
        peer.answer()
    await all_ended([second, third])


async def test_who_waits_behind_a_cancelled_request_gets_its_stream_once_the_server_has_confirmed(
    watched: Watch, send: Send
) -> None:
    connector = http2_connector(streams(1))
    pool = watched(http2_pool(connector, PoolLimits(hard_limit=1)))
    exchange = pool.dispatch(Request("GET", "http://a/"), RecordingHandler())
    await turns()
    server = connector.peers[0]
    server.auto_ack = False
    waiting = send(pool)
    exchange.abort()
    late = send(pool)
    await turns()
    assert not waiting.started
    server.auto_ack = True
    server.acknowledge()
    for handler in (waiting, late):
        await turns()
        server.answer()
        await handler.until_ended()
        assert handler.completed
    assert len(connector.dials) == 1


# Cost.


async def test_a_request_costs_the_pool_the_same_beside_1_and_beside_90_on_its_connection() -> None:
    costs = []
    for carried in (1, 90):
        connector = http2_connector()
        pool = http2_pool(connector)
        for _ in range(carried):
            pool.dispatch(Request("GET", "http://a/"), RecordingHandler())
        await turns()
        handler = RecordingHandler()
        with PoolCalls() as counter:
            pool.dispatch(Request("GET", "http://a/"), handler)
        assert handler.started
        await turns()
        started = counter.calls
        with counter:
            connector.peers[0].answer()
            await handler.until_started()
            await turns()
        costs.append((started, counter.calls))
        await pool.close(force=True)
    assert costs[0] == costs[1]


async def test_3000_requests_of_30_origins_on_few_connections_are_all_served() -> None:
    connector = http2_connector(streams(10), answers=True)
    pool = http2_pool(connector, PoolLimits(hard_limit=5), timeout=NO_TIMEOUT)
    ended: list[str] = []

    class Order(RecordingHandler):
        def response_complete(self, trailers: Headers) -> None:
            super().response_complete(trailers)
            assert self.exchange is not None
            ended.append(self.exchange.request.url.host)

    handlers = [Order() for _ in range(3000)]
    for index, handler in enumerate(handlers):
        pool.dispatch(Request("GET", f"http://host{index % 30}/"), handler)
    await all_ended([*handlers])
    assert all(handler.completed for handler in handlers)
    assert len(connector.dials) < 300
    assert len(connector.open_transports) <= 5
    await pool.close()


@pytest.mark.parametrize("http2", [True, False])
async def test_the_versions_that_may_be_spoken_do_not_change_what_a_plain_request_does(
    watched: Watch, send: Send, http2: bool
) -> None:
    connector = auto_connector()
    pool = watched(ConnectionPool(connector=connector, http2=http2))
    handlers = [send(pool) for _ in range(3)]
    await all_ended(handlers)
    assert len(connector.dials) == 3
