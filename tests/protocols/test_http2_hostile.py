"""Servers that flood the client or starve it: that ends in an error, within bounds. Busy servers are no flood."""

from __future__ import annotations

import asyncio
import tracemalloc
from collections.abc import Callable

import pytest
from h2.errors import ErrorCodes
from hyperframe.frame import DataFrame, WindowUpdateFrame

from httpcore.config import HTTP2Config, TimeoutConfig
from httpcore.exceptions import ReadTimeout, RemoteProtocolError, WriteTimeout
from httpcore.protocols.http2_frames import FrameType
from httpcore.request import PUSHED, Request
from tests.protocols.http2_wire import (
    ACK,
    END_HEADERS,
    END_STREAM,
    FIRST,
    OK,
    PADDED,
    WireClient,
    answer,
    block,
    data,
    frame,
    goaway,
    head,
    number,
    ping,
    rst,
    settings,
    trailers,
    update,
    wire_client,
)
from tests.protocols.recording import URL, Recorder

DATA, HEADERS, PRIORITY, CONTINUATION = FrameType.DATA, FrameType.HEADERS, FrameType.PRIORITY, FrameType.CONTINUATION
VICTIM, CANCELLED, ENDED, REFUSED = 1, 3, 5, 7
LIMIT = 2 * 1024 * 1024  # bytes that a flood may come to before it is ended
MEMORY = 4 * 1024 * 1024  # bytes that it may cost, what the peer itself keeps included
CALM, PROTOCOL = "ENHANCE_YOUR_CALM", "PROTOCOL_ERROR"
EARLY = (b":status", b"103")
BIG = 16384


def indexed(size: int) -> bytes:
    """A field of `size` bytes that goes into the table, where the byte 0xbe stands for it then (RFC 7541 6.2.1)."""
    return b"\x40" + block((b"x", bytes([120]) * size))[1:]


