"""Closing a pool, and dropping one that was not closed."""

from __future__ import annotations

import asyncio
import gc

import pytest

from httpcore import (
    ConnectionPool,
    PoolClosed,
    PoolLimits,
    Request,
    ResponseClosed,
)
from httpcore.handlers import Exchange, ResponseHandler
from httpcore.testing import HTTP11Peer, MemoryConnector
from tests.clock import turns, until
from tests.pool.conftest import Send, Watch
from tests.pool.peers import RecordingHandler, auto_connector


async def test_after_close_requests_are_refused(watched: Watch, send: Send) -> None:
    for used in (False, True):
        pool = watched(ConnectionPool(connector=auto_connector()))
        if used:
            await pool.request("GET", "http://a/")
        await pool.close()
        handler = send(pool)
        assert isinstance(handler.error, PoolClosed)
        assert not handler.error.request_sent
        assert handler.error.host == "a"
        with pytest.raises(PoolClosed):
            await pool.request("GET", "http://a/")
        assert not handler.started


async def test_close_is_idempotent_and_aclose_is_the_same(watched: Watch) -> None:
    pool = watched(ConnectionPool(connector=auto_connector()))
    await pool.request("GET", "http://a/")
    await asyncio.gather(pool.close(), pool.aclose())
    await pool.close()
    await pool.close(force=True)
    assert pool.num_connections == 0


async def test_close_ends_idle_connections_and_returns_once_they_are_gone(watched: Watch, send: Send) -> None:
    connector = auto_connector()
    pool = watched(ConnectionPool(connector=connector))
    for handler in [send(pool, f"http://host{index % 3}/") for index in range(6)]:
        await handler.until_ended()
    assert len(connector.open_transports) == 6
    await pool.close()
    assert connector.open_transports == []
    assert pool.num_connections == 0


async def test_close_ends_dials_and_waiting_requests(watched: Watch, send: Send) -> None:
    connector = auto_connector()
    pool = watched(ConnectionPool(limits=PoolLimits(hard_limit=2, per_origin_limit=1), connector=connector))
    connector.hold()
    handlers = [send(pool, f"http://{host}/") for host in "aabbcc"]
    await connector.dialed(2)
    await pool.close()
    for handler in handlers:
        assert isinstance(handler.error, PoolClosed)
        assert not handler.error.request_sent
        assert not handler.started
    assert pool.num_connections == 0
    assert connector.open_transports == []


async def test_close_lets_a_response_be_read_to_its_end_and_closes_its_connection_then(
    watched: Watch, connector: MemoryConnector[HTTP11Peer]
) -> None:
    pool = watched(ConnectionPool(connector=connector))
    request = asyncio.create_task(pool.request("GET", "http://a/", stream=True))
    peer = await connector.accept()
    await peer.receive_request()
    peer.send(b"HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nab")
    response = await request
    await pool.close()
    assert pool.num_connections == 1
    peer.send(b"cd")
    assert await response.read() == b"abcd"
    await turns()
    assert pool.num_connections == 0
    assert connector.open_transports == []


async def test_close_lets_a_request_that_was_sent_be_answered(
    watched: Watch, connector: MemoryConnector[HTTP11Peer]
) -> None:
    pool = watched(ConnectionPool(connector=connector))
    request = asyncio.create_task(pool.request("GET", "http://a/"))
    peer = await connector.accept()
    await peer.receive_request()
    await pool.close()
    peer.send_response(200, body=b"late")
    assert (await request).body == b"late"
    await turns()
    assert pool.num_connections == 0


async def test_close_by_force_aborts_a_response_that_is_being_read(
    watched: Watch, connector: MemoryConnector[HTTP11Peer]
) -> None:
    pool = watched(ConnectionPool(connector=connector))
    request = asyncio.create_task(pool.request("GET", "http://a/", stream=True))
    peer = await connector.accept()
    await peer.receive_request()
    peer.send(b"HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nab")
    response = await request
    await pool.close(force=True)
    assert pool.num_connections == 0
    assert connector.open_transports == []
    with pytest.raises(PoolClosed):
        await response.read()


async def test_close_by_force_after_close_ends_what_was_left(
    watched: Watch, connector: MemoryConnector[HTTP11Peer]
) -> None:
    pool = watched(ConnectionPool(connector=connector))
    request = asyncio.create_task(pool.request("GET", "http://a/"))
    await (await connector.accept()).receive_request()
    await pool.close()
    assert pool.num_connections == 1
    await pool.close(force=True)
    assert pool.num_connections == 0
    with pytest.raises(PoolClosed):
        await request


async def test_close_by_force_ends_an_upgraded_connection(
    watched: Watch, connector: MemoryConnector[HTTP11Peer]
) -> None:
    pool = watched(ConnectionPool(connector=connector))
    headers = [("connection", "upgrade"), ("upgrade", "echo")]
    request = asyncio.create_task(pool.request("GET", "http://a/", headers, stream=True))
    peer = await connector.accept()
    await peer.receive_until(b"\r\n\r\n")
    peer.send(b"HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: echo\r\n\r\nhello")
    response = await request
    stream = response.upgraded
    assert stream is not None
    assert await stream.read() == b"hello"
    assert (pool.num_connections, pool.num_active_connections) == (1, 1)
    await pool.close()
    stream.write(b"still there")
    assert await peer.receive(11) == b"still there"
    await pool.close(force=True)
    assert pool.num_connections == 0


