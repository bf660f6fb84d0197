"""Who negotiates a content coding, decodes it: the table of DESIGN 4.2, cell by cell, and its edges.

A row says, for how a request was made, what the server is offered and whether the content is decoded. A column says
what the server does whatever it was offered. Each cell is one test.
"""

from __future__ import annotations

import asyncio
import codecs
import gzip
import zlib
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass

import brotli
import pytest

from httpcore import ConnectionPool, DecodingError, Response, ResponseTooLarge, StreamConsumed
from httpcore.decoders import accept_encoding
from httpcore.testing import MemoryConnector
from tests.h11_server import Answer, Asked, Pairs, memory_pool

URL = "http://example.org/"
TEXT = b"The quick brown fox jumps over the lazy dog. " * 50


def br(data: bytes) -> bytes:
    return bytes(brotli.compress(data, quality=5))


# The rows

OURS = accept_encoding()
THEIRS = b"gzip;q=0.5, x-rot13"

NOBODY: dict[str, str] = {}
CALLER = {"Accept-Encoding": THEIRS.decode()}

STREAMED, BUFFERED = True, False


@dataclass(frozen=True)
class Row:
    stream: bool
    headers: dict[str, str]
    decode: bool | None
    offered: bytes | None
    decoded: bool

    def __str__(self) -> str:
        how = "streamed" if self.stream else "buffered"
        return f"{how}, {'caller' if self.headers else 'nobody'} sent accept-encoding, decode={self.decode}"


ROWS = [
    # how the request was made        what the server is offered, and whether its coding is undone
    Row(BUFFERED, NOBODY, None, OURS, True),
    Row(BUFFERED, NOBODY, True, OURS, True),
    Row(BUFFERED, NOBODY, False, None, False),
    Row(BUFFERED, CALLER, None, THEIRS, True),
    Row(BUFFERED, CALLER, True, THEIRS, True),
    Row(BUFFERED, CALLER, False, THEIRS, False),
    Row(STREAMED, NOBODY, None, None, True),
    Row(STREAMED, NOBODY, True, OURS, True),
    Row(STREAMED, NOBODY, False, None, False),
    Row(STREAMED, CALLER, None, THEIRS, False),
    Row(STREAMED, CALLER, True, THEIRS, True),
    Row(STREAMED, CALLER, False, THEIRS, False),
]


# The columns


@dataclass(frozen=True)
class Column:
    name: str
    fields: list[bytes]
    wire: bytes
    coded: bool  # in a way that can be undone here

    def __str__(self) -> str:
        return self.name


COLUMNS = [
    Column("plain", [], TEXT, False),
    Column("identity", [b"identity"], TEXT, False),
    Column("gzip", [b"gzip"], gzip.compress(TEXT), True),
    Column("GZIP, in capitals", [b"GZIP"], gzip.compress(TEXT), True),
    Column("br", [b"br"], br(TEXT), True),
    Column("deflate", [b"deflate"], zlib.compress(TEXT), True),
    Column("gzip, then br, in one field", [b"gzip, br"], br(gzip.compress(TEXT)), True),
    Column("gzip, then br, in two fields", [b"gzip", b"br"], br(gzip.compress(TEXT)), True),
    Column("unknown", [b"x-rot13"], codecs.encode(TEXT.decode(), "rot13").encode(), False),
    Column("gzip, then unknown", [b"gzip, x-rot13"], gzip.compress(TEXT)[::-1], False),
]


# Their cells


@dataclass
class Cell:
    """What the pool and the server do together in one cell."""

    row: Row
    column: Column
    pool: ConnectionPool
    asked: list[Asked]

    async def request(self) -> Response:
        response = await self.pool.request("GET", URL, self.row.headers, stream=self.row.stream, decode=self.row.decode)
        assert self.asked[-1].get(b"accept-encoding") == self.row.offered
        return response

    @property
    def undone(self) -> bool:
        return self.row.decoded and self.column.coded

    @property
    def content(self) -> bytes:
        return TEXT if self.undone else self.column.wire

    @property
    def wire_headers(self) -> Pairs:
        length = (b"Content-Length", b"%d" % len(self.column.wire))
        return [*((b"Content-Encoding", value) for value in self.column.fields), length, (b"X-Other", b"kept")]

    @property
    def headers(self) -> Pairs:
        lower = [(name.lower(), value) for name, value in self.wire_headers]
        return lower[-1:] if self.undone else lower


@pytest.fixture(params=COLUMNS, ids=str)
def column(request: pytest.FixtureRequest) -> Column:
    value = request.param
    assert isinstance(value, Column)
    return value


