"""Ctrl-C in the middle of a blocking call: the exchange is aborted, and the pool is as usable as before.

The signal is sent by the server, once the request is there, or by what runs in the call itself.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import linecache
import signal
import sys
import threading
import warnings
from collections.abc import Iterator
from types import FrameType
from typing import TYPE_CHECKING

import pytest

import httpcore
from tests.asgi_server import asgi_server
from tests.origin_app import Message, Receive, Send, app
from tests.servers import serving
from tests.sync.conftest import Background

if TYPE_CHECKING:
    from _typeshed import TraceFunction

Pool = httpcore.SyncConnectionPool


def _interrupt() -> None:
    signal.pthread_kill(threading.main_thread().ident, signal.SIGINT)  # type: ignore[arg-type]  # it runs


class Interrupting:
    """An app that sends Ctrl-C when a request is there, and knows when it was left."""

    def __init__(self) -> None:
        self.left = threading.Event()

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        name = scope["path"].removeprefix("/")
        if name == "hello":
            await app(scope, receive, send)
            return
        if name != "hang":
            await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"1000")]})
            await send({"type": "http.response.body", "body": b"begun", "more_body": True})
        if name != "silent":
            _interrupt()
        while (await receive())["type"] != "http.disconnect":
            pass
        self.left.set()


@pytest.fixture
def interrupting(servers: Background) -> Iterator[tuple[str, Interrupting]]:
    server = Interrupting()
    with servers.opened(asgi_server(server)) as origin:
        yield origin.url, server


def _still_usable(http: Pool, url: str, server: Interrupting) -> None:
    assert server.left.wait(10)  # the exchange was aborted
    for _ in range(3):
        assert http.request("GET", url + "/hello").body == b"Hello, world"
    assert http.num_connections <= 2
    assert http.num_active_connections == 0


def test_while_the_answer_is_awaited(interrupting: tuple[str, Interrupting]):
    url, server = interrupting
    with Pool() as http:
        with pytest.raises(KeyboardInterrupt):
            http.request("GET", url + "/hang")
        _still_usable(http, url, server)


def test_while_content_is_awaited_by_the_request(interrupting: tuple[str, Interrupting]):
    url, server = interrupting
    with Pool() as http:
        with pytest.raises(KeyboardInterrupt):
            http.request("GET", url + "/stall")
        _still_usable(http, url, server)


@pytest.mark.parametrize("how", ["read", "stream", "raw"])
def test_while_content_is_awaited_by_the_reader(interrupting: tuple[str, Interrupting], how: str):
    url, server = interrupting
    with Pool() as http:
        response = http.request("GET", url + "/silent", stream=True)
        timer = threading.Thread(target=_interrupt_once_reading, args=(response,))
        with pytest.raises(KeyboardInterrupt):
            timer.start()
            if how == "read":
                response.read()
            else:
                list(getattr(response, how)())
        timer.join()
        _still_usable(http, url, server)
        assert response.exchange is not None
        assert response.exchange.ended


def _interrupt_once_reading(response: httpcore.SyncResponse) -> None:
    while not response._reading.locked():
        pass
    _interrupt()


def test_in_the_body_of_the_request(interrupting: tuple[str, Interrupting]):
    url, server = interrupting
    closed = []

    def body() -> Iterator[bytes]:
        try:
            yield b"some"
            signal.raise_signal(signal.SIGINT)
            yield b"more"
        finally:
            closed.append(threading.current_thread())

    with Pool() as http:
        with pytest.raises(KeyboardInterrupt):
            http.request("POST", url + "/silent", body=body())
        assert closed == [threading.current_thread()]
        _still_usable(http, url, server)


def test_while_the_body_is_sent(interrupting: tuple[str, Interrupting], servers: Background):
    url, server = interrupting
    closed = []

    async def take_one_piece(scope: Message, receive: Receive, send: Send) -> None:
        await receive()
        _interrupt()
        while (await receive())["type"] != "http.disconnect":
            pass
        server.left.set()

    def body() -> Iterator[bytes]:
        try:
            while True:
                yield bytes(65536)
        finally:
            closed.append(threading.current_thread())

    with servers.opened(asgi_server(take_one_piece)) as origin, Pool() as http:
        with pytest.raises(KeyboardInterrupt):
            http.request("POST", origin.url, body=body())
        assert closed == [threading.current_thread()]
        _still_usable(http, url, server)


def test_while_a_connection_is_awaited(interrupting: tuple[str, Interrupting]):
    url, server = interrupting
    with Pool(limits=httpcore.PoolLimits(hard_limit=1), timeout=httpcore.TimeoutConfig(pool_timeout=100)) as http:
        with http.request("GET", url + "/silent", stream=True):
            timer = threading.Thread(target=_interrupt_once_waiting, args=(http,))
            with pytest.raises(KeyboardInterrupt):
                timer.start()
                http.request("GET", url + "/hello")
            timer.join()
        _still_usable(http, url, server)
        assert http.num_waiting_requests == 0


def _interrupt_once_waiting(http: Pool) -> None:
    while not http.num_waiting_requests:
        pass
    _interrupt()


@pytest.mark.parametrize("error", [KeyboardInterrupt, TimeoutError])  # the latter is what an alarm's handler may raise
@pytest.mark.parametrize("stream", [False, True])
def test_at_any_moment(origin_app_url: str, stream: bool, error: type[BaseException]):
    """Interrupts fall where they may, in the calls' own code, too: whichever is hit, no later call is harmed."""
    armed, hits = False, 0
    done = threading.Event()

    def on_signal(number: int, frame: object) -> None:
        nonlocal armed
        if armed:
            armed = False
            raise error

    def annoy() -> None:
        while not done.wait(0.002):
            signal.pthread_kill(threading.main_thread().ident, signal.SIGUSR1)  # type: ignore[arg-type]  # it runs

    def call() -> None:
        response = http.request("POST", origin_app_url + "/upload", body=(b"x" for _ in range(3)), stream=stream)
        with response:
            assert b'"size": 3' in response.read()

    before = signal.signal(signal.SIGUSR1, on_signal)
    thread = threading.Thread(target=annoy)
    with warnings.catch_warnings(), Pool(limits=httpcore.PoolLimits(hard_limit=5)) as http:
        warnings.simplefilter("ignore", ResourceWarning)  # of a response that was hit on its way to the caller
        thread.start()
        while hits < 100:
            try:
                armed = True
                call()
                armed = False
            except error:
                hits += 1
        done.set()
        thread.join()
        signal.signal(signal.SIGUSR1, before)
        gc.collect()
        for _ in range(20):
            call()
        assert http.num_active_connections == 0
        assert http.num_waiting_requests == 0


