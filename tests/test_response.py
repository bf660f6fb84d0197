"""Response: made by hand, and received through a pool: read, streamed, closed, dropped."""

from __future__ import annotations

import asyncio
import gc
import gzip
import tracemalloc
import warnings
import zlib
from collections.abc import AsyncIterable, AsyncIterator, Callable, Iterable, Iterator
from typing import cast

import h11
import pytest

from httpcore import (
    ConnectionPool,
    DecodingError,
    HTTPCoreError,
    LocalProtocolError,
    RemoteProtocolError,
    Response,
    ResponseClosed,
    ResponseNotRead,
    ResponseTooLarge,
    StreamConsumed,
)
from httpcore.testing import HTTP11Peer, MemoryConnector
from tests.h11_server import Answer, Asked, memory_pool

TEXT = b"Hello, world!"
GZIPPED = gzip.compress(TEXT, mtime=0)
URL = "http://example.org/"


async def gathered(parts: AsyncIterator[bytes]) -> bytes:
    return b"".join([part async for part in parts])


async def aparts(*parts: bytes) -> AsyncIterator[bytes]:
    for part in parts:
        await asyncio.sleep(0)
        yield part


# Made by hand


def test_response_by_hand_shows_what_it_was_given() -> None:
    headers: list[tuple[str | bytes, str | bytes]] = [("X-One", "1"), (b"x-two", b"2")]
    response = Response(404, headers, TEXT, reason=b"Not Found", http_version=b"HTTP/1.0")
    assert (response.status_code, response.reason, response.http_version) == (404, b"Not Found", b"HTTP/1.0")
    assert response.headers == [(b"x-one", b"1"), (b"x-two", b"2")]
    assert response.raw_headers == [(b"X-One", b"1"), (b"x-two", b"2")]
    assert response.headers["X-One"] == "1"
    assert response.body == TEXT
    assert repr(response) == "<Response 404>"


def test_response_by_hand_has_plain_defaults_and_belongs_to_no_exchange() -> None:
    response = Response(200)
    assert (response.reason, response.http_version, response.headers, response.body) == (b"", b"HTTP/1.1", [], b"")
    assert (response.exchange, response.request, response.upgraded, response.trailers) == (None, None, None, [])


def test_response_by_hand_takes_a_mapping_and_refuses_bad_headers() -> None:
    assert Response(200, {"Content-Type": "text/plain"}).headers["content-type"] == "text/plain"
    with pytest.raises(LocalProtocolError):
        Response(200, {"X": "a\r\nb"})
    with pytest.raises(TypeError, match="headers must be"):
        Response(200, cast("dict[str, str]", 1))


def test_response_by_hand_refuses_text() -> None:
    with pytest.raises(TypeError, match=r"body is bytes or an .async. iterable of bytes, not str"):
        Response(200, body=cast(bytes, "text"))


BODIES: dict[str, Callable[[], bytes | Iterable[bytes] | AsyncIterable[bytes]]] = {
    "bytes": lambda: TEXT,
    "list": lambda: [b"Hello, ", b"", b"world!"],
    "generator": lambda: (part for part in (b"Hello, ", b"world!")),
    "async generator": lambda: aparts(b"Hello, ", b"", b"world!"),
}


@pytest.mark.parametrize("make", BODIES.values(), ids=BODIES)
@pytest.mark.parametrize("how", ["stream", "raw", "read"])
async def test_response_by_hand_gives_its_body(make: Callable[[], bytes], how: str) -> None:
    response = Response(200, body=make())
    content = await response.read() if how == "read" else await gathered(getattr(response, how)())
    assert content == TEXT


@pytest.mark.parametrize("how", ["stream", "raw", "read"])
async def test_empty_body_by_hand_is_empty(how: str) -> None:
    for response in (Response(200), Response(200, body=[]), Response(200, body=[b"", b""])):
        content = await response.read() if how == "read" else await gathered(getattr(response, how)())
        assert content == b""