@pytest.fixture(params=ROWS, ids=str)
async def cell(request: pytest.FixtureRequest, column: Column) -> AsyncIterator[Cell]:
    def app(asked: Asked) -> Answer:
        made.asked.append(asked)
        return Answer(headers=made.wire_headers, body=column.wire)

    async with memory_pool(app) as (pool, server):
        made = Cell(request.param, column, pool, [])
        yield made
        assert pool.num_keepalive_connections == len(server.peers) == 1  # every cell ends cleanly


async def gathered(parts: AsyncIterator[bytes]) -> bytes:
    return b"".join([part async for part in parts])


async def test_cell_of_the_table(cell: Cell) -> None:
    response = await cell.request()
    assert response.headers == cell.headers
    assert response.raw_headers == cell.wire_headers
    assert hasattr(response, "body") is (cell.row.stream is BUFFERED)
    assert await response.read() == response.body == cell.content
    assert response.headers == cell.headers

    response = await cell.request()
    assert await gathered(response.stream()) == cell.content

    response = await cell.request()
    if cell.row.stream is BUFFERED and cell.undone:  # what came was decoded into the body, and not kept
        with pytest.raises(StreamConsumed):
            await gathered(response.raw())
    else:
        assert await gathered(response.raw()) == cell.column.wire


# Edges


@pytest.mark.parametrize("decode", [None, True])
@pytest.mark.parametrize("method, status_code", [("HEAD", 200), ("HEAD", 206), ("GET", 204), ("GET", 304)])
@pytest.mark.parametrize("stream", [False, True])
async def test_response_that_has_no_content_keeps_its_headers(
    method: str, status_code: int, stream: bool, decode: bool | None
) -> None:
    headers: Pairs = [(b"content-encoding", b"gzip")]
    if status_code != 204:
        headers.append((b"content-length", b"1234"))
    async with memory_pool(lambda asked: Answer(status_code, headers)) as (pool, _):
        for _ in range(2):  # on one connection
            response = await pool.request(method, URL, stream=stream, decode=decode)
            assert response.headers == response.raw_headers == headers
            assert await response.read() == b""
        assert pool.num_connections == 1


@pytest.mark.parametrize("stream", [False, True])
async def test_coded_response_of_no_bytes_is_empty(stream: bool) -> None:
    async with memory_pool(lambda asked: Answer(headers=[(b"content-encoding", b"gzip")])) as (pool, _):
        response = await pool.request("GET", URL, stream=stream)
        assert await response.read() == b""


@pytest.mark.parametrize("decode", [None, True])
async def test_part_of_coded_content_is_left_as_it_is(decode: bool | None) -> None:
    part = gzip.compress(b"some content")[4:9]
    headers: Pairs = [(b"content-encoding", b"gzip"), (b"content-range", b"bytes 4-8/32"), (b"content-length", b"5")]
    async with memory_pool(lambda asked: Answer(206, headers, part)) as (pool, _):
        response = await pool.request("GET", URL, {"Range": "bytes=4-8"}, decode=decode)
        assert response.body == part
        assert response.headers == headers


@pytest.mark.parametrize("name", ["Range", "range"])
@pytest.mark.parametrize("decode", [None, True])
async def test_range_is_asked_for_without_an_offer(name: str, decode: bool | None) -> None:
    async with memory_pool(lambda asked: Answer(206, body=b"quick")) as (pool, server):
        response = await pool.request("GET", URL, {name: "bytes=4-8"}, decode=decode)
        assert response.body == b"quick"
        assert server.asked[0].get(b"accept-encoding") is None
        assert server.asked[0].get(b"range") == b"bytes=4-8"


async def test_offer_comes_last_and_leaves_the_request_alone() -> None:
    async with memory_pool() as (pool, server):
        await pool.request("POST", URL, {"X-One": "1"}, b"x")
        names = [name for name, _ in server.asked[0].headers]
        assert names == [b"host", b"x-one", b"content-length", b"accept-encoding"]


@pytest.mark.parametrize("value", ["identity", "", "*;q=0"])
async def test_callers_offer_is_sent_as_it_is_even_where_it_refuses_all(value: str) -> None:
    async with memory_pool() as (pool, server):
        await pool.request("GET", URL, {"accept-ENCODING": value})
        assert server.asked[0].get(b"accept-encoding") == value.encode()


