"""SyncConnectionPool itself: its arguments, what it refuses, its books, how it is closed."""

from __future__ import annotations

import asyncio
import contextvars
import inspect
import pydoc
import threading
import traceback
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest

import httpcore
from httpcore.sync.loop_thread import background_loop, loop_thread
from tests.asgi_server import asgi_server
from tests.origin_app import Message, Receive, Send, app
from tests.sync.conftest import Background

Pool = httpcore.SyncConnectionPool


@pytest.fixture
def http() -> Iterator[Pool]:
    with Pool() as pool:
        yield pool
    assert pool.num_connections == 0


@pytest.mark.parametrize("name", ["__init__", "request", "send"])
def test_arguments_are_those_of_the_async_pool(name: str):
    asynchronous = inspect.signature(getattr(httpcore.ConnectionPool, name))
    blocking = inspect.signature(getattr(Pool, name))
    assert blocking.parameters == asynchronous.parameters
    if name != "__init__":
        assert blocking.return_annotation == "SyncResponse"
        assert not inspect.iscoroutinefunction(getattr(Pool, name))


def test_help_shows_arguments_and_errors():
    shown = pydoc.plain(pydoc.render_doc(Pool.request))
    assert "max_body_size" in shown
    assert "PoolTimeout" in shown


def test_arguments_reach_the_pool(url: str):
    with Pool(timeout=httpcore.TimeoutConfig(read_timeout=0.05), max_body_size=5) as http:
        with pytest.raises(httpcore.ReadTimeout):
            http.request("GET", url + "/hang")
        with pytest.raises(httpcore.ResponseTooLarge):
            http.request("GET", url + "/hello")
    with pytest.raises(ValueError, match="low_water"):
        Pool(low_water=2, high_water=1)


def test_unknown_argument_is_refused(http: Pool, url: str):
    with pytest.raises(TypeError, match="nothing"):
        http.request("GET", url, nothing=1)  # type: ignore[call-arg]


def test_pushed_body_is_refused(http: Pool, url: str):
    with pytest.raises(TypeError, match="PUSHED"):
        http.request("POST", url, body=httpcore.PUSHED)


def test_callable_that_gives_an_async_body_is_refused(http: Pool, url: str):
    async def body() -> AsyncIterator[bytes]:
        yield b"x"

    with pytest.raises(TypeError, match="plain iterator"):
        http.request("POST", url + "/upload", body=body)


def test_wrong_url_is_refused(http: Pool):
    with pytest.raises(httpcore.InvalidURL):
        http.request("GET", "http://[")
    with pytest.raises(httpcore.UnsupportedProtocol):
        http.request("GET", "ftp://localhost/")


def test_connect_error_names_the_server(http: Pool):
    with pytest.raises(httpcore.ConnectError) as caught:
        http.request("GET", "http://127.0.0.1:1/")
    assert (caught.value.host, caught.value.port) == ("127.0.0.1", 1)


def test_traceback_shows_the_line_of_the_caller(http: Pool):
    with pytest.raises(httpcore.ConnectError) as caught:
        http.request("GET", "http://127.0.0.1:1/")  # this line
    frames = traceback.extract_tb(caught.value.__traceback__)
    assert (frames[0].filename, frames[0].line) == (
        __file__,
        'http.request("GET", "http://127.0.0.1:1/")  # this line',
    )


def test_books_show_what_is_open(url: str):
    with Pool() as http:
        assert (http.num_connections, http.num_waiting_requests) == (0, 0)
        assert repr(http) == "<SyncConnectionPool open, 0 active, 0 idle>"
        with http.request("GET", url + "/stall", stream=True):
            assert (http.num_active_connections, http.num_keepalive_connections) == (1, 0)
        http.request("GET", url + "/hello")
        assert http.num_keepalive_connections == 1
    assert repr(http) == "<SyncConnectionPool closed, 0 active, 0 idle>"
    with pytest.raises(httpcore.PoolClosed):
        http.request("GET", url + "/hello")
    http.close()


def test_pool_that_was_never_used_is_closed():
    http = Pool()
    http.close()
    with pytest.raises(httpcore.PoolClosed):
        http.request("GET", "http://127.0.0.1:1/")


