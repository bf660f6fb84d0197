"""examples/gateway.py, under uvicorn with both of its HTTP implementations, and under a server that can do more."""

from __future__ import annotations

import asyncio
import hashlib
import json
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path

import pytest

import httpcore
from examples.gateway import Gateway
from httpcore.testing import MemoryConnector
from tests import origin_app
from tests.asgi_server import asgi_server
from tests.content import blocks, sha256
from tests.origin_app import TEXT, Message
from tests.raw_client import fetch
from tests.servers import LARGE, Nginx, UvicornServer, serving, start_uvicorn

_ROOT = Path(__file__).parents[1]
_MODULE = """
import httpcore
from examples.gateway import Gateway
app = Gateway({upstream!r}, httpcore.TimeoutConfig({read_timeout}))
"""

StartGateway = Callable[..., AbstractAsyncContextManager[str]]


@pytest.fixture(params=["asgi_server", "httptools", "h11"])
def asgi_server_kind(request: pytest.FixtureRequest) -> str:
    """What the gateway runs under: our own server, or uvicorn with one of its HTTP implementations."""
    return str(request.param)


@pytest.fixture
def start_gateway(asgi_server_kind: str, tmp_path: Path) -> StartGateway:
    """A function that runs a gateway in front of an upstream, as long as its context lasts, and gives its URL."""

    @asynccontextmanager
    async def start(upstream: str, read_timeout: float = 30.0) -> AsyncIterator[str]:
        if asgi_server_kind == "asgi_server":
            app = Gateway(upstream, httpcore.TimeoutConfig(read_timeout))
            async with asgi_server(app) as server:
                yield server.url
            await app.http.close()
            return
        (tmp_path / "app.py").write_text(_MODULE.format(upstream=upstream, read_timeout=read_timeout))
        program, url = await asyncio.to_thread(
            start_uvicorn, "app:app", "--no-proxy-headers", app_dir=tmp_path, http=asgi_server_kind
        )
        try:
            yield url
        finally:
            await asyncio.to_thread(program.stop)

    return start


@pytest.fixture(scope="module", params=["httptools", "h11"])
def gateway(request: pytest.FixtureRequest, nginx: Nginx, uvicorn_server: UvicornServer) -> str:
    """The URL of a gateway in front of nginx, run as its docstring says."""
    options = ["--app-dir", "examples", "--no-server-header", "--no-date-header", "--no-proxy-headers"]
    return uvicorn_server("gateway:app", *options, app_dir=_ROOT, http=request.param, env={"UPSTREAM": nginx.url})


# Content, both ways.


async def test_large_download_arrives_as_it_was_sent(gateway: str):
    digest = hashlib.sha256()
    async with (
        httpcore.ConnectionPool() as http,
        await http.request("GET", gateway + "/large.bin", stream=True) as response,
    ):
        assert response.headers["content-length"] == str(LARGE)
        async for part in response.stream():
            digest.update(part)
    assert digest.hexdigest() == sha256(LARGE)


@pytest.mark.parametrize("headers", [{}, {"content-length": str(LARGE)}], ids=["chunked", "with its length"])
async def test_large_upload_arrives_as_it_was_sent(gateway: str, headers: dict[str, str]):
    async with httpcore.ConnectionPool() as http:
        response = await http.request("POST", gateway + "/app/upload", headers, lambda: blocks(LARGE))
    report = json.loads(response.body)
    assert (report["size"], report["sha256"]) == (LARGE, sha256(LARGE))


@pytest.mark.parametrize("path", ["/data.json", "/app/gzip", "/app/gzip/always"])
@pytest.mark.parametrize("accept", [[], [("accept-encoding", "gzip")]], ids=["nothing", "gzip"])
async def test_content_coding_is_as_the_upstream_chose_it(
    gateway: str, nginx: Nginx, path: str, accept: list[tuple[str, str]]
):
    direct = await fetch(nginx.url + path, headers=accept)
    through = await fetch(gateway + path, headers=accept)
    assert through.body == direct.body
    for name in (b"content-encoding", b"content-length", b"content-type", b"vary", b"etag"):
        assert through.field(name) == direct.field(name)