BROKEN = {
    "gzip cut off": (b"gzip", gzip.compress(TEXT)[:-1]),
    "gzip without its trailer": (b"gzip", gzip.compress(TEXT)[:-8]),
    "gzip with a wrong checksum": (b"gzip", gzip.compress(TEXT)[:-8] + bytes(8)),
    "gzip that is none": (b"gzip", TEXT),
    "gzip with something behind it": (b"gzip", gzip.compress(TEXT) + TEXT),
    "deflate cut off": (b"deflate", zlib.compress(TEXT)[:-5]),
    "deflate that is none": (b"deflate", b"\xff" * 100),
    "br cut off": (b"br", br(TEXT)[:-1]),
    "br that is none": (b"br", b"\xff" * 100),
    "br around a gzip cut off": (b"gzip, br", br(gzip.compress(TEXT)[:-1])),
    "br cut off around gzip": (b"gzip, br", br(gzip.compress(TEXT))[:-1]),
}


@pytest.mark.parametrize("coding, wire", BROKEN.values(), ids=BROKEN)
@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("segment", [None, 1], ids=["at once", "byte by byte"])
async def test_broken_content_is_a_decoding_error_and_the_response_is_over(
    coding: bytes, wire: bytes, stream: bool, segment: int | None
) -> None:
    async with memory_pool(
        lambda asked: Answer(headers=[(b"content-encoding", coding)], body=wire), segment=segment
    ) as (
        pool,
        _,
    ):
        if stream:
            response = await pool.request("GET", URL, stream=True)
            with pytest.raises(DecodingError):
                await gathered(response.stream())
            assert not hasattr(response, "body")
        else:
            with pytest.raises(DecodingError):
                await pool.request("GET", URL)


@pytest.mark.parametrize("stream", [False, True])
async def test_broken_content_that_goes_on_closes_the_connection(stream: bool) -> None:
    async def ask(pool: ConnectionPool) -> None:
        response = await pool.request("GET", URL, stream=stream)
        await response.read()

    async with MemoryConnector() as connector, ConnectionPool(connector=connector) as pool:
        asking = asyncio.create_task(ask(pool))
        peer = await connector.accept()
        await peer.receive_until(b"\r\n\r\n")
        peer.send(b"HTTP/1.1 200 OK\r\ncontent-encoding: gzip\r\ncontent-length: 1000000\r\n\r\nnot gzip")
        with pytest.raises(DecodingError) as caught:
            await asking
        assert await peer.receive_eof() == b""
        await connector.all_closed()
        assert pool.num_connections == 0
    assert "gzip" in str(caught.value)


@pytest.mark.parametrize("codings", [b"gzip, gzip, gzip, gzip, gzip, gzip", b"x, x, x, x, x, x"])
@pytest.mark.parametrize("stream", [False, True])
async def test_six_codings_are_refused_and_the_connection_closed(codings: bytes, stream: bool) -> None:
    async with memory_pool(lambda asked: Answer(headers=[(b"content-encoding", codings)], body=TEXT)) as (pool, server):
        with pytest.raises(DecodingError, match="coded 6 times, more than 5"):
            await pool.request("GET", URL, stream=stream)
        await server.peers[0].lost
        await server.all_closed()
        assert pool.num_connections == 0


async def test_six_codings_are_left_alone_where_nothing_is_decoded() -> None:
    headers = [(b"content-encoding", b"gzip, gzip, gzip, gzip, gzip, gzip")]
    async with memory_pool(lambda asked: Answer(headers=headers, body=TEXT)) as (pool, _):
        assert (await pool.request("GET", URL, decode=False)).body == TEXT


async def test_five_codings_are_undone() -> None:
    wire = TEXT
    for _ in range(5):
        wire = gzip.compress(wire)
    headers = [(b"content-encoding", b"gzip, gzip"), (b"content-encoding", b"x-gzip,,gzip , gzip")]
    async with memory_pool(lambda asked: Answer(headers=headers, body=wire)) as (pool, _):
        assert (await pool.request("GET", URL)).body == TEXT


@pytest.mark.parametrize("coding, encode", [(b"gzip", gzip.compress), (b"deflate", zlib.compress), (b"br", br)])
async def test_bomb_stops_at_max_body_size(coding: bytes, encode: Callable[[bytes], bytes]) -> None:
    wire = encode(bytes(20 * 1024 * 1024))
    async with memory_pool(lambda asked: Answer(headers=[(b"content-encoding", coding)], body=wire)) as (pool, _):
        with pytest.raises(ResponseTooLarge, match="over max_body_size, 1048576 bytes"):
            await pool.request("GET", URL)


async def test_bomb_read_as_a_stream_comes_in_small_pieces() -> None:
    wire = gzip.compress(bytes(10 * 1024 * 1024))
    async with memory_pool(lambda asked: Answer(headers=[(b"content-encoding", b"gzip")], body=wire)) as (pool, _):
        response = await pool.request("GET", URL, stream=True)
        sizes = [len(part) async for part in response.stream()]
        assert sum(sizes) == 10 * 1024 * 1024
        assert max(sizes) <= 64 * 1024