@pytest.mark.parametrize("make", [lambda: [TEXT], lambda: aparts(TEXT)])
async def test_body_before_it_was_read_is_an_attribute_that_is_missing(make: Callable[[], bytes]) -> None:
    response = Response(200, body=make())
    assert not hasattr(response, "body")
    with pytest.raises(ResponseNotRead, match=r"call `await response.read\(\)` first"):
        _ = response.body
    assert await response.read() == TEXT
    assert response.body == TEXT
    assert await response.read() == TEXT


async def test_bytes_by_hand_can_be_read_and_streamed_at_will() -> None:
    response = Response(200, body=TEXT)
    for _ in range(2):
        assert await gathered(response.stream()) == await gathered(response.raw()) == TEXT == await response.read()


CODED = [("Content-Encoding", "gzip"), ("Content-Length", str(len(GZIPPED))), ("X", "y")]


@pytest.mark.parametrize("make", [lambda: GZIPPED, lambda: [GZIPPED[:5], GZIPPED[5:]], lambda: aparts(GZIPPED)])
async def test_response_by_hand_decodes_as_its_headers_say(make: Callable[[], bytes]) -> None:
    assert await Response(200, CODED, make()).read() == TEXT
    assert await gathered(Response(200, CODED, make()).stream()) == TEXT
    assert await gathered(Response(200, CODED, make()).raw()) == GZIPPED
    response = Response(200, CODED, make())
    assert response.headers == [(b"x", b"y")]
    assert [name for name, _ in response.raw_headers] == [b"Content-Encoding", b"Content-Length", b"X"]
    assert not hasattr(response, "body")


async def test_raw_content_after_it_was_decoded_is_gone() -> None:
    response = Response(200, CODED, GZIPPED)
    assert await response.read() == TEXT
    assert await gathered(response.stream()) == TEXT
    with pytest.raises(StreamConsumed, match="was read already"):
        await gathered(response.raw())


@pytest.mark.parametrize("status_code", [101, 204, 304])
async def test_status_without_content_decodes_nothing(status_code: int) -> None:
    response = Response(status_code, CODED)
    assert response.headers["content-encoding"] == "gzip"
    assert await response.read() == b""


async def test_unknown_coding_by_hand_is_left_alone() -> None:
    response = Response(200, {"content-encoding": "x-rot13"}, b"Uryyb")
    assert response.body == await response.read() == b"Uryyb"
    assert response.headers["content-encoding"] == "x-rot13"


async def test_broken_content_by_hand_is_a_decoding_error() -> None:
    with pytest.raises(DecodingError):
        await Response(200, CODED, b"not gzip").read()
    with pytest.raises(DecodingError, match="cut off"):
        await Response(200, CODED, GZIPPED[:-1]).read()


@pytest.mark.parametrize("first", ["stream", "raw"])
@pytest.mark.parametrize("second", ["stream", "raw", "read"])
async def test_stream_by_hand_can_be_consumed_once(first: str, second: str) -> None:
    response = Response(200, body=[TEXT])
    assert await gathered(getattr(response, first)()) == TEXT
    with pytest.raises(StreamConsumed):
        await (response.read() if second == "read" else gathered(getattr(response, second)()))
    assert not hasattr(response, "body")


async def test_iterator_at_its_end_stays_there() -> None:
    response = Response(200, body=[TEXT])
    parts = response.stream()
    assert await gathered(parts) == TEXT
    await response.close()
    assert await anext(parts, None) is None
    served = Response(200, body=TEXT).stream()
    assert [await anext(served, None) for _ in range(3)] == [TEXT, None, None]


@pytest.mark.parametrize("how", ["stream", "raw", "read"])
@pytest.mark.parametrize("close", ["close", "aclose", "async with"])
async def test_closed_response_by_hand_gives_nothing_more(how: str, close: str) -> None:
    response = Response(200, body=[TEXT, TEXT])
    if close == "async with":
        async with response as entered:
            assert entered is response
    else:
        await getattr(response, close)()
        await getattr(response, close)()
    with pytest.raises(ResponseClosed, match="the response was closed"):
        await (response.read() if how == "read" else gathered(getattr(response, how)()))


