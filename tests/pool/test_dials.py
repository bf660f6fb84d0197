"""Dials: whom a connection that is being made is for, and what happens when it is not made."""

from __future__ import annotations

import asyncio

import pytest

from httpcore import (
    ConnectError,
    ConnectionPool,
    ConnectTimeout,
    PoolClosed,
    PoolLimits,
    Request,
    TimeoutConfig,
)
from httpcore.exceptions import Phase
from httpcore.protocols.http11 import HTTP11Protocol
from httpcore.testing import HTTP11Peer, MemoryConnector
from tests.clock import Clock, turns
from tests.pool.conftest import Send, Watch
from tests.pool.peers import RecordingHandler, answer, auto_connector


async def test_a_failed_dial_fails_the_first_waiter_only_and_frees_the_place_for_the_next(
    watched: Watch, send: Send
) -> None:
    connector = auto_connector()
    pool = watched(ConnectionPool(limits=PoolLimits(hard_limit=1), connector=connector))
    connector.hold()
    refused = ConnectError("refused")
    connector.fail_next(refused)
    first, second, third = send(pool), send(pool), send(pool)
    await turns()
    connector.release()
    await first.until_ended()
    assert first.error is refused
    assert (refused.host, refused.port, refused.phase, refused.request_sent) == ("a", 80, Phase.CONNECTING, False)
    await second.until_ended()
    await third.until_ended()
    assert second.completed
    assert third.completed
    assert len(connector.dials) == 2


async def test_every_dial_that_fails_fails_one_request(watched: Watch, send: Send) -> None:
    connector = auto_connector()
    pool = watched(ConnectionPool(limits=PoolLimits(hard_limit=2), connector=connector))
    for _ in range(5):
        connector.fail_next(ConnectError("refused"))
    handlers = [send(pool) for _ in range(5)]
    for handler in handlers:
        await handler.until_ended()
        assert isinstance(handler.error, ConnectError)
    await turns()
    assert pool.num_connections == 0
    assert len(connector.dials) == 5


async def test_what_a_connector_raises_becomes_a_connect_error_with_the_cause(watched: Watch, send: Send) -> None:
    connector = auto_connector()
    pool = watched(ConnectionPool(connector=connector))
    cause = ZeroDivisionError("a bug")
    connector.fail_next(cause)
    handler = send(pool)
    await handler.until_ended()
    assert isinstance(handler.error, ConnectError)
    assert "a bug" in str(handler.error)
    assert handler.error.__cause__ is cause


async def test_a_dial_that_takes_too_long_is_a_connect_timeout(watched: Watch, clock: Clock, send: Send) -> None:
    connector = auto_connector()
    pool = watched(ConnectionPool(limits=PoolLimits(hard_limit=1), connector=connector))
    connector.hold()
    handler = send(pool, timeout=TimeoutConfig(None, connect_timeout=3))
    queued = send(pool, timeout=TimeoutConfig(None, connect_timeout=7))
    await clock.advance(2.9)
    assert not handler.ended
    await clock.advance(0.2)
    assert isinstance(handler.error, ConnectTimeout)
    assert "3 seconds" in str(handler.error)
    assert handler.error.host == "a"
    assert pool.num_connections == 1  # a dial for the one that was queued
    await clock.advance(6.8)
    assert not queued.ended
    await clock.advance(0.2)
    assert isinstance(queued.error, ConnectTimeout)
    assert pool.num_connections == 0


async def test_a_connectors_own_connect_timeout_is_passed_on_as_it_is(watched: Watch, send: Send) -> None:
    connector = auto_connector()
    pool = watched(ConnectionPool(connector=connector))
    error = ConnectTimeout("the kernel gave up")
    connector.fail_next(error)
    handler = send(pool)
    await handler.until_ended()
    assert handler.error is error