def _finalizes(frame: FrameType | None) -> bool:
    while frame is not None:
        if frame.f_code.co_name == "__del__":
            return True
        frame = frame.f_back
    return False


@contextlib.contextmanager
def _raising_at(line: int) -> Iterator[None]:
    """Raises what an alarm's handler may raise at this line, of those of the package that this thread runs."""

    def trace(frame: FrameType, event: str, argument: object) -> TraceFunction | None:
        nonlocal line
        if not frame.f_globals.get("__name__", "").startswith("httpcore."):
            return None
        if event == "call" and _finalizes(frame):  # what is raised there, Python prints and drops
            return None
        # No signal is looked at between the end of a `with` and its `__exit__`, though the line is gone to once more.
        if event == "line" and linecache.getline(frame.f_code.co_filename, frame.f_lineno).lstrip()[:5] != "with ":
            line -= 1
            if line == 0:
                raise TimeoutError
        return trace

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        yield
    finally:
        sys.settrace(before)


@pytest.mark.parametrize("how", ["read", "stream"])
def test_content_that_was_interrupted_at_any_line_is_never_read_on_with_a_gap(url: str, how: str):
    def read(response: httpcore.SyncResponse) -> int:
        return len(response.read() if how == "read" else b"".join(response.stream()))

    hits = 0
    with warnings.catch_warnings(), Pool(high_water=1, low_water=0) as http:
        warnings.simplefilter("ignore", RuntimeWarning)  # of a coroutine that was hit before its first step
        for line in range(1, 200):  # about; it depends on how the content comes
            with http.request("GET", url + "/bytes/200000", stream=True) as response:
                try:
                    with _raising_at(line):
                        assert read(response) == 200_000
                except TimeoutError:
                    hits += 1
                    try:
                        assert read(response) == 200_000
                    except (httpcore.HTTPCoreError, RuntimeError):
                        pass  # it is closed, or used up, or taken to be read still: there is no more of it
        assert hits > 20
        assert http.request("GET", url + "/hello").status_code == 200
        assert http.num_active_connections == 0


async def _upgrade(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await reader.readuntil(b"\r\n\r\n")
    writer.write(b"HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: echo\r\n\r\n")
    await reader.read()


def test_upgrade_that_was_interrupted_at_any_line_leaves_no_connection(servers: Background):
    hits = 0
    with warnings.catch_warnings(), servers.opened(serving(_upgrade)) as origin, Pool() as http:
        warnings.simplefilter("ignore", ResourceWarning)  # of a response that was hit on its way to the caller
        warnings.simplefilter("ignore", RuntimeWarning)  # of a coroutine that was hit before its first step
        response: httpcore.SyncResponse | None = None
        while response is None:
            try:
                with _raising_at(hits + 1):
                    response = http.request("GET", origin.url, {"connection": "upgrade", "upgrade": "echo"})
            except TimeoutError:
                hits += 1
        assert response.upgraded is not None
        response.upgraded.close()
        gc.collect()
        while http.num_connections:  # until all ends that were asked for have come
            pass
    assert hits > 20
