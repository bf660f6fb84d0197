"""Slots: limits, reuse, eviction and direct hand-off."""

from __future__ import annotations

import pytest

from httpcore import (
    ConnectionPool,
    PoolLimits,
    PoolTimeout,
    Request,
    SSLConfig,
    TimeoutConfig,
)
from httpcore.handlers import ResponseHandler
from httpcore.headers import Headers
from httpcore.testing import HTTP11Peer, MemoryConnector
from httpcore.trace import SlotWaitStarted, TraceEvent
from httpcore.urls import Origin
from tests.clock import Clock, turns
from tests.pool.conftest import Send, Watch
from tests.pool.peers import RecordingHandler, answer, auto_connector


async def test_a_connection_is_made_for_the_first_request_and_used_again_for_the_next(
    watched: Watch, connector: MemoryConnector[HTTP11Peer], send: Send
) -> None:
    pool = watched(ConnectionPool(connector=connector))
    for _ in range(3):
        handler = send(pool)
        await turns()
        assert (pool.num_connections, pool.num_active_connections, pool.num_keepalive_connections) == (1, 1, 0)
        await answer(connector, 0)
        assert handler.completed
        assert handler.content == b"ok"
        assert (pool.num_connections, pool.num_active_connections, pool.num_keepalive_connections) == (1, 0, 1)
    assert len(connector.dials) == 1


async def test_a_pool_that_was_never_used_has_no_connections_and_closes(connector: MemoryConnector[HTTP11Peer]) -> None:
    pool = ConnectionPool(connector=connector)
    assert (pool.num_connections, pool.num_keepalive_connections, pool.num_waiting_requests) == (0, 0, 0)
    assert repr(pool) == "<ConnectionPool open, 0 active, 0 idle>"
    await pool.close()
    assert repr(pool) == "<ConnectionPool closed, 0 active, 0 idle>"


async def test_the_connection_used_last_is_used_next(
    watched: Watch, connector: MemoryConnector[HTTP11Peer], send: Send
) -> None:
    pool = watched(ConnectionPool(connector=connector))
    for _ in range(3):
        send(pool)
    await turns()
    for index in (0, 2, 1):
        await answer(connector, index)
    assert pool.num_keepalive_connections == 3
    for _ in range(2):
        send(pool)
        await turns()
        await answer(connector, 1)
    send(pool)
    send(pool)
    send(pool)
    await turns()
    assert len(connector.dials) == 3
    for index in range(3):
        await answer(connector, index)


async def test_origins_and_tls_configurations_share_no_connection(watched: Watch, send: Send) -> None:
    connector = auto_connector()
    pool = watched(ConnectionPool(SSLConfig(verify=False), connector=connector))
    urls = ["http://a/", "http://b/", "http://a:8080/", "https://a/", "https://a:8443/"]
    for url in urls * 2:
        handler = send(pool, url)
        await handler.until_ended()
        assert handler.completed
    assert [dial.origin for dial in connector.dials] == [
        Origin("http", "a", 80),
        Origin("http", "b", 80),
        Origin("http", "a", 8080),
        Origin("https", "a", 443),
        Origin("https", "a", 8443),
    ]


async def test_the_hard_limit_is_never_exceeded_and_requests_are_served_in_order(watched: Watch, send: Send) -> None:
    connector = auto_connector()
    pool = watched(ConnectionPool(limits=PoolLimits(hard_limit=2), connector=connector))
    ended: list[int] = []

    class Order(RecordingHandler):
        def response_complete(self, trailers: Headers) -> None:
            ended.append(handlers.index(self))
            super().response_complete(trailers)

    handlers: list[RecordingHandler] = []
    for _ in range(12):
        handlers.append(Order())
        pool.dispatch(Request("GET", "http://a/"), handlers[-1])
    assert pool.num_connections == 2
    assert pool.num_waiting_requests == 10
    for handler in handlers:
        await handler.until_ended()
    assert ended == list(range(12))
    assert len(connector.dials) == 2


async def test_without_limits_every_request_gets_a_connection(watched: Watch, send: Send) -> None:
    connector = auto_connector()
    limits = PoolLimits(
        soft_limit=None, hard_limit=None, per_origin_limit=None, keepalive_expiry=None, max_age=None, max_waiters=None
    )
    pool = watched(ConnectionPool(limits=limits, connector=connector))
    handlers = [send(pool, f"http://host{index % 7}/") for index in range(120)]
    assert pool.num_connections == 120
    for handler in handlers:
        await handler.until_ended()
        assert handler.completed
    assert pool.num_keepalive_connections == 120


@pytest.mark.parametrize("soft_limit", [0, 1, 3])
async def test_no_more_than_soft_limit_connections_are_kept_idle(watched: Watch, send: Send, soft_limit: int) -> None:
    connector = auto_connector()
    pool = watched(ConnectionPool(limits=PoolLimits(soft_limit=soft_limit), connector=connector))
    for handler in [send(pool, f"http://host{index}/") for index in range(5)]:
        await handler.until_ended()
    await turns()
    assert pool.num_connections == pool.num_keepalive_connections == soft_limit
    # The ones used last are kept.
    kept = {f"host{index}" for index in range(5 - soft_limit, 5)}
    assert {transport.get_extra_info("peername")[0] for transport in connector.open_transports} == kept


