"""Replay: what is sent again of the many exchanges of one connection."""

from __future__ import annotations

from httpcore import (
    HTTPCoreError,
    PoolLimits,
    RemoteProtocolError,
)
from httpcore.pool.retries import MAX_REPLAYS_UNPROCESSED
from httpcore.testing import MemoryConnector
from httpcore.trace import RequestReplayed, TraceEvent
from tests.clock import turns, until
from tests.pool.conftest import Send, Watch
from tests.pool.multiplexing import (
    HTTP2Server,
    all_ended,
    http2_connector,
    http2_pool,
)


async def test_what_a_server_that_goes_away_did_not_process_is_sent_to_one_new_connection(
    watched: Watch, send: Send
) -> None:
    connector = http2_connector()
    events: list[TraceEvent] = []
    pool = watched(http2_pool(connector, trace=events.append))
    handlers = [send(pool, f"http://a/{index}", "POST", body=b"something") for index in range(30)]
    await turns()
    old = connector.peers[0]
    assert len(old.open) == 30
    old.go_away(old.open[9])
    await turns()
    new = connector.peers[1]
    assert len(connector.dials) == 2
    assert [*new.targets.values()] == [f"/{index}" for index in range(10, 30)]
    assert sum(isinstance(event, RequestReplayed) for event in events) == 20
    assert pool.num_active_connections == 2
    further = send(pool)
    await turns()
    assert len(old.open) == 10 and len(new.open) == 21
    for server in (new, old):
        while server.open:
            server.answer()
    await all_ended([*handlers, further])
    assert all(handler.completed for handler in handlers)
    await turns()
    assert pool.num_connections == 1


async def test_a_draining_connection_counts_until_it_has_ended(watched: Watch, send: Send) -> None:
    connector = http2_connector()
    pool = watched(http2_pool(connector, PoolLimits(hard_limit=1)))
    first, second = send(pool), send(pool)
    await turns()
    old = connector.peers[0]
    old.go_away(old.open[0])
    await turns()
    assert (pool.num_connections, pool.num_waiting_requests) == (1, 1)
    old.answer()
    await first.until_ended()
    await until(lambda: len(connector.peers) == 2 and bool(connector.peers[1].open))
    connector.peers[1].answer()
    await second.until_ended()
    assert second.completed


async def test_a_refused_stream_is_sent_again_on_the_same_connection_once_there_is_room(
    watched: Watch, send: Send
) -> None:
    connector = http2_connector()
    pool = watched(http2_pool(connector, PoolLimits(hard_limit=1)))
    first, second = send(pool, "http://a/1"), send(pool, "http://a/2", "POST", body=b"something")
    await turns()
    server = connector.peers[0]
    server.refuse(3)
    await turns()
    assert not second.ended and pool.num_waiting_requests == 1
    server.answer(1)
    await first.until_ended()
    await turns()
    assert server.answer() == "/2"
    await second.until_ended()
    assert second.completed
    assert len(connector.dials) == 1


async def test_a_request_that_is_refused_every_time_is_given_up(watched: Watch, send: Send) -> None:
    refused = 0

    def refuse(server: HTTP2Server, stream_id: int) -> None:
        nonlocal refused
        refused += 1
        server.refuse(stream_id)

    connector = MemoryConnector(lambda: HTTP2Server(None, refuse))
    pool = watched(http2_pool(connector))
    handler = send(pool)
    await handler.until_ended()
    assert isinstance(handler.error, RemoteProtocolError)
    assert refused == 1 + MAX_REPLAYS_UNPROCESSED


async def test_many_requests_of_a_dead_connection_make_no_more_than_one_new_one(watched: Watch, send: Send) -> None:
    connector = http2_connector(answers=True)
    pool = watched(http2_pool(connector))
    await send(pool).until_ended()
    connector.peers[0].respond_at_once = None
    handlers = [send(pool, method=("GET", "POST")[index % 2]) for index in range(40)]
    await turns()
    connector.peers[0].abort()
    await all_ended(handlers)
    assert [handler.completed for handler in handlers] == [True, False] * 20
    assert all(isinstance(handler.error, HTTPCoreError) for handler in handlers[1::2])
    assert len(connector.dials) == 2


async def test_who_is_sent_again_is_refused_by_no_number_of_waiters(watched: Watch, send: Send) -> None:
    connector = http2_connector()
    pool = watched(http2_pool(connector, PoolLimits(hard_limit=1, max_waiters=0)))
    handlers = [send(pool) for _ in range(3)]
    await turns()
    connector.peers[0].go_away(0)
    await until(lambda: len(connector.peers) == 2 and len(connector.peers[1].open) == 3)
    for _ in range(3):
        connector.peers[1].answer()
    await all_ended(handlers)
    assert all(handler.completed for handler in handlers)
