"""Content that is read and sent piece by piece."""

from __future__ import annotations

import asyncio
import gzip
import hashlib
import json
from collections.abc import AsyncIterator

import pytest

import httpcore
from tests.behaviours.blocking import async_only
from tests.behaviours.ways import Server, cutting, duplex
from tests.content import blocks, sha256
from tests.origin_app import TEXT

_SIZE = 20_000_003


@pytest.mark.parametrize("kind", ["bytes", "chunked"])
async def test_download(http: httpcore.ConnectionPool, server: Server, kind: str):
    digest, size = hashlib.sha256(), 0
    async with await http.request("GET", f"{server.url}/{kind}/{_SIZE}", stream=True) as response:
        async for part in response.stream():
            digest.update(part)
            size += len(part)
    assert (size, digest.hexdigest()) == (_SIZE, sha256(_SIZE))


@pytest.mark.parametrize("headers", [{}, {"content-length": str(_SIZE)}], ids=["chunked", "with its length"])
async def test_upload(http: httpcore.ConnectionPool, server: Server, headers: dict[str, str]):
    response = await http.request("POST", server.url + "/upload", headers, lambda: blocks(_SIZE))
    report = json.loads(response.body)
    assert (report["size"], report["sha256"]) == (_SIZE, sha256(_SIZE))


@async_only("a body and who reads are of one thread: neither may wait for the other")
async def test_response_is_delivered_while_the_request_is_sent(http: httpcore.ConnectionPool, server: Server):
    pieces = [b"first", b"second", b"third"]
    received: list[bytes] = []
    arrived = asyncio.Event()

    async def body() -> AsyncIterator[bytes]:
        for piece in pieces:
            yield piece
            await arrived.wait()  # of its echo
            arrived.clear()

    async with await http.request("POST", server.url + "/echo", body=body, stream=True) as response:
        async for part in response.stream():
            received.append(part)
            arrived.set()
    assert received == pieces


@duplex
async def test_large_content_goes_both_ways_at_once(http: httpcore.ConnectionPool, server: Server):
    digest = hashlib.sha256()
    async with await http.request("POST", server.url + "/echo", body=lambda: blocks(_SIZE), stream=True) as response:
        async for part in response.stream():
            digest.update(part)
    assert digest.hexdigest() == sha256(_SIZE)


class _Echoed(httpcore.ResponseHandler):
    """Pushes a body with callbacks, and hashes what comes back."""

    def __init__(self, size: int) -> None:
        self.chunks = blocks(size)
        self.digest = hashlib.sha256()
        self.writing = True
        self.done: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def exchange_started(self, exchange: httpcore.Exchange) -> None:
        self.exchange = exchange
        asyncio.get_running_loop().call_soon(self.push)

    def push(self) -> None:
        while self.writing:
            chunk = next(self.chunks, None)
            if chunk is None:
                self.exchange.write_eof()
                return
            self.exchange.write(chunk)

    def pause_writing(self) -> None:
        self.writing = False

    def resume_writing(self) -> None:
        self.writing = True
        asyncio.get_running_loop().call_soon(self.push)

    def data_received(self, data: bytes) -> None:
        self.digest.update(data)

    def response_complete(self, trailers: httpcore.Headers) -> None:
        self.done.set_result(None)

    def exchange_failed(self, exc: BaseException) -> None:
        self.done.set_exception(exc)


@async_only("the callbacks of dispatch are the loop's")
async def test_callbacks_push_and_receive(http: httpcore.ConnectionPool, server: Server):
    handler = _Echoed(3_000_000)
    http.dispatch(httpcore.Request("POST", server.url + "/echo", body=httpcore.PUSHED), handler)
    await handler.done
    assert handler.digest.hexdigest() == sha256(3_000_000)


async def test_raw_gives_coded_content_as_it_came(http: httpcore.ConnectionPool, server: Server):
    async with await http.request("GET", server.url + "/gzip", {"accept-encoding": "gzip"}, stream=True) as response:
        content = b"".join([part async for part in response.raw()])
    assert response.headers["content-encoding"] == "gzip"
    assert gzip.decompress(content) == TEXT


async def test_stream_decodes_what_nobody_asked_to_be_coded(http: httpcore.ConnectionPool, server: Server):
    async with await http.request("GET", server.url + "/gzip/always", stream=True) as response:
        content = b"".join([part async for part in response.stream()])
    assert "content-encoding" not in response.headers
    assert content == TEXT


@duplex
@pytest.mark.parametrize("path", ["/refuse", "/refuse-late"])
async def test_early_refusal_arrives_and_stops_the_upload(http: httpcore.ConnectionPool, server: Server, path: str):
    # As long as the body is not begun: a refusal that needs nothing of it may be faster than that.
    unread = asyncio.Event()
    unread.set()

    async def endless() -> AsyncIterator[bytes]:
        unread.clear()
        try:
            while True:
                yield bytes(65_536)
        finally:
            unread.set()

    response = await http.request("POST", server.url + path, body=endless)
    assert (response.status_code, response.body) == (413, b"too large")
    await unread.wait()


async def test_error_of_a_body_is_raised_and_leaves_the_pool_usable(http: httpcore.ConnectionPool, server: Server):
    class BrokenDiskError(Exception):
        pass

    async def body() -> AsyncIterator[bytes]:
        yield b"begun"
        raise BrokenDiskError

    with pytest.raises(BrokenDiskError):
        await http.request("POST", server.url + "/upload", body=body)
    assert (await http.request("GET", server.url + "/hello")).body == b"Hello, world"


@cutting
async def test_response_that_is_broken_off_is_an_error(http: httpcore.ConnectionPool, server: Server):
    with pytest.raises(httpcore.RemoteProtocolError) as caught:
        await http.request("GET", server.url + "/break")
    assert caught.value.phase == httpcore.Phase.RECEIVING_BODY
    assert caught.value.request_sent
