"""Slots: limits, reuse, eviction, expiry, age and dials."""

from __future__ import annotations

import asyncio
import random

import pytest

from httpcore import (
    ConnectError,
    ConnectionPool,
    ConnectTimeout,
    PoolClosed,
    PoolLimits,
    PoolTimeout,
    Request,
    SSLConfig,
    TimeoutConfig,
)
from httpcore.exceptions import Phase
from httpcore.handlers import ResponseHandler
from httpcore.headers import Headers
from httpcore.protocols.http11 import HTTP11Protocol
from httpcore.testing import HTTP11Peer, MemoryConnector
from httpcore.trace import ConnectionClosed, SlotWaitStarted, TraceEvent
from httpcore.urls import Origin
from tests.clock import Clock, turns
from tests.pool.conftest import Send, Watch
from tests.pool.peers import RecordingHandler, auto_connector


@pytest.fixture
def connector() -> MemoryConnector[HTTP11Peer]:
    return MemoryConnector(HTTP11Peer)


async def answer(connector: MemoryConnector[HTTP11Peer], index: int, headers=(), body: bytes = b"ok") -> None:
    await connector.peers[index].receive_request()
    connector.peers[index].send_response(200, headers, body)
    await turns()


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


# Dials.


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
        protocol = await self.link.connect(protocol_factory, origin, **options)
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
        return protocol


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


async def test_slot_wait_started_says_whether_a_limit_stands_against_a_connection(watched: Watch, send: Send) -> None:
    connector = auto_connector()
    events: list[TraceEvent] = []
    pool = watched(ConnectionPool(limits=PoolLimits(hard_limit=1), connector=connector, trace=events.append))
    for handler in [send(pool), send(pool)]:
        await handler.until_ended()
    await send(pool).until_ended()
    assert [event.limited for event in events if isinstance(event, SlotWaitStarted)] == [False, True]


# The end of the loop and of the pool, as far as slots go.


async def test_close_right_after_dispatch_ends_a_dial_that_has_not_begun(watched: Watch, send: Send) -> None:
    connector = auto_connector()
    pool = watched(ConnectionPool(connector=connector))
    handler = send(pool)
    await pool.close()
    assert isinstance(handler.error, PoolClosed)
    assert pool.num_connections == 0
    assert connector.dials == []


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
