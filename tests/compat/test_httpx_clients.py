"""httpx as it is, on the core: what its own words for proxies, limits, retries and sockets do; how it ends."""

from __future__ import annotations

import asyncio
import socket
import threading
from pathlib import Path
from typing import Any

import httpx
import pytest

import httpcore
from tests.adapters.test_httpx_errors import _check_interrupted
from tests.asgi_server import asgi_server
from tests.asgi_server_h2 import asgi_server_h2
from tests.compat.unmodified import Unmodified, unmodified
from tests.conftest import TLSFiles
from tests.origin_app import Message, Receive, Send, app
from tests.proxies.http_proxy import http_proxy
from tests.proxies.socks_server import socks_server
from tests.servers import serving

pytestmark = unmodified


def _answer(status: bytes = b"200 OK") -> bytes:
    return b"HTTP/1.1 %s\r\ncontent-length: 0\r\n\r\n" % status


async def test_core_is_what_it_runs_on(kind: Unmodified) -> None:
    async with kind.client() as client:
        core = httpcore.SyncConnectionPool if kind.blocking else httpcore.ConnectionPool
        assert isinstance(client._transport._pool._pool, core)


async def test_functions_of_the_module_work(kind: Unmodified) -> None:
    async with asgi_server(app) as origin:
        response = await asyncio.to_thread(httpx.post, f"{origin.url}/upload", content=b"content")
        assert response.json()["size"] == 7


async def test_connections_are_kept_and_reused(kind: Unmodified) -> None:
    async with asgi_server(app) as origin, kind.client() as client:
        for _ in range(3):
            await kind.call(client.get, f"{origin.url}/hello")
        assert origin.connections == 1
        assert client._transport._pool._pool.num_keepalive_connections == 1


@pytest.mark.parametrize("limits", [{"max_keepalive_connections": 0}, {"keepalive_expiry": 0}])
async def test_connections_that_may_not_be_kept_are_not(kind: Unmodified, limits: dict[str, Any]) -> None:
    async with asgi_server(app) as origin, kind.client(client={"limits": httpx.Limits(**limits)}) as client:
        for _ in range(2):
            await kind.call(client.get, f"{origin.url}/hello")
        assert origin.connections == 2


async def test_limits_are_the_pools(kind: Unmodified) -> None:
    limits = httpx.Limits(max_connections=7, max_keepalive_connections=3, keepalive_expiry=2.5)
    async with kind.client(client={"limits": limits}) as client:
        assert _limits(kind, client) == httpcore.PoolLimits(hard_limit=7, soft_limit=3, keepalive_expiry=2.5)
    async with kind.client(client={"limits": httpx.Limits(keepalive_expiry=None)}) as client:
        assert _limits(kind, client) == httpcore.PoolLimits(hard_limit=None, soft_limit=None, keepalive_expiry=None)


def _limits(kind: Unmodified, client: Any) -> Any:
    pool = client._transport._pool._pool
    return (pool._pool if kind.blocking else pool)._limits


async def test_hundred_at_once_on_ten_connections(kind: Unmodified) -> None:
    options = {"limits": httpx.Limits(max_connections=10), "timeout": 30}
    async with asgi_server(app) as origin, kind.client(client=options) as client:
        urls = [f"{origin.url}/bytes/{1000 + index}" for index in range(100)]
        if kind.blocking:
            sizes: dict[int, int] = {}

            def get(index: int) -> None:
                sizes[index] = len(client.get(urls[index]).content)

            threads = [threading.Thread(target=get, args=(index,)) for index in range(100)]
            for thread in threads:
                thread.start()
            await asyncio.gather(*(asyncio.to_thread(thread.join) for thread in threads))
            got = [sizes[index] for index in range(100)]
        else:
            got = [len(response.content) for response in await asyncio.gather(*map(client.get, urls))]
        assert got == list(range(1000, 1100))
        assert origin.connections <= 10


async def test_proxy_by_scheme_is_mounted(kind: Unmodified, tls: TLSFiles) -> None:
    async with (
        asgi_server(app) as plain,
        asgi_server(app, tls.server_context) as origin,
        http_proxy(auth=("user", "secret")) as proxy,
    ):
        with_credentials = proxy.url.replace("http://", "http://user:secret@")
        transport = kind.transport_class(proxy=with_credentials, verify=tls.client_context)
        async with kind.client(client={"mounts": {"https://": transport}}) as client:
            for url in (plain.url, origin.url):
                assert (await kind.call(client.get, f"{url}/hello")).text == "Hello, world"
        assert [(request.method, request.credentials) for request in proxy.requests] == [
            (b"CONNECT", ("user", "secret"))
        ]


