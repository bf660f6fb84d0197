"""Idle connections: how long they are kept, and when one is not used again."""

from __future__ import annotations

import asyncio
import random

import pytest

from httpcore import (
    ConnectionPool,
    PoolLimits,
    Request,
    TimeoutConfig,
)
from httpcore.testing import HTTP11Peer, MemoryConnector
from httpcore.trace import ConnectionClosed, TraceEvent
from tests.clock import Clock, turns
from tests.pool.conftest import Send, Watch
from tests.pool.peers import RecordingHandler, answer, auto_connector


async def test_idle_connections_are_closed_after_keepalive_expiry_by_one_timer(
    watched: Watch, clock: Clock, send: Send
) -> None:
    connector = auto_connector()
    pool = watched(ConnectionPool(limits=PoolLimits(keepalive_expiry=10), connector=connector))
    for index in range(3):
        await send(pool, f"http://host{index}/", timeout=TimeoutConfig(None)).until_ended()
        await clock.advance(4)
    scheduled = [handle for handle in asyncio.get_running_loop()._scheduled if not handle.cancelled()]  # type: ignore[attr-defined]
    assert len(scheduled) == 1
    assert pool.num_keepalive_connections == 2  # at 12 seconds; they were last used at 0, 4 and 8
    await clock.advance(1.9)
    assert pool.num_keepalive_connections == 2
    await clock.advance(0.1)
    assert pool.num_keepalive_connections == 1
    await clock.advance(3.9)
    assert pool.num_keepalive_connections == 1
    await clock.advance(0.1)
    assert pool.num_connections == 0
    await send(pool, timeout=TimeoutConfig(None)).until_ended()
    assert pool.num_keepalive_connections == 1
    await clock.advance(10)
    assert pool.num_connections == 0


async def test_an_idle_connection_is_not_used_past_its_expiry_even_before_the_timer_ran(
    watched: Watch, clock: Clock, send: Send
) -> None:
    connector = auto_connector()
    pool = watched(ConnectionPool(limits=PoolLimits(keepalive_expiry=10), connector=connector))
    await send(pool).until_ended()
    clock.now += 10
    handler = send(pool)
    await handler.until_ended()
    assert handler.completed
    assert len(connector.dials) == 2


async def test_the_expiry_counts_from_the_last_use(watched: Watch, clock: Clock, send: Send) -> None:
    connector = auto_connector()
    pool = watched(ConnectionPool(limits=PoolLimits(keepalive_expiry=10), connector=connector))
    for _ in range(5):
        await send(pool).until_ended()
        await clock.advance(9)
    assert len(connector.dials) == 1
    await clock.advance(1)
    assert pool.num_connections == 0


@pytest.mark.parametrize(
    "hint, expiry, used_after, not_used_after",
    [
        ("timeout=5", 60.0, 3.9, 4.1),  # a margin of one second
        ("timeout=1", 60.0, 0.4, 0.6),  # or half, where a second would leave nothing
        ("timeout=5, max=100", None, 3.9, 4.1),
        ("max=100, timeout=5", 60.0, 3.9, 4.1),
        ("timeout=600", 10.0, 9.9, 10.1),  # the pool's own is sooner
        ("timeout=soon", 10.0, 9.9, 10.1),  # nonsense says nothing
    ],
)
async def test_the_servers_keep_alive_hint_is_heeded(
    watched: Watch,
    clock: Clock,
    send: Send,
    connector: MemoryConnector[HTTP11Peer],
    hint: str,
    expiry: float | None,
    used_after: float,
    not_used_after: float,
) -> None:
    pool = watched(ConnectionPool(limits=PoolLimits(keepalive_expiry=expiry), connector=connector))
    send(pool)
    await turns()
    await answer(connector, 0, [("keep-alive", hint)])
    await clock.advance(used_after)
    send(pool)
    await turns()
    assert len(connector.dials) == 1
    await answer(connector, 0, [("keep-alive", hint)])
    await clock.advance(not_used_after)
    handler = send(pool)
    await turns()
    assert len(connector.dials) == 2
    await answer(connector, 1)
    assert handler.completed