@pytest.mark.parametrize(
    ("method", "path", "status", "body"),
    [
        ("GET", "/", 200, b"Hello, world"),
        ("GET", "/close/hello.txt", 200, b"Hello, world!"),
        ("HEAD", "/hello.txt", 200, b""),
        ("GET", "/status/204", 204, b""),
        ("GET", "/status/304", 304, b""),
        ("HEAD", "/missing", 404, b""),
        ("GET", "/framing", 200, b"transfer-encoding: , content-length: "),
        ("DELETE", "/framing", 200, b"transfer-encoding: , content-length: "),
    ],
)
async def test_exchange_without_a_request_body(gateway: str, method: str, path: str, status: int, body: bytes):
    response = await fetch(gateway + path, method)
    assert (response.status_code, response.body) == (status, body)


async def test_lengths_of_the_answer_to_head_are_kept(gateway: str):
    assert (await fetch(gateway + "/hello.txt", "HEAD")).field(b"content-length") == b"13"


@pytest.mark.parametrize("body", [b"some content", [b"some", b" ", b"content"]], ids=["with its length", "chunked"])
async def test_small_request_body_arrives(gateway: str, body: bytes | list[bytes]):
    report = json.loads((await fetch(gateway + "/app/upload", "POST", body=body)).body)
    assert (report["size"], report["sha256"]) == (12, hashlib.sha256(b"some content").hexdigest())


async def test_client_that_waits_for_100_continue_gets_it(gateway: str):
    response = await fetch(gateway + "/app/upload", "POST", [("expect", "100-continue")], b"some content")
    assert [status for status, _ in response.interim] == [100]
    report = json.loads(response.body)
    assert report["size"] == 12
    assert "expect" not in dict(report["headers"])


async def test_fifty_requests_at_once(gateway: str):
    async with httpcore.ConnectionPool() as http, asyncio.TaskGroup() as group:
        tasks = [
            group.create_task(http.request("POST", gateway + "/app/upload", body=b"x" * index)) for index in range(50)
        ]
    assert [json.loads(task.result().body)["size"] for task in tasks] == list(range(50))


async def test_pieces_are_relayed_as_they_come_in_both_directions(start_gateway: StartGateway):
    received: list[bytes] = []
    go_on = asyncio.Event()

    async def body() -> AsyncIterator[bytes]:
        for piece in (b"first", b"second", b"third"):
            yield piece
            await go_on.wait()  # for the upstream's echo of it
            go_on.clear()

    async with (
        asgi_server(origin_app.app) as origin,
        start_gateway(origin.url) as url,
        httpcore.ConnectionPool() as http,
        await http.request("POST", url + "/echo", body=body, stream=True) as response,
    ):
        async for part in response.stream():
            received.append(part)
            go_on.set()
    assert received == [b"first", b"second", b"third"]


# Heads.


async def test_request_fields_for_the_next_hop_are_dropped_and_the_gateways_own_are_added(start_gateway: StartGateway):
    async with asgi_server(origin_app.app) as origin, start_gateway(origin.url) as url:
        response = await fetch(
            url + "/upload",
            headers=[
                ("connection", "x-internal, keep-alive"),
                ("x-internal", "secret"),
                ("keep-alive", "timeout=5"),
                ("te", "trailers"),
                ("upgrade", "websocket"),
                ("proxy-authorization", "Basic c2VjcmV0"),
                ("x-forwarded-for", "192.0.2.1"),
                ("x-forwarded-for", "192.0.2.2"),
                ("x-forwarded-host", "spoofed"),
                ("x-forwarded-proto", "spoofed"),
                ("via", "1.1 another"),
                ("x-kept", "one"),
                ("x-kept", "two"),
            ],
        )
    authority, upstream_authority = url.removeprefix("http://"), origin.url.removeprefix("http://")
    headers = json.loads(response.body)["headers"]
    assert headers == [
        ["host", upstream_authority],
        ["x-kept", "one"],
        ["x-kept", "two"],
        ["x-forwarded-for", "192.0.2.1, 192.0.2.2, 127.0.0.1"],
        ["via", "1.1 another, 1.1 gateway"],
        ["x-forwarded-proto", "http"],
        ["x-forwarded-host", authority],
    ]


