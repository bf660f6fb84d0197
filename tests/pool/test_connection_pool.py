"""ConnectionPool: arguments, closing, loops, threads, forks, and what happens to one that is dropped."""

from __future__ import annotations

import asyncio
import gc
import os
import subprocess
import sys
import textwrap
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

import httpcore
from httpcore import (
    ConnectError,
    ConnectionPool,
    PoolClosed,
    PoolLimits,
    RemoteProtocolError,
    Request,
    ResponseClosed,
    TimeoutConfig,
)
from httpcore.handlers import ResponseHandler
from httpcore.headers import Headers
from httpcore.testing import HTTP11Peer, MemoryConnector
from tests.clock import Clock, turns
from tests.pool.conftest import Send, Watch
from tests.pool.peers import AutoPeer, RecordingHandler, auto_connector

ROOT = Path(httpcore.__file__).parent.parent


@pytest.fixture
def connector() -> MemoryConnector[HTTP11Peer]:
    return MemoryConnector(HTTP11Peer)


# Arguments.


@pytest.mark.parametrize("arguments", [{"ssl": True}, {"timeout": "5"}, {"limits": 10}])
def test_an_argument_of_the_wrong_type_is_refused(arguments: dict) -> None:
    with pytest.raises(TypeError):
        ConnectionPool(**arguments)


@pytest.mark.parametrize("arguments", [{"low_water": 9, "high_water": 8}, {"low_water": -1}, {"timeout": 0}])
def test_an_impossible_argument_is_refused(arguments: dict) -> None:
    with pytest.raises(ValueError):
        ConnectionPool(**arguments)


def test_dispatch_needs_a_running_loop() -> None:
    pool = ConnectionPool(connector=auto_connector())
    with pytest.raises(RuntimeError):
        pool.dispatch(Request("GET", "http://a/"), RecordingHandler())


# Closing.


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
    exchanges = []

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
    while not handler.ended:
        await asyncio.sleep(0)
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
async def test_a_handler_that_raises_fails_its_exchange_and_no_other(
    watched: Watch, send: Send, callback: str
) -> None:
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


# Loops, threads and processes.


