"""The httpx adapters' errors: each is the client's own, names the request, and has this library's as its cause."""

from __future__ import annotations

import asyncio
import socket
from typing import Any, cast

import pytest

import httpcore
from httpcore import exceptions
from httpcore.adapters._httpx import translated
from tests.adapters.httpx_kinds import Kind, kinds
from tests.asgi_server import asgi_server
from tests.conftest import TLSFiles
from tests.origin_app import Message, Receive, Send, app
from tests.proxies.http_proxy import http_proxy
from tests.servers import serving

pytestmark = kinds

QUICK = 0.05  # seconds


def _check(kind: Kind, caught: Any, name: str, cause: type[BaseException]) -> None:
    assert type(caught) is getattr(kind.module, name)
    assert type(caught.__cause__) is cause
    assert caught.request.method == "GET"
    assert str(caught) == str(caught.__cause__)


def _unused_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])


async def test_refused_connection(kind: Kind) -> None:
    async with kind.client() as client:
        with pytest.raises(kind.module.ConnectError) as caught:
            await kind.call(client.get, f"http://127.0.0.1:{_unused_port()}/")
        _check(kind, caught.value, "ConnectError", httpcore.ConnectError)


async def test_untrusted_certificate(kind: Kind, tls: TLSFiles) -> None:
    async with asgi_server(app, tls.server_context) as origin, kind.client() as client:
        with pytest.raises(kind.module.ConnectError, match="certificate") as caught:
            await kind.call(client.get, origin.url)
        _check(kind, caught.value, "ConnectError", httpcore.ConnectError)