async def test_response_closed_in_the_middle_does_not_seem_complete() -> None:
    response = Response(200, body=[TEXT, TEXT])
    parts = response.stream()
    assert await anext(parts) == TEXT
    await response.close()
    with pytest.raises(ResponseClosed):
        await anext(parts)


async def test_what_was_read_survives_the_close() -> None:
    async with Response(200, body=[TEXT]) as response:
        await response.read()
    assert response.body == await response.read() == TEXT


@pytest.mark.parametrize("asynchronous", [False, True])
async def test_generator_given_as_body_is_closed_with_the_response(asynchronous: bool) -> None:
    ended = []

    def parts() -> Iterator[bytes]:
        try:
            yield TEXT
            yield TEXT
        finally:
            ended.append(True)

    async def async_parts() -> AsyncIterator[bytes]:
        for part in parts():
            yield part

    response = Response(200, body=async_parts() if asynchronous else parts())
    async for _ in response.stream():
        break
    assert not ended
    await response.close()
    gc.collect()
    assert ended == [True]


async def test_iterator_without_aclose_is_dropped_at_close() -> None:
    class Parts:
        def __aiter__(self) -> Parts:
            return self

        async def __anext__(self) -> bytes:
            return TEXT

    response = Response(200, body=Parts())
    await response.close()
    with pytest.raises(ResponseClosed):
        await response.read()


async def test_error_of_the_given_iterator_is_raised_as_it_is() -> None:
    def parts() -> Iterator[bytes]:
        yield TEXT
        raise KeyError("mine")

    with pytest.raises(KeyError, match="mine"):
        await Response(200, body=parts()).read()


# Received

PARTS = [b"first ", b"second ", b"third"]


class Exchanged:
    """A streamed response whose server's end the test holds."""

    def __init__(self, pool: ConnectionPool, connector: MemoryConnector[HTTP11Peer]) -> None:
        self.pool = pool
        self.connector = connector

    async def begin(
        self, headers: list[tuple[str, str]] | None = None, *, max_body_size: int | None = None
    ) -> tuple[Response, HTTP11Peer]:
        """Asks, and answers with a head."""
        asking = asyncio.create_task(self.pool.request("GET", URL, stream=True, max_body_size=max_body_size))
        peer = await self.connector.accept()
        await peer.receive_request()
        peer.send_event(h11.Response(status_code=200, headers=headers or [("transfer-encoding", "chunked")]))
        return await asking, peer


@pytest.fixture
async def exchanged() -> AsyncIterator[Exchanged]:
    async with MemoryConnector(HTTP11Peer) as connector, ConnectionPool(connector=connector) as pool:
        yield Exchanged(pool, connector)
        await pool.close(force=True)
        await connector.all_closed()
        assert pool.num_connections == 0


def send_parts(peer: HTTP11Peer, *parts: bytes, end: bool = True) -> None:
    for part in parts:
        peer.send_event(h11.Data(data=part))
    if end:
        peer.send_event(h11.EndOfMessage())


async def until_idle(pool: ConnectionPool) -> None:
    """Lets the loop turn until the end of the response has come, which nobody reads."""
    while pool.num_keepalive_connections == 0:  # noqa: ASYNC110  # nothing else tells of it
        await asyncio.sleep(0)


async def assert_connection_gone(exchanged: Exchanged, peer: HTTP11Peer) -> None:
    await peer.closed()
    await exchanged.connector.all_closed()
    assert exchanged.pool.num_connections == 0