def run_script(script: str, *options: str) -> str:
    """Runs a script with every warning an error, in an interpreter of its own; returns what it printed."""
    prelude = """
        import asyncio, gc, os, socket, sys, threading
        import httpcore
        from httpcore import ConnectionPool, PoolClosed, PoolLimits, Request
        from tests.pool.peers import AutoPeer, RecordingHandler, auto_connector

        unraisable = []
        sys.unraisablehook = lambda args: (unraisable.append(args), print("unraisable:", args, file=sys.stderr))

        async def serve():
            server = await asyncio.get_running_loop().create_server(AutoPeer, "127.0.0.1", 0)
            return server, "http://127.0.0.1:%d/" % server.sockets[0].getsockname()[1]

        def serve_in_thread():
            started, address = threading.Event(), []
            def run():
                async def main():
                    server, url = await serve()
                    address.append(url)
                    started.set()
                    await asyncio.sleep(3600)
                asyncio.run(main())
            threading.Thread(target=run, daemon=True).start()
            assert started.wait(10)
            return address[0]
    """
    code = textwrap.dedent(prelude) + textwrap.dedent(script)
    done = subprocess.run(
        [sys.executable, "-X", "dev", "-W", "error", *options, "-c", code],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert done.stderr == ""
    assert done.returncode == 0
    return done.stdout


def test_a_pool_of_the_module_works_in_one_loop_after_the_other() -> None:
    out = run_script("""
        url = serve_in_thread()
        pool = ConnectionPool()
        async def main():
            for _ in range(2):
                response = await pool.request("GET", url)
            await asyncio.gather(*(pool.request("GET", url) for _ in range(3)))
            print(response.body, pool.num_connections)
        asyncio.run(main())
        asyncio.run(main())
        asyncio.run(main())
        asyncio.run(pool.close())
        gc.collect()
    """)
    assert out == "b'ok' 3\n" * 3


def test_a_loop_that_ends_takes_everything_with_it() -> None:
    # Idle connections, responses that are being read, dials, waiting requests.
    out = run_script("""
        listener = socket.create_server(("127.0.0.1", 0))
        silent = "http://127.0.0.1:%d/" % listener.getsockname()[1]
        url = serve_in_thread()
        pool = ConnectionPool(limits=PoolLimits(hard_limit=3))
        handlers = []
        async def main():
            await pool.request("GET", url)
            for target in (silent, url, silent, silent, url, silent):
                handlers.append(RecordingHandler())
                pool.dispatch(Request("GET", target), handlers[-1])
                await asyncio.sleep(0)
            tasks = [asyncio.create_task(pool.request("GET", silent)) for _ in range(3)]
            await handlers[0].until_started()
        asyncio.run(main())
        print(all(handler.ended for handler in handlers), pool.num_connections, pool.num_waiting_requests)
        asyncio.run(main())
        listener.close()
        del pool
        gc.collect()
    """)
    assert out == "True 0 0\n"


def test_a_loop_that_ends_with_a_dial_that_was_just_begun() -> None:
    run_script("""
        url = serve_in_thread()
        pool = ConnectionPool(limits=PoolLimits(hard_limit=2))
        async def main():
            for _ in range(4):
                pool.dispatch(Request("GET", url), RecordingHandler())
        for turns in range(6):
            async def some_turns():
                await main()
                for _ in range(turns):
                    await asyncio.sleep(0)
            asyncio.run(some_turns())
        gc.collect()
    """)


def test_a_request_while_the_loop_ends_is_refused() -> None:
    out = run_script("""
        url = serve_in_thread()
        pool = ConnectionPool()
        handler = RecordingHandler()
        async def late():
            try:
                yield
            finally:
                await asyncio.sleep(0)
                await asyncio.sleep(0)
                pool.dispatch(Request("GET", url), handler)
        async def main():
            await pool.request("GET", url)
            generator = late()
            await generator.__anext__()
            main.generator = generator
        asyncio.run(main())
        print(type(handler.error).__name__)
    """)
    assert out == "PoolClosed\n"


def test_a_pool_dropped_after_its_loop_ended_says_nothing() -> None:
    run_script("""
        url = serve_in_thread()
        pool = ConnectionPool()
        asyncio.run(pool.request("GET", url))
        del pool
        gc.collect()
    """)


def test_a_pool_that_is_never_closed_is_no_trouble_at_exit() -> None:
    run_script("""
        url = serve_in_thread()
        pool = ConnectionPool()
        asyncio.run(pool.request("GET", url))
    """)


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


class OtherLoop:
    """A loop in another thread."""

    def __init__(self) -> None:
        self.loop = asyncio.new_event_loop()
        self.thread = threading.Thread(target=self.loop.run_forever)
        self.thread.start()

    def run(self, coroutine):
        return asyncio.run_coroutine_threadsafe(coroutine, self.loop).result(10)

    def end(self) -> None:
        self.run(self.loop.shutdown_asyncgens())
        self.loop.call_soon_threadsafe(self.loop.stop)
        self.thread.join(10)
        self.loop.close()


@pytest.fixture
def other_loop():
    other = OtherLoop()
    yield other
    other.end()


def url_of(server: asyncio.Server) -> str:
    return f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/"


async def test_a_pool_used_on_a_second_loop_leaves_the_first_whose_connections_close(
    other_loop: OtherLoop,
) -> None:
    pool = ConnectionPool()
    served: list[AutoPeer] = []

    def make() -> AutoPeer:
        served.append(AutoPeer())
        return served[-1]

    server = await asyncio.get_running_loop().create_server(make, "127.0.0.1", 0)
    url = url_of(server)
    assert (await pool.request("GET", url)).body == b"ok"
    first = pool._slots
    assert first is not None
    handler = RecordingHandler()  # in flight on this loop while the other takes the pool over
    served[0].respond = lambda peer: None
    pool.dispatch(Request("GET", url), handler)
    await handler.until_started()

    async def use() -> bytes:
        return (await pool.request("GET", url)).body

    in_thread = asyncio.get_running_loop().run_in_executor(None, other_loop.run, use())
    assert await in_thread == b"ok"
    assert pool._slots is not first
    assert first.closed
    await turns()
    served[0].answer()
    await handler.until_ended()
    assert handler.completed
    while first.count:
        await asyncio.sleep(0)
    # And back again.
    assert (await pool.request("GET", url)).body == b"ok"
    await pool.close()
    server.close()


async def test_close_from_another_loop_closes_the_connections_where_they_are(other_loop: OtherLoop) -> None:
    pool = ConnectionPool()
    server = await asyncio.get_running_loop().create_server(AutoPeer, "127.0.0.1", 0)
    await pool.request("GET", url_of(server))
    slots = pool._slots
    assert slots is not None
    await asyncio.get_running_loop().run_in_executor(None, other_loop.run, pool.close())
    while slots.count:
        await asyncio.sleep(0)
    with pytest.raises(PoolClosed):
        await pool.request("GET", url_of(server))
    server.close()


async def test_close_on_a_loop_when_the_pools_own_is_closed_does_nothing() -> None:
    pool = ConnectionPool(connector=auto_connector())

    def use() -> None:
        asyncio.run(pool.request("GET", "http://a/"))

    thread = threading.Thread(target=use)
    thread.start()
    await asyncio.get_running_loop().run_in_executor(None, thread.join)
    await pool.close()
    assert pool.num_connections == 0


FORK = """
    listener = socket.create_server(("127.0.0.1", 0))
    url = "http://127.0.0.1:%d/" % listener.getsockname()[1]
    received = []  # per connection

    def serve():
        while True:
            sock, _ = listener.accept()
            received.append([])
            threading.Thread(target=talk, args=(sock, received[-1]), daemon=True).start()

    def talk(sock, parts):
        with sock:
            while data := sock.recv(65536):
                parts.append(data)
                sock.sendall(b"HTTP/1.1 200 OK\\r\\ncontent-length: 2\\r\\n\\r\\nok")

    pool = ConnectionPool(limits=PoolLimits(hard_limit=1))
"""


def test_a_forked_child_gets_connections_of_its_own_and_leaves_the_parents_alone() -> None:
    script = textwrap.dedent(FORK) + textwrap.dedent("""
        threading.Thread(target=serve, daemon=True).start()

        def child(how):
            if how == "request":
                response = asyncio.run(pool.request("GET", url, [("from", "child")]))
                assert response.body == b"ok"
                assert pool.num_connections == 0
            elif how == "close":
                asyncio.run(pool.close())
            else:
                globals().pop("pool")
                gc.collect()

        async def main():
            await pool.request("GET", url, [("from", "parent")])
            for how in ("request", "close", "drop"):
                pid = os.fork()
                if not pid:
                    try:
                        child(how)
                        os._exit(0)
                    except BaseException as exc:
                        print("in the child:", how, repr(exc), flush=True)
                        os._exit(1)
                assert os.waitpid(pid, 0)[1] == 0
                response = await pool.request("GET", url, [("from", "parent")])
                assert response.body == b"ok"
            await pool.close()
        asyncio.run(main())
        connections = [b"".join(parts) for parts in received]
        print([(text.count(b"from: parent"), text.count(b"from: child")) for text in connections])
    """)
    assert run_script(script) == "[(4, 0), (0, 1)]\n"


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


def test_too_few_file_descriptors_are_a_connect_error_with_the_cause_and_the_pool_recovers() -> None:
    out = run_script("""
        import errno, resource
        url = serve_in_thread()
        async def main():
            pool = ConnectionPool(limits=PoolLimits(hard_limit=None))
            await pool.request("GET", url)
            in_use = len(os.listdir("/proc/self/fd"))
            soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
            resource.setrlimit(resource.RLIMIT_NOFILE, (in_use + 20, hard))
            # The server shares the limit, so it may run out instead; asyncio's servers log that and go on.
            results = await asyncio.gather(*(pool.request("GET", url) for _ in range(60)), return_exceptions=True)
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
            errors = [result for result in results if isinstance(result, BaseException)]
            assert errors
            for error in errors:
                assert type(error) is httpcore.ConnectError, repr(error)
                assert isinstance(error.__cause__, OSError) and error.__cause__.errno == errno.EMFILE, repr(error.__cause__)
                assert "Too many open files" in str(error)
            print((await pool.request("GET", url)).body)
            results = await asyncio.gather(*(pool.request("GET", url) for _ in range(60)))
            print(len(results))
            await pool.close()
            print(pool.num_connections)
        import logging
        logging.disable(logging.CRITICAL)
        asyncio.run(main())
    """)
    assert out == "b'ok'\n60\n0\n"