# What comes before, what comes again and again, and how the error is called.
FLOODS: dict[str, tuple[bytes, bytes, str]] = {
    "CONTINUATION": (frame(HEADERS, VICTIM), frame(CONTINUATION, VICTIM, b""), PROTOCOL),
    "CONTINUATION of a byte": (frame(HEADERS, VICTIM), frame(CONTINUATION, VICTIM, b"\0"), PROTOCOL),
    "CONTINUATION of 16 KiB": (frame(HEADERS, VICTIM), frame(CONTINUATION, VICTIM, bytes(BIG)), CALM),
    "CONTINUATION on a stream we reset": (frame(HEADERS, CANCELLED), frame(CONTINUATION, CANCELLED, b""), PROTOCOL),
    "CONTINUATION behind PUSH_PROMISE": (
        frame(FrameType.PUSH_PROMISE, VICTIM, number(2)),
        frame(CONTINUATION, VICTIM, bytes(BIG)),
        PROTOCOL,
    ),
    "CONTINUATION that ends each time": (
        b"",
        frame(HEADERS, VICTIM, block(EARLY)) + frame(CONTINUATION, VICTIM, b"", END_HEADERS),
        CALM,
    ),
    "interim responses": (b"", head(VICTIM, EARLY), CALM),
    "interim responses with fields": (b"", head(VICTIM, EARLY, (b"link", b"a" * 1000)), CALM),
    "interim responses, compressed": (
        frame(HEADERS, VICTIM, block(EARLY) + indexed(4000), END_HEADERS),
        frame(HEADERS, VICTIM, block(EARLY) + b"\xbe", END_HEADERS),
        CALM,
    ),
    "SETTINGS": (b"", settings(), CALM),
    "SETTINGS with windows": (b"", settings((0x4, 65535)) + settings((0x4, 1)), CALM),
    "SETTINGS that mean nothing": (b"", settings(*[(0x1000 + i, i) for i in range(20)]), CALM),
    "acknowledgements of SETTINGS": (b"", settings(flags=ACK), CALM),
    "PING": (b"", ping(), CALM),
    "answers to PING": (b"", ping(flags=ACK), CALM),
    "PING and its answer": (b"", ping() + ping(flags=ACK), CALM),
    "RST_STREAM on a stream we reset": (b"", rst(CANCELLED), CALM),
    "RST_STREAM on a stream that ended": (b"", rst(ENDED), CALM),
    "RST_STREAM on a stream the server reset": (b"", rst(REFUSED), CALM),
    "WINDOW_UPDATE": (b"", update(0, 1), CALM),
    "WINDOW_UPDATE on the stream": (b"", update(VICTIM, 1), CALM),
    "WINDOW_UPDATE on a stream that ended": (b"", update(ENDED, 1), CALM),
    "WINDOW_UPDATE on a stream we reset": (b"", update(CANCELLED, 1), CALM),
    "PRIORITY": (b"", frame(PRIORITY, VICTIM, bytes(5)), CALM),
    "PRIORITY of idle streams": (b"", b"".join(frame(PRIORITY, i, bytes(5)) for i in range(101, 141)), CALM),
    "unknown frames": (b"", frame(0xEE), CALM),
    "unknown frames of 1 KiB": (b"", frame(0xEE, VICTIM, bytes(1024)), CALM),
    "ALTSVC": (b"", frame(0xA, 0, b"\0\x01ah2"), CALM),
    "GOAWAY": (b"", goaway(101), CALM),
    "empty DATA": (head(VICTIM, OK), data(VICTIM, b""), CALM),
    "empty DATA with padding": (head(VICTIM, OK), data(VICTIM, b"\x04" + bytes(4), PADDED), CALM),
    "empty DATA with no padding": (head(VICTIM, OK), data(VICTIM, b"\0", PADDED), CALM),
    "empty DATA with all padding": (head(VICTIM, OK), data(VICTIM, b"\xff" + bytes(255), PADDED), CALM),
    "empty DATA on a stream we reset": (b"", data(CANCELLED, b""), CALM),
    "DATA of a byte on a stream we reset": (b"", data(CANCELLED, b"x"), CALM),
    "empty DATA on a stream that ended": (b"", data(ENDED, b""), CALM),
    "DATA of a byte on a stream that ended": (b"", data(ENDED, b"x"), CALM),
    "DATA of 1 KiB on a stream that ended": (b"", data(ENDED, bytes(1024)), CALM),
    "DATA of 1 KiB on a stream the server reset": (b"", data(REFUSED, bytes(1024)), CALM),
    "DATA over the window of a stream we reset": (b"", data(CANCELLED, bytes(1024)), "FLOW_CONTROL_ERROR"),
    "HEADERS on a stream we reset": (b"", head(CANCELLED, OK), CALM),
    "trailers on a stream we reset": (b"", trailers(CANCELLED, OK), CALM),
    "HEADERS on a stream the server reset": (b"", head(REFUSED, OK), CALM),
    "HEADERS on a stream the server reset, compressed": (
        frame(HEADERS, REFUSED, block(OK) + indexed(4000), END_HEADERS),
        frame(HEADERS, REFUSED, b"\xbe" * 15, END_HEADERS),
        CALM,
    ),
    "PING between HEADERS on a stream we reset": (b"", head(CANCELLED, OK) + ping(), CALM),
    "PING between small DATA on a stream we reset": (b"", data(CANCELLED, b"x") + ping() * 3, CALM),
    "PING between empty DATA": (head(VICTIM, OK), data(VICTIM, b"\0", PADDED) + ping() * 3, CALM),
}


async def prepare(client: WireClient) -> Recorder:
    """Returns an exchange that waits for its answer, beside streams that are over."""
    victim, _ = await client.ask()
    cancelled, _ = await client.ask()
    ended, _ = await client.ask()
    refused, _ = await client.ask()
    await client.cancel(cancelled)
    client.peer.send(answer(ENDED) + rst(REFUSED))
    await ended.end()
    await refused.end()
    await client.settle()
    return victim


