"""HTTP/2 with servers that others have written: nginx, nghttpd, h2o, hypercorn and Node's."""

from __future__ import annotations

import asyncio
import hashlib
import json
import uuid

import pytest

import httpcore
from tests.conftest import TLSFiles
from tests.content import blocks, sha256
from tests.servers import MEDIUM
from tests.servers_h2 import H2Server

_UPLOAD = 1_000_003
# As small as they may be: what is not credited is missed soon.
_SMALL_WINDOWS = httpcore.HTTP2Config(stream_window=65_535, max_stream_window=65_535, connection_window=65_535)

_SERVERS = ["nginx_h2", "nghttpd", "h2o", "hypercorn", "node_h2"]


@pytest.fixture(params=_SERVERS)
def server(request: pytest.FixtureRequest) -> H2Server:
    found = request.getfixturevalue(request.param)
    assert isinstance(found, H2Server)
    return found


@pytest.fixture(params=["tls", "plain"])
def url(request: pytest.FixtureRequest, server: H2Server) -> str:
    """Where the server is: over TLS, and without."""
    return server.h2_url if request.param == "tls" else server.h2c_url


def _pool(url: str, tls: TLSFiles, http2: httpcore.HTTP2Config | None = None) -> httpcore.ConnectionPool:
    config = http2 or httpcore.HTTP2Config()
    if url.startswith("http:"):
        return httpcore.ConnectionPool(http1=False, http2=config)
    return httpcore.ConnectionPool(httpcore.SSLConfig(verify=tls.ca_path), http2=config)


def _connection_of(response: httpcore.Response) -> int:
    assert response.exchange is not None
    assert response.exchange.connection_info is not None
    return response.exchange.connection_info.connection_id


async def _download(http: httpcore.ConnectionPool, url: str) -> httpcore.Response:
    """GETs `MEDIUM` bytes, and checks them."""
    digest, size = hashlib.sha256(), 0
    async with await http.request("GET", url, stream=True) as response:
        async for part in response.stream():
            digest.update(part)
            size += len(part)
    assert (size, digest.hexdigest()) == (MEDIUM, sha256(MEDIUM))
    return response


async def test_get_and_head(server: H2Server, url: str, tls: TLSFiles):
    async with _pool(url, tls) as http:
        got = await http.request("GET", url + server.hello)
        assert (got.status_code, got.http_version) == (200, b"HTTP/2")
        assert got.body.startswith(b"Hello, world")
        head = await http.request("HEAD", url + server.hello)
        assert (head.status_code, head.http_version, head.body) == (200, b"HTTP/2", b"")
        assert head.headers["content-length"] == str(len(got.body))
        assert _connection_of(head) == _connection_of(got)


async def test_upload_arrives_as_it_was_sent(server: H2Server, url: str, tls: TLSFiles):
    async with _pool(url, tls) as http:
        response = await http.request("POST", url + server.upload, body=lambda: blocks(_UPLOAD))
    assert (response.status_code, response.http_version) == (200, b"HTTP/2")
    if response.headers.get("content-type") == "application/json":
        report = json.loads(response.body)
        assert (report["size"], report["sha256"]) == (_UPLOAD, sha256(_UPLOAD))
    else:
        assert len(response.body) == _UPLOAD
        assert hashlib.sha256(response.body).hexdigest() == sha256(_UPLOAD)


async def test_download_arrives_as_it_was_sent(server: H2Server, url: str, tls: TLSFiles):
    async with _pool(url, tls) as http:
        response = await _download(http, url + server.download)
    assert response.http_version == b"HTTP/2"


async def test_requests_at_once_share_one_connection(server: H2Server, url: str, tls: TLSFiles):
    async with _pool(url, tls) as http:
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(http.request("GET", url + server.hello)) for _ in range(100)]
        responses = [task.result() for task in tasks]
        assert {response.status_code for response in responses} == {200}
        assert all(response.body.startswith(b"Hello, world") for response in responses)
        assert len({_connection_of(response) for response in responses}) == 1
        assert http.num_connections == 1


async def test_requests_one_after_another_share_one_connection(server: H2Server, url: str, tls: TLSFiles):
    async with _pool(url, tls) as http:
        connections = set()
        for _ in range(50):
            response = await http.request("GET", url + server.hello)
            assert response.body.startswith(b"Hello, world")
            connections.add(_connection_of(response))
    assert len(connections) == 1


async def test_windows_are_whole_after_many_early_closes(server: H2Server, url: str, tls: TLSFiles):
    async with _pool(url, tls, _SMALL_WINDOWS) as http:
        connections = set()
        for _ in range(200):
            async with await http.request("GET", url + server.more_than_a_window, stream=True) as response:
                assert response.status_code == 200
            connections.add(_connection_of(response))
        # Two hundred times 64 KiB would be missing of the connection's 64 KiB.
        connections.add(_connection_of(await _download(http, url + server.download)))
        assert http.num_connections == 1
    assert len(connections) == 1