async def assert_connection_kept(exchanged: Exchanged, peer: HTTP11Peer) -> None:
    pool = exchanged.pool
    assert (pool.num_connections, pool.num_keepalive_connections) == (1, 1)
    asking = asyncio.create_task(pool.request("GET", URL))
    await peer.receive_request()
    peer.send_response(body=b"again")
    assert (await asking).body == b"again"
    assert len(exchanged.connector.peers) == 1


async def test_received_response_shows_where_it_came_from() -> None:
    def app(asked: Asked) -> Answer:
        return Answer(201, [(b"X-Case", b"kept")], TEXT)

    async with memory_pool(app) as (pool, server):
        response = await pool.request("POST", URL, body=b"x")
        assert (response.status_code, response.http_version, response.body) == (201, b"HTTP/1.1", TEXT)
        assert response.headers == [(b"x-case", b"kept"), (b"content-length", b"13")]
        assert response.raw_headers == [(b"X-Case", b"kept"), (b"content-length", b"13")]
        assert response.request is not None and response.request.method == b"POST"
        assert response.request.headers["accept-encoding"].encode() == server.asked[0].get(b"accept-encoding")
        assert response.exchange is not None and response.exchange.ended
        assert response.exchange.connection_info is not None
        assert response.upgraded is None
        assert repr(response) == "<Response 201>"


async def test_trailers_are_there_at_the_end(exchanged: Exchanged) -> None:
    response, peer = await exchanged.begin()
    assert response.trailers == []
    peer.send_event(h11.Data(data=TEXT))
    peer.send_event(h11.EndOfMessage(headers=[("Checksum", "1")]))
    assert await response.read() == TEXT
    assert response.trailers == [(b"checksum", b"1")]


@pytest.mark.parametrize("how", ["stream", "raw", "read"])
async def test_streamed_response_is_read_while_it_comes(exchanged: Exchanged, how: str) -> None:
    response, peer = await exchanged.begin()
    assert not hasattr(response, "body")

    async def read() -> bytes:
        return await response.read() if how == "read" else await gathered(getattr(response, how)())

    reading = asyncio.create_task(read())
    for part in PARTS:
        send_parts(peer, part, end=False)
        await asyncio.sleep(0)
        assert not reading.done()
    send_parts(peer)
    assert await reading == b"".join(PARTS)
    await assert_connection_kept(exchanged, peer)


@pytest.mark.parametrize("first", ["stream", "raw"])
@pytest.mark.parametrize("second", ["stream", "raw", "read"])
async def test_received_stream_can_be_consumed_once(exchanged: Exchanged, first: str, second: str) -> None:
    response, peer = await exchanged.begin()
    send_parts(peer, *PARTS)
    assert await gathered(getattr(response, first)()) == b"".join(PARTS)
    with pytest.raises(StreamConsumed):
        await (response.read() if second == "read" else gathered(getattr(response, second)()))
    await assert_connection_kept(exchanged, peer)


@pytest.mark.parametrize("second", ["stream", "raw", "read"])
async def test_stream_begun_and_left_can_not_be_begun_again(exchanged: Exchanged, second: str) -> None:
    response, peer = await exchanged.begin()
    send_parts(peer, PARTS[0], end=False)
    parts = response.stream()
    assert await anext(parts) == PARTS[0]
    with pytest.raises(StreamConsumed):
        await (response.read() if second == "read" else gathered(getattr(response, second)()))
    send_parts(peer, PARTS[1])
    assert await gathered(parts) == PARTS[1]  # whoever was first goes on undisturbed
    await assert_connection_kept(exchanged, peer)


async def test_read_then_stream_gives_what_was_read(exchanged: Exchanged) -> None:
    response, peer = await exchanged.begin()
    send_parts(peer, *PARTS)
    content = await response.read()
    assert content == response.body == b"".join(PARTS)
    assert await gathered(response.stream()) == await gathered(response.raw()) == content


