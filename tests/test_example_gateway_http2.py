"""examples/gateway.py in front of a server that speaks HTTP/2, with clients that speak either version."""

from __future__ import annotations

import asyncio
import hashlib
import json
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
import pytest_asyncio

import httpcore
from examples.gateway import Gateway
from tests import origin_app
from tests.asgi_server import asgi_server
from tests.asgi_server_h2 import H2Origin, asgi_server_h2
from tests.conftest import TLSFiles
from tests.content import blocks, sha256
from tests.origin_app import TEXT, Message, Receive, Send
from tests.servers import UvicornServer

_ROOT = Path(__file__).parents[1]
_SIZE = 3_000_000  # bytes: more than the windows of both sides, so that credit has to go back and forth


@dataclass
class Upstream:
    """The app behind the gateway: tests/origin_app.py, one that waits, and one that leaves the request's body alone.

    Attributes:
        reached: set when a request for /wait has come, with the first piece of its body.
        ended: what its exchange with the gateway ended with: the type of the last message, and whether that was a body
            that had ended.
    """

    reached: asyncio.Event = field(default_factory=asyncio.Event)
    ended: asyncio.Future[tuple[str, bool]] = field(default_factory=lambda: asyncio.get_running_loop().create_future())

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        if scope["path"] == "/wait":
            await self._wait(scope, receive, send)
        elif scope["path"] == "/leave-it":
            await self._begin(send)
            await asyncio.Event().wait()
        else:
            await origin_app.app(scope, receive, send)

    async def _wait(self, scope: Message, receive: Receive, send: Send) -> None:
        message = await receive()
        self.reached.set()
        if scope["method"] == "GET":  # whose response begins, and does not end
            await self._begin(send)
        while message["type"] != "http.disconnect" and (scope["method"] == "GET" or message["more_body"]):
            message = await receive()
        self.ended.set_result((message["type"], not message.get("more_body", True)))

    async def _begin(self, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"begun", "more_body": True})


@dataclass
class Chain:
    """A client, the gateway, and the server behind it.

    Attributes:
        url: the gateway's.
        http: the client.
        version: of HTTP, that the client speaks, as `via` has it.
        app: what the server behind runs.
        origin: that server.
        gateway: the app between.
    """

    url: str
    http: httpcore.ConnectionPool
    version: str
    app: Upstream
    origin: H2Origin
    gateway: Gateway


@pytest_asyncio.fixture(params=["1.1 to h2+tls", "1.1 to h2c", "2 to h2+tls", "2 to h2c"])
async def chain(request: pytest.FixtureRequest, tls: TLSFiles) -> AsyncIterator[Chain]:
    """Every version on the client's side, and both ways to HTTP/2 on the other."""
    version, _, upstream = request.param.partition(" to ")
    with_tls = upstream == "h2+tls"
    app = Upstream()
    async with asgi_server_h2(app, tls.server_context if with_tls else None) as origin:
        config = httpcore.SSLConfig(verify=tls.ca_path)
        gateway = Gateway(origin.url, httpcore.TimeoutConfig(30), http1=with_tls, ssl=config)
        serve = asgi_server if version == "1.1" else asgi_server_h2
        async with serve(gateway) as server, httpcore.ConnectionPool(http1=version == "1.1", timeout=30) as http:
            yield Chain(server.url, http, version, app, origin, gateway)
        await gateway.http.close()


async def test_content_arrives_as_it_was_sent_both_ways(chain: Chain):
    response = await chain.http.request("POST", chain.url + "/upload", body=lambda: blocks(_SIZE))
    report = json.loads(response.body)
    assert (report["size"], report["sha256"]) == (_SIZE, sha256(_SIZE))
    for path in ("/bytes/", "/chunked/"):
        response = await chain.http.request("GET", chain.url + path + str(_SIZE))
        assert hashlib.sha256(response.body).hexdigest() == sha256(_SIZE)
    assert chain.origin.connections == 1


async def test_via_tells_the_version_of_each_side(chain: Chain):
    headers = {"connection": "x-internal", "x-internal": "secret"} if chain.version == "1.1" else {}
    response = await chain.http.request("GET", chain.url + "/upload?a=b", headers={**headers, "via": "1.0 another"})
    assert response.headers["via"] == "2 gateway"
    report = json.loads(response.body)
    assert report["target"] == "/upload?a=b"
    fields = dict(report["headers"])
    assert fields["via"] == f"1.0 another, {chain.version} gateway"
    assert fields["host"] == chain.origin.url.partition("//")[2]
    assert fields["x-forwarded-host"] == chain.url.partition("//")[2]
    assert "x-internal" not in fields


async def test_pieces_are_relayed_as_they_come_in_both_directions(chain: Chain):
    received: list[bytes] = []
    go_on = asyncio.Event()

    async def body() -> AsyncIterator[bytes]:
        for piece in (b"first", b"second", b"third"):
            yield piece
            await go_on.wait()  # for the upstream's echo of it
            go_on.clear()

    async with await chain.http.request("POST", chain.url + "/echo", body=body, stream=True) as response:
        async for part in response.stream():
            received.append(part)
            go_on.set()
    assert received == [b"first", b"second", b"third"]


@pytest.mark.parametrize(("method", "path", "status"), [("HEAD", "/hello", 200), ("GET", "/status/204", 204)])
async def test_exchange_without_content(chain: Chain, method: str, path: str, status: int):
    response = await chain.http.request(method, chain.url + path)
    assert (response.status_code, response.body) == (status, b"")
    assert chain.origin.connections == 1


