"""`WSGIConnector`: requests of a pool are calls of a WSGI app, in threads."""

from __future__ import annotations

import asyncio
import io
import sys
import threading
from collections.abc import AsyncIterator, Callable, Iterable, Iterator
from contextlib import asynccontextmanager
from typing import Any
from wsgiref.validate import validator

import pytest
import uvloop

import httpcore
from httpcore.testing import ScriptedPeer, WSGIConnector
from httpcore.urls import Origin
from tests.testing.apps import URL, settled
from tests.testing.links import turns

both_versions = pytest.mark.parametrize("http1", [True, False], ids=["HTTP/1.1", "HTTP/2"])
BLOCK = bytes(16 * 1024)
ON_THE_WAY = 2 * 1024 * 1024  # more than all buffers hold
WHOLE = 32 * 1024 * 1024

Environ = dict[str, Any]
StartResponse = Callable[..., Callable[[bytes], object]]


def echo(environ: Environ, start_response: StartResponse) -> list[bytes]:
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [environ["wsgi.input"].read()]


@asynccontextmanager
async def running(app: Any, http1: bool = True, **arguments: Any) -> AsyncIterator[httpcore.ConnectionPool]:
    """A pool over an app, which leaves no thread."""
    before = threading.enumerate()
    async with (
        WSGIConnector(app, **arguments) as connector,
        httpcore.ConnectionPool(connector=connector, http1=http1) as http,
    ):
        yield http
    assert http.num_connections == 0
    left = [thread for thread in threading.enumerate() if thread.name.startswith("wsgi") and thread not in before]
    assert left == []


async def test_app_waits_for_a_slow_client_for_longer_than_between_two_looks_at_the_loop(
    monkeypatch: pytest.MonkeyPatch,
):
    monkeypatch.setattr("httpcore.testing.wsgi._CHECK", 0)
    loop, called = asyncio.get_running_loop(), asyncio.Event()

    def app(environ: Environ, start_response: StartResponse) -> list[bytes]:
        loop.call_soon_threadsafe(called.set)
        return echo(environ, start_response)

    async def body() -> AsyncIterator[bytes]:
        await called.wait()
        yield b"late"

    async with running(app) as http:
        assert (await http.request("POST", URL, body=body())).body == b"late"


# What an app is given


