"""The interface of httpcore 1.x by itself: pools, requests, responses, URLs."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

import httpcore
from httpcore import compat, exceptions
from httpcore.compat.pools import _Call
from tests.asgi_server import asgi_server
from tests.conftest import TLSFiles
from tests.origin_app import app
from tests.proxies.http_proxy import http_proxy
from tests.proxies.socks_server import socks_server
from tests.servers import serving


async def test_blocking_pool_as_its_users_write_it() -> None:
    async with asgi_server(app) as origin:

        def use() -> None:
            with httpcore.ConnectionPool(max_connections=5) as http:  # type: ignore[call-arg, attr-defined]
                response = http.request("GET", f"{origin.url}/hello")
                assert (response.status, response.content) == (200, b"Hello, world")
                assert (b"content-type", b"text/plain") in response.headers
                assert response.extensions["http_version"] == b"HTTP/1.1"
                with http.stream("POST", f"{origin.url}/echo", content=iter([b"one", b"two"])) as response:
                    with pytest.raises(RuntimeError, match="was not read"):
                        assert response.content
                    assert b"".join(response.iter_stream()) == b"onetwo"
            assert "closed" in repr(http)

        await asyncio.to_thread(use)


async def test_async_pool_as_its_users_write_it() -> None:
    async def parts() -> Any:
        yield b"one"
        yield b"two"

    async with asgi_server(app) as origin:
        async with httpcore.AsyncConnectionPool() as http:
            response = await http.request("GET", f"{origin.url}/hello", headers={"accept": "*/*"})
            assert (response.status, response.content) == (200, b"Hello, world")
            async with http.stream("POST", f"{origin.url}/echo", content=parts()) as response:
                with pytest.raises(RuntimeError, match="was not read"):
                    assert response.content
                assert b"".join([part async for part in response.aiter_stream()]) == b"onetwo"
        assert "closed" in repr(http)


async def test_content_is_left_coded() -> None:
    async with asgi_server(app) as origin, httpcore.AsyncConnectionPool() as http:
        response = await http.request("GET", f"{origin.url}/gzip", headers=[("Accept-Encoding", "gzip")])
        assert response.content[:2] == b"\x1f\x8b"
        assert await response.aread() is response.content


async def test_response_is_of_its_pools_kind() -> None:
    async with asgi_server(app) as origin:
        async with httpcore.AsyncConnectionPool() as http, http.stream("GET", f"{origin.url}/hello") as response:
            with pytest.raises(RuntimeError, match="async pool's"):
                response.iter_stream()

        def use() -> None:
            with (
                compat.ConnectionPool() as http,
                http.stream("GET", f"{origin.url}/hello") as response,
                pytest.raises(RuntimeError, match="blocking pool's"),
            ):
                response.aiter_stream()

        await asyncio.to_thread(use)


async def test_leaving_a_stream_early_ends_its_exchange() -> None:
    async with asgi_server(app) as origin, httpcore.AsyncConnectionPool() as http:
        with pytest.raises(LookupError):
            async with http.stream("GET", f"{origin.url}/bytes/50000000"):
                raise LookupError
        assert (await http.request("GET", f"{origin.url}/hello")).content == b"Hello, world"
        assert origin.connections == 2


async def test_nothing_is_timed_out_unless_the_request_says_so() -> None:
    async with asgi_server(app) as origin, httpcore.AsyncConnectionPool() as http:
        assert http._pool.timeout == httpcore.TimeoutConfig()
        with pytest.raises(httpcore.ReadTimeout):
            await http.request("GET", f"{origin.url}/hang", extensions={"timeout": {"read": 0.01}})
        origin.errors.clear()


async def test_target_is_sent_as_it_is() -> None:
    lines: list[bytes] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while line := await reader.readline():
            lines.append(line)
            await reader.readuntil(b"\r\n\r\n")
            writer.write(b"HTTP/1.1 204 No Content\r\n\r\n")

    async with serving(serve) as origin, httpcore.AsyncConnectionPool() as http:
        port = int(origin.url.rpartition(":")[2])
        for target in (b"*", b"http://example.org/", b"/a%2fb?c#d"):
            url = compat.URL(scheme="http", host="127.0.0.1", port=port, target=target)
            await http.request("OPTIONS", url)
        await http.request("GET", origin.url, extensions={"target": b"//other"})
    assert lines == [
        b"OPTIONS * HTTP/1.1\r\n",
        b"OPTIONS http://example.org/ HTTP/1.1\r\n",
        b"OPTIONS /a%2fb?c#d HTTP/1.1\r\n",
        b"GET //other HTTP/1.1\r\n",
    ]


@pytest.mark.parametrize("host", ["user@localhost", "localhost/path", "localhost?", "localhost#", "a\\b", "", "a b"])
async def test_host_that_is_none_is_refused(host: str) -> None:
    request = compat.Request("GET", compat.URL(scheme="http", host=host, target="/"))
    async with httpcore.AsyncConnectionPool() as http:
        with pytest.raises(httpcore.LocalProtocolError):
            await http.handle_async_request(request)


async def test_scheme_that_is_none_is_refused() -> None:
    request = compat.Request("GET", compat.URL(scheme="http://localhost/", host="localhost", target="/"))
    async with httpcore.AsyncConnectionPool() as http:
        with pytest.raises(httpcore.LocalProtocolError):
            await http.handle_async_request(request)


async def test_pool_without_a_context_verifies(tls: TLSFiles) -> None:
    async with asgi_server(app, tls.server_context) as origin, httpcore.AsyncConnectionPool() as http:
        with pytest.raises(httpcore.ConnectError, match="certificate"):
            await http.request("GET", origin.url)


async def test_network_of_a_pool_without_a_context() -> None:
    async with asgi_server(app) as origin, httpcore.AsyncConnectionPool(local_address="127.0.0.3") as http:
        response = await http.request("GET", f"{origin.url}/hello")
        stream: Any = response.extensions["network_stream"]
        assert stream.get_extra_info("client_addr")[0] == "127.0.0.3"


async def test_proxies_take_urls_of_any_kind() -> None:
    async with asgi_server(app) as origin, http_proxy() as http, socks_server() as socks:
        urls: list[Any] = [http.url, http.url.encode(), httpcore.URL(http.url), f"{http.url}/"]
        for url in urls:
            async with httpcore.AsyncHTTPProxy(url) as pool:
                assert (await pool.request("GET", f"{origin.url}/hello")).content == b"Hello, world"
        assert len(http.requests) == len(urls)
        async with httpcore.AsyncSOCKSProxy(socks.url.replace("socks5h", "socks5")) as pool:
            assert (await pool.request("GET", f"{origin.url}/hello")).content == b"Hello, world"
        async with httpcore.AsyncConnectionPool(proxy=httpcore.Proxy(http.url)) as pool:
            assert (await pool.request("GET", f"{origin.url}/hello")).content == b"Hello, world"
        assert len(http.requests) == len(urls) + 1


async def test_blocking_proxies() -> None:
    async with asgi_server(app) as origin, http_proxy() as http, socks_server() as socks:

        def use() -> None:
            for pool in (httpcore.HTTPProxy(http.url), httpcore.SOCKSProxy(socks.url)):
                with pool:
                    assert pool.request("GET", f"{origin.url}/hello").content == b"Hello, world"

        await asyncio.to_thread(use)
        assert (len(http.requests), len(socks.requests)) == (1, 1)


def test_proxies_say_where_they_are() -> None:
    # pytest-httpx asks.
    url = compat.URL(scheme=b"https", host=b"localhost", port=1, target=b"")
    for cls in (httpcore.AsyncHTTPProxy, httpcore.HTTPProxy):
        pool = cls(url, ("user", "secret"), [("x-token", "1")])
        assert pool._proxy_url == compat.URL.of("https://localhost:1/")
        assert pool._proxy_headers == [(b"x-token", b"1"), (b"Proxy-Authorization", b"Basic dXNlcjpzZWNyZXQ=")]


def test_socks5_and_socks5h_are_the_same() -> None:
    for url in ("socks5://localhost:1", compat.URL(scheme=b"socks5", host=b"localhost", port=1, target=b"/")):
        pool = httpcore.AsyncSOCKSProxy(url, ("user", "secret"))
        assert pool._pool._options.proxy == httpcore.Proxy("socks5h://localhost:1", auth=("user", "secret"))


def test_network_backend_is_refused() -> None:
    with pytest.raises(TypeError, match="network_backend is not supported"):
        compat.ConnectionPool(network_backend=object())  # type: ignore[arg-type]


def test_every_error_is_a_familiar_one() -> None:
    call = _Call(compat.Request("GET", "http://localhost/"))
    familiar = (
        httpcore.TimeoutException,
        httpcore.NetworkError,
        httpcore.ProtocolError,
        httpcore.ProxyError,
        httpcore.UnsupportedProtocol,
    )
    for cls in vars(exceptions).values():
        if isinstance(cls, type) and issubclass(cls, httpcore.HTTPCoreError):
            error = cls("what went wrong")
            error.host, error.port = "localhost", 80
            translated = call.translated(error)
            assert isinstance(translated, familiar)
            assert (translated is error) is isinstance(error, familiar)
            assert str(translated) == "what went wrong (localhost:80)"


def test_url() -> None:
    url = compat.URL.of("http://[::1]:8000/path?query")
    assert (url.scheme, url.host, url.port, url.target) == (b"http", b"::1", 8000, b"/path?query")
    assert bytes(url) == b"http://[::1]:8000/path?query"
    assert bytes(compat.URL(scheme="http", host="a", target="*")) == b"http://a*"
    assert repr(url) == "URL(scheme=b'http', host=b'::1', port=8000, target=b'/path?query')"
    assert {url, compat.URL.of(url)} == {url}
    assert url != compat.URL.of("http://[::1]/")
    assert url != "http://[::1]:8000/path?query"
    for part in ("bücher.example", 3):
        with pytest.raises(TypeError, match="host takes bytes or ASCII text"):
            compat.URL(host=part)  # type: ignore[arg-type]


def test_request() -> None:
    request = compat.Request("GET", "http://a/", headers={"name": "value"}, content=b"x", extensions={"target": "*"})
    assert (request.method, request.url.target, request.headers) == (b"GET", b"*", [(b"name", b"value")])
    assert isinstance(request.stream, compat.ByteStream)
    assert list(request.stream) == [b"x"]
    assert repr(request) == "<Request [b'GET']>"


async def test_response_made_by_hand() -> None:
    response = compat.Response(200, headers=[("name", b"value")], content=b"content")
    assert (response.headers, response.extensions, response.read()) == ([(b"name", b"value")], {}, b"content")
    response.close()
    assert await compat.Response(200, content=b"content").aread() == b"content"
    await response.aclose()
    assert compat.Response(204).read() == b""
    assert response.read() is response.content  # which was read before
    assert repr(response) == "<Response [200]>"