async def test_trailers_reach_the_client(chain: Chain):
    response = await chain.http.request("GET", chain.url + "/trailers")
    assert response.body == TEXT
    assert list(response.trailers) == [(b"content-sha256", hashlib.sha256(TEXT).hexdigest().encode())]


async def test_early_hints_reach_the_client(chain: Chain):
    events: list[httpcore.TraceEvent] = []
    response = await chain.http.request("GET", chain.url + "/hints", trace=events.append)
    assert response.body == b"Hello, world"
    names = [event.name for event in events if event.name.startswith("response.")]
    assert names == ["response.informational_received", "response.head_received", "response.complete"]


async def test_early_refusal_reaches_the_client(chain: Chain):
    async def endless() -> AsyncIterator[bytes]:
        while True:
            yield bytes(65536)

    response = await chain.http.request("POST", chain.url + "/refuse-late", body=endless)
    assert (response.status_code, response.body) == (413, b"too large")
    # The stream was reset, and not the connection.
    assert (await chain.http.request("GET", chain.url + "/hello")).status_code == 200
    assert chain.origin.connections == 1


async def test_fifty_requests_at_once_share_a_connection(chain: Chain):
    async with asyncio.TaskGroup() as group:
        tasks = [
            group.create_task(chain.http.request("POST", chain.url + "/upload", body=b"x" * index))
            for index in range(50)
        ]
    assert [json.loads(task.result().body)["size"] for task in tasks] == list(range(50))
    assert chain.origin.connections == 1
    assert chain.gateway.http.num_connections == 1


async def test_client_that_disconnects_in_the_middle_of_a_download_resets_one_stream(chain: Chain):
    other = await chain.http.request("GET", f"{chain.url}/bytes/{_SIZE}", stream=True)
    async with await chain.http.request("GET", chain.url + "/wait", stream=True) as response:
        async for part in response.raw():
            assert part == b"begun"
            break
    assert await chain.app.ended == ("http.disconnect", False)
    assert hashlib.sha256(await other.read()).hexdigest() == sha256(_SIZE)
    assert (await chain.http.request("GET", chain.url + "/hello")).body == b"Hello, world"
    assert chain.origin.connections == 1


async def test_client_that_disconnects_in_the_middle_of_an_upload_resets_one_stream(chain: Chain):
    async def body() -> AsyncIterator[bytes]:
        yield b"begun"
        await asyncio.Event().wait()

    uploading = asyncio.create_task(chain.http.request("POST", chain.url + "/wait", body=body))
    await chain.app.reached.wait()
    uploading.cancel()
    await asyncio.wait([uploading])
    # The upstream must not take what came for the whole.
    assert await chain.app.ended == ("http.disconnect", False)
    assert (await chain.http.request("GET", chain.url + "/hello")).body == b"Hello, world"
    assert chain.origin.connections == 1


async def test_client_that_does_not_read_holds_up_nobody_else(chain: Chain):
    size = 8_000_000
    async with await chain.http.request("GET", f"{chain.url}/bytes/{size}", stream=True) as slow:
        for _ in range(3):
            async with asyncio.TaskGroup() as group:
                tasks = [group.create_task(chain.http.request("GET", f"{chain.url}/bytes/{_SIZE}")) for _ in range(3)]
            assert {hashlib.sha256(task.result().body).hexdigest() for task in tasks} == {sha256(_SIZE)}
        assert chain.origin.connections == 1
        assert hashlib.sha256(await slow.read()).hexdigest() == sha256(size)


async def test_upload_that_the_upstream_does_not_take_holds_up_nobody_else(chain: Chain):
    async def endless() -> AsyncIterator[bytes]:
        while True:
            yield bytes(65536)

    response = await chain.http.request("POST", chain.url + "/leave-it", body=endless, stream=True)
    async with response, asyncio.TaskGroup() as group:
        tasks = [
            group.create_task(chain.http.request("POST", chain.url + "/upload", body=lambda: blocks(_SIZE)))
            for _ in range(3)
        ]
    assert {json.loads(task.result().body)["sha256"] for task in tasks} == {sha256(_SIZE)}
    assert chain.origin.connections == 1


async def test_upstream_that_goes_away_is_connected_to_anew(chain: Chain):
    assert (await chain.http.request("GET", chain.url + "/hello")).status_code == 200
    chain.origin.opened[0].leave()
    assert (await chain.http.request("POST", chain.url + "/upload", body=b"whole")).status_code == 200
    assert chain.origin.connections == 2


async def test_upstream_that_resets_a_stream_cuts_that_client_off(chain: Chain):
    other = await chain.http.request("GET", f"{chain.url}/bytes/{_SIZE}", stream=True)
    with pytest.raises(httpcore.RemoteProtocolError):
        await chain.http.request("GET", chain.url + "/break")
    assert hashlib.sha256(await other.read()).hexdigest() == sha256(_SIZE)
    assert chain.origin.connections == 1


async def test_environment_says_that_an_upstream_without_tls_speaks_http2(uvicorn_server: UvicornServer):
    async with asgi_server_h2(origin_app.app) as origin:
        environment = {"UPSTREAM": origin.url, "UPSTREAM_HTTP2": "1"}
        url = uvicorn_server("gateway:app", app_dir=_ROOT / "examples", env=environment)
        async with httpcore.ConnectionPool() as http:
            response = await http.request("GET", url + "/hello")
        assert (response.body, response.headers["via"]) == (b"Hello, world", "2 gateway")
