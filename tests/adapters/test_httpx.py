"""The transports for httpx2 and httpx: what their clients do, over this core, against real servers."""

from __future__ import annotations

import asyncio
import hashlib
import inspect
import io
import subprocess
import sys
from typing import Any

import pytest

import httpcore
from httpcore.adapters._options import PoolOptions
from tests.adapters.httpx_kinds import KINDS, Kind, kinds
from tests.adapters.web_app import web_app
from tests.asgi_server import asgi_server
from tests.asgi_server_h2 import asgi_server_h2
from tests.conftest import TLSFiles
from tests.content import blocks
from tests.h11_server import listening
from tests.origin_app import TEXT, app
from tests.proxies.http_proxy import http_proxy

pytestmark = kinds


async def test_get_returns_the_response(kind: Kind) -> None:
    async with asgi_server(app) as origin, kind.client() as client:
        response = await kind.call(client.get, f"{origin.url}/hello")
        assert (response.status_code, response.text) == (200, "Hello, world")
        assert response.headers["content-type"] == "text/plain"
        assert (response.http_version, response.reason_phrase) == ("HTTP/1.1", "")
        assert response.request.url == f"{origin.url}/hello"
        assert response.elapsed.total_seconds() > 0


async def test_connection_is_reused(kind: Kind) -> None:
    async with asgi_server(app) as origin, kind.client() as client:
        for _ in range(3):
            assert (await kind.call(client.get, f"{origin.url}/hello")).text == "Hello, world"
        assert origin.connections == 1


async def test_fields_are_sent_as_the_client_has_them(kind: Kind) -> None:
    async with asgi_server(app) as origin, kind.client() as client:
        headers = [("X-Twice", "one"), ("x-twice", "two"), ("Accept", "text/plain")]
        response = await kind.call(client.get, f"{origin.url}/upload", headers=headers)
        sent = [(name, value) for name, value in response.json()["headers"]]
        assert [name for name, _ in sent].count("host") == 1
        assert [value for name, value in sent if name == "x-twice"] == ["one", "two"]
        assert [name for name, _ in sent if name in ("content-length", "transfer-encoding")] == []


@pytest.mark.parametrize(
    "target", ["/upload/a%2Fb?q=%20x&y=a|b'c\"d", "/upload/%7Euser/ä?ü=1", "/upload?a@b=1", "/upload?x={1}"]
)
async def test_target_is_the_one_the_client_encoded(kind: Kind, target: str) -> None:
    async with asgi_server(app) as origin, kind.client() as client:
        url = kind.module.URL(origin.url + target)
        response = await kind.call(client.get, url)
        assert response.json()["target"] == url.raw_path.decode()


async def test_host_may_be_an_ipv6_address(kind: Kind) -> None:
    async with listening(host="::1") as listener, kind.client() as client:
        assert (await kind.call(client.get, str(listener.url()))).status_code == 200
        assert listener.asked[0].get(b"host") == b"[::1]:%d" % listener.port


async def test_credentials_of_the_url_are_the_clients_business(kind: Kind) -> None:
    async with asgi_server(app) as origin, kind.client() as client:
        url = origin.url.replace("http://", "http://user:secret@")
        response = await kind.call(client.get, f"{url}/upload")
        assert [value for name, value in response.json()["headers"] if name == "authorization"] == [
            "Basic dXNlcjpzZWNyZXQ="
        ]


async def test_content_of_bytes_is_sent_with_its_length(kind: Kind) -> None:
    async with asgi_server(app) as origin, kind.client() as client:
        response = await kind.call(client.post, f"{origin.url}/upload", json={"key": "value"})
        report = response.json()
        assert (report["method"], report["size"]) == ("POST", len(response.request.content))
        assert ["content-length", str(report["size"])] in report["headers"]
        assert ["content-type", "application/json"] in report["headers"]


async def test_generator_is_sent_chunked(kind: Kind) -> None:
    content = list(blocks(300_000))
    async with asgi_server(app) as origin, kind.client() as client:
        response = await kind.call(client.put, f"{origin.url}/upload", content=kind.generator(content))
        report = response.json()
        assert (report["method"], report["size"]) == ("PUT", 300_000)
        assert report["sha256"] == hashlib.sha256(b"".join(content)).hexdigest()
        assert ["transfer-encoding", "chunked"] in report["headers"]


async def test_generator_with_a_length_is_sent_with_it(kind: Kind) -> None:
    async with asgi_server(app) as origin, kind.client() as client:
        response = await kind.call(
            client.put,
            f"{origin.url}/upload",
            content=kind.generator([b"four", b"more"]),
            headers={"content-length": "8"},
        )
        report = response.json()
        assert report["size"] == 8
        assert ["content-length", "8"] in report["headers"]
        assert "transfer-encoding" not in dict(report["headers"])


async def test_multipart_form_is_sent(kind: Kind) -> None:
    async with asgi_server(app) as origin, kind.client() as client:
        files = {"file": ("name.bin", io.BytesIO(b"x" * 200_000))}
        response = await kind.call(client.post, f"{origin.url}/upload", files=files, data={"field": "value"})
        report = response.json()
        assert report["size"] > 200_000
        assert dict(report["headers"])["content-length"] == str(report["size"])


