"""One request and its response, whole."""

from __future__ import annotations

import asyncio
import hashlib
import io
import json
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

import httpcore
from tests.behaviours.blocking import async_only
from tests.behaviours.ways import Server, duplex, extended, trailed
from tests.content import blocks, sha256
from tests.origin_app import TEXT


async def test_get(http: httpcore.ConnectionPool, server: Server):
    response = await http.request("GET", server.url + "/hello")
    assert response.status_code == 200
    assert response.http_version == server.http_version
    assert response.headers["content-type"] == "text/plain"
    assert response.body == b"Hello, world"
    assert response.trailers == []


async def test_trailers_of_one_response_are_not_those_of_another(http: httpcore.ConnectionPool, server: Server):
    first = await http.request("GET", server.url + "/hello")
    first.trailers.append((b"mine", b"1"))
    second = await http.request("GET", server.url + "/hello")
    assert second.trailers == []


async def test_method_target_and_fields_arrive_as_they_were_given(http: httpcore.ConnectionPool, server: Server):
    headers: list[tuple[str | bytes, str | bytes]] = [
        ("X-One", "1"),
        (b"x-two", b"2a"),
        ("x-two", "2b"),
        ("user-agent", "test"),
    ]
    response = await http.request("QUERY", server.url + "/upload/a%2Fb;c?d=%20&e=f?g#fragment", headers)
    report = json.loads(response.body)
    assert report["method"] == "QUERY"
    assert report["target"].removeprefix("/app") == "/upload/a%2Fb;c?d=%20&e=f?g"
    fields = [(name, value) for name, value in report["headers"] if name in ("x-one", "x-two", "user-agent")]
    assert fields == [("x-one", "1"), ("x-two", "2a"), ("x-two", "2b"), ("user-agent", "test")]


async def _async_chunks() -> AsyncIterator[bytes]:
    for chunk in (b"some ", b"content"):
        yield chunk


def _chunks() -> Iterator[bytes]:
    yield from (b"some ", b"content")


@pytest.mark.parametrize(
    "body",
    [b"some content", "some content", _async_chunks, _chunks, lambda: [b"some content"], io.BytesIO(b"some content")],
    ids=["bytes", "str", "async generator function", "generator function", "callable", "file"],
)
async def test_post_with_every_kind_of_body(http: httpcore.ConnectionPool, server: Server, body: object):
    response = await http.request("POST", server.url + "/upload", body=body)  # type: ignore[arg-type]  # BodyTypes
    report = json.loads(response.body)
    assert (report["size"], report["sha256"]) == (12, hashlib.sha256(b"some content").hexdigest())


async def test_file_is_sent_with_its_length(http: httpcore.ConnectionPool, server: Server, tmp_path: Path):
    size = 300_000
    with (tmp_path / "file").open("wb") as file:
        file.writelines(blocks(size))
    with (tmp_path / "file").open("rb") as file:
        response = await http.request("PUT", server.url + "/upload", body=file)
    report = json.loads(response.body)
    assert dict(report["headers"])["content-length"] == str(size)
    assert (report["size"], report["sha256"]) == (size, sha256(size))


@pytest.mark.parametrize("method", ["GET", "HEAD", "DELETE", "OPTIONS"])
async def test_empty_stream_sends_no_body(http: httpcore.ConnectionPool, server: Server, method: str):
    async def nothing() -> AsyncIterator[bytes]:
        return
        yield b""

    response = await http.request(method, server.url + "/upload", body=nothing)
    assert response.status_code == 200
    if method != "HEAD":
        report = json.loads(response.body)
        assert report["size"] == 0
        assert not {"transfer-encoding", "content-length"} & set(dict(report["headers"]))


async def test_head_has_the_fields_and_no_content(http: httpcore.ConnectionPool, server: Server):
    response = await http.request("HEAD", server.url + "/hello")
    assert (response.status_code, response.body) == (200, b"")
    assert response.headers["content-length"] == "12"
    assert (await http.request("GET", server.url + "/hello")).body == b"Hello, world"


@pytest.mark.parametrize("status", [204, 304])
async def test_status_without_content(http: httpcore.ConnectionPool, server: Server, status: int):
    response = await http.request("GET", f"{server.url}/status/{status}")
    assert (response.status_code, response.body) == (status, b"")
    assert (await http.request("GET", server.url + "/hello")).body == b"Hello, world"