async def test_proxy_of_the_environment_is_used(kind: Unmodified, monkeypatch: pytest.MonkeyPatch) -> None:
    async with asgi_server(app) as origin, http_proxy() as proxy:
        for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY"):
            monkeypatch.delenv(name.lower(), raising=False)
            monkeypatch.delenv(name, raising=False)
        monkeypatch.setenv("http_proxy", proxy.url)
        async with kind.client(client={"trust_env": True}) as client:
            assert (await kind.call(client.get, f"{origin.url}/hello")).text == "Hello, world"
        assert [request.method for request in proxy.requests] == [b"GET"]


async def test_fields_for_a_proxy_go_to_it_alone(kind: Unmodified, tls: TLSFiles) -> None:
    async with asgi_server(app, tls.server_context) as origin, http_proxy() as proxy:
        options = {"proxy": httpx.Proxy(proxy.url, headers={"x-token": "secret"}), "verify": tls.client_context}
        async with kind.client(client=options) as client:
            response = await kind.call(client.get, f"{origin.url}/upload")
        assert [request.get(b"x-token") for request in proxy.requests] == [b"secret"]
        assert "x-token" not in dict(response.json()["headers"])


async def test_proxy_over_tls_has_a_context_of_its_own(kind: Unmodified, tls: TLSFiles) -> None:
    async with asgi_server(app) as origin, http_proxy(tls.server_context) as proxy:
        trusted = httpx.Proxy(proxy.url, ssl_context=tls.client_context)
        async with kind.client(client={"proxy": trusted}) as client:
            assert (await kind.call(client.get, f"{origin.url}/hello")).text == "Hello, world"
        async with kind.client(client={"proxy": proxy.url}) as client:
            with pytest.raises((httpx.ConnectError, httpx.ProxyError), match="certificate"):
                await kind.call(client.get, f"{origin.url}/hello")


@pytest.mark.parametrize("scheme", ["socks5", "socks5h"])
async def test_socks_proxy_is_given_names(kind: Unmodified, tls: TLSFiles, scheme: str) -> None:
    async with asgi_server(app, tls.server_context) as origin, socks_server(auth=("user", "secret")) as proxy:
        url = proxy.url.replace("socks5h://", f"{scheme}://user:secret@")
        async with kind.client(client={"proxy": url, "verify": tls.client_context}) as client:
            assert (await kind.call(client.get, f"{origin.url}/hello")).text == "Hello, world"
        assert [request.host for request in proxy.requests] == ["localhost"]


async def test_unix_socket(kind: Unmodified, tmp_path: Path) -> None:
    path = tmp_path / "socket"
    async with asgi_server(app, uds=path):
        # An address to connect from says nothing of a unix socket.
        transport = kind.transport_class(uds=str(path), local_address="127.0.0.1")
        async with kind.client(client={"transport": transport}) as client:
            assert (await kind.call(client.get, "http://any.host/hello")).text == "Hello, world"


async def test_local_address_and_socket_options(kind: Unmodified) -> None:
    async with asgi_server(app) as origin:
        options = [
            (socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1),
            (socket.SOL_SOCKET, socket.SO_RCVBUF, bytearray((65536).to_bytes(4, "little"))),
        ]
        transport = kind.transport_class(local_address="127.0.0.2", socket_options=options)
        async with (
            kind.client(client={"transport": transport}) as client,
            kind.stream(client, "GET", f"{origin.url}/hello") as response,
        ):
            stream = response.extensions["network_stream"]
            assert stream.get_extra_info("client_addr")[0] == "127.0.0.2"
            assert stream.get_extra_info("socket").getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE) == 1


async def test_http2_is_spoken_only_if_it_is_asked_for(kind: Unmodified, tls: TLSFiles) -> None:
    async with (
        asgi_server_h2(app, tls.server_context) as origin,
        kind.client(client={"http2": True, "verify": tls.client_context}) as client,
    ):
        assert (await kind.call(client.get, f"{origin.url}/hello")).http_version == "HTTP/2"
    server_context = tls.server_context
    server_context.set_alpn_protocols(["h2", "http/1.1"])
    async with (
        asgi_server(app, server_context) as origin,
        kind.client(client={"http2": False, "verify": tls.client_context}) as client,
    ):
        assert (await kind.call(client.get, f"{origin.url}/hello")).http_version == "HTTP/1.1"