async def test_full_duplex_echo(kind: Kind) -> None:
    content = list(blocks(500_000))
    async with asgi_server(app) as origin, kind.client() as client:
        options: Any = {"content": kind.generator(content)}
        async with kind.stream(client, "POST", f"{origin.url}/echo", **options) as response:
            assert b"".join([part async for part in kind.parts(response)]) == b"".join(content)


async def test_streamed_response_comes_in_parts(kind: Kind) -> None:
    async with (
        asgi_server(app) as origin,
        kind.client() as client,
        kind.stream(client, "GET", f"{origin.url}/chunked/1000000") as response,
    ):
        parts = [part async for part in kind.parts(response)]
        assert len(parts) > 1
        assert b"".join(parts) == b"".join(blocks(1_000_000))
        assert response.num_bytes_downloaded == 1_000_000


async def test_response_that_is_left_early_ends_its_exchange_alone(kind: Kind) -> None:
    async with asgi_server(app) as origin, kind.client() as client:
        async with kind.stream(client, "GET", f"{origin.url}/bytes/50000000") as response:
            async for _ in kind.parts(response):
                break
        assert response.is_closed
        assert (await kind.call(client.get, f"{origin.url}/hello")).text == "Hello, world"


async def test_coded_content_is_decoded_by_the_client(kind: Kind) -> None:
    async with asgi_server(app) as origin, kind.client() as client:
        response = await kind.call(client.get, f"{origin.url}/gzip")
        assert response.content == TEXT
        assert response.headers["content-encoding"] == "gzip"
        assert int(response.headers["content-length"]) == response.num_bytes_downloaded < len(TEXT)


async def test_raw_content_is_left_coded(kind: Kind) -> None:
    async with (
        asgi_server(app) as origin,
        kind.client() as client,
        kind.stream(client, "GET", f"{origin.url}/gzip/always") as response,
    ):
        raw = b"".join([part async for part in kind.parts(response, "raw")])
        assert raw[:2] == b"\x1f\x8b"


async def test_head_has_the_headers_alone(kind: Kind) -> None:
    async with asgi_server(app) as origin, kind.client() as client:
        response = await kind.call(client.head, f"{origin.url}/hello")
        assert (response.status_code, response.content, response.headers["content-length"]) == (200, b"", "12")


@pytest.mark.parametrize("status", [204, 304, 404, 500])
async def test_status_is_passed_on(kind: Kind, status: int) -> None:
    async with asgi_server(app) as origin, kind.client() as client:
        response = await kind.call(client.get, f"{origin.url}/status/{status}")
        assert response.status_code == status


@pytest.mark.parametrize(("status", "method"), [(302, "GET"), (307, "POST")])
async def test_redirect_is_followed_by_the_client(kind: Kind, status: int, method: str) -> None:
    async with asgi_server(web_app) as origin, kind.client(client={"follow_redirects": True}) as client:
        response = await kind.call(client.post, f"{origin.url}/redirect/{status}", content=b"content")
        assert [answer.status_code for answer in response.history] == [status]
        assert response.json()["method"] == method
        assert response.json()["size"] == (7 if method == "POST" else 0)


async def test_cookies_are_kept_by_the_client(kind: Kind) -> None:
    async with asgi_server(web_app) as origin, kind.client() as client:
        response = await kind.call(client.get, f"{origin.url}/set-cookie")
        assert response.headers.get_list("set-cookie") == ["first=1; Path=/", "second=2; Path=/"]
        assert (await kind.call(client.get, f"{origin.url}/cookies")).text == "first=1; second=2"


async def test_authentication_flows_work(kind: Kind) -> None:
    async with asgi_server(web_app) as origin, kind.client() as client:
        assert (await kind.call(client.get, f"{origin.url}/basic", auth=("user", "secret"))).status_code == 200
        digest = kind.module.DigestAuth("user", "secret")
        assert (await kind.call(client.post, f"{origin.url}/digest", auth=digest, content=b"x")).text == "welcome"


async def test_http2_is_spoken_where_the_server_does(kind: Kind, tls: TLSFiles) -> None:
    async with (
        asgi_server_h2(app, tls.server_context) as origin,
        kind.client(ssl=httpcore.SSLConfig(verify=tls.ca_path)) as client,
    ):
        for stream_id in (1, 3):
            response = await kind.call(client.get, f"{origin.url}/hello")
            assert (response.http_version, response.text) == ("HTTP/2", "Hello, world")
            assert response.reason_phrase == "OK"
            assert response.extensions["stream_id"] == stream_id
        upload = await kind.call(client.post, f"{origin.url}/upload", content=kind.generator([b"a" * 100_000]))
        assert upload.json()["size"] == 100_000
        assert len(origin.opened) == 1


async def test_http2_is_not_spoken_if_the_pool_may_not(kind: Kind, tls: TLSFiles) -> None:
    async with (
        asgi_server(app, tls.server_context) as origin,
        kind.client(ssl=tls.client_context, http2=False) as client,
    ):
        assert (await kind.call(client.get, f"{origin.url}/hello")).http_version == "HTTP/1.1"