async def test_response_fields_for_the_next_hop_are_dropped(start_gateway: StartGateway):
    async with asgi_server(origin_app.app) as origin, start_gateway(origin.url) as url:
        response = await fetch(url + "/hop-by-hop")
    names = {name for name, _ in response.headers}
    assert (response.field(b"x-kept"), response.field(b"via")) == (b"yes", b"1.1 gateway")
    assert not names & {b"x-internal", b"keep-alive"}
    assert b"x-internal" not in (response.field(b"connection") or b"")


@pytest.mark.parametrize("target", ["/upload/a%2Fb/%7e/../c?x=%20&y", "/upload//?", "/upload/%E2%82%AC;p?a=b?c"])
async def test_target_is_forwarded_untouched(start_gateway: StartGateway, target: str):
    async with asgi_server(origin_app.app) as origin, start_gateway(origin.url) as url:
        host, port = url.removeprefix("http://").split(":")
        # Byte for byte, and so past every client that would tidy it up.
        reader, writer = await asyncio.open_connection(host, int(port))
        writer.write(f"GET {target} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n".encode())
        response = await reader.read()
        writer.close()
        await writer.wait_closed()
    assert json.loads(response.partition(b"\r\n\r\n")[2])["target"] == target.removesuffix("?")


async def test_path_of_the_upstream_is_put_before_the_requests():
    async with asgi_server(origin_app.app) as origin:
        app = Gateway(origin.url + "/upload/")
        async with asgi_server(app) as server:
            response = await fetch(server.url + "/some/path?query")
        await app.http.close()
    assert json.loads(response.body)["target"] == "/upload/some/path?query"


