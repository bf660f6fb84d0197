"""ConnectionPool: arguments, many requests at once, and callers that misbehave."""

from __future__ import annotations

import asyncio
import gc

import pytest

import httpcore
from httpcore import (
    ConnectError,
    ConnectionPool,
    PoolLimits,
    Request,
    TimeoutConfig,
)
from httpcore.handlers import ResponseHandler
from httpcore.headers import Headers
from httpcore.testing import HTTP11Peer, MemoryConnector
from tests.clock import Clock, turns
from tests.pool.conftest import Send, Watch
from tests.pool.peers import AutoPeer, RecordingHandler, auto_connector
from tests.pool.scripts import run_script, url_of


@pytest.mark.parametrize("arguments", [{"ssl": True}, {"timeout": "5"}, {"limits": 10}])
def test_an_argument_of_the_wrong_type_is_refused(arguments: dict) -> None:
    with pytest.raises(TypeError):
        ConnectionPool(**arguments)


@pytest.mark.parametrize("arguments", [{"low_water": 9, "high_water": 8}, {"low_water": -1}, {"timeout": 0}])
def test_an_impossible_argument_is_refused(arguments: dict) -> None:
    with pytest.raises(ValueError, match=r"low_water|above zero"):
        ConnectionPool(**arguments)


def test_dispatch_needs_a_running_loop() -> None:
    pool = ConnectionPool(connector=auto_connector())
    with pytest.raises(RuntimeError):
        pool.dispatch(Request("GET", "http://a/"), RecordingHandler())


async def test_settings_of_the_pool_hold_unless_the_request_has_its_own(watched: Watch, clock: Clock) -> None:
    connector = MemoryConnector(HTTP11Peer)
    pool = watched(ConnectionPool(timeout=3, connector=connector, max_body_size=4))
    for timeout, seconds in ((None, 3), (1, 1), (TimeoutConfig(2), 2)):
        request = asyncio.create_task(pool.request("GET", "http://a/", timeout=timeout))
        await turns()
        await clock.advance(seconds - 0.1)
        assert not request.done()
        await clock.advance(0.1)
        with pytest.raises(httpcore.ReadTimeout):
            await request


async def test_send_sends_a_request_made_by_hand_and_leaves_it_as_it_is(watched: Watch) -> None:
    connector = auto_connector()
    pool = watched(ConnectionPool(connector=connector))
    request = Request("PUT", "http://a/", body=b"something")
    before = list(request.headers)
    for stream in (False, True):
        async with await pool.send(request, stream) as response:
            assert await response.read() == b"ok"
        assert connector.peers[0].body == b"something"
        names = [name for name, _ in connector.peers[0].requests[-1].headers]
        assert (b"accept-encoding" in names) == (not stream)
    assert list(request.headers) == before


# Callers that misbehave.


async def test_a_response_dropped_unread_frees_its_place_and_warns(watched: Watch) -> None:
    connector = MemoryConnector(HTTP11Peer)
    pool = watched(ConnectionPool(limits=PoolLimits(hard_limit=1), connector=connector))
    for _ in range(2):
        request = asyncio.create_task(pool.request("GET", "http://a/", stream=True))
        peer = await connector.accept()
        await peer.receive_request()
        peer.send(b"HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nab")
        await request
        await turns()  # the step that woke this task up refers to the other one
        with pytest.warns(ResourceWarning, match="unclosed <Response 200> to <Request GET http://a/>"):
            del request
            gc.collect()
        await turns()
        assert pool.num_connections == 0


async def test_a_response_dropped_after_all_of_it_came_is_no_loss(
    watched: Watch, connector: MemoryConnector[HTTP11Peer]
) -> None:
    pool = watched(ConnectionPool(connector=connector))
    request = asyncio.create_task(pool.request("GET", "http://a/", stream=True))
    peer = await connector.accept()
    await peer.receive_request()
    peer.send_response(200, body=b"abcd")
    await request
    await turns()
    del request
    gc.collect()
    assert pool.num_keepalive_connections == 1


async def test_leaving_the_stream_early_and_closing_ends_the_connection(
    watched: Watch, connector: MemoryConnector[HTTP11Peer]
) -> None:
    pool = watched(ConnectionPool(connector=connector))
    request = asyncio.create_task(pool.request("GET", "http://a/", stream=True))
    peer = await connector.accept()
    await peer.receive_request()
    peer.send(b"HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nab")
    async with await request as response:
        async for _ in response.stream():
            break
        assert pool.num_active_connections == 1
    await turns()
    assert pool.num_connections == 0


async def test_leaving_the_stream_after_all_of_it_came_keeps_the_connection(
    watched: Watch, connector: MemoryConnector[HTTP11Peer]
) -> None:
    pool = watched(ConnectionPool(connector=connector))
    request = asyncio.create_task(pool.request("GET", "http://a/", stream=True))
    peer = await connector.accept()
    await peer.receive_request()
    peer.send_response(200, body=b"abcd")
    async with await request as response:
        async for _ in response.stream():
            break
    assert pool.num_keepalive_connections == 1