async def test_context_is_shared_by_clients_that_speak_different_versions(kind: Unmodified, tls: TLSFiles) -> None:
    context, server_context = tls.client_context, tls.server_context
    server_context.set_alpn_protocols(["h2", "http/1.1"])
    chosen: list[str | None] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        chosen.append(writer.get_extra_info("ssl_object").selected_alpn_protocol())
        if chosen[-1] != "h2":
            await reader.readuntil(b"\r\n\r\n")
            writer.write(_answer())

    async with (
        serving(serve, server_context) as origin,
        kind.client(client={"http2": False, "verify": context}) as old,
        kind.client(client={"http2": True, "verify": context}) as new,
    ):
        assert (await kind.call(old.get, origin.url)).status_code == 200
        with pytest.raises(httpx.RemoteProtocolError):
            await kind.call(new.get, origin.url)
        assert (await kind.call(old.get, origin.url)).status_code == 200
    assert chosen == ["http/1.1", "h2", "http/1.1"]


async def test_http2_without_tls_for_who_speaks_nothing_else(kind: Unmodified) -> None:
    async with asgi_server_h2(app) as origin, kind.client(client={"http1": False, "http2": True}) as client:
        assert (await kind.call(client.get, f"{origin.url}/hello")).http_version == "HTTP/2"


async def test_websocket_schemes_are_those_of_their_handshakes(kind: Unmodified) -> None:
    async with asgi_server(app) as origin, kind.client() as client:
        url = origin.url.replace("http:", "ws:")
        assert (await kind.call(client.get, f"{url}/hello")).text == "Hello, world"


async def test_url_that_the_client_lets_pass_is_refused(kind: Unmodified) -> None:
    async with kind.client() as client:
        with pytest.raises(httpx.LocalProtocolError, match="is not an IPv4 address") as caught:
            await kind.call(client.get, "http://127.1/")
        assert type(caught.value.__cause__) is httpcore.LocalProtocolError
        assert type(caught.value.__cause__.__cause__) is httpcore.InvalidURL


async def test_pool_that_was_closed_takes_no_requests(kind: Unmodified) -> None:
    async with kind.client() as client:
        await kind.close(client._transport)
        with pytest.raises(httpx.ConnectError, match="closed"):
            await kind.call(client.get, "http://localhost/")


async def test_closing_the_client_ends_what_goes_on(kind: Unmodified) -> None:
    async with asgi_server(app) as origin, kind.client() as client:
        async with kind.stream(client, "GET", f"{origin.url}/bytes/50000000") as response:
            await kind.close(client)
            with pytest.raises(httpx.NetworkError):
                assert [part async for part in kind.parts(response)] == []
        assert client._transport._pool._pool.num_connections == 0


async def test_connection_that_cannot_be_made_is_tried_again(kind: Unmodified) -> None:
    # Nothing listens on the port before the second try has failed.
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{sock.getsockname()[1]}/"
        events: list[str] = []

        def tell(name: str, info: dict[str, Any]) -> None:
            events.append(name)
            if events.count("connection.connect_tcp.failed") == 2 and name.endswith("connect_tcp.failed"):
                sock.listen()
                threading.Thread(target=_serve_one, args=(sock,)).start()

        async def tell_async(name: str, info: dict[str, Any]) -> None:
            tell(name, info)

        async with kind.client(client={"transport": kind.transport_class(retries=2)}) as client:
            extensions = {"trace": tell if kind.blocking else tell_async}
            response = await kind.call(client.post, url, content=kind.generator([b"x"]), extensions=extensions)
            assert response.status_code == 200
            assert events.count("connection.connect_tcp.started") == 3


def _serve_one(sock: socket.socket) -> None:
    connection, _ = sock.accept()
    with connection:
        received = b""
        while b"0\r\n\r\n" not in received:
            received += connection.recv(65536)
        connection.sendall(_answer())
        connection.recv(1)


async def test_retries_end(kind: Unmodified) -> None:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        async with kind.client(client={"transport": kind.transport_class(retries=1)}) as client:
            with pytest.raises(httpx.ConnectError):
                await kind.call(client.get, f"http://127.0.0.1:{sock.getsockname()[1]}/")


async def test_bytes_are_sent_again_where_an_idle_connection_had_died(kind: Unmodified) -> None:
    async def serve_one(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"the body")
        writer.write(_answer())
        if await reader.read(1):  # of the next request, for which it is too late
            writer.transport.abort()

    async with serving(serve_one) as origin, kind.client() as client:
        for _ in range(2):
            assert (await kind.call(client.put, origin.url, content=b"the body")).status_code == 200
        assert origin.connections == 2


async def test_cancelled_request_ends_its_exchange(kind: Unmodified) -> None:
    if kind.blocking:
        await _check_interrupted(kind)
        return
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
        assert client._transport._pool._pool.num_active_connections == 0
        assert (await client.get(f"{origin.url}/hello")).text == "Hello, world"
