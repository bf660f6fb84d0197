"""Shared dials: who waits for a connection that is being made for somebody else."""

from __future__ import annotations

import asyncio

from httpcore import (
    ConnectError,
    ConnectionPool,
    ConnectTimeout,
    PoolLimits,
    PoolTimeout,
    Request,
    TimeoutConfig,
)
from httpcore.exceptions import Phase
from httpcore.testing import HTTP11Peer, MemoryConnector
from httpcore.trace import SlotWaitStarted, TraceEvent
from tests.clock import Clock, turns, until
from tests.pool.conftest import Send, Watch
from tests.pool.multiplexing import (
    Chosen,
    all_ended,
    choosing_connector,
    http2_connector,
    http2_pool,
    streams,
)
from tests.pool.peers import AutoPeer, RecordingHandler, answer

# A version that is not known yet.


async def test_of_many_requests_that_share_a_dial_which_turns_out_to_be_http11_each_gets_its_own(
    watched: Watch, send: Send
) -> None:
    connector = choosing_connector(["http/1.1"] * 10, AutoPeer)
    pool = watched(ConnectionPool(connector=connector))
    connector.hold()
    handlers = [send(pool, "https://a/") for _ in range(10)]
    await connector.dialed(1)
    await turns()
    assert len(connector.dials) == 1
    connector.release()
    await all_ended(handlers)
    assert all(handler.completed for handler in handlers)
    assert 2 <= len(connector.dials) <= 10
    assert pool.num_waiting_requests == 0


async def test_where_the_limit_forbids_dials_of_their_own_they_are_queued_in_their_order(
    watched: Watch, clock: Clock, send: Send
) -> None:
    connector: MemoryConnector[HTTP11Peer] = MemoryConnector(
        HTTP11Peer, client_extra={"ssl_object": Chosen(["http/1.1"] * 3)}
    )
    pool = watched(ConnectionPool(limits=PoolLimits(hard_limit=3), connector=connector))
    connector.hold()
    timeout = TimeoutConfig(None, pool_timeout=3)
    handlers = [send(pool, f"https://a/{index}", timeout=timeout) for index in range(6)]
    await connector.dialed(1)
    assert pool.num_waiting_requests == 0
    await clock.advance(10)  # the pool timeout runs for those alone who are queued
    connector.release()
    await until(lambda: handlers[2].started)
    assert pool.num_waiting_requests == 3
    late = send(pool, "https://a/6", timeout=timeout)
    await clock.advance(2)
    for index in (0, 1):
        await answer(connector, index)
    assert [handler.started for handler in handlers] == [True] * 5 + [False]
    await clock.advance(1)
    assert isinstance(handlers[5].error, PoolTimeout) and isinstance(late.error, PoolTimeout)
    for index in range(3):
        await answer(connector, index)
    assert all(handler.completed for handler in handlers[:5])


async def test_who_is_put_back_does_not_overtake_another_origin_that_waited_for_longer(
    watched: Watch, send: Send
) -> None:
    answers: list[AutoPeer] = []
    connector = choosing_connector(["http/1.1"] * 4, lambda: AutoPeer(respond=answers.append))
    pool = watched(ConnectionPool(limits=PoolLimits(hard_limit=1), connector=connector))
    connector.hold()
    first, older = send(pool, "https://a/"), send(pool, "https://a/")
    other = send(pool, "https://b/")
    younger = send(pool, "https://a/")
    await connector.dialed(1)
    connector.release()
    await until(lambda: bool(answers))
    assert [handler.started for handler in (first, older, other, younger)] == [True, False, False, False]
    peer = answers.pop()
    peer.transport.write(b"HTTP/1.1 204 No Content\r\nconnection: close\r\n\r\n")
    await until(lambda: bool(answers))
    assert [handler.started for handler in (older, other, younger)] == [True, False, False]
    answers.pop().transport.write(b"HTTP/1.1 204 No Content\r\nconnection: close\r\n\r\n")
    await until(lambda: bool(answers))
    assert [handler.started for handler in (other, younger)] == [True, False]
    answers.pop().answer()
    await until(lambda: bool(answers))
    answers.pop().answer()
    await younger.until_ended()
    assert all(handler.completed for handler in (first, older, other, younger))


async def test_idle_connections_of_others_make_room_for_those_who_are_put_back(watched: Watch, send: Send) -> None:
    connector = choosing_connector(["http/1.1"] * 12, AutoPeer)
    pool = watched(ConnectionPool(limits=PoolLimits(hard_limit=4), connector=connector))
    warm = [send(pool, f"https://{host}/") for host in "xyz"]
    await all_ended(warm)
    assert pool.num_keepalive_connections == 3
    handlers = [send(pool, "https://a/") for _ in range(8)]
    await all_ended(handlers)
    assert all(handler.completed for handler in handlers)
    assert pool.num_connections <= 4


async def test_a_server_that_changes_its_mind_about_the_version_is_followed(watched: Watch, send: Send) -> None:
    versions = ["h2", "http/1.1", "http/1.1", "h2"]
    connector = choosing_connector(versions, AutoPeer, answers=True)
    pool = watched(ConnectionPool(connector=connector))
    for version, expected in zip(versions, [b"HTTP/2", b"HTTP/1.1", b"HTTP/1.1", b"HTTP/2"], strict=True):
        handlers = [send(pool, "https://a/")]
        await all_ended(handlers)
        assert handlers[0].head is not None
        assert handlers[0].head.http_version == expected, version
        assert pool.num_keepalive_connections == 1
        connector.peers[-1].transport.close()
        await until(lambda: pool.num_connections == 0)