async def test_downloads_at_once_with_one_that_is_not_read(server: H2Server, url: str, tls: TLSFiles):
    async with (
        _pool(url, tls) as http,
        await http.request("GET", url + server.download, stream=True) as unread,
    ):
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(_download(http, url + server.download)) for _ in range(2)]
        assert {_connection_of(task.result()) for task in tasks} == {_connection_of(unread)}
        assert hashlib.sha256(await unread.read()).hexdigest() == sha256(MEDIUM)


@pytest.mark.parametrize("server", ["nginx_h2", "nghttpd", "hypercorn", "node_h2"], indirect=True)
async def test_trailers_are_received(server: H2Server, url: str, tls: TLSFiles):
    assert server.trailers is not None
    async with _pool(url, tls) as http:
        response = await http.request("GET", url + server.trailers, {"te": "trailers"})
    assert response.status_code == 200
    expected = hashlib.sha256(response.body).hexdigest() if server.trailer_name == "content-sha256" else "last"
    assert response.trailers == [(server.trailer_name.encode(), expected.encode())]


# What Node does at a word: tests/node_h2_server.js.

of_node = pytest.mark.parametrize("server", ["node_h2"], indirect=True)


class _Interim(httpcore.ResponseHandler):
    def __init__(self) -> None:
        self.interim: list[tuple[int, str]] = []
        self.done: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def informational_received(self, status_code: int, headers: httpcore.Headers) -> None:
        self.interim.append((status_code, headers["link"]))

    def response_complete(self, trailers: httpcore.Headers) -> None:
        self.done.set_result(None)

    def exchange_failed(self, exc: BaseException) -> None:
        self.done.set_exception(exc)


@of_node
async def test_early_hints_come_before_the_response(url: str, tls: TLSFiles):
    async with _pool(url, tls) as http:
        handler = _Interim()
        http.dispatch(httpcore.Request("GET", url + "/hints"), handler)
        await handler.done
    assert handler.interim == [(103, "</style.css>; rel=preload; as=style")]


@of_node
@pytest.mark.parametrize(
    ("path", "code", "phase"),
    [
        ("/reset/11", "ENHANCE_YOUR_CALM", httpcore.Phase.RECEIVING_HEAD),
        ("/cut", "INTERNAL_ERROR", httpcore.Phase.RECEIVING_BODY),
    ],
    ids=["before the response", "in the middle of it"],
)
async def test_reset_fails_its_request_alone(url: str, tls: TLSFiles, path: str, code: str, phase: httpcore.Phase):
    async with (
        _pool(url, tls) as http,
        await http.request("GET", url + "/medium.bin", stream=True) as other,
    ):
        with pytest.raises(httpcore.RemoteProtocolError, match=code) as caught:
            await http.request("GET", url + path)
        assert caught.value.phase == phase
        assert hashlib.sha256(await other.read()).hexdigest() == sha256(MEDIUM)
        after = await http.request("GET", url + "/hello.txt")
        assert _connection_of(after) == _connection_of(other)


@of_node
async def test_refused_stream_is_sent_again_whatever_the_method(url: str, tls: TLSFiles):
    async with _pool(url, tls) as http, await http.request("GET", url + "/medium.bin", stream=True) as other:
        response = await http.request("POST", f"{url}/refuse/{uuid.uuid4()}", body=b"some content")
        assert response.body == b"after a refusal"
        assert hashlib.sha256(await other.read()).hexdigest() == sha256(MEDIUM)


@of_node
async def test_goaway_lets_open_streams_finish_and_moves_on(url: str, tls: TLSFiles):
    async with _pool(url, tls) as http:
        async with await http.request("GET", url + "/medium.bin", stream=True) as other:
            last = await http.request("GET", url + "/goaway")
            assert last.body == b"Hello, world!"
            after = await http.request("GET", url + "/hello.txt")
            assert hashlib.sha256(await other.read()).hexdigest() == sha256(MEDIUM)
        assert _connection_of(other) == _connection_of(last) != _connection_of(after)


@of_node
async def test_request_that_goaway_leaves_out_is_sent_again_whatever_the_method(url: str, tls: TLSFiles):
    async with _pool(url, tls) as http:
        before = await http.request("GET", url + "/hello.txt")
        response = await http.request("POST", f"{url}/left/{uuid.uuid4()}", body=b"some content")
        assert response.body == b"after GOAWAY"
        assert _connection_of(response) != _connection_of(before)