def test_pool_that_is_dropped_closes_with_a_warning(url: str):
    http = Pool()
    http.request("GET", url + "/hello")
    with pytest.warns(ResourceWarning, match="unclosed <SyncConnectionPool open, 0 active, 1 idle>"):
        del http


def test_response_that_is_dropped_is_aborted_with_a_warning(http: Pool, url: str):
    response = http.request("GET", url + "/stall", stream=True)
    assert response.status_code == 200
    with pytest.warns(ResourceWarning, match="unclosed <Response 200>"):
        del response


def test_close_lets_a_response_be_read_to_its_end(url: str):
    http = Pool()
    with http.request("GET", url + "/bytes/1000000", stream=True) as response:
        http.close()
        assert len(response.read()) == 1_000_000


def test_forced_close_from_another_thread_ends_calls(servers: Background):
    arrived = threading.Semaphore(0)

    async def answer(scope: Message, receive: Receive, send: Send) -> None:
        arrived.release()
        await app({**scope, "path": "/hang"}, receive, send)

    errors: list[BaseException] = []

    def ask() -> None:
        try:
            http.request("GET", origin.url)
        except httpcore.HTTPCoreError as exc:
            errors.append(exc)

    with servers.opened(asgi_server(answer)) as origin:
        http = Pool()
        threads = [threading.Thread(target=ask) for _ in range(4)]
        for thread in threads:
            thread.start()
        for _ in threads:
            arrived.acquire()
        http.close(force=True)
        for thread in threads:
            thread.join()
    assert [type(error) for error in errors] == [httpcore.PoolClosed] * 4
    assert len({id(error) for error in errors}) == 4


def test_call_while_a_loop_runs_in_the_thread(http: Pool, url: str):
    async def cell() -> tuple[bytes, asyncio.AbstractEventLoop]:
        with http.request("POST", url + "/upload", body=iter([b"x"]), stream=True) as response:
            return response.read(), asyncio.get_running_loop()

    with asyncio.Runner() as runner:
        body, loop = runner.run(cell())
        assert b'"size": 1' in body
        assert loop is not background_loop()


def test_async_iterator_as_a_body_runs_on_the_background_loop(http: Pool, url: str):
    loops = []

    async def body() -> AsyncIterator[bytes]:
        loops.append(asyncio.get_running_loop())
        yield b"x"

    assert b'"size": 1' in http.request("POST", url + "/upload", body=body()).body
    assert loops == [background_loop()]


def test_hooks_are_called_in_the_context_of_the_caller(http: Pool, url: str):
    variable: contextvars.ContextVar[str] = contextvars.ContextVar("variable")
    variable.set("mine")
    seen = []
    http.request("GET", url + "/hello", trace=lambda event: seen.append(variable.get(None)))
    assert seen[0] == "mine"


@pytest.mark.parametrize("name", ["request", "close", "read", "write"])
def test_blocking_call_on_the_loops_own_thread_raises_at_once(http: Pool, url: str, name: str):
    raised: list[BaseException] = []
    with http.request("GET", url + "/stall", stream=True) as response:
        upgraded = httpcore.sync.SyncUpgradedStream(_never(), loop_thread())
        calls: dict[str, Any] = {
            "request": lambda: http.request("GET", url + "/hello"),
            "close": http.close,
            "read": response.read,
            "write": lambda: upgraded.write(b"x"),
        }
        done = threading.Event()

        def call() -> None:
            try:
                calls[name]()
            except BaseException as exc:
                raised.append(exc)
            done.set()

        background_loop().call_soon_threadsafe(call)
        assert done.wait(10)
    assert [type(error) for error in raised] == [RuntimeError]
    assert "thread of the loop" in str(raised[0])


def _never() -> Any:
    class Stream:
        """Nothing of it is reached."""

    return Stream()


def test_call_from_a_trace_hook_fails_the_hook_and_not_the_loop(http: Pool, url: str):
    raised = []

    def hook(event: object) -> None:
        try:
            http.request("GET", url + "/hello")
        except RuntimeError as exc:
            raised.append(exc)

    assert http.request("GET", url + "/hello", trace=hook).status_code == 200
    assert raised