async def test_raw_after_a_decoded_read_is_consumed(exchanged: Exchanged) -> None:
    response, peer = await exchanged.begin([("transfer-encoding", "chunked"), ("content-encoding", "gzip")])
    send_parts(peer, GZIPPED)
    assert await response.read() == await gathered(response.stream()) == TEXT
    with pytest.raises(StreamConsumed):
        await gathered(response.raw())


async def test_decoded_stream_gives_each_part_as_it_can_be_decoded(exchanged: Exchanged) -> None:
    response, peer = await exchanged.begin([("transfer-encoding", "chunked"), ("content-encoding", "deflate")])
    compressor = zlib.compressobj()
    parts = response.stream()
    for part in PARTS:
        send_parts(peer, compressor.compress(part) + compressor.flush(zlib.Z_SYNC_FLUSH), end=False)
        assert await anext(parts) == part
    send_parts(peer, compressor.flush())
    assert await anext(parts, None) is None


@pytest.mark.parametrize("how", ["stream", "raw", "read"])
@pytest.mark.parametrize("complete", [False, True])
async def test_closed_response_gives_no_part_of_its_content(exchanged: Exchanged, how: str, complete: bool) -> None:
    response, peer = await exchanged.begin()
    send_parts(peer, *PARTS, end=complete)
    if complete:
        await until_idle(exchanged.pool)
    await response.close()
    await response.aclose()
    with pytest.raises(ResponseClosed, match="the response was closed"):
        await (response.read() if how == "read" else gathered(getattr(response, how)()))
    if complete:
        await assert_connection_kept(exchanged, peer)
    else:
        await assert_connection_gone(exchanged, peer)


async def test_response_closed_in_the_middle_of_its_stream_ends_the_stream_with_an_error(exchanged: Exchanged) -> None:
    response, peer = await exchanged.begin()
    send_parts(peer, PARTS[0], end=False)
    parts = response.stream()
    assert await anext(parts) == PARTS[0]
    waiting = asyncio.create_task(gathered(parts))
    await asyncio.sleep(0)
    await response.close()
    with pytest.raises(ResponseClosed):
        await waiting
    await assert_connection_gone(exchanged, peer)


async def test_leaving_the_stream_and_the_context_closes_the_connection(exchanged: Exchanged) -> None:
    response, peer = await exchanged.begin()
    send_parts(peer, PARTS[0], end=False)
    async with response:
        async for part in response.stream():
            assert part == PARTS[0]
            break
        assert exchanged.pool.num_active_connections == 1  # leaving the loop alone does not close it
    await assert_connection_gone(exchanged, peer)


async def test_error_in_the_context_closes_the_connection(exchanged: Exchanged) -> None:
    response, peer = await exchanged.begin()
    with pytest.raises(KeyError):
        async with response:
            raise KeyError
    await assert_connection_gone(exchanged, peer)


async def test_response_read_to_its_end_in_the_context_keeps_the_connection(exchanged: Exchanged) -> None:
    response, peer = await exchanged.begin()
    send_parts(peer, *PARTS)
    async with response:
        await response.read()
    assert response.body == b"".join(PARTS)
    await assert_connection_kept(exchanged, peer)


async def test_dropped_response_warns_and_its_connection_goes(exchanged: Exchanged) -> None:
    response, peer = await exchanged.begin()
    send_parts(peer, PARTS[0], end=False)
    await asyncio.sleep(0)  # until a task is suspended anew, asyncio holds what it was woken with
    with pytest.warns(ResourceWarning, match=r"unclosed <Response 200> to <Request GET http://example.org/>"):
        del response
        gc.collect()
    await assert_connection_gone(exchanged, peer)


async def test_dropped_response_whose_content_had_come_keeps_the_connection(exchanged: Exchanged) -> None:
    response, peer = await exchanged.begin()
    send_parts(peer, *PARTS)
    await until_idle(exchanged.pool)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        del response
        gc.collect()
    await assert_connection_kept(exchanged, peer)