@pytest.mark.parametrize("status", [200, 201, 301, 400, 404, 418, 500, 503])
async def test_status_is_reported_and_never_raised(http: httpcore.ConnectionPool, server: Server, status: int):
    response = await http.request("GET", f"{server.url}/status/{status}")
    assert (response.status_code, response.body) == (status, b"status %d" % status)


@pytest.mark.parametrize("size", [0, 1, 65_535, 65_536, 1_000_003])
@pytest.mark.parametrize("kind", ["bytes", "chunked"])
async def test_content_of_any_size(http: httpcore.ConnectionPool, server: Server, kind: str, size: int):
    response = await http.request("GET", f"{server.url}/{kind}/{size}")
    assert len(response.body) == size
    assert hashlib.sha256(response.body).hexdigest() == sha256(size)


async def test_coded_content_is_decoded(http: httpcore.ConnectionPool, server: Server):
    response = await http.request("GET", server.url + "/gzip")
    assert response.body == TEXT
    assert "content-encoding" not in response.headers
    assert (b"content-encoding", b"gzip") in [(name.lower(), value) for name, value in response.raw_headers]


async def test_max_body_size_is_an_error_when_it_is_passed(http: httpcore.ConnectionPool, server: Server):
    with pytest.raises(httpcore.ResponseTooLarge):
        await http.request("GET", server.url + "/bytes/1000003", max_body_size=1_000_002)
    response = await http.request("GET", server.url + "/bytes/1000003", max_body_size=1_000_003)
    assert len(response.body) == 1_000_003


@trailed
async def test_trailers_are_received(http: httpcore.ConnectionPool, server: Server):
    response = await http.request("GET", server.url + "/trailers")
    assert response.body == TEXT
    assert response.trailers == [(b"content-sha256", hashlib.sha256(TEXT).hexdigest().encode())]


@trailed
async def test_trailers_are_sent(http: httpcore.ConnectionPool, server: Server):
    response = await http.request("POST", server.url + "/upload", body=_async_chunks, trailers={"x-trailer": "last"})
    report = json.loads(response.body)
    assert report["size"] == 12
    assert report["trailers"] == [["x-trailer", "last"]]


class _Recorder(httpcore.ResponseHandler):
    """Keeps what it is told, in order."""

    def __init__(self) -> None:
        self.told: list[object] = []
        self.done: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def informational_received(self, status_code: int, headers: httpcore.Headers) -> None:
        self.told.append((status_code, headers.get_list("link")))

    def response_received(self, head: httpcore.ResponseHead) -> None:
        self.told.append(head.status_code)

    def data_received(self, data: bytes) -> None:
        self.told.append(data)

    def response_complete(self, trailers: httpcore.Headers) -> None:
        self.done.set_result(None)

    def exchange_failed(self, exc: BaseException) -> None:
        self.done.set_exception(exc)


@async_only("interim responses are heard of by dispatch, whose callbacks are the loop's")
@extended
async def test_interim_responses_come_before_the_final_one(http: httpcore.ConnectionPool, server: Server):
    handler = _Recorder()
    http.dispatch(httpcore.Request("GET", server.url + "/hints"), handler)
    await handler.done
    links = ["</style.css>; rel=preload; as=style", "</script.js>; rel=preload; as=script"]
    assert handler.told == [(103, links), 200, b"Hello, world"]


@duplex
async def test_body_waits_for_100_continue(http: httpcore.ConnectionPool, server: Server):
    # With this long to wait, a body that was sent unasked would not be there in time.
    timeout = httpcore.TimeoutConfig(5.0, continue_timeout=1000.0)
    response = await http.request(
        "POST", server.url + "/upload", {"expect": "100-continue"}, b"some content", timeout=timeout
    )
    assert json.loads(response.body)["size"] == 12


@duplex
async def test_refusal_in_place_of_100_continue_keeps_the_body_back(http: httpcore.ConnectionPool, server: Server):
    asked = False

    async def body() -> AsyncIterator[bytes]:
        nonlocal asked
        asked = True
        yield b"some content"

    timeout = httpcore.TimeoutConfig(5.0, continue_timeout=1000.0)
    response = await http.request("POST", server.url + "/refuse", {"expect": "100-continue"}, body, timeout=timeout)
    assert (response.status_code, response.body) == (413, b"too large")
    assert not asked
