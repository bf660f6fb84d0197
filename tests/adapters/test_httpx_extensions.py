"""The httpx adapters' extensions: `sni_hostname`, `target`, `trace`; `http_version`, `network_stream` and so on."""

from __future__ import annotations

import asyncio
import contextvars
import socket
from typing import Any, cast

import pytest

import httpcore
from httpcore.adapters._network_stream import ConnectionFacts
from tests.adapters.httpx_kinds import Kind, kinds
from tests.asgi_server import asgi_server
from tests.asgi_server_h2 import asgi_server_h2
from tests.conftest import TLSFiles
from tests.origin_app import app
from tests.proxies.http_proxy import http_proxy
from tests.proxies.socks_server import socks_server
from tests.servers import Origin, serving

pytestmark = kinds


async def test_version_and_reason_are_told(kind: Kind) -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.0 299 Quite Good\r\nX-Case: Kept\r\ncontent-length: 0\r\n\r\n")

    async with serving(serve) as origin, kind.client() as client:
        response = await kind.call(client.get, origin.url)
        assert response.extensions["http_version"] == b"HTTP/1.0"
        assert response.extensions["reason_phrase"] == b"Quite Good"
        assert "stream_id" not in response.extensions
        assert response.headers.raw == [(b"X-Case", b"Kept"), (b"content-length", b"0")]


async def test_server_hostname_is_asked_for_and_verified(kind: Kind, tls: TLSFiles) -> None:
    asked = []
    context = tls.server_context
    context.sni_callback = lambda _socket, name, _context: asked.append(name)
    async with asgi_server(app, context) as origin, kind.client(ssl=tls.client_context) as client:
        for name in ("example.org", b"example.org"):
            response = await kind.call(client.get, f"{origin.url}/hello", extensions={"sni_hostname": name})
            assert response.text == "Hello, world"
        assert asked == ["example.org"]  # the second one found the connection of the first
        with pytest.raises(kind.module.ConnectError, match=r"example\.net"):
            await kind.call(client.get, f"{origin.url}/hello", extensions={"sni_hostname": "example.net"})
        assert (await kind.call(client.get, f"{origin.url}/hello")).text == "Hello, world"
        assert asked == ["example.org", "example.net", "localhost"]


async def test_target_is_sent_as_it_is(kind: Kind) -> None:
    heads = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        heads.append(await reader.readuntil(b"\r\n\r\n"))
        writer.write(b"HTTP/1.1 204 No Content\r\n\r\n")
        await reader.read()

    async with serving(serve) as origin, kind.client() as client:
        await kind.call(client.options, origin.url, extensions={"target": b"*"})
        assert heads[0].startswith(b"OPTIONS * HTTP/1.1\r\nHost: 127.0.0.1")


# network_stream


def test_facts_of_no_connection(kind: Kind) -> None:
    assert ConnectionFacts(None).get_extra_info("server_addr") is None


async def test_facts_of_the_connection(kind: Kind, tls: TLSFiles) -> None:
    async with (
        asgi_server(app, tls.server_context) as origin,
        kind.client(ssl=tls.client_context) as client,
        kind.stream(client, "GET", f"{origin.url}/stall") as response,
    ):
        info = response.extensions["network_stream"].get_extra_info
        port = int(origin.url.rpartition(":")[2])
        assert info("server_addr")[:2] == ("127.0.0.1", port)
        assert info("client_addr")[0] == "127.0.0.1"
        assert info("ssl_object").version() == "TLSv1.3"
        assert info("socket").getsockopt(socket.SOL_SOCKET, socket.SO_TYPE) == socket.SOCK_STREAM
        assert info("is_readable") is None


async def test_facts_without_tls(kind: Kind) -> None:
    async with asgi_server(app) as origin, kind.client() as client:
        response = await kind.call(client.get, f"{origin.url}/hello")
        assert response.extensions["network_stream"].get_extra_info("ssl_object") is None
        assert response.extensions["network_stream"].get_extra_info("server_addr")[0] == "127.0.0.1"