@pytest.mark.parametrize("warm", [False, True])
@pytest.mark.parametrize("error", [ZeroDivisionError("body"), asyncio.CancelledError("body")])
async def test_a_body_that_raises_ends_its_connection_and_the_caller_gets_the_error(
    watched: Watch, error: BaseException, warm: bool
) -> None:
    connector = auto_connector()
    pool = watched(ConnectionPool(limits=PoolLimits(hard_limit=1), connector=connector))
    if warm:
        await pool.request("GET", "http://a/")

    async def body():
        yield b"some"
        raise error

    with pytest.raises(type(error), match="body"):
        await pool.request("POST", "http://a/", body=body)
    await turns()
    assert pool.num_connections == 0
    assert (await pool.request("GET", "http://a/")).body == b"ok"


CALLBACKS = ["exchange_started", "response_received", "data_received", "informational_received"]


@pytest.mark.parametrize("callback", CALLBACKS)
async def test_a_handler_that_raises_fails_its_exchange_and_no_other(watched: Watch, send: Send, callback: str) -> None:
    def respond(peer: AutoPeer) -> None:
        peer.transport.write(b"HTTP/1.1 103 Early Hints\r\n\r\n")
        peer.answer()

    connector = MemoryConnector(lambda: AutoPeer(respond=respond))
    pool = watched(ConnectionPool(limits=PoolLimits(hard_limit=1), connector=connector))
    error = ZeroDivisionError(callback)

    def fail(*args: object) -> None:
        raise error

    handler = RecordingHandler()
    setattr(handler, callback, fail)
    pool.dispatch(Request("GET", "http://a/"), handler)
    other = send(pool)
    await handler.until_ended()
    await other.until_ended()
    assert handler.error is error
    assert other.completed
    assert len(connector.dials) == 2


async def test_what_the_last_callback_raises_is_reported_and_changes_nothing(watched: Watch, send: Send) -> None:
    connector = auto_connector()
    pool = watched(ConnectionPool(limits=PoolLimits(hard_limit=1), connector=connector))
    reported: list[dict] = []
    asyncio.get_running_loop().set_exception_handler(lambda loop, context: reported.append(context))

    class Raising(ResponseHandler):
        def response_complete(self, trailers: Headers) -> None:
            raise ZeroDivisionError("complete")

        def exchange_failed(self, exc: BaseException) -> None:
            raise ZeroDivisionError("failed")

    pool.dispatch(Request("GET", "http://a/"), Raising())
    other = send(pool)
    await other.until_ended()
    assert other.completed
    connector.fail_next(ConnectError("refused"))
    pool.dispatch(Request("GET", "http://b/"), Raising())
    third = send(pool, "http://a/")
    await third.until_ended()
    assert third.completed
    assert [str(context["exception"]) for context in reported] == ["complete", "failed"]


# Many at once, and too few descriptors, on real sockets.


async def test_300_parallel_requests_over_tcp_keep_to_the_limits(watched: Watch) -> None:
    most = now = 0

    class Counting(AutoPeer):
        def connection_made(self, transport: asyncio.BaseTransport) -> None:
            nonlocal most, now
            super().connection_made(transport)
            now += 1
            most = max(most, now)

        def connection_lost(self, exc: Exception | None) -> None:
            nonlocal now
            now -= 1

    loop = asyncio.get_running_loop()
    servers = [await loop.create_server(Counting, "127.0.0.1", 0) for _ in range(3)]
    limits = PoolLimits(hard_limit=20, per_origin_limit=10, soft_limit=12)
    async with watched(ConnectionPool(limits=limits)) as pool:
        responses = await asyncio.gather(
            *(pool.request("GET", url_of(servers[index % 3]), timeout=30) for index in range(300))
        )
        assert all(response.body == b"ok" for response in responses)
        assert pool.num_connections == pool.num_keepalive_connections <= 12
        assert most <= 20
    for server in servers:
        server.close()


async def test_too_few_file_descriptors_are_a_connect_error_with_the_cause_and_the_pool_recovers() -> None:
    server = await asyncio.get_running_loop().create_server(AutoPeer, "127.0.0.1", 0)  # not under the limit
    script = """
        import errno, resource
        url = sys.argv[1]
        async def main():
            pool = ConnectionPool(timeout=20, limits=PoolLimits(hard_limit=None))
            await pool.request("GET", url)
            in_use = len(os.listdir("/proc/self/fd"))
            soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
            resource.setrlimit(resource.RLIMIT_NOFILE, (in_use + 20, hard))
            results = await asyncio.gather(*(pool.request("GET", url) for _ in range(60)), return_exceptions=True)
            print((await pool.request("GET", url)).body)
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
            errors = [result for result in results if isinstance(result, BaseException)]
            assert len(errors) > 30
            for error in errors:
                assert type(error) is httpcore.ConnectError, repr(error)
                assert error.__cause__.errno == errno.EMFILE, repr(error.__cause__)
                assert "Too many open files" in str(error)
            results = await asyncio.gather(*(pool.request("GET", url) for _ in range(60)))
            print(len(results))
            await pool.close()
            print(pool.num_connections)
        asyncio.run(main())
    """
    assert await asyncio.to_thread(run_script, script, url_of(server)) == "b'ok'\n60\n0\n"
    server.close()