@pytest.mark.parametrize("jitter, lasts", [(0.0, 100.0), (0.5, 95.0), (0.999999, 90.0)])
async def test_a_connection_takes_no_request_after_max_age_less_up_to_a_tenth(
    watched: Watch, clock: Clock, send: Send, monkeypatch: pytest.MonkeyPatch, jitter: float, lasts: float
) -> None:
    monkeypatch.setattr(random, "random", lambda: jitter)
    connector = auto_connector()
    limits = PoolLimits(max_age=100, keepalive_expiry=None)
    pool = watched(ConnectionPool(limits=limits, connector=connector))
    for wait in (0, lasts - 0.1):
        await clock.advance(wait)
        await send(pool).until_ended()
    assert len(connector.dials) == 1
    await clock.advance(0.2)
    handler = send(pool)
    await handler.until_ended()
    assert handler.completed
    assert len(connector.dials) == 2
    assert pool.num_connections == 1


async def test_a_connection_that_reached_max_age_while_busy_is_not_handed_on(
    watched: Watch, clock: Clock, send: Send, connector: MemoryConnector[HTTP11Peer]
) -> None:
    limits = PoolLimits(max_age=100, hard_limit=1)
    pool = watched(ConnectionPool(timeout=TimeoutConfig(None), limits=limits, connector=connector))
    first, second = send(pool), send(pool)
    await turns()
    await clock.advance(101)
    await answer(connector, 0)
    assert first.completed
    assert second.started
    assert len(connector.dials) == 2
    await answer(connector, 1)
    assert second.completed


async def test_an_idle_connection_that_the_server_closes_is_gone_at_once_and_traced(
    watched: Watch, send: Send, connector: MemoryConnector[HTTP11Peer]
) -> None:
    events: list[TraceEvent] = []
    pool = watched(ConnectionPool(connector=connector, trace=events.append))
    handler = send(pool)
    await turns()
    await answer(connector, 0)
    connector.peers[0].close()
    await turns()
    assert pool.num_connections == 0
    assert handler.exchange is not None
    info = handler.exchange.connection_info
    assert info is not None
    last = events[-1]
    assert isinstance(last, ConnectionClosed)
    assert (last.connection_id, last.reason) == (info.connection_id, "the server closed it")


@pytest.mark.parametrize("rude", ["bytes", "reset", "transport closed"])
async def test_an_idle_connection_that_broke_is_not_used(
    watched: Watch, send: Send, connector: MemoryConnector[HTTP11Peer], rude: str
) -> None:
    pool = watched(ConnectionPool(connector=connector))
    send(pool)
    await turns()
    await answer(connector, 0)
    if rude == "bytes":
        connector.peers[0].send(b"HTTP/1.1 200 OK\r\n\r\n")
    elif rude == "reset":
        connector.peers[0].abort()
    else:
        connector.open_transports[0].abort()
    await turns()
    assert pool.num_connections == 0
    handler = send(pool)
    await turns()
    await answer(connector, 1)
    assert handler.completed


async def test_an_idle_connection_whose_transport_is_closing_is_passed_over(
    watched: Watch, send: Send, connector: MemoryConnector[HTTP11Peer]
) -> None:
    # As between a reset that asyncio has just read and connection_lost, which it calls in the next turn of the loop.
    pool = watched(ConnectionPool(connector=connector))
    send(pool)
    await turns()
    await answer(connector, 0)
    connector.open_transports[0].abort()
    handler = send(pool)
    await turns()
    await answer(connector, 1)
    assert handler.completed
    assert pool.num_connections == 1


async def test_a_freed_connection_whose_transport_is_closing_is_not_handed_on(
    watched: Watch, send: Send, connector: MemoryConnector[HTTP11Peer]
) -> None:
    pool = watched(ConnectionPool(limits=PoolLimits(hard_limit=1), connector=connector))

    class Closing(RecordingHandler):
        def data_received(self, data: bytes) -> None:
            connector.open_transports[0].abort()

    first = Closing()
    pool.dispatch(Request("GET", "http://a/"), first)
    second = send(pool)
    await turns()
    await answer(connector, 0)
    assert first.completed
    await answer(connector, 1)
    assert second.completed