def test_response_dropped_after_its_loop_was_closed_only_warns() -> None:
    async def main() -> Response:
        connector = MemoryConnector(HTTP11Peer)
        pool = ConnectionPool(connector=connector)
        kept.extend([connector, pool])
        return (await Exchanged(pool, connector).begin())[0]

    kept: list[object] = []  # so that nothing but the response is dropped first
    loop = asyncio.new_event_loop()
    response = loop.run_until_complete(main())
    loop.close()
    with pytest.warns(ResourceWarning, match="unclosed <Response 200>"):
        del response
        gc.collect()
    with pytest.warns(ResourceWarning, match="unclosed transport"):
        kept.clear()
        del loop
        gc.collect()


async def test_response_whose_arguments_were_refused_is_collected_quietly() -> None:
    with pytest.raises(TypeError):
        Response(200, body=cast(bytes, "text"))
    gc.collect()


@pytest.mark.parametrize("how", ["stream", "raw", "read"])
async def test_connection_lost_in_the_middle_is_an_error_after_what_came(exchanged: Exchanged, how: str) -> None:
    response, peer = await exchanged.begin()
    send_parts(peer, PARTS[0], end=False)
    peer.close()
    if how == "read":
        with pytest.raises(RemoteProtocolError, match="in the middle of its response"):
            await response.read()
    else:
        parts = getattr(response, how)()
        assert await anext(parts) == PARTS[0]
        with pytest.raises(RemoteProtocolError, match="in the middle of its response") as caught:
            await anext(parts)
        assert (caught.value.host, caught.value.port, caught.value.request_sent) == ("example.org", 80, True)
    with pytest.raises(HTTPCoreError):
        await response.read()
    await assert_connection_gone(exchanged, peer)


# max_body_size

LIMIT = 1000


@pytest.mark.parametrize("size", [LIMIT - 1, LIMIT, LIMIT + 1, 100 * LIMIT])
@pytest.mark.parametrize("coded", [False, True])
@pytest.mark.parametrize("decode", [True, False])
@pytest.mark.parametrize("on", ["pool", "request"])
async def test_buffered_content_may_grow_to_max_body_size(size: int, coded: bool, decode: bool, on: str) -> None:
    content = bytes(size)
    wire = gzip.compress(content) if coded else content
    expected = content if decode else wire

    def app(asked: Asked) -> Answer:
        return Answer(headers=[(b"content-encoding", b"gzip")] if coded else [], body=wire)

    limits = (LIMIT, None) if on == "pool" else (10 * 1024 * 1024, LIMIT)
    async with memory_pool(app, max_body_size=limits[0]) as (pool, _):
        asking = pool.request("GET", URL, decode=decode, max_body_size=limits[1])
        if len(expected) <= LIMIT:
            assert (await asking).body == expected
        else:
            with pytest.raises(ResponseTooLarge, match=f"over max_body_size, {LIMIT} bytes: stream it, or raise the"):
                await asking


async def test_pool_without_max_body_size_reads_it_all() -> None:
    async with memory_pool(lambda asked: Answer(body=bytes(2_000_000)), max_body_size=None) as (pool, _):
        assert (await pool.request("GET", URL)).body == bytes(2_000_000)


async def test_too_large_content_that_goes_on_ends_with_its_connection(exchanged: Exchanged) -> None:
    response, peer = await exchanged.begin(max_body_size=LIMIT)
    send_parts(peer, bytes(LIMIT + 1), end=False)
    with pytest.raises(ResponseTooLarge):
        await response.read()
    await assert_connection_gone(exchanged, peer)
    with pytest.raises(ResponseClosed):
        await response.read()


async def test_streamed_content_has_no_max_body_size(exchanged: Exchanged) -> None:
    response, peer = await exchanged.begin(max_body_size=LIMIT)
    send_parts(peer, bytes(2 * LIMIT))
    assert len(await gathered(response.stream())) == 2 * LIMIT


# Several tasks, and cancellation