async def test_per_origin_limit_holds_back_one_origin_and_no_other(
    watched: Watch, connector: MemoryConnector[HTTP11Peer], send: Send
) -> None:
    pool = watched(ConnectionPool(limits=PoolLimits(per_origin_limit=2, hard_limit=4), connector=connector))
    first = [send(pool, "http://a/") for _ in range(4)]
    other = send(pool, "http://b/")
    await turns()
    assert [handler.started for handler in first] == [True, True, False, False]
    assert other.started
    assert pool.num_waiting_requests == 2
    await answer(connector, 1)
    assert [handler.started for handler in first] == [True, True, True, False]
    await answer(connector, 0)
    assert [handler.started for handler in first] == [True, True, True, True]
    for index in (0, 1, 2):
        await answer(connector, index)
    assert all(handler.completed for handler in [*first, other])


async def test_a_request_held_back_by_its_origins_limit_gets_the_place_of_a_connection_that_ends(
    watched: Watch, connector: MemoryConnector[HTTP11Peer], send: Send
) -> None:
    pool = watched(ConnectionPool(limits=PoolLimits(per_origin_limit=1), connector=connector))
    first, second = send(pool), send(pool)
    await turns()
    await answer(connector, 0, [("connection", "close")])
    assert first.completed
    assert second.started
    assert len(connector.dials) == 2
    await answer(connector, 1)
    assert second.completed


async def test_an_idle_connection_gives_its_place_to_another_origin_at_both_limits(
    watched: Watch, connector: MemoryConnector[HTTP11Peer], send: Send
) -> None:
    # The connection becomes idle while its own origin has as many as it may have.
    pool = watched(ConnectionPool(limits=PoolLimits(hard_limit=1, per_origin_limit=1), connector=connector))
    first = send(pool, "http://a/")
    second = send(pool, "http://b/")
    await turns()
    await answer(connector, 0)
    assert first.completed
    assert second.started
    await answer(connector, 1)
    assert second.completed


async def test_the_connection_idle_for_longest_is_closed_for_another_origin(watched: Watch, send: Send) -> None:
    connector = auto_connector()
    pool = watched(ConnectionPool(limits=PoolLimits(hard_limit=3), connector=connector))
    for url in ("http://a/", "http://b/", "http://c/", "http://a/", "http://d/", "http://e/"):
        handler = send(pool, url)
        await handler.until_ended()
        assert handler.completed
    hosts = {transport.get_extra_info("peername")[0] for transport in connector.open_transports}
    assert hosts == {"a", "d", "e"}  # b, then c went; a was used again in between
    assert pool.num_connections == 3


async def test_a_request_takes_its_place_once_the_closed_connection_is_gone_and_not_before(
    watched: Watch, send: Send
) -> None:
    connector = auto_connector()
    pool = watched(ConnectionPool(limits=PoolLimits(hard_limit=1), connector=connector))
    await send(pool, "http://a/").until_ended()
    handler = send(pool, "http://b/")
    assert len(connector.open_transports) == 1
    assert pool.num_connections == 1
    assert pool.num_waiting_requests == 1
    await handler.until_ended()
    assert len(connector.open_transports) == 1


async def test_the_next_request_is_sent_before_the_handler_hears_of_the_end(
    watched: Watch, connector: MemoryConnector[HTTP11Peer], send: Send
) -> None:
    pool = watched(ConnectionPool(limits=PoolLimits(hard_limit=1), connector=connector))
    heard: list[str] = []

    class First(ResponseHandler):
        def response_complete(self, trailers: Headers) -> None:
            heard.append("second started" if second.started else "second waits")

    pool.dispatch(Request("GET", "http://a/1"), First())
    second = send(pool, "http://a/2")
    await turns()
    await answer(connector, 0)
    assert heard == ["second started"]
    await answer(connector, 0)
    assert second.completed


async def test_a_request_from_response_complete_uses_the_same_connection(watched: Watch, send: Send) -> None:
    connector = auto_connector()
    pool = watched(ConnectionPool(limits=PoolLimits(hard_limit=1), connector=connector))
    handlers: list[RecordingHandler] = []

    class Chained(RecordingHandler):
        def response_complete(self, trailers: Headers) -> None:
            super().response_complete(trailers)
            if len(handlers) < 5:
                handlers.append(Chained())
                pool.dispatch(Request("GET", "http://a/"), handlers[-1])

    handlers.append(Chained())
    pool.dispatch(Request("GET", "http://a/"), handlers[0])
    for handler in handlers:  # grows meanwhile
        await handler.until_ended()
        assert handler.completed
    assert len(handlers) == 5
    assert len(connector.dials) == 1


async def test_slot_wait_started_says_whether_a_limit_stands_against_a_connection(watched: Watch, send: Send) -> None:
    connector = auto_connector()
    events: list[TraceEvent] = []
    pool = watched(ConnectionPool(limits=PoolLimits(hard_limit=1), connector=connector, trace=events.append))
    for handler in [send(pool), send(pool)]:
        await handler.until_ended()
    await send(pool).until_ended()
    assert [event.limited for event in events if isinstance(event, SlotWaitStarted)] == [False, True]


async def test_a_request_for_a_new_origin_that_ends_while_it_waits_leaves_no_lane(
    watched: Watch, send: Send, clock: Clock, connector: MemoryConnector[HTTP11Peer]
) -> None:
    pool = watched(ConnectionPool(limits=PoolLimits(hard_limit=1), connector=connector))
    first = send(pool, timeout=TimeoutConfig(None))
    await turns()
    for index in range(5):
        handler = send(pool, f"http://host{index}/", timeout=1)
        await clock.advance(1)
        assert isinstance(handler.error, PoolTimeout)
    assert pool._slots is not None
    assert len(pool._slots._lanes) == 1
    await answer(connector, 0)
    assert first.completed
