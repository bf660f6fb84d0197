"""Waiters: who is next, how long they wait, and what that costs."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable
from types import FrameType

import pytest

from httpcore import ConnectionPool, ConnectTimeout, PoolLimits, PoolTimeout, Request, TimeoutConfig, TotalTimeout
from httpcore.exceptions import Phase
from httpcore.headers import Headers
from httpcore.pool.waiters import OVERTAKE_LIMIT
from httpcore.testing import HTTP11Peer, MemoryConnector
from tests.clock import Clock, turns, until
from tests.pool.conftest import Send, Watch
from tests.pool.peers import AutoPeer, RecordingHandler, answer, auto_connector

# Limits of time and number.


async def test_pool_timeout_says_what_the_pool_looked_like(
    watched: Watch, clock: Clock, send: Send, connector: MemoryConnector[HTTP11Peer]
) -> None:
    limits = PoolLimits(hard_limit=4, per_origin_limit=3)
    pool = watched(ConnectionPool(timeout=TimeoutConfig(None), limits=limits, connector=connector))
    send(pool, "http://a/")
    send(pool, "http://b/")
    await turns()
    await answer(connector, 1)
    connector.hold()
    send(pool, "http://a/")
    send(pool, "http://a/")
    waiting = send(pool, "http://a/", timeout=TimeoutConfig(None, pool_timeout=2))
    send(pool, "http://a/")
    await clock.advance(1.9)
    assert not waiting.ended
    await clock.advance(0.1)
    assert isinstance(waiting.error, PoolTimeout)
    assert str(waiting.error) == (
        "no connection became free within 2 seconds: 4 connections (limit 4, per origin 3): 1 active, 1 idle, "
        "2 connecting, 0 closing; 2 requests queued (a:80, waiting for a connection)"
    )
    assert waiting.error.phase == Phase.WAITING
    assert not waiting.error.request_sent
    assert pool.num_waiting_requests == 1  # the other one


async def test_pool_timeout_does_not_run_while_a_connection_is_being_made(
    watched: Watch, clock: Clock, send: Send
) -> None:
    connector = auto_connector()
    pool = watched(ConnectionPool(limits=PoolLimits(hard_limit=1), connector=connector))
    connector.hold()
    timeout = TimeoutConfig(None, pool_timeout=1)
    first, second = send(pool, timeout=timeout), send(pool, "http://b/", timeout=timeout)
    await clock.advance(0.9)
    connector.release()
    await first.until_ended()
    connector.hold()  # the first one's connection was closed for the second
    await clock.advance(100)
    assert not second.ended
    connector.release()
    await second.until_ended()
    assert first.completed
    assert second.completed


async def test_pool_timeout_is_no_connect_timeout_and_the_other_way_round(
    watched: Watch, clock: Clock, send: Send
) -> None:
    connector = auto_connector()
    pool = watched(ConnectionPool(limits=PoolLimits(hard_limit=1), connector=connector))
    connector.hold()
    dialling = send(pool, timeout=TimeoutConfig(None, connect_timeout=10, pool_timeout=1))
    queued = send(pool, timeout=TimeoutConfig(None, connect_timeout=1, pool_timeout=5))
    await clock.advance(5)
    assert not dialling.ended
    assert isinstance(queued.error, PoolTimeout)
    await clock.advance(5)
    assert isinstance(dialling.error, ConnectTimeout)


async def test_total_timeout_ends_a_request_that_waits(watched: Watch, clock: Clock, send: Send) -> None:
    connector = auto_connector()
    pool = watched(ConnectionPool(limits=PoolLimits(hard_limit=1), connector=connector))
    connector.hold()
    dialling = send(pool, timeout=TimeoutConfig(None, total_timeout=3))
    queued = send(pool, timeout=TimeoutConfig(None, total_timeout=2))
    await clock.advance(2)
    assert isinstance(queued.error, TotalTimeout)
    await clock.advance(1)
    assert isinstance(dialling.error, TotalTimeout)
    connector.release()
    await turns()
    assert pool.num_keepalive_connections == 1


@pytest.mark.parametrize("max_waiters", [0, 2])
async def test_one_request_more_than_max_waiters_fails_at_once(
    watched: Watch, send: Send, connector: MemoryConnector[HTTP11Peer], max_waiters: int
) -> None:
    limits = PoolLimits(hard_limit=1, max_waiters=max_waiters)
    pool = watched(ConnectionPool(limits=limits, connector=connector))
    handlers = [send(pool) for _ in range(1 + max_waiters)]
    assert pool.num_waiting_requests == max_waiters
    refused = [send(pool), send(pool, "http://b/")]
    for handler in refused:
        assert isinstance(handler.error, PoolTimeout)
        assert "too many requests wait already: 1 connections (limit 1, per origin None)" in str(handler.error)
    await turns()
    for handler in handlers:
        await answer(connector, 0)
        assert handler.completed


async def test_without_pool_timeout_a_request_waits_for_ever(
    watched: Watch, clock: Clock, send: Send, connector: MemoryConnector[HTTP11Peer]
) -> None:
    limits = PoolLimits(hard_limit=1)
    pool = watched(ConnectionPool(timeout=TimeoutConfig(None), limits=limits, connector=connector))
    send(pool)
    second = send(pool)
    await clock.advance(1e6)
    assert pool.num_waiting_requests == 1
    await answer(connector, 0)
    await answer(connector, 0)
    assert second.completed


async def test_each_request_waits_as_long_as_its_own_timeout_says(
    watched: Watch, clock: Clock, send: Send, connector: MemoryConnector[HTTP11Peer]
) -> None:
    pool = watched(ConnectionPool(limits=PoolLimits(hard_limit=1), connector=connector))
    first = send(pool, timeout=TimeoutConfig(None))
    long, short, again = [send(pool, timeout=TimeoutConfig(None, pool_timeout=seconds)) for seconds in (5, 2, 2)]
    await clock.advance(1)
    late = send(pool, timeout=TimeoutConfig(None, pool_timeout=2))
    await clock.advance(1.1)
    assert isinstance(short.error, PoolTimeout) and isinstance(again.error, PoolTimeout)
    assert "within 2 seconds" in str(short.error)
    assert not long.ended and not late.ended
    await clock.advance(1)
    assert isinstance(late.error, PoolTimeout) and not long.ended
    assert pool._slots is not None
    assert set(pool._slots._waiters._deadlines._groups) == {5}  # nothing is kept for a timeout that nobody has
    await clock.advance(2)
    assert isinstance(long.error, PoolTimeout)
    assert pool._slots._waiters._deadlines._groups == {}
    await answer(connector, 0)
    assert first.completed


async def test_who_waits_again_when_a_timeout_passes_has_all_of_it_again(
    watched: Watch, clock: Clock, send: Send, connector: MemoryConnector[HTTP11Peer]
) -> None:
    pool = watched(ConnectionPool(limits=PoolLimits(hard_limit=1), connector=connector))
    again: list[RecordingHandler] = []

    class Persistent(RecordingHandler):
        def exchange_failed(self, exc: BaseException) -> None:
            super().exchange_failed(exc)
            again.append(send(pool, timeout=timeout))

    timeout = TimeoutConfig(None, pool_timeout=2)
    first = send(pool, timeout=TimeoutConfig(None))
    pool.dispatch(Request("GET", "http://a/"), Persistent(), timeout=timeout)
    await clock.advance(2.1)
    assert len(again) == 1
    await clock.advance(1.8)
    assert not again[0].ended
    await clock.advance(0.3)
    assert isinstance(again[0].error, PoolTimeout)
    await answer(connector, 0)
    assert first.completed


async def test_request_that_can_have_an_idle_connections_place_is_no_waiter_too_many(
    watched: Watch, send: Send
) -> None:
    pool = watched(ConnectionPool(limits=PoolLimits(hard_limit=1, max_waiters=0), connector=auto_connector()))
    await send(pool, "http://a/").until_ended()
    second = send(pool, "http://b/")
    await second.until_ended()
    assert second.completed


# Order.


async def test_waiters_are_served_in_the_order_they_came_whatever_their_origin(watched: Watch, send: Send) -> None:
    ended: list[str] = []
    connector = auto_connector()
    pool = watched(ConnectionPool(limits=PoolLimits(hard_limit=1), connector=connector))

    class Order(RecordingHandler):
        def response_complete(self, trailers: Headers) -> None:
            assert self.exchange is not None
            ended.append(self.exchange.request.url.host)
            super().response_complete(trailers)

    handlers = []
    for host in "abcdefg":
        handlers.append(Order())
        pool.dispatch(Request("GET", f"http://{host}/"), handlers[-1])
    for handler in handlers:
        await handler.until_ended()
    assert ended == list("abcdefg")


async def test_a_waiter_that_gives_up_is_passed_over(
    watched: Watch, send: Send, connector: MemoryConnector[HTTP11Peer]
) -> None:
    pool = watched(ConnectionPool(limits=PoolLimits(hard_limit=1), connector=connector))
    first = send(pool, "http://a/1")
    tasks = [asyncio.create_task(pool.request("GET", f"http://a/{index}")) for index in (2, 3, 4)]
    await turns()
    assert await answer(connector, 0) == "/1"
    assert first.completed
    tasks[1].cancel()
    await turns()
    assert await answer(connector, 0) == "/2"
    assert await answer(connector, 0) == "/4"
    results = await asyncio.gather(*tasks, return_exceptions=True)
    assert isinstance(results[1], asyncio.CancelledError)


async def test_a_request_cancelled_just_after_it_got_its_connection_hands_the_place_on(
    watched: Watch, send: Send
) -> None:
    connector = auto_connector()
    pool = watched(ConnectionPool(limits=PoolLimits(hard_limit=1), connector=connector))
    await pool.request("GET", "http://a/")
    tasks = [asyncio.create_task(pool.request("GET", "http://a/")) for _ in range(3)]
    await asyncio.sleep(0)  # the first was started on the idle connection
    tasks[0].cancel()
    results = await asyncio.gather(*tasks, return_exceptions=True)
    assert isinstance(results[0], asyncio.CancelledError)
    assert [response.status_code for response in results[1:]] == [200, 200]  # type: ignore[union-attr]
    assert pool.num_connections == 1


async def test_the_handlers_own_abort_while_started_hands_the_place_on(watched: Watch, send: Send) -> None:
    connector = auto_connector()
    pool = watched(ConnectionPool(limits=PoolLimits(hard_limit=1), connector=connector))

    class Aborting(RecordingHandler):
        def exchange_started(self, exchange) -> None:
            super().exchange_started(exchange)
            exchange.abort()

    handler = Aborting()
    pool.dispatch(Request("GET", "http://a/"), handler)
    others = [send(pool), send(pool)]
    for other in others:
        await other.until_ended()
        assert other.completed
    assert handler.error is not None


async def test_an_origin_is_served_after_being_overtaken_a_number_of_times(
    watched: Watch, send: Send, connector: MemoryConnector[HTTP11Peer]
) -> None:
    pool = watched(ConnectionPool(limits=PoolLimits(hard_limit=1), connector=connector))
    busy = [send(pool, "http://a/")]
    other = send(pool, "http://b/")
    busy += [send(pool, "http://a/") for _ in range(OVERTAKE_LIMIT + 5)]
    await turns()
    for _ in range(OVERTAKE_LIMIT + 1):
        assert not other.started
        await answer(connector, 0)
    assert other.started
    assert sum(handler.completed for handler in busy) == OVERTAKE_LIMIT + 1
    await answer(connector, 1)
    assert other.completed
    for _ in range(5):
        await answer(connector, 2)
    assert all(handler.completed for handler in busy)
    assert [dial.origin.host for dial in connector.dials] == ["a", "b", "a"]


async def test_two_busy_origins_share_one_connection_without_starving_or_thrashing(watched: Watch, send: Send) -> None:
    connector = auto_connector()
    pool = watched(ConnectionPool(limits=PoolLimits(hard_limit=1), connector=connector))
    handlers = [send(pool, f"http://{'ab'[index % 2]}/") for index in range(200)]
    for handler in handlers:
        await handler.until_ended()
        assert handler.completed
    assert len(connector.dials) <= 2 + 200 / (OVERTAKE_LIMIT + 1)


async def test_a_request_held_back_by_its_own_origins_limit_is_not_overtaken_by_others(
    watched: Watch, send: Send, connector: MemoryConnector[HTTP11Peer]
) -> None:
    # A connection closed for its sake would be closed in vain.
    pool = watched(ConnectionPool(limits=PoolLimits(hard_limit=3, per_origin_limit=1), connector=connector))
    held_back = [send(pool, "http://x/") for _ in range(3)]
    busy = [send(pool, "http://w/")]
    await turns()
    connector.hold()
    late = send(pool, "http://y/")
    busy += [send(pool, "http://w/") for _ in range(OVERTAKE_LIMIT + 4)]
    await answer(connector, 0, [("connection", "close")])  # the second of x gets its place, the third does not
    for handler in busy:
        await answer(connector, 1)
        assert handler.completed
    assert [dial.origin.host for dial in connector.dials] == ["x", "w", "y", "x"]
    connector.release()
    await turns()
    for index in (2, 3):
        await answer(connector, index)
    await answer(connector, 3)
    assert late.completed
    assert all(handler.completed for handler in held_back)


async def test_waiters_behind_one_that_was_granted_a_place_still_get_theirs(watched: Watch, send: Send) -> None:
    # Lanes with limits of their own, whose first waiter changes as places come free.
    served = 0

    def respond(peer: AutoPeer) -> None:
        nonlocal served
        served += 1
        peer.answer()
        if served % 2:
            peer.transport.close()

    connector = MemoryConnector(lambda: AutoPeer(respond=respond))
    pool = watched(ConnectionPool(limits=PoolLimits(hard_limit=3, per_origin_limit=2), connector=connector))
    handlers = [send(pool, f"http://{host}/") for host in "aaaabbbbccaabbcc" * 3]
    for handler in handlers:
        await handler.until_ended()
        assert handler.completed


async def test_a_place_goes_to_who_has_waited_longest_also_if_its_origin_was_full_until_now(
    watched: Watch, send: Send, connector: MemoryConnector[HTTP11Peer]
) -> None:
    pool = watched(ConnectionPool(limits=PoolLimits(hard_limit=2, per_origin_limit=1), connector=connector))
    send(pool, "http://x/")
    send(pool, "http://w/")
    older = send(pool, "http://x/")
    younger = send(pool, "http://y/")
    await turns()
    await answer(connector, 0, [("connection", "close")])
    assert (older.started, younger.started) == (True, False)
    await answer(connector, 1)
    assert younger.started
    for index in (2, 3):
        await answer(connector, index)
    assert older.completed
    assert younger.completed


# Cost.


class CallCounter:
    """Counts the calls of Python and C functions while it is entered."""

    def __init__(self) -> None:
        self.calls = 0

    def __enter__(self) -> CallCounter:
        sys.setprofile(self._profile)
        return self

    def __exit__(self, *exc_info: object) -> None:
        sys.setprofile(None)

    def _profile(self, frame: FrameType, event: str, arg: object) -> None:
        self.calls += event in ("call", "c_call")


def count_calls(function: Callable[[], object]) -> int:
    counter = CallCounter()
    with counter:
        function()
    return counter.calls


async def calls_for_some_requests(waiters: int) -> int:
    """Counts the calls that it takes to serve 30 requests while many more wait."""
    connector = auto_connector()
    pool = ConnectionPool(timeout=TimeoutConfig(30), limits=PoolLimits(hard_limit=2), connector=connector)
    served = 0

    class Counting(RecordingHandler):
        def response_complete(self, trailers: Headers) -> None:
            nonlocal served
            served += 1
            super().response_complete(trailers)

    handlers = [Counting() for _ in range(40 + waiters)]
    for handler in handlers:
        pool.dispatch(Request("GET", "http://a/"), handler)
    await handlers[4].until_ended()
    start, counter = served, CallCounter()
    with counter:
        await until(lambda: served >= start + 30)
    await pool.close(force=True)
    return counter.calls


async def test_serving_a_request_costs_the_same_with_10_and_with_3000_waiters() -> None:
    few, many = await calls_for_some_requests(10), await calls_for_some_requests(3000)
    assert many < few * 1.3


async def test_a_request_costs_the_same_with_10_and_with_1000_origins() -> None:
    costs = []
    for origins in (10, 10, 1000):  # the first fills caches
        connector = auto_connector()
        limits = PoolLimits(hard_limit=origins, soft_limit=None)
        pool = ConnectionPool(limits=limits, connector=connector)
        for handler in [dispatched(pool, f"http://host{index}/") for index in range(origins)]:
            await handler.until_ended()
        assert pool.num_keepalive_connections == origins
        # To an origin it knows; to a new one, for which an old connection is closed; and one that gives up.
        known = count_calls(lambda pool=pool: dispatched(pool, "http://host5/"))  # type: ignore[misc]
        new = count_calls(lambda pool=pool: dispatched(pool, "http://new/"))  # type: ignore[misc]
        exchange = pool.dispatch(Request("GET", "http://other/"), RecordingHandler())
        given_up = count_calls(exchange.abort)
        await turns()
        await dispatched(pool, "http://new/").until_ended()
        costs.append((known, new, given_up))
        await pool.close()
    assert costs[1] == costs[2]


def dispatched(pool: ConnectionPool, url: str) -> RecordingHandler:
    handler = RecordingHandler()
    pool.dispatch(Request("GET", url), handler)
    return handler


async def test_3000_waiters_of_1000_origins_are_all_served() -> None:
    connector: MemoryConnector[AutoPeer] = auto_connector()
    pool = ConnectionPool(timeout=TimeoutConfig(None), limits=PoolLimits(hard_limit=20), connector=connector)
    handlers = [dispatched(pool, f"http://host{index % 1000}/") for index in range(3000)]
    for handler in handlers:
        await handler.until_ended()
        assert handler.completed
    assert len(connector.open_transports) <= 20
    await pool.close()