async def test_an_upgraded_connection_frees_its_place_when_it_ends(watched: Watch, send: Send) -> None:
    connector = MemoryConnector(HTTP11Peer)
    pool = watched(ConnectionPool(limits=PoolLimits(hard_limit=1), connector=connector))
    headers = [("connection", "upgrade"), ("upgrade", "echo")]
    request = asyncio.create_task(pool.request("GET", "http://a/", headers, stream=True))
    peer = await connector.accept()
    await peer.receive_until(b"\r\n\r\n")
    peer.send(b"HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: echo\r\n\r\n")
    response = await request
    waiting = send(pool)
    await turns()
    assert not waiting.started
    assert response.upgraded is not None
    response.upgraded.close()
    other = await connector.accept()
    await other.receive_request()
    other.send_response()
    await waiting.until_ended()
    assert waiting.completed


async def test_a_request_from_a_handler_that_hears_of_the_close_is_refused(watched: Watch) -> None:
    connector = auto_connector()
    pool = watched(ConnectionPool(limits=PoolLimits(hard_limit=1), connector=connector))
    connector.hold()
    again = RecordingHandler()

    class Stubborn(ResponseHandler):
        def exchange_failed(self, exc: BaseException) -> None:
            pool.dispatch(Request("GET", "http://a/"), again)

    pool.dispatch(Request("GET", "http://a/"), Stubborn())
    await pool.close()
    assert isinstance(again.error, PoolClosed)


async def test_a_handler_that_hears_of_the_close_may_abort_others_that_wait(watched: Watch) -> None:
    connector = auto_connector()
    pool = watched(ConnectionPool(limits=PoolLimits(hard_limit=1), connector=connector))
    connector.hold()
    exchanges: list[Exchange] = []

    class Vindictive(RecordingHandler):
        def exchange_failed(self, exc: BaseException) -> None:
            super().exchange_failed(exc)
            for exchange in exchanges:
                exchange.abort()

    handlers = [Vindictive() for _ in range(5)]
    exchanges += [pool.dispatch(Request("GET", f"http://{'ab'[i % 2]}/"), one) for i, one in enumerate(handlers)]
    await pool.close()
    assert isinstance(handlers[0].error, PoolClosed)
    assert all(isinstance(handler.error, (PoolClosed, ResponseClosed)) for handler in handlers)


async def test_close_while_a_connection_is_closing_waits_for_it(watched: Watch, send: Send) -> None:
    connector = auto_connector()
    pool = watched(ConnectionPool(limits=PoolLimits(soft_limit=0), connector=connector))
    handler = send(pool)
    await until(lambda: handler.ended)
    await pool.close()
    assert pool.num_connections == 0
    assert connector.open_transports == []


async def test_a_connector_that_will_not_be_cancelled_gives_a_connection_that_is_closed(
    watched: Watch, send: Send
) -> None:
    link = auto_connector()
    release = asyncio.Event()

    class Stubborn:
        async def connect(self, protocol_factory, origin, **options):
            try:
                await release.wait()
            except asyncio.CancelledError:
                pass
            return await link.connect(protocol_factory, origin, **options)

    pool = watched(ConnectionPool(connector=Stubborn()))
    handler = send(pool)
    await turns()
    await pool.close()
    assert isinstance(handler.error, PoolClosed)
    assert pool.num_connections == 0
    assert link.open_transports == []


async def test_the_end_of_async_with_closes_also_after_an_exception(watched: Watch) -> None:
    connector = auto_connector()
    pool = watched(ConnectionPool(connector=connector))
    with pytest.raises(ZeroDivisionError):
        async with pool as same:
            assert same is pool
            await pool.request("GET", "http://a/")
            raise ZeroDivisionError
    assert connector.open_transports == []
    with pytest.raises(PoolClosed):
        await pool.request("GET", "http://a/")


async def test_close_that_is_cancelled_has_closed_all_the_same(watched: Watch, send: Send) -> None:
    connector = auto_connector()
    pool = watched(ConnectionPool(connector=connector))
    await pool.request("GET", "http://a/")
    closing = asyncio.create_task(pool.close())
    await asyncio.sleep(0)
    closing.cancel()
    with pytest.raises(asyncio.CancelledError):
        await closing
    await turns()
    assert pool.num_connections == 0
    await pool.close()


# Dropped.


async def test_a_pool_dropped_without_close_warns_once_and_its_connections_close() -> None:
    connector = auto_connector()
    pool = ConnectionPool(connector=connector)
    await pool.request("GET", "http://a/")
    await pool.request("GET", "http://b/")
    with pytest.warns(ResourceWarning, match="unclosed <ConnectionPool open, 0 active, 2 idle>") as caught:
        del pool
        gc.collect()
    assert len(caught) == 1
    await connector.all_closed()


async def test_a_pool_dropped_while_a_response_is_read_lets_it_be_read_to_its_end(
    connector: MemoryConnector[HTTP11Peer],
) -> None:
    pool = ConnectionPool(connector=connector)
    request = asyncio.create_task(pool.request("GET", "http://a/", stream=True))
    peer = await connector.accept()
    await peer.receive_request()
    peer.send(b"HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nab")
    response = await request
    del request
    with pytest.warns(ResourceWarning, match="unclosed <ConnectionPool open, 1 active, 0 idle>"):
        del pool
        gc.collect()
    await turns()
    peer.send(b"cd")
    assert await response.read() == b"abcd"
    await connector.all_closed()


async def test_a_pool_dropped_without_connections_says_nothing() -> None:
    connector = auto_connector()
    pool = ConnectionPool(limits=PoolLimits(soft_limit=0), connector=connector)
    await pool.request("GET", "http://a/")
    await turns()
    del pool
    gc.collect()
    await turns()


async def test_a_pool_whose_arguments_were_refused_is_collected_quietly() -> None:
    with pytest.raises(ValueError, match="low_water"):
        ConnectionPool(low_water=9, high_water=1)
    gc.collect()