@pytest.mark.parametrize("sizes", [[2] * 50_000, [2, 5000, 2, 2, 4096, 1], [3]], ids=["tiny", "mixed", "one"])
async def test_content_in_small_parts_is_put_together_as_it_comes(sizes: list[int]) -> None:
    parts = [bytes([index % 256]) * size for index, size in enumerate(sizes)]
    content = b"".join(parts)
    response = Response(200, body=iter(parts))
    tracemalloc.start()
    try:
        assert await response.read() == content
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert type(response.body) is bytes
    # An object for each, and what joining so many takes, came to 60 times the content.
    assert peak < 8 * sum(sizes) + 64 * 1024


async def test_second_task_that_reads_is_refused_and_the_first_gets_everything(exchanged: Exchanged) -> None:
    response, peer = await exchanged.begin()
    first = asyncio.create_task(response.read())
    await asyncio.sleep(0)
    with pytest.raises(RuntimeError, match="another task is reading this response already"):
        await response.read()
    with pytest.raises(StreamConsumed):
        await anext(response.stream())
    send_parts(peer, *PARTS)
    assert await first == b"".join(PARTS)
    await assert_connection_kept(exchanged, peer)


async def test_second_task_on_the_same_iterator_is_refused_and_the_first_gets_everything(exchanged: Exchanged) -> None:
    response, peer = await exchanged.begin()
    parts = response.stream()
    first = asyncio.create_task(gathered(parts))
    await asyncio.sleep(0)
    with pytest.raises(RuntimeError, match="another task is reading this response already"):
        await anext(parts)
    send_parts(peer, *PARTS)
    assert await first == b"".join(PARTS)
    await assert_connection_kept(exchanged, peer)


@pytest.mark.parametrize("how", ["stream", "raw"])
async def test_cancelled_step_loses_nothing_and_reading_goes_on(exchanged: Exchanged, how: str) -> None:
    response, peer = await exchanged.begin()
    parts = getattr(response, how)()
    for part in PARTS:
        step = asyncio.create_task(anext(parts))
        await asyncio.sleep(0)
        step.cancel()
        with pytest.raises(asyncio.CancelledError):
            await step
        send_parts(peer, part, end=False)
        assert await anext(parts) == part
    send_parts(peer)
    assert await anext(parts, None) is None
    await assert_connection_kept(exchanged, peer)


async def test_cancelled_read_loses_nothing_and_can_be_done_again(exchanged: Exchanged) -> None:
    response, peer = await exchanged.begin()
    send_parts(peer, PARTS[0], end=False)
    for part in PARTS[1:]:
        reading = asyncio.create_task(response.read())
        for _ in range(10):
            await asyncio.sleep(0)
        reading.cancel()
        with pytest.raises(asyncio.CancelledError):
            await reading
        assert not hasattr(response, "body")
        send_parts(peer, part, end=False)
    send_parts(peer)
    assert await response.read() == b"".join(PARTS)
    await assert_connection_kept(exchanged, peer)


async def test_cancelled_request_leaves_no_connection(exchanged: Exchanged) -> None:
    asking = asyncio.create_task(exchanged.pool.request("GET", URL))
    peer = await exchanged.connector.accept()
    await peer.receive_request()
    peer.send_event(h11.Response(status_code=200, headers=[("content-length", "10")]))
    peer.send_event(h11.Data(data=b"12345"))
    for _ in range(10):
        await asyncio.sleep(0)
    asking.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asking
    await assert_connection_gone(exchanged, peer)


async def test_head_that_comes_as_the_request_is_cancelled_finds_nobody(exchanged: Exchanged) -> None:
    asking = asyncio.create_task(exchanged.pool.request("GET", URL))
    peer = await exchanged.connector.accept()
    await peer.receive_request()
    peer.send_event(h11.Response(status_code=200, headers=[("content-length", "10")]))
    asking.cancel()  # the head is read before the task hears of it
    with pytest.raises(asyncio.CancelledError):
        await asking
    await assert_connection_gone(exchanged, peer)