async def flood(client: WireClient, piece: bytes) -> None:
    """Sends `piece` again and again, as fast as the client takes it, until it has had enough."""
    pieces = piece * max(1, 4096 // len(piece))
    sent = 0
    while client.protocol.available or client.protocol.in_flight:
        assert sent < LIMIT, "the client takes whatever comes"
        client.peer.send(pieces)
        sent += len(pieces)
        await asyncio.sleep(0)


def check_error(recorder: Recorder, code: str) -> None:
    assert type(recorder.error) is RemoteProtocolError, (recorder.events, recorder.error)
    assert f"{code} (0x{ErrorCodes[code]:x})" in str(recorder.error)


@pytest.mark.parametrize("case", FLOODS)
async def test_flood_ends_in_an_error_within_bounds(clock, case):
    before, piece, code = FLOODS[case]
    async with wire_client() as client:
        victim = await prepare(client)
        client.peer.send(before)
        await client.peer.drain()
        started_at = clock.now
        tracemalloc.start()
        try:
            await flood(client, piece)
            _, peak = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
        assert peak < MEMORY
        await victim.end()
        check_error(victim, code)
        assert clock.now == started_at
        assert client.transport.get_write_buffer_size() < 64 * 1024
        await client.peer.closed()
        assert client.goaways == [ErrorCodes[code]]


@pytest.mark.parametrize("case", FLOODS)
async def test_flood_by_a_server_that_does_not_read_queues_little(clock, case):
    before, piece, code = FLOODS[case]
    async with wire_client(capacity=1024) as client:
        victim = await prepare(client)
        client.peer.pause()
        client.peer.send(before)
        queued = 0
        sent = 0
        while client.protocol.in_flight:
            assert sent < LIMIT
            if not client.peer.writing_paused:
                client.peer.send(piece)
                sent += len(piece)
            await asyncio.sleep(0)
            queued = max(queued, client.transport.get_write_buffer_size())
        assert queued < 64 * 1024
        check_error(victim, code)
        await client.protocol.wait_closed()  # it does not wait for ever to be rid of what it had to say


async def test_slow_flood_by_a_server_that_never_reads_queues_little(clock):
    async with wire_client() as client:
        await client.still_works()
        client.peer.pause()
        for _ in range(3600):
            client.peer.send(ping() * 40)  # which is below the budget, and would be for ever
            await asyncio.sleep(1.0)
            assert client.transport.get_write_buffer_size() < 128 * 1024
            if client.protocol.closed:
                break
        assert client.protocol.closed
        assert CALM in client.protocol.close_reason


@pytest.mark.parametrize("when", ["head", "interim", "trailers"])
@pytest.mark.parametrize(
    "fields",
    [
        block((b"x", b"y" * 70_000)),
        block(*[(b"x", b"y" * 1000)] * 70),
        b"\x82" * 3000,  # a byte for a field of 42
        indexed(4000) + b"\xbe" * 12_000,  # the bomb: 48 MB of fields
    ],
    ids=["large field", "large fields", "many fields", "bomb"],
)
async def test_field_block_that_is_too_large_ends_the_connection(clock, when, fields):
    async with wire_client(capacity=256 * 1024) as client:
        victim = await prepare(client)
        before = head(VICTIM, OK) + data(VICTIM, b"ok") if when == "trailers" else b""
        status = {"head": block(OK), "interim": block(EARLY), "trailers": b""}[when]
        end = END_STREAM if when == "trailers" else 0
        pieces = [(status + fields)[start : start + BIG] for start in range(0, len(status + fields), BIG)]
        client.peer.send(before + frame(HEADERS, VICTIM, pieces[0], end | (END_HEADERS if len(pieces) == 1 else 0)))
        tracemalloc.start()
        try:
            for piece in pieces[1:]:
                client.peer.send(frame(CONTINUATION, VICTIM, piece, END_HEADERS if piece is pieces[-1] else 0))
            await victim.end()
            _, peak = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
        assert peak < MEMORY
        check_error(victim, CALM)
        await client.peer.closed()
        assert client.goaways == [ErrorCodes.ENHANCE_YOUR_CALM]


async def test_large_head_that_is_within_the_limit_is_taken(clock):
    async with wire_client() as client:
        recorder, stream_id = await client.ask()
        fields = block(OK, *[(b"x-%d" % i, b"y" * 200) for i in range(250)])
        pieces = [fields[start : start + BIG] for start in range(0, len(fields), BIG)]
        client.peer.send(frame(HEADERS, stream_id, pieces[0]))
        for piece in pieces[1:]:
            client.peer.send(frame(CONTINUATION, stream_id, piece, END_HEADERS if piece is pieces[-1] else 0))
        client.peer.send(data(stream_id, b"ok", END_STREAM))
        await recorder.end()
        assert recorder.body == b"ok"
        assert recorder.head is not None
        assert len(recorder.head.headers) == 250


async def test_server_that_resets_each_request_is_given_up(clock):
    async with wire_client() as client:
        for _ in range(3000):
            recorder, stream_id = await client.ask()
            client.peer.send(rst(stream_id))
            await recorder.end()
            if client.protocol.closing:
                break
        assert client.protocol.closing
        assert CALM in client.protocol.close_reason
        await client.peer.closed()


async def test_settings_that_mean_nothing_are_forgotten(clock):
    async with wire_client() as client:
        for start in range(0x100, 0x100 + 50_000, 100):
            client.peer.send(settings(*[(code, 1) for code in range(start, start + 100)]))
            await client.peer.receive_settings_ack()
        assert len(client.protocol.h2.remote_settings) < 20
        await client.still_works()


async def test_content_that_is_not_read_waits_within_the_window(clock):
    size = 16 * 1024
    async with wire_client(config=HTTP2Config(stream_window=size)) as client:
        recorder, stream_id = await client.ask()
        recorder.on("response", lambda: recorder.exchange.pause_reading())
        client.peer.send(head(stream_id, OK))
        tracemalloc.start()
        try:
            for _ in range(size // 1024):
                client.peer.send(data(stream_id, b"x") * 1024)  # small frames, of which nothing but the bytes is kept
                await client.peer.drain()
            await client.settle()
            _, peak = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
        assert peak < MEMORY
        assert not any(isinstance(item, WindowUpdateFrame) and item.stream_id for item in client.peer.frames)
        client.peer.send(data(stream_id, b"x"))
        await recorder.end()
        check_error(recorder, "FLOW_CONTROL_ERROR")
        await client.peer.closed()


# Servers that keep busy and lead nowhere, below any budget: timeouts count progress.

IDLING: dict[str, tuple[bytes, Callable[[int], bytes]]] = {
    "nothing": (b"", lambda stream_id: b""),
    "PING": (b"", lambda stream_id: ping()),
    "answers to PING": (b"", lambda stream_id: ping(flags=ACK)),
    "SETTINGS": (b"", lambda stream_id: settings()),
    "WINDOW_UPDATE": (b"", lambda stream_id: update(0, 1)),
    "WINDOW_UPDATE on the stream": (b"", lambda stream_id: update(stream_id, 1)),
    "PRIORITY": (b"", lambda stream_id: frame(PRIORITY, stream_id, bytes(5))),
    "unknown frames": (b"", lambda stream_id: frame(0xEE, stream_id)),
    "interim responses": (b"", lambda stream_id: head(stream_id, EARLY)),
    "100": (b"", lambda stream_id: head(stream_id, (b":status", b"100"))),
    "empty DATA": (head(1, OK), lambda stream_id: data(stream_id, b"")),
    "padding": (head(1, OK), lambda stream_id: data(stream_id, b"\x04" + bytes(4), PADDED)),
    "bytes of a frame": (head(1, OK) + b"\0\0\xff", lambda stream_id: b"\0"),
}


@pytest.mark.parametrize("case", IDLING)
async def test_what_leads_nowhere_does_not_restart_the_read_timeout(clock, case):
    before, piece = IDLING[case]
    async with wire_client() as client:
        recorder, stream_id = await client.ask(timeout=TimeoutConfig(read_timeout=5.0))
        client.peer.send(before)
        if before:
            await recorder.until("response")
        started_at = clock.now
        while not recorder.ended:
            await asyncio.sleep(1.0)
            client.peer.send(piece(stream_id))
            assert clock.now < started_at + 10
        assert type(recorder.error) is ReadTimeout
        assert clock.now <= started_at + 6
        assert await client.peer.receive_reset(stream_id) is ErrorCodes.CANCEL


STARVING: dict[str, tuple[bytes, Callable[[int], bytes]]] = {
    "nothing": (b"", lambda stream_id: b""),
    "no window of the stream": (settings((0x4, 0)), lambda stream_id: ping()),
    "no window of the stream but one of the connection": (settings((0x4, 0)), lambda stream_id: update(0, 1000)),
    "no window of the connection": (b"", lambda stream_id: update(stream_id, 1000)),
    "interim responses": (settings((0x4, 0)), lambda stream_id: head(stream_id, EARLY)),
    "SETTINGS that open nothing": (settings((0x4, 0)), lambda stream_id: settings((0x4, 0))),
}


@pytest.mark.parametrize("pushed", [False, True], ids=["whole", "pushed"])
@pytest.mark.parametrize("case", STARVING)
async def test_window_that_never_opens_is_a_write_timeout(clock, case, pushed):
    before, piece = STARVING[case]
    async with wire_client(FIRST + before) as client:
        await client.settle()
        body = b"x" * 100_000
        recorder, stream_id = await client.ask(
            Request("POST", URL, body=PUSHED if pushed else body),
            timeout=TimeoutConfig(write_timeout=5.0, read_timeout=5.0),
        )
        if pushed:
            recorder.exchange.write(body)
        started_at = clock.now
        while not recorder.ended:
            await asyncio.sleep(1.0)
            client.peer.send(piece(stream_id))
            assert clock.now < started_at + 10
        assert type(recorder.error) is WriteTimeout
        assert clock.now <= started_at + 6
        assert await client.peer.receive_reset(stream_id) is ErrorCodes.CANCEL
        sent = sum(len(item.data) for item in client.peer.frames if isinstance(item, DataFrame))
        assert sent == (0 if before else 65535)
        client.peer.send(ping(await client.peer.receive_ping(), ACK))
        await client.settle()  # it was silent, and is not trusted before it is heard
        await client.still_works()


# Servers that are busy.


async def test_window_updates_of_a_long_upload_are_no_flood(connect_http2):
    client = await connect_http2()
    recorder, incoming = await client.ask(Request("POST", URL, body=bytes(24 * 1024 * 1024)))
    assert len(await client.peer.receive_body(incoming.stream_id)) == 24 * 1024 * 1024
    client.peer.respond(incoming.stream_id, body=b"ok")
    await recorder.end()
    assert recorder.body == b"ok"
    frames = [item for item in client.peer.frames if isinstance(item, DataFrame)]
    assert len(frames) > 1400  # each of which was credited twice


async def test_window_updates_of_many_small_uploads_are_no_flood(clock):
    async with wire_client() as client:
        for _ in range(1000):
            recorder, stream_id = await client.ask(Request("POST", URL, body=b"hello"))
            client.peer.send(update(0, 5) + update(stream_id, 5) + head(stream_id, (b":status", b"204")))
            client.peer.send(data(stream_id, b"", END_STREAM))
            await recorder.end()
            assert recorder.names[-1] == "complete"
        await client.still_works()


async def test_ping_every_10_seconds_for_12_hours_is_no_flood(clock):
    async with wire_client() as client:
        await client.still_works()
        for _ in range(12 * 360):
            await asyncio.sleep(10.0)
            client.peer.send(ping())
            await client.peer.receive_ping_ack()
        await client.still_works()
        assert client.goaways == []


async def test_content_on_its_way_when_its_stream_is_reset_is_no_flood(clock):
    window = 16 * 1024 * 1024
    config = HTTP2Config(stream_window=window, max_stream_window=window)
    async with wire_client(config=config, capacity=1024 * 1024) as client:
        for _ in range(3):
            recorder, stream_id = await client.ask()
            client.peer.send(head(stream_id, OK))
            await recorder.until("response")
            recorder.exchange.abort()
            await client.peer.receive_reset(stream_id)
            for _ in range(window // 8192):
                client.peer.send(data(stream_id, bytes(8192)))
                await client.peer.drain()
            client.peer.send(ping(await client.peer.receive_ping(), ACK))
            await client.settle()
        assert client.resets == [(1, ErrorCodes.CANCEL), (3, ErrorCodes.CANCEL), (5, ErrorCodes.CANCEL)]
        assert client.protocol.window.open > config.connection_window - 512 * 1024  # the rest is credited in one piece
        await client.still_works()


async def test_small_pieces_of_content_are_no_flood(clock):
    """Events that a server sends as they happen, with a PING now and then."""
    async with wire_client() as client:
        recorder, stream_id = await client.ask(timeout=5.0)
        client.peer.send(head(stream_id, OK))
        for i in range(5000):
            client.peer.send(data(stream_id, b"x") + ping() * (i % 3))
            await client.peer.drain()
        client.peer.send(data(stream_id, b"", END_STREAM))
        await recorder.end()
        assert recorder.body == b"x" * 5000
        await client.still_works()


@pytest.mark.parametrize(
    "first",
    [
        settings((0x3, 128), (0x4, 65536), (0x5, 2**24 - 1)) + update(0, 2**31 - 1 - 65535) + settings(flags=ACK),
        settings((0x3, 100), (0x4, 1048576), (0x6, 32768), (0x8, 1)) + settings(flags=ACK) + update(0, 983041),
        settings() + settings(flags=ACK) + settings((0x3, 250)) + ping(),
        settings((0x3, 100), (0x1, 4096), (0x9, 1)) + settings(flags=ACK) + frame(0xC, 0, b"\0\x03a:b"),
    ],
    ids=["nginx", "large windows", "settings in two parts", "origin"],
)
async def test_beginnings_of_real_servers_are_taken(clock, segment, first):
    async with wire_client(first, segment=segment) as client:
        await client.still_works()
        assert client.goaways == []


async def test_early_answers_to_many_uploads_are_no_flood(clock):
    """A server that does not want the rest of a request says so by RST_STREAM(NO_ERROR) (RFC 9113 8.1)."""
    async with wire_client() as client:
        for _ in range(2000):
            recorder, stream_id = await client.ask(Request("POST", URL, body=PUSHED))
            client.peer.send(head(stream_id, (b":status", b"413"), flags=END_HEADERS | END_STREAM))
            client.peer.send(rst(stream_id, ErrorCodes.NO_ERROR))
            await recorder.end()
            assert recorder.names[-1] == "complete", recorder.error
            assert await client.peer.receive_reset(stream_id) is ErrorCodes.CANCEL
            client.peer.send(ping(await client.peer.receive_ping(), ACK))
        await client.still_works()


async def test_answers_to_the_pings_behind_many_resets_are_no_flood(clock):
    """Each RST_STREAM is followed by a PING of ours, whose answer is nothing that the server does by itself."""
    async with wire_client() as client:
        for _ in range(3000):
            recorder, stream_id = await client.ask()
            recorder.exchange.abort()
            await client.peer.receive_reset(stream_id)
            client.peer.send(ping(await client.peer.receive_ping(), ACK))
        await client.still_works()