async def _switch(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Answers 101 and a greeting; then sends back each line, or begins TLS, or says nothing."""
    assert b"\r\nupgrade: lines\r\n" in (await reader.readuntil(b"\r\n\r\n")).lower()
    writer.write(b"HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: lines\r\n\r\nready\n")
    while (line := await reader.readline()) and line != b"silence\n":
        writer.write(line)
    await reader.read()


UPGRADE = {"connection": "upgrade", "upgrade": "lines"}


async def test_upgraded_stream_carries_bytes(kind: Kind) -> None:
    async with (
        serving(_switch) as origin,
        kind.client() as client,
        kind.stream(client, "GET", origin.url, headers=UPGRADE) as response,
    ):
        assert (response.status_code, response.headers["upgrade"]) == (101, "lines")
        stream = response.extensions["network_stream"]
        assert await kind.call(stream.read, 1000) == b"ready\n"
        await kind.call(stream.write, b"over\n")
        assert await kind.call(stream.read, 2, timeout=5) == b"ov"
        assert await kind.call(stream.read, max_bytes=1000) == b"er\n"
        assert stream.get_extra_info("server_addr")[0] == "127.0.0.1"
        assert stream.get_extra_info("ssl_object") is None
        with pytest.raises(httpcore.ReadTimeout):
            await kind.call(stream.read, 1, timeout=0.01)
        await kind.call(stream.write, b"more\n", timeout=5)
        assert await kind.call(stream.read, 1000) == b"more\n"
        await kind.close(stream)
        with pytest.raises(httpcore.ResponseClosed):
            await kind.call(stream.read, 1)


async def test_upgraded_stream_ends_with_its_response(kind: Kind) -> None:
    async with serving(_switch) as origin, kind.client() as client:
        async with kind.stream(client, "GET", origin.url, headers=UPGRADE) as response:
            stream = response.extensions["network_stream"]
            assert await kind.call(stream.read, 1000) == b"ready\n"
        with pytest.raises(httpcore.ResponseClosed):
            await kind.call(stream.read, 1)
        with pytest.raises(httpcore.WriteError):
            await kind.call(stream.write, b"late\n")


async def test_upgraded_stream_write_timeout(kind: Kind) -> None:
    async def takes_nothing(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 101 Switching Protocols\r\n\r\n")
        cast(asyncio.Transport, writer.transport).pause_reading()
        await asyncio.get_running_loop().create_future()

    # The server goes first: what was written cannot be sent, and closing would wait for it.
    async with kind.client() as client, serving(takes_nothing) as origin:
        response = await kind.call(client.send, client.build_request("GET", origin.url, headers=UPGRADE), stream=True)
        with pytest.raises(httpcore.WriteTimeout):
            await kind.call(response.extensions["network_stream"].write, b"x" * 20_000_000, timeout=0.05)
        await kind.close(response)


async def test_tls_is_begun_on_the_stream_of_a_connect(kind: Kind, tls: TLSFiles) -> None:
    async with asgi_server(app, tls.server_context) as origin, http_proxy() as proxy, kind.client() as client:
        authority = origin.url.removeprefix("https://")
        request = client.build_request("CONNECT", proxy.url, extensions={"target": authority.encode()})
        response = await kind.call(client.send, request, stream=True)
        assert response.status_code == 200
        stream = response.extensions["network_stream"]
        inner = await kind.call(stream.start_tls, tls.client_context, server_hostname="localhost", timeout=5)
        assert inner.get_extra_info("ssl_object").version() == "TLSv1.3"
        await kind.call(inner.write, f"GET /hello HTTP/1.1\r\nhost: {authority}\r\n\r\n".encode())
        received = b""
        while b"Hello, world" not in received:
            received += await kind.call(inner.read, 1000)
        await kind.close(response)


async def test_start_tls_timeout(kind: Kind, tls: TLSFiles) -> None:
    async with serving(_switch) as origin, kind.client() as client:
        response = await kind.call(client.send, client.build_request("GET", origin.url, headers=UPGRADE), stream=True)
        stream = response.extensions["network_stream"]
        assert await kind.call(stream.read, 1000) == b"ready\n"
        await kind.call(stream.write, b"silence\n")
        with pytest.raises(httpcore.ConnectTimeout):
            await kind.call(stream.start_tls, tls.client_context, server_hostname="localhost", timeout=0.05)
        await kind.close(response)


# trace


class Log:
    """A `trace` callback that keeps what it is told."""

    def __init__(self, kind: Kind, *, raises_at: str = "") -> None:
        self.events: list[tuple[str, dict[str, Any]]] = []
        self.callback: Any = self._plain if kind.blocking else self._awaiting
        self.raises_at = raises_at

    def _plain(self, name: str, info: dict[str, Any]) -> None:
        self.events.append((name, info))
        if name == self.raises_at:
            raise LookupError(name)

    async def _awaiting(self, name: str, info: dict[str, Any]) -> None:
        await asyncio.sleep(0)
        self._plain(name, info)

    @property
    def names(self) -> list[str]:
        """What was told, in order."""
        return [name for name, _ in self.events]

    def info(self, name: str) -> dict[str, Any]:
        """Of the only event of that name."""
        [info] = [info for each, info in self.events if each == name]
        return info


def _steps(*steps: str) -> list[str]:
    return [f"{step}.{what}" for step in steps for what in ("started", "complete")]


EXCHANGE = _steps(
    "http11.send_request_headers",
    "http11.send_request_body",
    "http11.receive_response_headers",
    "http11.receive_response_body",
    "http11.response_closed",
)


async def test_trace_of_a_request(kind: Kind) -> None:
    async with asgi_server(app) as origin, kind.client() as client:
        log = Log(kind)
        await kind.call(client.get, f"{origin.url}/hello", extensions={"trace": log.callback})
        assert log.names == [*_steps("connection.connect_tcp"), *EXCHANGE]
        assert log.info("connection.connect_tcp.started")["host"] == "127.0.0.1"
        assert log.info("http11.send_request_headers.started")["request"].url.target == b"/hello"
        version, status, reason, headers = log.info("http11.receive_response_headers.complete")["return_value"]
        assert (version, status, reason) == (b"HTTP/1.1", 200, b"")
        assert (b"content-length", b"12") in headers

        log = Log(kind)
        await kind.call(client.get, f"{origin.url}/hello", extensions={"trace": log.callback})
        assert log.names == EXCHANGE


async def test_trace_with_tls(kind: Kind, tls: TLSFiles) -> None:
    async with asgi_server(app, tls.server_context) as origin, kind.client(ssl=tls.client_context) as client:
        log = Log(kind)
        await kind.call(client.get, f"{origin.url}/hello", extensions={"trace": log.callback})
        assert log.names == [*_steps("connection.connect_tcp", "connection.start_tls"), *EXCHANGE]
        assert log.info("connection.start_tls.started") == {"server_hostname": "localhost"}


async def test_trace_of_http2(kind: Kind, tls: TLSFiles) -> None:
    async with (
        asgi_server_h2(app, tls.server_context) as origin,
        kind.client(ssl=httpcore.SSLConfig(verify=tls.ca_path)) as client,
    ):
        await kind.call(client.get, f"{origin.url}/hello")
        log = Log(kind)
        await kind.call(client.get, f"{origin.url}/hello", extensions={"trace": log.callback})
        assert log.names == [name.replace("http11.", "http2.") for name in EXCHANGE]


async def test_trace_through_a_tunnel(kind: Kind, tls: TLSFiles) -> None:
    async with (
        asgi_server(app, tls.server_context) as origin,
        http_proxy() as proxy,
        kind.client(ssl=tls.client_context, proxy=proxy.url) as client,
    ):
        log = Log(kind)
        await kind.call(client.get, f"{origin.url}/hello", extensions={"trace": log.callback})
        assert log.names == [*_steps("connection.connect_tcp", "proxy.start_tls"), *EXCHANGE]


async def test_trace_through_a_tunnel_of_a_tls_proxy(kind: Kind, tls: TLSFiles) -> None:
    async with (
        asgi_server(app, tls.server_context) as origin,
        http_proxy(tls.server_context) as proxy,
        kind.client(ssl=tls.client_context, proxy=httpcore.Proxy(proxy.url, ssl=tls.client_context)) as client,
    ):
        log = Log(kind)
        await kind.call(client.get, f"{origin.url}/hello", extensions={"trace": log.callback})
        assert log.names == [
            *_steps("connection.connect_tcp", "connection.start_tls", "proxy.start_tls"),
            *EXCHANGE,
        ]


async def test_trace_through_socks_without_tls(kind: Kind) -> None:
    async with asgi_server(app) as origin, socks_server() as proxy, kind.client(proxy=proxy.url) as client:
        log = Log(kind)
        await kind.call(client.get, f"{origin.url}/hello", extensions={"trace": log.callback})
        assert log.names == [*_steps("connection.connect_tcp", "socks.setup_socks5_connection"), *EXCHANGE]


async def test_trace_through_socks(kind: Kind, tls: TLSFiles) -> None:
    async with (
        asgi_server(app, tls.server_context) as origin,
        socks_server() as proxy,
        kind.client(ssl=tls.client_context, proxy=proxy.url) as client,
    ):
        log = Log(kind)
        await kind.call(client.get, f"{origin.url}/hello", extensions={"trace": log.callback})
        assert log.names == [
            *_steps("connection.connect_tcp", "socks.setup_socks5_connection", "socks.start_tls"),
            *EXCHANGE,
        ]


async def test_trace_over_a_unix_socket(kind: Kind, tmp_path: Any) -> None:
    path = tmp_path / "origin"
    async with (
        asgi_server(app, uds=path) as origin,
        kind.client(network=httpcore.NetworkConfig(uds=path)) as client,
    ):
        log = Log(kind)
        await kind.call(client.get, f"{origin.url}/hello", extensions={"trace": log.callback})
        assert log.names == [*_steps("connection.connect_tcp"), *EXCHANGE]


async def test_trace_of_a_connection_that_fails(kind: Kind) -> None:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{sock.getsockname()[1]}"
    async with kind.client() as client:
        log = Log(kind)
        with pytest.raises(kind.module.ConnectError):
            await kind.call(client.get, url, extensions={"trace": log.callback})
        assert log.names == ["connection.connect_tcp.started", "connection.connect_tcp.failed"]
        assert type(log.info("connection.connect_tcp.failed")["exception"]) is httpcore.ConnectError


async def test_trace_of_an_answer_that_does_not_come(kind: Kind) -> None:
    async with asgi_server(app) as origin, kind.client() as client:
        log = Log(kind)
        timeout = kind.module.Timeout(None, read=0.05)
        with pytest.raises(kind.module.ReadTimeout):
            await kind.call(client.get, f"{origin.url}/hang", timeout=timeout, extensions={"trace": log.callback})
        assert log.names[-4:] == [
            "http11.receive_response_headers.started",
            "http11.receive_response_headers.failed",
            *_steps("http11.response_closed"),
        ]


async def test_trace_of_content_that_does_not_come(kind: Kind) -> None:
    async with asgi_server(app) as origin, kind.client() as client:
        log = Log(kind)
        timeout = kind.module.Timeout(None, read=0.05)
        with pytest.raises(kind.module.ReadTimeout):
            await kind.call(client.get, f"{origin.url}/stall", timeout=timeout, extensions={"trace": log.callback})
        assert log.names[-4:] == [
            "http11.receive_response_body.started",
            "http11.receive_response_body.failed",
            *_steps("http11.response_closed"),
        ]


async def test_trace_of_a_response_that_is_left(kind: Kind) -> None:
    async with asgi_server(app) as origin, kind.client() as client:
        log = Log(kind)
        extensions = {"trace": log.callback}
        async with kind.stream(client, "GET", f"{origin.url}/stall", extensions=extensions) as response:
            async for _ in kind.parts(response):
                break
        await kind.close(response)
        assert log.names[-3:] == ["http11.receive_response_body.failed", *_steps("http11.response_closed")]


async def test_trace_of_an_answer_before_the_content_was_sent(kind: Kind) -> None:
    async with asgi_server(app) as origin, kind.client() as client:
        log = Log(kind)
        extensions = {"trace": log.callback}
        content = kind.generator([b"x" * 100_000] * 400)
        response = await kind.call(client.post, f"{origin.url}/refuse", content=content, extensions=extensions)
        assert response.status_code == 413
        for name in ("http11.send_request_headers", "http11.receive_response_headers", "http11.response_closed"):
            assert log.names.count(f"{name}.started") == log.names.count(f"{name}.complete") == 1
        origin.errors.clear()


async def test_trace_of_an_answer_that_comes_with_the_content_half_sent(kind: Kind) -> None:
    async with asgi_server(app) as origin, kind.client() as client:
        log = Log(kind)
        content = kind.generator([b"x" * 1_000_000] * 40)
        await kind.call(client.post, f"{origin.url}/echo", content=content, extensions={"trace": log.callback})
        assert sorted(log.names[3:]) == sorted([*_steps("connection.connect_tcp"), *EXCHANGE][3:])
        answered = log.names.index("http11.receive_response_headers.complete")
        assert answered < log.names.index("http11.send_request_body.complete")


async def test_trace_of_a_request_that_is_sent_again(kind: Kind) -> None:
    async with _leaving_server() as origin, kind.client() as client:
        assert (await kind.call(client.get, origin.url)).status_code == 200
        log = Log(kind)
        assert (await kind.call(client.get, origin.url, extensions={"trace": log.callback})).status_code == 200
        again = log.names.index("http11.receive_response_headers.failed")
        assert log.names[again + 1 :] == [*_steps("connection.connect_tcp"), *EXCHANGE]
        assert log.names[:again] == [*EXCHANGE[:4], "http11.receive_response_headers.started"]


def _leaving_server() -> Any:
    # Each connection serves one request, and leaves with the next one unanswered.
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n")
        await reader.readuntil(b"\r\n\r\n")

    class Forgiving:
        async def __aenter__(self) -> Origin:
            self._context = serving(serve)
            self._origin = await self._context.__aenter__()
            return self._origin

        async def __aexit__(self, *exc_info: Any) -> None:
            self._origin.errors.clear()
            await self._context.__aexit__(*exc_info)

    return Forgiving()


@pytest.mark.parametrize(
    "name", ["connection.connect_tcp.started", *EXCHANGE[:1], *EXCHANGE[5:8], "http11.response_closed.complete"]
)
async def test_error_of_the_callback_fails_the_request(kind: Kind, name: str) -> None:
    async with asgi_server(app) as origin, kind.client() as client:
        log = Log(kind, raises_at=name)
        with pytest.raises(LookupError, match=name):
            await kind.call(client.get, f"{origin.url}/hello", extensions={"trace": log.callback})
        assert log.names[-1] == name
        assert (await kind.call(client.get, f"{origin.url}/hello")).text == "Hello, world"


async def test_callback_of_the_other_kind(kind: Kind) -> None:
    names: list[str] = []

    async def awaiting(name: str, info: dict[str, Any]) -> None:
        names.append(name)

    def plain(name: str, info: dict[str, Any]) -> None:
        names.append(name)

    async with asgi_server(app) as origin, kind.client() as client:
        if kind.blocking:
            with pytest.raises(TypeError, match="plain function"):
                await kind.call(client.get, f"{origin.url}/hello", extensions={"trace": awaiting})
            assert names == []
        else:
            await client.get(f"{origin.url}/hello", extensions={"trace": plain})
            assert names[-2:] == EXCHANGE[-2:]


async def test_callback_runs_in_the_context_of_who_sends(kind: Kind) -> None:
    whose: contextvars.ContextVar[str] = contextvars.ContextVar("whose")
    seen: set[str] = set()

    def note(name: str, info: dict[str, Any]) -> None:
        seen.add(whose.get())

    async with asgi_server(app) as origin, kind.client() as client:
        for who in ("one", "two"):  # the second one on the connection that the first one made
            whose.set(who)
            await kind.call(client.get, f"{origin.url}/hello", extensions={"trace": note})
            assert seen == {who}
            seen.clear()
