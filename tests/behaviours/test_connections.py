"""Many exchanges: reuse, limits, timeouts and ends."""

from __future__ import annotations

import asyncio
import hashlib
import json

import pytest

import httpcore
from httpcore.trace import BodySent
from tests.behaviours.blocking import async_only
from tests.behaviours.ways import Server
from tests.content import sha256


def _connection_of(response: httpcore.Response) -> int:
    assert response.exchange is not None
    info = response.exchange.connection_info
    assert info is not None
    return info.connection_id


async def test_requests_one_after_another_use_one_connection(http: httpcore.ConnectionPool, server: Server):
    connections = set()
    for index in range(50):
        response = await http.request("POST", server.url + "/upload", body=b"x" * index)
        assert json.loads(response.body)["size"] == index
        connections.add(_connection_of(response))
    assert len(connections) == 1
    assert (http.num_connections, http.num_keepalive_connections) == (1, 1)


async def test_requests_at_once_get_their_own_responses(http: httpcore.ConnectionPool, server: Server):
    async with asyncio.TaskGroup() as group:
        tasks = [
            group.create_task(http.request("POST", server.url + "/echo", body=b"number %d" % index))
            for index in range(100)
        ]
    assert [task.result().body for task in tasks] == [b"number %d" % index for index in range(100)]
    if server.multiplexed:
        assert len({_connection_of(task.result()) for task in tasks}) == 1
    assert http.num_waiting_requests == 0


async def test_requests_over_the_limit_wait_for_their_turn(server: Server):
    async with server.pool(limits=httpcore.PoolLimits(hard_limit=2)) as http:
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(http.request("GET", f"{server.url}/bytes/{index}")) for index in range(30)]
        assert [len(task.result().body) for task in tasks] == list(range(30))
        assert len({_connection_of(task.result()) for task in tasks}) <= 2


async def test_response_that_is_read_to_its_end_leaves_its_connection_to_the_next(
    http: httpcore.ConnectionPool, server: Server
):
    async with await http.request("GET", server.url + "/chunked/300000", stream=True) as first:
        assert len(await first.read()) == 300_000
    second = await http.request("GET", server.url + "/hello")
    assert _connection_of(second) == _connection_of(first)


async def test_response_that_is_closed_unread_does_not_disturb_the_next(http: httpcore.ConnectionPool, server: Server):
    async with await http.request("GET", server.url + "/stall", stream=True) as response:
        async for part in response.stream():
            assert part == b"begun"
            break
    with pytest.raises(httpcore.StreamConsumed):
        await response.read()
    after = await http.request("GET", server.url + "/hello")
    assert after.body == b"Hello, world"
    assert (_connection_of(after) == _connection_of(response)) == server.multiplexed


@async_only("a blocking call cannot be cancelled; tests/sync/test_sync_interrupts.py has what Ctrl-C does")
async def test_cancelled_request_does_not_disturb_the_next(http: httpcore.ConnectionPool, server: Server):
    sent = asyncio.Event()

    def trace(event: httpcore.TraceEvent) -> None:
        if isinstance(event, BodySent):
            sent.set()

    request = asyncio.create_task(http.request("GET", server.url + "/hang", trace=trace))
    await sent.wait()
    request.cancel()
    with pytest.raises(asyncio.CancelledError):
        await request
    assert (await http.request("GET", server.url + "/hello")).body == b"Hello, world"


@async_only("a blocking call cannot be cancelled; tests/sync/test_sync_interrupts.py has what Ctrl-C does")
async def test_cancelled_read_does_not_disturb_the_next(http: httpcore.ConnectionPool, server: Server):
    async with await http.request("GET", server.url + "/stall", stream=True) as response:
        parts = response.stream()
        assert await anext(parts) == b"begun"
        reading = asyncio.ensure_future(anext(parts))
        await asyncio.sleep(0)  # it has begun, and nothing will come
        reading.cancel()
        with pytest.raises(asyncio.CancelledError):
            await reading
    after = await http.request("GET", server.url + "/hello")
    assert after.body == b"Hello, world"
    assert (_connection_of(after) == _connection_of(response)) == server.multiplexed


async def test_response_that_is_not_read_holds_up_no_other(http: httpcore.ConnectionPool, server: Server):
    async with await http.request("GET", server.url + "/bytes/3000003", stream=True) as unread:
        others = [await http.request("GET", server.url + "/bytes/3000003") for _ in range(3)]
        assert {hashlib.sha256(other.body).hexdigest() for other in others} == {sha256(3_000_003)}
        assert all((_connection_of(other) == _connection_of(unread)) == server.multiplexed for other in others)
        assert hashlib.sha256(await unread.read()).hexdigest() == sha256(3_000_003)


async def test_server_that_never_answers_is_a_read_timeout(http: httpcore.ConnectionPool, server: Server):
    timeout = httpcore.TimeoutConfig(5.0, read_timeout=0.05)
    with pytest.raises(httpcore.ReadTimeout) as caught:
        await http.request("GET", server.url + "/hang", timeout=timeout)
    assert caught.value.phase == httpcore.Phase.RECEIVING_HEAD
    assert caught.value.request_sent
    assert (await http.request("GET", server.url + "/hello")).body == b"Hello, world"


async def test_server_that_stops_in_the_middle_is_a_read_timeout(http: httpcore.ConnectionPool, server: Server):
    timeout = httpcore.TimeoutConfig(5.0, read_timeout=0.05)
    async with await http.request("GET", server.url + "/stall", stream=True, timeout=timeout) as response:
        parts = response.stream()
        assert await anext(parts) == b"begun"
        with pytest.raises(httpcore.ReadTimeout) as caught:
            await anext(parts)
    assert caught.value.phase == httpcore.Phase.RECEIVING_BODY


async def test_exchange_that_takes_too_long_as_a_whole_is_a_total_timeout(
    http: httpcore.ConnectionPool, server: Server
):
    with pytest.raises(httpcore.TotalTimeout):
        await http.request("GET", server.url + "/hang", timeout=httpcore.TimeoutConfig(total_timeout=0.05))
    assert (await http.request("GET", server.url + "/hello")).body == b"Hello, world"


async def test_response_may_be_read_to_its_end_after_the_pool_was_closed(server: Server):
    http = server.pool()
    async with await http.request("GET", server.url + "/bytes/3000000", stream=True) as response:
        closing = asyncio.create_task(http.close())
        assert len(await response.read()) == 3_000_000
    await closing
    with pytest.raises(httpcore.PoolClosed):
        await http.request("GET", server.url + "/hello")


async def test_forced_close_of_the_pool_aborts_what_is_being_read(server: Server):
    http = server.pool()
    async with await http.request("GET", server.url + "/stall", stream=True) as response:
        await http.close(force=True)
        with pytest.raises(httpcore.HTTPCoreError):
            await response.read()
    assert http.num_connections == 0
