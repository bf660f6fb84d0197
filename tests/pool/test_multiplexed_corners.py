"""Rare orders of events in a pool whose connections are shared, or might be."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TypeVar

from httpcore import ConnectError, ConnectionPool, ConnectTimeout, PoolLimits, Request, TimeoutConfig
from httpcore.testing import HTTP11Peer, MemoryConnector
from httpcore.urls import Origin
from tests.clock import Clock, turns, until
from tests.pool.conftest import Send, Watch
from tests.pool.multiplexing import HTTP2Server, all_ended, http2_connector, streams
from tests.pool.peers import RecordingHandler, answer
from tests.pool.test_multiplexing import NO_TIMEOUT, StartingHandler

_P = TypeVar("_P", bound=asyncio.Protocol)


class SettlingConnector:
    """Gives connections on which everything that the server sends by itself has come already."""

    def __init__(self, link: MemoryConnector[HTTP2Server]) -> None:
        self.link = link

    async def connect(self, protocol_factory: Callable[[], _P], origin: Origin, **options: object) -> _P:
        protocol = await self.link.connect(protocol_factory, origin, **options)
        await turns()
        return protocol


class HoldingConnector:
    """Holds one dial back, until `gate` is set."""

    def __init__(self, link: MemoryConnector[HTTP2Server] | MemoryConnector[HTTP11Peer], held: int) -> None:
        self.link = link
        self.held = held  # which one: as many were begun before
        self.gate = asyncio.Event()
        self.hosts: list[str] = []

    async def connect(self, protocol_factory: Callable[[], _P], origin: Origin, **options: object) -> _P:
        self.hosts.append(origin.host)
        if len(self.hosts) == self.held + 1:
            await self.gate.wait()
        return await self.link.connect(protocol_factory, origin, **options)


async def test_a_server_that_allows_no_requests_from_the_beginning_fails_all_who_share_the_dial(
    watched: Watch, send: Send
) -> None:
    link = http2_connector(streams(0))
    pool = watched(ConnectionPool(connector=SettlingConnector(link), http1=False))
    handlers = [send(pool) for _ in range(3)]
    await all_ended(handlers)
    assert len({handler.error for handler in handlers}) == 3
    for handler in handlers:
        assert isinstance(handler.error, ConnectError)
        assert "allows no requests" in str(handler.error)
        assert not handler.started
    await until(lambda: pool.num_connections == 0)
    assert len(link.dials) == 1


async def test_a_connection_that_reaches_max_age_while_it_is_given_out_leaves_the_others_to_a_new_one(
    watched: Watch, clock: Clock, send: Send
) -> None:
    connector = http2_connector()
    limits = PoolLimits(max_age=100)
    pool = watched(ConnectionPool(limits=limits, connector=connector, http1=False, timeout=NO_TIMEOUT))

    def let_it_age() -> None:
        clock.now += 101

    first = StartingHandler(let_it_age)
    pool.dispatch(Request("GET", "http://a/0"), first)
    others = [send(pool, f"http://a/{index}") for index in (1, 2)]
    await turns(30)
    assert first.started and all(handler.started for handler in others)
    assert [[*server.targets.values()] for server in connector.peers] == [["/0"], ["/1", "/2"]]
    for server in connector.peers:
        while server.open:
            server.answer()
    await all_ended([first, *others])
    assert first.completed and all(handler.completed for handler in others)
    await until(lambda: pool.num_connections == 1)
    assert pool.num_keepalive_connections == 1


async def test_what_is_dispatched_while_a_connection_is_given_out_gets_no_dial_by_what_another_origin_does(
    watched: Watch, send: Send
) -> None:
    link = http2_connector()
    connector = HoldingConnector(link, held=1)
    pool = watched(ConnectionPool(connector=connector, http1=False, timeout=NO_TIMEOUT))
    aborted = RecordingHandler()
    exchange = pool.dispatch(Request("GET", "http://b/0"), aborted)
    await turns()
    link.peers[0].update_settings(streams(1))
    await turns()
    waiting = send(pool, "http://b/1")
    await turns()
    assert aborted.started and not waiting.started
    late: list[RecordingHandler] = []
    queued: list[int] = []

    def act() -> None:
        late.append(send(pool, "http://a/2"))
        exchange.abort()
        queued.append(pool.num_waiting_requests)

    first = StartingHandler(act)
    pool.dispatch(Request("GET", "http://a/0"), first)
    second = send(pool, "http://a/1")
    await turns()
    assert queued == [1]
    assert connector.hosts == ["b", "b", "a"]
    assert [*link.peers[1].targets.values()] == ["/0", "/1", "/2"]
    connector.gate.set()
    await until(lambda: waiting.started)
    await turns()
    for server in link.peers:
        while server.open:
            server.answer()
    await all_ended([first, second, waiting, *late])
    assert all(handler.completed for handler in (first, second, waiting, *late))
    assert aborted.ended and not aborted.completed


async def test_a_dial_that_takes_too_long_fails_the_one_whose_own_dial_served_who_had_begun_it(
    watched: Watch, clock: Clock, send: Send
) -> None:
    link: MemoryConnector[HTTP11Peer] = MemoryConnector(HTTP11Peer)
    connector = HoldingConnector(link, held=0)
    pool = watched(ConnectionPool(connector=connector))
    timeout = TimeoutConfig(None, connect_timeout=3)
    first, second = send(pool, timeout=timeout), send(pool, timeout=timeout)
    await until(lambda: first.started)
    assert len(connector.hosts) == 2
    await clock.advance(2.9)
    assert not second.ended
    await clock.advance(0.2)
    assert isinstance(second.error, ConnectTimeout)
    assert "within 3 seconds" in str(second.error)
    await answer(link, 0)
    assert first.completed
    assert (pool.num_connections, pool.num_keepalive_connections) == (1, 1)