async def test_a_cancelled_request_leaves_its_dial_to_the_next(watched: Watch, send: Send) -> None:
    connector = auto_connector()
    pool = watched(ConnectionPool(limits=PoolLimits(hard_limit=1), connector=connector))
    connector.hold()
    exchange_of = []
    first = RecordingHandler()
    exchange_of.append(pool.dispatch(Request("GET", "http://a/"), first))
    second = send(pool)
    await connector.dialed(1)
    exchange_of[0].abort()
    assert first.ended
    connector.release()
    await second.until_ended()
    assert second.completed
    assert len(connector.dials) == 1


async def test_a_dial_whose_request_was_cancelled_becomes_an_idle_connection(watched: Watch, send: Send) -> None:
    connector = auto_connector()
    pool = watched(ConnectionPool(connector=connector))
    connector.hold()
    task = asyncio.create_task(pool.request("GET", "http://a/"))
    await connector.dialed(1)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert pool.num_active_connections == 1
    connector.release()
    await turns()
    assert pool.num_keepalive_connections == 1
    assert (await pool.request("GET", "http://a/")).status_code == 200
    assert len(connector.dials) == 1


async def test_a_dial_that_fails_when_nobody_waits_any_more_is_forgotten(watched: Watch, send: Send) -> None:
    connector = auto_connector()
    pool = watched(ConnectionPool(connector=connector))
    connector.hold()
    connector.fail_next(ConnectError("refused"))
    task = asyncio.create_task(pool.request("GET", "http://a/"))
    await connector.dialed(1)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    connector.release()
    await turns()
    assert pool.num_connections == 0


async def test_a_freed_connection_serves_who_waits_for_a_dial_and_the_dial_serves_the_next(
    watched: Watch, send: Send, connector: MemoryConnector[HTTP11Peer]
) -> None:
    pool = watched(ConnectionPool(connector=connector))
    first = send(pool)
    await turns()
    connector.hold()
    second = send(pool)
    await turns()
    assert not second.started
    await answer(connector, 0)
    assert first.completed
    assert second.started
    connector.release()
    await turns()
    assert pool.num_keepalive_connections == 1
    third = send(pool)
    assert third.started
    await answer(connector, 0)
    await answer(connector, 1)
    assert second.completed
    assert third.completed


class DeadConnector:
    """Gives connections that are closing, or closed, by the time they are given."""

    def __init__(self, link: MemoryConnector, state: str) -> None:
        self.link = link
        self.state = state
        self.broken = 1  # how many more

    async def connect(self, protocol_factory, origin, **options):
        negotiation = await self.link.connect(protocol_factory, origin, **options)
        protocol = negotiation.result()
        assert isinstance(protocol, HTTP11Protocol)
        if self.broken:
            self.broken -= 1
            if self.state == "transport closing":
                protocol._transport.abort()
            else:
                self.link.peers[-1].transport.close()
                await turns(1 if self.state == "closing" else 10)
                assert protocol.closing
                assert protocol.closed == (self.state == "closed")
        return negotiation


@pytest.mark.parametrize("state", ["transport closing", "closing", "closed"])
@pytest.mark.parametrize("replayed", [False, True])
async def test_a_connection_that_is_dead_when_it_is_made_fails_its_request(
    watched: Watch, send: Send, state: str, replayed: bool
) -> None:
    # As when a server accepts and closes at once: TLS reads the end together with the handshake's.
    link = auto_connector()
    connector = DeadConnector(link, state)
    pool = watched(ConnectionPool(limits=PoolLimits(hard_limit=1), connector=connector))
    if replayed:
        connector.broken = 0
        await send(pool).until_ended()
        link.peers[0].respond = lambda peer: peer.transport.close()
        connector.broken = 1
    first = send(pool)
    second = send(pool)
    await turns(30)
    assert isinstance(first.error, ConnectError)
    await second.until_ended()
    assert second.completed
    assert pool.num_connections == 1


async def test_close_right_after_dispatch_ends_a_dial_that_has_not_begun(watched: Watch, send: Send) -> None:
    connector = auto_connector()
    pool = watched(ConnectionPool(connector=connector))
    handler = send(pool)
    await pool.close()
    assert isinstance(handler.error, PoolClosed)
    assert pool.num_connections == 0
    assert connector.dials == []