async def test_proxy_forwards_http(kind: Kind) -> None:
    async with asgi_server(app) as origin, http_proxy() as proxy, kind.client(proxy=proxy.url) as client:
        assert (await kind.call(client.get, f"{origin.url}/hello")).text == "Hello, world"
        assert [request.target for request in proxy.requests] == [f"{origin.url}/hello".encode()]


async def test_proxy_gives_tunnels_for_https(kind: Kind, tls: TLSFiles) -> None:
    async with (
        asgi_server(app, tls.server_context) as origin,
        http_proxy(auth=("user", "secret")) as proxy,
        kind.client(
            ssl=tls.client_context, proxy=httpcore.Proxy(proxy.url, auth=("user", "secret")), http2=False
        ) as client,
    ):
        assert (await kind.call(client.get, f"{origin.url}/hello")).text == "Hello, world"
        assert [request.method for request in proxy.requests] == [b"CONNECT"]


async def test_hundred_requests_at_once(kind: Kind) -> None:
    async with asgi_server(app) as origin, kind.client(client={"timeout": 30}) as client:
        gets = [kind.call(client.get, f"{origin.url}/bytes/{1000 + index}") for index in range(100)]
        responses = await asyncio.gather(*gets)
        assert [len(response.content) for response in responses] == list(range(1000, 1100))
        assert origin.connections <= 100


async def test_transport_is_usable_by_itself(kind: Kind) -> None:
    async with asgi_server(app) as origin:
        transport = kind.transport_class()
        request = kind.module.Request("GET", f"{origin.url}/hello", headers={"accept": "*/*"})
        handle = transport.handle_request if kind.blocking else transport.handle_async_request
        response = await kind.call(handle, request)
        assert await kind.call(response.read if kind.blocking else response.aread) == b"Hello, world"
        await kind.close(response)
        await kind.close(transport)


async def test_request_made_of_a_stream_alone_is_framed(kind: Kind) -> None:
    base = kind.module.SyncByteStream if kind.blocking else kind.module.AsyncByteStream

    class Plain(base):  # type: ignore[misc, valid-type]
        def __iter__(self) -> Any:
            return iter([b"one", b"two"])

        async def __aiter__(self) -> Any:
            yield b"one"
            yield b"two"

    async with asgi_server(app) as origin, kind.client() as client:
        request = kind.module.Request("POST", f"{origin.url}/upload", stream=Plain())
        report = (await kind.call(client.send, request)).json()
        assert report["size"] == 6
        assert ["transfer-encoding", "chunked"] in report["headers"]
        assert "host" in dict(report["headers"])


async def test_given_pool_is_used_and_closed_with_the_client(kind: Kind) -> None:
    pool_class = httpcore.SyncConnectionPool if kind.blocking else httpcore.ConnectionPool
    pool = pool_class(limits=httpcore.PoolLimits(hard_limit=1))
    async with asgi_server(app) as origin:
        client = kind.make(kind.transport_class(pool))
        assert (await kind.call(client.get, f"{origin.url}/hello")).status_code == 200
        assert pool.num_keepalive_connections == 1
        await kind.close(client)
        assert pool.num_connections == 0
        with pytest.raises(httpcore.PoolClosed):
            await kind.call(pool.request, "GET", f"{origin.url}/hello")


async def test_context_managers_close(kind: Kind) -> None:
    transport = kind.transport_class()
    async with asgi_server(app) as origin:
        if kind.blocking:

            def use() -> int:
                with kind.make(transport) as client:
                    return int(client.get(f"{origin.url}/hello").status_code)

            assert await asyncio.to_thread(use) == 200
        else:
            async with kind.make(transport) as client:
                assert (await client.get(f"{origin.url}/hello")).status_code == 200
    assert repr(transport) == (
        f"<httpcore.adapters.{kind.name}.{kind.transport_class.__name__} on {transport._pool!r}>"
    )
    assert "closed" in repr(transport)


def test_pool_and_its_arguments_exclude_each_other(kind: Kind) -> None:
    pool: Any = httpcore.SyncConnectionPool() if kind.blocking else httpcore.ConnectionPool()
    with pytest.raises(TypeError, match="not both"):
        kind.transport_class(pool, http2=False)


def test_pool_of_the_other_kind_is_refused(kind: Kind) -> None:
    pool: Any = httpcore.ConnectionPool() if kind.blocking else httpcore.SyncConnectionPool()
    with pytest.raises(TypeError, match="pool takes a "):
        kind.transport_class(pool)


def test_unknown_argument_is_refused(kind: Kind) -> None:
    with pytest.raises(TypeError, match="verify"):
        kind.transport_class(verify=False)


def test_arguments_are_those_of_the_pool(kind: Kind) -> None:
    assert kind in KINDS
    assert list(PoolOptions.__annotations__) == list(inspect.signature(httpcore.ConnectionPool).parameters)


def test_core_is_imported_without_any_adapter(kind: Kind) -> None:
    adapter = kind.adapter.__name__
    code = f"import sys, httpcore; sys.exit({kind.name!r} in sys.modules or {adapter!r} in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)