async def test_target_that_is_no_path_is_refused():
    app = Gateway("http://127.0.0.1:1")
    async with asgi_server(app) as server:
        host, port = server.url.removeprefix("http://").split(":")
        reader, writer = await asyncio.open_connection(host, int(port))
        writer.write(b"GET http://elsewhere/ HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        response = await reader.read()
        writer.close()
        await writer.wait_closed()
    assert response.startswith(b"HTTP/1.1 400 ")


# Ends.


@pytest.mark.parametrize("path", ["/hang", "/stall"])
async def test_client_that_disconnects_while_it_waits_takes_the_upstreams_exchange_along(
    start_gateway: StartGateway, path: str
):
    reached, gone = asyncio.Event(), asyncio.Event()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        if path == "/stall":
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\nbegun")
        reached.set()
        assert not await _until_gone(reader)
        gone.set()

    async with serving(serve) as origin, start_gateway(origin.url) as url:
        host, port = url.removeprefix("http://").split(":")
        reader, writer = await asyncio.open_connection(host, int(port))
        writer.write(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        await reached.wait()
        if path == "/stall":
            await reader.readuntil(b"begun")
        writer.close()
        await writer.wait_closed()
        await gone.wait()


async def test_client_that_disconnects_in_the_middle_of_a_download_aborts_it_upstream(start_gateway: StartGateway):
    gone = asyncio.Event()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
        try:
            while True:  # without end: somebody has to stop it
                writer.write(b"10000\r\n" + bytes(0x10000) + b"\r\n")
                await writer.drain()
        except ConnectionError:
            gone.set()

    async with serving(serve) as origin, start_gateway(origin.url) as url:
        async with (
            httpcore.ConnectionPool() as http,
            await http.request("GET", url, stream=True) as response,
        ):
            async for _ in response.raw():
                break
        await gone.wait()


async def test_client_that_disconnects_in_the_middle_of_an_upload_aborts_it_upstream(start_gateway: StartGateway):
    reached, received = asyncio.Event(), asyncio.get_running_loop().create_future()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        await reader.readuntil(b"begun")
        reached.set()
        received.set_result(await _until_gone(reader))

    async with serving(serve) as origin, start_gateway(origin.url) as url:
        host, port = url.removeprefix("http://").split(":")
        _, writer = await asyncio.open_connection(host, int(port))
        writer.write(b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nbegun\r\n")
        await reached.wait()
        writer.transport.abort()
        # The upstream must not take what came for the whole: no last chunk.
        assert b"0\r\n\r\n" not in await received


async def _until_gone(reader: asyncio.StreamReader) -> bytes:
    """Returns what still came before the other end closed or reset the connection."""
    data = b""
    try:
        while part := await reader.read(65536):
            data += part
    except ConnectionError:
        pass
    return data


async def test_upstream_that_is_not_there_gives_502(start_gateway: StartGateway):
    with socket.create_server(("127.0.0.1", 0)) as unused:
        port = unused.getsockname()[1]
    async with start_gateway(f"http://127.0.0.1:{port}") as url:
        response = await fetch(url)
    assert response.status_code == 502
    assert response.field(b"content-type") == b"text/plain; charset=utf-8"
    assert response.body == b"the upstream cannot be reached, or gave no valid answer\n"


async def test_upstream_that_speaks_no_http_gives_502(start_gateway: StartGateway):
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"220 mail.example.org ESMTP\r\n\r\n")

    async with serving(serve) as origin, start_gateway(origin.url) as url:
        response = await fetch(url)
    assert response.status_code == 502


async def test_upstream_that_never_answers_gives_504(start_gateway: StartGateway):
    async with asgi_server(origin_app.app) as origin, start_gateway(origin.url, read_timeout=0.1) as url:
        response = await fetch(url + "/hang")
    assert (response.status_code, response.body) == (504, b"the upstream did not answer in time\n")


async def test_upstream_that_breaks_off_cuts_the_client_off(start_gateway: StartGateway):
    async with asgi_server(origin_app.app) as origin, start_gateway(origin.url) as url:
        with pytest.raises(httpcore.RemoteProtocolError):
            async with httpcore.ConnectionPool() as http:
                await http.request("GET", url + "/break")


@pytest.mark.parametrize("path", ["/refuse", "/refuse-late"])
async def test_early_refusal_by_the_upstream_reaches_the_client(start_gateway: StartGateway, path: str):
    async def endless() -> AsyncIterator[bytes]:
        while True:
            yield bytes(65536)

    async with (
        asgi_server(origin_app.app) as origin,
        start_gateway(origin.url) as url,
        httpcore.ConnectionPool() as http,
    ):
        response = await http.request("POST", url + path, body=endless)
    assert (response.status_code, response.body) == (413, b"too large")


# What only some ASGI servers can do.


async def test_early_hints_reach_the_client_where_the_server_can_send_them(
    start_gateway: StartGateway, asgi_server_kind: str
):
    async with asgi_server(origin_app.app) as origin, start_gateway(origin.url) as url:
        response = await fetch(url + "/hints")
    links = [b"</style.css>; rel=preload; as=style", b"</script.js>; rel=preload; as=script"]
    hints = [(103, [(b"link", link) for link in links])]
    assert response.interim == (hints if asgi_server_kind == "asgi_server" else [])
    assert response.body == b"Hello, world"


async def test_trailers_reach_the_client_where_the_server_can_send_them(
    start_gateway: StartGateway, asgi_server_kind: str
):
    async with asgi_server(origin_app.app) as origin, start_gateway(origin.url) as url:
        response = await fetch(url + "/trailers")
    assert response.body == TEXT
    if asgi_server_kind == "asgi_server":
        assert response.trailers == [(b"content-sha256", hashlib.sha256(TEXT).hexdigest().encode())]
        assert response.field(b"trailer") == b"content-sha256"
    else:  # they are announced only where they follow
        assert response.trailers == []
        assert response.field(b"trailer") is None


async def _call(app: Gateway, scope: Message, incoming: list[Message]) -> list[Message]:
    """Calls the app as a server would, and returns what it sent."""
    sent: list[Message] = []

    async def receive() -> Message:
        return incoming.pop(0)

    async def send(message: Message) -> None:
        sent.append(message)

    await app(scope, receive, send)
    return sent


async def test_websocket_is_refused():
    app = Gateway("http://127.0.0.1:1")
    assert await _call(app, {"type": "websocket"}, [{"type": "websocket.connect"}]) == [{"type": "websocket.close"}]


async def test_client_that_is_gone_before_its_request_came_causes_nothing():
    app = Gateway("http://127.0.0.1:1")
    assert await _call(app, {"type": "http"}, [{"type": "http.disconnect"}]) == []
    assert app.http.num_connections == 0


async def test_end_of_the_lifespan_closes_the_pool():
    app = Gateway("http://127.0.0.1:1")
    incoming: list[Message] = [{"type": "lifespan.startup"}, {"type": "lifespan.shutdown"}]
    sent = await _call(app, {"type": "lifespan"}, incoming)
    assert sent == [{"type": "lifespan.startup.complete"}, {"type": "lifespan.shutdown.complete"}]
    with pytest.raises(httpcore.PoolClosed):
        await app.http.request("GET", "http://127.0.0.1:1")


def _http_scope(method: str) -> Message:
    return {
        "type": "http",
        "http_version": "1.1",
        "method": method,
        "scheme": "http",
        "path": "/",
        "raw_path": b"/",
        "query_string": b"",
        "headers": [(b"host", b"example.org")],
        "client": None,
    }


async def test_slow_client_pauses_the_upstream():
    app = Gateway("http://example.org")
    taking = asyncio.Event()
    taken = bytearray()

    incoming: list[Message] = [{"type": "http.request"}]

    async def receive() -> Message:
        if not incoming:
            await asyncio.Event().wait()  # the client stays
        return incoming.pop()

    async def send(message: Message) -> None:
        await taking.wait()
        taken.extend(message.get("body", b""))

    content = b"".join(blocks(8 * 1024 * 1024))
    async with MemoryConnector() as connector:
        app.http = httpcore.ConnectionPool(connector=connector)
        serving_it = asyncio.create_task(app(_http_scope("GET"), receive, send))
        peer = await connector.accept()
        await peer.receive_until(b"\r\n\r\n")
        peer.send(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(content) + content)
        [transport] = connector.open_transports
        while transport.is_reading():  # noqa: ASYNC110  # it tells nobody when it pauses
            await asyncio.sleep(0)
        held = len(content) - peer.transport.get_write_buffer_size()
        assert held < 2 * 1024 * 1024  # by the gateway, and by the link itself
        taking.set()
        await serving_it
        await app.http.close()
    assert taken == content


async def test_slow_upstream_pauses_the_client():
    app = Gateway("http://example.org")
    given = 0

    async def receive() -> Message:
        nonlocal given
        given += 65536
        return {"type": "http.request", "body": bytes(65536), "more_body": True}

    async def send(message: Message) -> None:
        raise AssertionError(f"nothing was to be sent, but {message}")

    async with MemoryConnector() as connector:
        app.http = httpcore.ConnectionPool(connector=connector)
        serving_it = asyncio.create_task(app(_http_scope("POST"), receive, send))
        peer = await connector.accept()
        peer.pause()
        before = -1
        while before != given:  # a gateway that does not heed the pause takes more each turn, and never gets here
            before = given
            for _ in range(100):
                await asyncio.sleep(0)
        assert given < 2 * 1024 * 1024
        serving_it.cancel()
        await asyncio.wait([serving_it])
        await app.http.close()
    assert serving_it.cancelled()