# Who joins a dial.


async def test_who_joins_a_dial_has_a_connect_timeout_of_its_own(watched: Watch, clock: Clock, send: Send) -> None:
    connector = http2_connector(answers=True)
    pool = watched(http2_pool(connector))
    connector.hold()
    first = send(pool, timeout=TimeoutConfig(None, connect_timeout=10))
    await clock.advance(1)
    second, third = [send(pool, timeout=TimeoutConfig(None, connect_timeout=seconds)) for seconds in (2, 4)]
    await clock.advance(1.9)
    assert not second.ended
    await clock.advance(0.2)
    assert isinstance(second.error, ConnectTimeout)
    assert "within 2 seconds" in str(second.error)
    assert (second.error.host, second.error.phase) == ("a", Phase.CONNECTING)
    await clock.advance(1.8)
    assert not first.ended and not third.ended
    connector.release()
    await all_ended([first, third])
    assert first.completed and third.completed
    assert len(connector.dials) == 1


async def test_a_dial_that_takes_too_long_fails_who_caused_it_and_is_begun_anew_for_who_joined(
    watched: Watch, clock: Clock, send: Send
) -> None:
    connector = http2_connector(answers=True)
    pool = watched(http2_pool(connector))
    connector.hold()
    first = send(pool, timeout=TimeoutConfig(None, connect_timeout=3))
    await clock.advance(1)
    others = [send(pool, timeout=TimeoutConfig(None, connect_timeout=3)) for _ in range(3)]
    await clock.advance(2.1)
    assert isinstance(first.error, ConnectTimeout)
    assert not any(other.ended for other in others)
    assert len(connector.dials) == 2
    await clock.advance(1)  # when they joined counts, not when the dial was begun anew
    assert all(isinstance(other.error, ConnectTimeout) for other in others)
    await clock.advance(3)
    assert pool.num_connections == 0


async def test_a_dial_whose_request_was_cancelled_fails_nobody_who_joined_late(
    watched: Watch, clock: Clock, send: Send
) -> None:
    connector = http2_connector(answers=True)
    pool = watched(http2_pool(connector))
    connector.hold()
    exchange = pool.dispatch(Request("GET", "http://a/"), RecordingHandler(), timeout=TimeoutConfig(3))
    await clock.advance(2.9)
    exchange.abort()
    late = send(pool, timeout=TimeoutConfig(None, connect_timeout=3))
    await clock.advance(0.2)
    assert not late.ended
    assert len(connector.dials) == 2
    connector.release()
    await late.until_ended()
    assert late.completed


async def test_a_dial_that_fails_fails_all_who_share_it_each_with_an_error_of_its_own(
    watched: Watch, send: Send
) -> None:
    connector = http2_connector()
    pool = watched(http2_pool(connector))
    connector.hold()
    cause = OSError("unreachable")
    refused = ConnectError("refused")
    refused.__cause__ = cause
    connector.fail_next(refused)
    handlers = [send(pool) for _ in range(5)]
    connector.release()
    await all_ended(handlers)
    errors = {handler.error for handler in handlers}
    assert len(errors) == 5
    for error in errors:
        assert isinstance(error, ConnectError)
        assert str(error) == "refused (a:80, connecting)"
        assert error.__cause__ is cause
    assert pool.num_connections == 0
    assert len(connector.dials) == 1


async def test_a_dial_that_fails_fails_those_alone_whom_no_other_should_carry(watched: Watch, send: Send) -> None:
    connector = http2_connector(streams(10), answers=True)
    pool = watched(http2_pool(connector))
    await send(pool).until_ended()
    server = connector.peers[0]
    server.respond_at_once = None
    full = [send(pool) for _ in range(10)]
    await turns()
    connector.hold()
    connector.fail_next(ConnectError("refused"))
    waiting = [send(pool) for _ in range(15)]
    await connector.dialed(3)
    assert len(connector.dials) == 3
    connector.release()
    await all_ended(waiting)
    assert [isinstance(handler.error, ConnectError) for handler in waiting] == [True] * 5 + [False] * 10
    while server.open:
        server.answer()
    await all_ended(full)


async def test_what_is_queued_joins_the_dial_of_the_first_that_gets_a_place(watched: Watch, send: Send) -> None:
    connector = http2_connector(answers=True)
    pool = watched(http2_pool(connector, PoolLimits(hard_limit=1)))
    connector.hold()
    blocker = send(pool, "http://x/")
    handlers = [send(pool) for _ in range(20)]
    assert pool.num_waiting_requests == 20
    await turns()
    connector.release()
    await all_ended([blocker, *handlers])
    assert all(handler.completed for handler in handlers)
    assert [dial.origin.host for dial in connector.dials] == ["x", "a"]


async def test_a_wait_for_a_dial_of_others_is_not_limited_says_the_trace(watched: Watch) -> None:
    connector = http2_connector(answers=True)
    events: list[TraceEvent] = []
    pool = watched(http2_pool(connector, PoolLimits(hard_limit=1), trace=events.append))
    await asyncio.gather(*(pool.request("GET", "http://a/") for _ in range(3)))
    assert [event.limited for event in events if isinstance(event, SlotWaitStarted)] == [False] * 3