async def test_connect_timeout(kind: Kind) -> None:
    async def never(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()

    async with serving(never) as origin, kind.client() as client:
        timeout = kind.module.Timeout(None, connect=QUICK)
        with pytest.raises(kind.module.ConnectTimeout) as caught:
            await kind.call(client.get, origin.url.replace("http:", "https:"), timeout=timeout)
        _check(kind, caught.value, "ConnectTimeout", httpcore.ConnectTimeout)


async def test_read_timeout_before_the_head(kind: Kind) -> None:
    async with asgi_server(app) as origin, kind.client() as client:
        with pytest.raises(kind.module.ReadTimeout) as caught:
            await kind.call(client.get, f"{origin.url}/hang", timeout=kind.module.Timeout(None, read=QUICK))
        _check(kind, caught.value, "ReadTimeout", httpcore.ReadTimeout)


async def test_read_timeout_in_the_content(kind: Kind) -> None:
    async with asgi_server(app) as origin, kind.client() as client:
        with pytest.raises(kind.module.ReadTimeout) as caught:
            await kind.call(client.get, f"{origin.url}/stall", timeout=kind.module.Timeout(None, read=QUICK))
        _check(kind, caught.value, "ReadTimeout", httpcore.ReadTimeout)


async def test_write_timeout(kind: Kind) -> None:
    async def takes_nothing(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        cast(asyncio.Transport, writer.transport).pause_reading()
        await asyncio.get_running_loop().create_future()

    async with serving(takes_nothing) as origin, kind.client() as client:
        request = client.build_request(
            "GET", origin.url, content=b"x" * 20_000_000, timeout=kind.module.Timeout(None, write=QUICK)
        )
        with pytest.raises(kind.module.WriteTimeout) as caught:
            await kind.call(client.send, request)
        _check(kind, caught.value, "WriteTimeout", httpcore.WriteTimeout)


@pytest.mark.parametrize("seconds", [QUICK, 0])
async def test_pool_timeout(kind: Kind, seconds: float) -> None:
    limits = httpcore.PoolLimits(hard_limit=1)
    async with (
        asgi_server(app) as origin,
        kind.client(limits=limits) as client,
        kind.stream(client, "GET", f"{origin.url}/stall"),
    ):
        with pytest.raises(kind.module.PoolTimeout) as caught:
            await kind.call(client.get, origin.url, timeout=kind.module.Timeout(None, pool=seconds))
        _check(kind, caught.value, "PoolTimeout", httpcore.PoolTimeout)


@pytest.mark.parametrize("path", ["hang", "stall"])
async def test_total_timeout_of_the_pool_is_kept(kind: Kind, path: str) -> None:
    async with asgi_server(app) as origin, kind.client(timeout=httpcore.TimeoutConfig(total_timeout=QUICK)) as client:
        with pytest.raises(kind.module.ReadTimeout) as caught:
            await kind.call(client.get, f"{origin.url}/{path}", timeout=None)
        _check(kind, caught.value, "ReadTimeout", httpcore.TotalTimeout)


async def test_timeouts_of_the_pool_hold_for_a_request_without(kind: Kind) -> None:
    async with asgi_server(app) as origin, kind.client(timeout=QUICK) as client:
        request = kind.module.Request("GET", f"{origin.url}/hang")
        transport = client._transport
        with pytest.raises(kind.module.ReadTimeout, match=r"0\.05 seconds"):
            await kind.call(transport.handle_request if kind.blocking else transport.handle_async_request, request)


async def test_connection_cut_in_the_content(kind: Kind) -> None:
    async with asgi_server(app) as origin, kind.client() as client:
        async with kind.stream(client, "GET", f"{origin.url}/break") as response:
            with pytest.raises(kind.module.RemoteProtocolError) as caught:
                assert [part async for part in kind.parts(response)] == []
            _check(kind, caught.value, "RemoteProtocolError", httpcore.RemoteProtocolError)
        origin.errors.clear()


async def test_no_http_in_the_answer(kind: Kind) -> None:
    async def babble(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"SSH-2.0-OpenSSH\r\n\r\n")
        await reader.read()

    async with serving(babble) as origin, kind.client() as client:
        with pytest.raises(kind.module.RemoteProtocolError) as caught:
            await kind.call(client.get, origin.url)
        _check(kind, caught.value, "RemoteProtocolError", httpcore.RemoteProtocolError)


async def test_malformed_header(kind: Kind) -> None:
    async with kind.client() as client:
        with pytest.raises(kind.module.LocalProtocolError) as caught:
            await kind.call(client.get, "http://localhost/", headers={"x-bad": "a\nb"})
        _check(kind, caught.value, "LocalProtocolError", httpcore.LocalProtocolError)


async def test_content_that_is_not_as_long_as_it_says(kind: Kind) -> None:
    async with asgi_server(app) as origin, kind.client() as client:
        request = client.build_request(
            "GET", f"{origin.url}/upload", content=kind.generator([b"four"]), headers={"content-length": "5"}
        )
        with pytest.raises(kind.module.LocalProtocolError) as caught:
            await kind.call(client.send, request)
        _check(kind, caught.value, "LocalProtocolError", httpcore.LocalProtocolError)


async def test_proxy_that_refuses(kind: Kind) -> None:
    async with http_proxy(auth=("user", "secret")) as proxy, kind.client(proxy=proxy.url) as client:
        with pytest.raises(kind.module.ProxyError, match="407") as caught:
            await kind.call(client.get, "https://localhost/")
        _check(kind, caught.value, "ProxyError", httpcore.ProxyError)


@pytest.mark.parametrize("url", ["ftp://localhost/", "/path", "localhost"])
async def test_url_of_another_scheme(kind: Kind, url: str) -> None:
    async with kind.client() as client:
        with pytest.raises(kind.module.UnsupportedProtocol) as caught:
            await kind.call(client.get, url)
        _check(kind, caught.value, "UnsupportedProtocol", httpcore.UnsupportedProtocol)


async def test_url_that_the_client_lets_pass(kind: Kind) -> None:
    async with kind.client() as client:
        with pytest.raises(kind.module.InvalidURL) as caught:
            await kind.call(client.get, "http://127.1/")
        assert type(caught.value.__cause__) is httpcore.InvalidURL


async def test_pool_that_was_closed(kind: Kind) -> None:
    pool: Any = httpcore.SyncConnectionPool() if kind.blocking else httpcore.ConnectionPool()
    client = kind.make(kind.transport_class(pool))
    await kind.call(pool.close)
    with pytest.raises(kind.module.ConnectError) as caught:
        await kind.call(client.get, "http://localhost/")
    _check(kind, caught.value, "ConnectError", httpcore.PoolClosed)
    await kind.close(client)


async def test_response_that_the_pool_aborts(kind: Kind) -> None:
    pool: Any = httpcore.SyncConnectionPool() if kind.blocking else httpcore.ConnectionPool()
    async with asgi_server(app) as origin:
        client = kind.make(kind.transport_class(pool))
        async with kind.stream(client, "GET", f"{origin.url}/bytes/50000000") as response:
            await kind.call(pool.close, force=True)
            with pytest.raises(kind.module.TransportError) as caught:
                assert [part async for part in kind.parts(response)] == []
            assert isinstance(caught.value.__cause__, httpcore.HTTPCoreError)
        await kind.close(client)


async def test_error_of_the_requests_content_comes_as_it_is(kind: Kind) -> None:
    def plain() -> Any:
        yield b"part"
        raise LookupError("no more")

    async def awaiting() -> Any:
        yield b"part"
        raise LookupError("no more")

    async with asgi_server(app) as origin, kind.client() as client:
        with pytest.raises(LookupError, match="no more"):
            await kind.call(client.post, f"{origin.url}/upload", content=plain() if kind.blocking else awaiting())
        origin.errors.clear()


async def test_generator_is_not_sent_twice(kind: Kind) -> None:
    # A kept connection that the server has closed is tried first, and the content is gone with it.
    requests = 0

    async def answer_once(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal requests
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n")
        await reader.readuntil(b"\r\n\r\n")
        requests += 1
        await reader.readuntil(b"x" * 100)
        writer.transport.abort()

    async with serving(answer_once) as origin, kind.client() as client:
        assert (await kind.call(client.get, origin.url)).status_code == 200
        with pytest.raises(kind.module.TransportError):
            await kind.call(client.put, origin.url, content=kind.generator([b"x" * 100, b"y"]))
        assert requests == 1
        origin.errors.clear()


async def test_cancelled_request_leaves_nothing(kind: Kind) -> None:
    if kind.blocking:
        await _check_interrupted(kind)
    else:
        await _check_cancelled(kind)


async def _check_cancelled(kind: Kind) -> None:
    arrived = asyncio.Event()

    async def noting(scope: Message, receive: Receive, send: Send) -> None:
        arrived.set()
        await app(scope, receive, send)

    async with asgi_server(noting) as origin, kind.client() as client:
        task = asyncio.create_task(client.get(f"{origin.url}/hang"))
        await arrived.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert client._transport._pool.num_active_connections == 0
        assert (await client.get(f"{origin.url}/hello")).text == "Hello, world"


async def _check_interrupted(kind: Kind) -> None:
    # What cannot be cancelled is interrupted: here by what raises in its own thread, as a signal's handler would.
    class Interrupt(BaseException):
        pass

    def parts() -> Any:
        yield b"part"
        raise Interrupt

    async with asgi_server(app) as origin, kind.client() as client:

        def post() -> None:
            with pytest.raises(Interrupt):
                client.post(f"{origin.url}/upload", content=parts())

        await asyncio.to_thread(post)
        assert (await kind.call(client.get, f"{origin.url}/hello")).text == "Hello, world"
        origin.errors.clear()


# Each error, whether or not a client can bring it about.

_TOTAL = {
    exceptions.Phase.WAITING: "PoolTimeout",
    exceptions.Phase.CONNECTING: "ConnectTimeout",
    exceptions.Phase.SENDING_HEAD: "WriteTimeout",
    exceptions.Phase.SENDING_BODY: "WriteTimeout",
    exceptions.Phase.RECEIVING_HEAD: "ReadTimeout",
    exceptions.Phase.RECEIVING_BODY: "ReadTimeout",
    None: "ReadTimeout",
}


@pytest.mark.parametrize("phase", _TOTAL)
def test_total_timeout_is_the_one_of_its_phase(kind: Kind, phase: exceptions.Phase | None) -> None:
    error = httpcore.TotalTimeout("too long")
    error.phase = phase
    request = kind.module.Request("GET", "http://localhost/")
    assert type(translated(kind.module, error, request)) is getattr(kind.module, _TOTAL[phase])


def test_every_error_has_one_of_the_clients(kind: Kind) -> None:
    request = kind.module.Request("GET", "http://localhost/")
    errors = {getattr(exceptions, name) for name in exceptions.__all__}
    for cls in errors:
        if isinstance(cls, type) and issubclass(cls, httpcore.HTTPCoreError):
            error = translated(kind.module, cls("what went wrong"), request)
            assert type(error).__module__ == kind.name
            if isinstance(error, kind.module.RequestError):
                assert (str(error), error.request) == ("what went wrong", request)
            else:
                assert type(error) in (kind.module.InvalidURL, kind.module.StreamConsumed)


async def test_content_is_read_once(kind: Kind) -> None:
    async with asgi_server(app) as origin:
        transport = kind.transport_class()
        request = kind.module.Request("GET", f"{origin.url}/hello")
        handle = transport.handle_request if kind.blocking else transport.handle_async_request
        response = await kind.call(handle, request)

        async def read() -> list[bytes]:
            if kind.blocking:
                return await asyncio.to_thread(list, response.stream)
            return [part async for part in response.stream]

        assert await read() == [b"Hello, world"]
        with pytest.raises(kind.module.StreamConsumed):
            await read()
        await kind.close(response)
        await kind.close(transport)