@both_versions
async def test_environ_says_all_of_the_request(http1: bool):
    environs: list[Environ] = []

    def app(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        environs.append(environ)
        return echo(environ, start_response)

    errors = io.StringIO()
    async with running(app, http1, root_path="/a", client=("192.0.2.7", 1234), errors=errors) as http:
        headers = [("X-One", "1"), ("cookie", "a=b"), ("cookie", "c=d"), ("x-one", "2"), ("x_one", "no")]
        headers += [("content-type", "text/plain"), ("accept-encoding", "identity")]
        await http.request("POST", "https://example.org:8443/a/caf%C3%A9%2Fx?q=%20&r=1", headers, b"body")
    (environ,) = environs
    assert environ.pop("wsgi.input").read() == b""
    assert environ.pop("wsgi.errors") is errors
    agent = environ.pop("HTTP_USER_AGENT", None)
    assert agent is None or "httpcore" in agent
    assert environ == {
        "REQUEST_METHOD": "POST",
        "SCRIPT_NAME": "/a",
        "PATH_INFO": "/caf\xc3\xa9/x",
        "QUERY_STRING": "q=%20&r=1",
        "REQUEST_URI": "/a/caf%C3%A9%2Fx?q=%20&r=1",
        "SERVER_NAME": "example.org",
        "SERVER_PORT": "8443",
        "SERVER_PROTOCOL": "HTTP/1.1" if http1 else "HTTP/2",
        "REMOTE_ADDR": "192.0.2.7",
        "REMOTE_PORT": "1234",
        "CONTENT_TYPE": "text/plain",
        "CONTENT_LENGTH": "4",
        "HTTP_HOST": "example.org:8443",
        "HTTP_X_ONE": "1, 2",
        "HTTP_COOKIE": "a=b; c=d",
        "HTTP_ACCEPT_ENCODING": "identity",
        "wsgi.version": (1, 0),
        "wsgi.url_scheme": "https",
        "wsgi.input_terminated": True,
        "wsgi.multithread": True,
        "wsgi.multiprocess": False,
        "wsgi.run_once": False,
    }


@pytest.mark.parametrize(
    "target, expected",
    [("/a", ("/a", "")), ("/a/b", ("/a", "/b")), ("/ab", ("/a", "/ab")), ("/", ("/a", "/"))],
)
async def test_root_path_is_taken_off_what_begins_with_it(target: str, expected: tuple[str, str]):
    def app(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        start_response("200 OK", [])
        assert environ["wsgi.errors"] is sys.stderr
        return [f"{environ['SCRIPT_NAME']}|{environ['PATH_INFO']}".encode()]

    for proxy in (None, "http://proxy:3128"):
        connector = WSGIConnector(app, root_path="/a")
        async with connector, httpcore.ConnectionPool(connector=connector, proxy=proxy) as http:
            response = await http.request("GET", URL + target)
        assert response.body.decode() == "|".join(expected)


@pytest.mark.parametrize("method", ["GET", "HEAD", "POST"])
async def test_connector_keeps_to_the_standard(method: str):
    @validator
    def app(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        start_response("200 OK", [("Content-Type", "text/plain")])
        return iter([environ["wsgi.input"].read(100), b"end"])

    async with running(app) as http:
        response = await http.request(method, f"{URL}/x?y=z", body=b"body" if method == "POST" else b"")
    assert response.body == {"GET": b"end", "HEAD": b"", "POST": b"bodyend"}[method]


@both_versions
async def test_input_is_a_file(http1: bool):
    def app(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        file = environ["wsgi.input"]
        start_response("200 OK", [])
        return [repr([file.read(2), file.readline(), file.readline(2), list(file), file.read(), file.read(5)]).encode()]

    async with running(app, http1, segment=1) as http:
        response = await http.request("POST", URL, body=b"0\n1\n2345\n6\n7")
    assert eval(response.body) == [b"0\n", b"1\n", b"23", [b"45\n", b"6\n", b"7"], b"", b""]


# What an app returns


@both_versions
@pytest.mark.parametrize(
    "content, length",
    [([b"all"], "3"), ([b"a", b"", b"ll"], None), (iter([b"all"]), None), ([], None), ([b""], "0")],
    ids=["one", "several", "iterator", "nothing", "empty"],
)
async def test_content_is_sent_with_its_length_where_that_is_known(http1: bool, content: Any, length: str | None):
    def app(environ: Environ, start_response: StartResponse) -> Any:
        start_response("201 Made so", [("X-Name", "caf\xe9")])
        return content

    async with running(app, http1) as http:
        response = await http.request("GET", URL)
    assert response.status_code == 201
    assert response.headers.get("content-length") == length
    assert dict(response.headers)[b"x-name"] == b"caf\xe9"
    assert response.body in (b"all", b"")


@both_versions
async def test_what_the_app_says_of_the_length_is_left_alone(http1: bool):
    def app(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        start_response("204 No Content" if environ["PATH_INFO"] == "/none" else "200 OK", [("content-length", "2")][:1])
        return [b"ok"]

    async with running(app, http1) as http:
        assert (await http.request("GET", URL)).body == b"ok"
        head = await http.request("HEAD", URL)
        assert (head.headers["content-length"], head.body) == ("2", b"")


@both_versions
async def test_content_may_be_written(http1: bool):
    def app(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        write = start_response("200 OK", [])
        write(b"one ")
        write(b"two ")
        return [b"three"]

    async with running(app, http1) as http:
        assert (await http.request("GET", URL)).body == b"one two three"


class Content:
    """An iterable that notes whether it was closed."""

    def __init__(self, parts: Iterator[bytes]) -> None:
        self.parts = parts
        self.closed = 0

    def __iter__(self) -> Iterator[bytes]:
        return self.parts

    def close(self) -> None:
        self.closed += 1


@pytest.mark.parametrize("how", ["whole", "fails", "client left"])
async def test_content_is_closed_once_however_it_ends(how: str):
    def parts() -> Iterator[bytes]:
        yield b"begun"
        if how == "fails":
            raise ValueError("a bug")
        while how == "client left":
            yield BLOCK

    content = Content(parts())

    def app(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        start_response("200 OK", [])
        return content

    async with running(app) as http:
        if how == "client left":
            response = await http.request("GET", URL, stream=True)
            await response.close()
        elif how == "fails":
            with pytest.raises(ValueError, match="a bug"):
                await http.request("GET", URL)
        else:
            assert (await http.request("GET", URL)).body == b"begun"
    assert content.closed == 1


# exc_info and other rules


async def test_response_that_was_not_sent_can_be_replaced():
    def app(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        start_response("200 OK", [("x-good", "1")])
        try:
            raise ValueError("a bug")
        except ValueError:
            start_response("500 Oh", [("x-bad", "1")], sys.exc_info())
        return [b"sorry"]

    async with running(app) as http:
        response = await http.request("GET", URL)
    assert (response.status_code, response.body, response.headers.get("x-good")) == (500, b"sorry", None)


async def test_response_that_was_sent_cannot_be_replaced():
    def app(environ: Environ, start_response: StartResponse) -> Iterator[bytes]:
        start_response("200 OK", [])
        yield b"begun"
        try:
            raise ValueError("a bug")
        except ValueError:
            start_response("500 Oh", [], sys.exc_info())

    async with running(app) as http:
        with pytest.raises(ValueError, match="a bug"):
            await http.request("GET", URL)


def _twice(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
    start_response("200 OK", [])
    start_response("200 OK", [])
    return []


def _never(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
    return [b"content"]


def _silent(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
    return []


def _text(environ: Environ, start_response: StartResponse) -> Iterable[Any]:
    start_response("200 OK", [])
    return iter(["text"])


def _status(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
    start_response("OK", [])
    return []


@pytest.mark.parametrize(
    "app, error",
    [
        (_twice, RuntimeError),
        (_never, RuntimeError),
        (_silent, RuntimeError),
        (_text, TypeError),
        (_status, ValueError),
    ],
)
async def test_what_is_against_the_rules_is_raised(app: Any, error: type[Exception]):
    async with running(app) as http:
        with pytest.raises(error):
            await http.request("GET", URL)
    async with running(app, raise_app_exceptions=False) as http:
        assert (await http.request("GET", URL)).status_code == 500


@both_versions
async def test_error_of_the_app_is_raised_to_who_made_the_request(http1: bool):
    error = KeyError("a bug")

    def app(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        raise error

    async with running(app, http1) as http:
        with pytest.raises(KeyError) as caught:
            await http.request("GET", URL)
    assert caught.value is error


# Streaming


@both_versions
async def test_content_goes_both_ways_piece_by_piece(http1: bool):
    def app(environ: Environ, start_response: StartResponse) -> Iterator[bytes]:
        start_response("200 OK", [])
        while piece := environ["wsgi.input"].read1():
            yield piece

    came: asyncio.Queue[bytes] = asyncio.Queue()

    async def body() -> AsyncIterator[bytes]:
        for piece in (b"one", b"two", b"three"):
            yield piece
            assert await came.get() == piece

    async with running(app, http1) as http, await http.request("POST", URL, body=body, stream=True) as response:
        async for piece in response.stream():
            came.put_nowait(piece)
    assert came.empty()


@both_versions
async def test_client_pauses_until_the_app_reads(http1: bool):
    go = threading.Event()
    sent = 0

    def app(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        go.wait()
        start_response("200 OK", [])
        return [b"%d" % sum(map(len, iter(lambda: environ["wsgi.input"].read(1 << 20), b"")))]

    async def body() -> AsyncIterator[bytes]:
        nonlocal sent
        while sent < WHOLE:
            sent += len(BLOCK)
            yield BLOCK

    async with running(app, http1) as http:
        asking = asyncio.ensure_future(http.request("POST", URL, body=body))
        assert 0 < await settled(lambda: sent) < ON_THE_WAY
        go.set()
        assert (await asking).body == b"%d" % WHOLE


@both_versions
async def test_app_is_asked_for_no_more_while_the_client_does_not_read(http1: bool):
    sent = 0

    def app(environ: Environ, start_response: StartResponse) -> Iterator[bytes]:
        nonlocal sent
        start_response("200 OK", [])
        while sent < WHOLE:
            sent += len(BLOCK)
            yield BLOCK

    async with running(app, http1) as http, await http.request("GET", URL, stream=True) as response:
        received = 0
        async for piece in response.stream():
            received += len(piece)
            assert sent - received < ON_THE_WAY
    assert received == WHOLE


@both_versions
async def test_app_that_reads_hears_that_the_client_left(http1: bool):
    called, left = asyncio.Event(), threading.Event()
    loop = asyncio.get_running_loop()

    def app(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        loop.call_soon_threadsafe(called.set)
        try:
            environ["wsgi.input"].read()
        except ConnectionResetError:
            left.set()
            raise
        return []

    async def body() -> AsyncIterator[bytes]:
        yield b"begun"
        await asyncio.Future()

    async with running(app, http1) as http:
        asking = asyncio.ensure_future(http.request("POST", URL, body=body))
        await called.wait()
        asking.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asking
        await asyncio.to_thread(left.wait)


@both_versions
async def test_a_hundred_requests_at_once_run_in_few_threads(http1: bool):
    threads = set()

    def app(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        threads.add(threading.current_thread())
        return echo(environ, start_response)

    async with running(app, http1, threads=4) as http:
        responses = await asyncio.gather(*(http.request("POST", URL, body=b"%d" % number) for number in range(100)))
        assert http.num_connections == (100 if http1 else 1)
    assert [response.body for response in responses] == [b"%d" % number for number in range(100)]
    assert len(threads) <= 4


# The end


async def test_thread_that_does_not_end_is_left_to_itself():
    go, ended = threading.Event(), threading.Event()
    errors: list[OSError] = []
    called = asyncio.Event()
    loop = asyncio.get_running_loop()

    def app(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        loop.call_soon_threadsafe(called.set)
        go.wait()
        start_response("200 OK", [])
        try:
            yield b"content"
        except ConnectionResetError as exc:
            errors.append(exc)
            raise
        finally:
            ended.set()

    async with WSGIConnector(app, shutdown_timeout=0.01) as connector:
        http = httpcore.ConnectionPool(connector=connector)
        asking = asyncio.ensure_future(http.request("GET", URL))
        await called.wait()
        await http.close(force=True)
        with pytest.raises(httpcore.PoolClosed):
            await asking
    go.set()
    await asyncio.to_thread(ended.wait)


@pytest.mark.parametrize("reads", ["before the end", "after the end"])
def test_program_that_ends_with_the_app_still_running_ends_its_thread(reads: str):
    called, go, ended = threading.Event(), threading.Event(), threading.Event()
    errors: list[OSError] = []

    def app(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        called.set()
        if reads == "after the end":
            go.wait()
        try:
            environ["wsgi.input"].read()
        except ConnectionResetError as exc:
            errors.append(exc)
        ended.set()
        return []

    async def main() -> None:
        client = await WSGIConnector(app).connect(ScriptedPeer, Origin("http", "testserver", 80))
        client.send(b"POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 5\r\n\r\n")
        await asyncio.to_thread(called.wait)
        await settled(lambda: len(asyncio.all_tasks()))
        client.transport.abort()

    asyncio.run(main())
    go.set()
    assert ended.wait(10)
    assert len(errors) == 1


def test_thread_that_waits_for_a_loop_which_has_stopped_for_good_is_released():
    called, go, asked, ended = (threading.Event() for _ in range(4))

    class Loop(asyncio.SelectorEventLoop):
        def call_soon_threadsafe(self, callback, *args, context=None):  # type: ignore[override]  # no types at all
            handle = super().call_soon_threadsafe(callback, *args, context=context)
            if go.is_set():
                asked.set()
            return handle

    def app(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        called.set()
        go.wait()
        try:
            environ["wsgi.input"].read()
        finally:
            ended.set()
        return []

    async def main() -> None:
        client = await WSGIConnector(app).connect(ScriptedPeer, Origin("http", "testserver", 80))
        client.send(b"POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 5\r\n\r\n")
        await asyncio.to_thread(called.wait)
        client.close()
        await client.closed()
        await turns()
        for task in asyncio.all_tasks() - {asyncio.current_task()}:
            task.cancel()
        await turns()
        await loop.shutdown_default_executor()

    loop = Loop()
    loop.run_until_complete(main())
    go.set()
    assert asked.wait(10)
    loop.close()
    assert ended.wait(10)


async def test_connector_that_was_not_used_closes():
    connector = WSGIConnector(echo)
    await connector.aclose()


def test_app_runs_on_uvloop():
    async def main() -> None:
        async with running(echo) as http:
            assert (await http.request("POST", URL, body=BLOCK * 100)).body == BLOCK * 100

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(main())


def test_blocking_pool_runs_an_app():
    with WSGIConnector(echo) as connector, httpcore.SyncConnectionPool(connector=connector) as http:
        for number in range(3):
            assert http.request("POST", URL, body=b"%d" % number).body == b"%d" % number

        def body() -> Iterator[bytes]:
            for _ in range(64):
                yield BLOCK

        response = http.request("POST", URL, body=body, stream=True)
        assert sum(len(piece) for piece in response.stream()) == 64 * len(BLOCK)
