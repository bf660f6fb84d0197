"""Every byte that HTTP2Protocol receives is credited once: when it is read, or when nobody will read it.

`HTTP2Client.finish` checks it behind each test: both ends agree on every window, and nothing waits for credit.
"""

from __future__ import annotations

import pytest
from h2.errors import ErrorCodes

from httpcore.config import HTTP2Config
from httpcore.exceptions import RemoteProtocolError
from httpcore.testing import HTTP2Peer
from tests.protocols.http2_downloads import (
    FIXED,
    MIB,
    SMALL,
    Reader,
    content,
    download,
    increments,
    resume,
    stream_of,
    window,
)
from tests.protocols.http2_script import HTTP2Client
from tests.protocols.recording import Recorder


async def check_books(client: HTTP2Client) -> None:
    for _ in range(2):  # what is on its way may lead to more
        await client.settle()
    assert client.protocol.window.waiting == 0
    assert client.protocol.window.open == client.peer.h2.outbound_flow_control_window


async def test_content_that_was_read_is_credited(connect_http2, segment):
    client = await connect_http2(config=SMALL, segment=segment)
    recorder = await download(client, content(20_000), end_stream=False)
    await recorder.until_body(content(20_000))
    await check_books(client)
    assert 500 < window(client.peer, 1) <= 1000  # what is read is credited by halves of the window
    client.peer.send_data(1, b"", end_stream=True)
    await recorder.end()


@pytest.mark.parametrize("paused", [True, False])
async def test_content_of_an_abandoned_stream_is_credited(connect_http2, segment, paused):
    client = await connect_http2(config=SMALL, segment=segment)
    recorder = await download(client, content(5000), paused=paused, end_stream=False)
    recorder.exchange.abort()
    assert await client.peer.receive_reset(1) is ErrorCodes.CANCEL
    await check_books(client)
    await client.still_works()


@pytest.mark.parametrize("paused", [True, False])
async def test_content_that_is_on_its_way_when_its_stream_is_abandoned_is_credited(connect_http2, segment, paused):
    client = await connect_http2(config=SMALL, segment=segment)
    recorder = await download(client, content(300), paused=paused, end_stream=False)
    client.peer.send_data(1, content(400), pad_length=9)
    recorder.exchange.abort()  # before any of it was received
    client.peer.send_data(1, content(200), end_stream=True)
    await check_books(client)
    assert len(recorder.body) == (0 if paused else 300)
    await client.still_works()


async def test_late_content_of_many_streams_is_credited_in_time(connect_http2):
    """What is withheld, because few frames are to credit it, is never so much that anybody has to wait for it."""
    client = await connect_http2(config=FIXED)
    slow = await download(client, content(200_000), paused=True)
    for _ in range(20):
        recorder, incoming = await client.ask()
        client.peer.respond(incoming.stream_id, body=content(60_000), end_stream=False)
        recorder.exchange.abort()
    await check_late(client, 65535)
    assert (await client.answer(body=content(200_000))).body == content(200_000)
    await resume(slow)


async def check_late(client: HTTP2Client, waiting: int) -> None:
    await client.settle()
    assert client.protocol.window.waiting == waiting
    assert client.protocol.window.open == client.peer.h2.outbound_flow_control_window
    assert client.protocol.window.open >= 65535  # as much as a stream may send


async def test_content_that_breaks_a_rule_is_credited(connect_http2, segment):
    client = await connect_http2(config=SMALL, segment=segment)
    recorder, _ = await client.ask()
    client.peer.respond(1, headers=[("content-length", "10")], body=content(300), end_stream=False)
    client.peer.send_data(1, content(500), end_stream=True)  # on its way when the first breaks the rule
    await recorder.end()
    assert type(recorder.error) is RemoteProtocolError
    await check_books(client)
    await client.still_works()


async def test_content_that_is_held_when_its_stream_breaks_a_rule_is_credited(connect_http2, segment):
    client = await connect_http2(config=SMALL, segment=segment)
    recorder = Recorder()
    recorder.on("response", lambda: recorder.exchange.pause_reading())
    await client.ask(None, recorder)
    client.peer.respond(1, headers=[("content-length", "500")], body=content(300))
    await recorder.end()
    assert type(recorder.error) is RemoteProtocolError
    await check_books(client)
    await client.still_works()


async def test_content_whose_handler_raises_is_credited(connect_http2, segment):
    def raises() -> None:
        raise ValueError("from the handler")

    client = await connect_http2(config=SMALL, segment=segment)
    recorder = Recorder().on("data", raises)
    await client.ask(None, recorder)
    client.peer.respond(1, body=content(3000))
    await recorder.end()
    assert type(recorder.error) is ValueError
    await check_books(client)
    await client.still_works()


async def test_held_content_whose_handler_raises_is_credited(connect_http2):
    def raises() -> None:
        raise ValueError("from the handler")

    client = await connect_http2(config=HTTP2Config(stream_window=4 * MIB))
    recorder = await download(client, bytes(5 * MIB), Reader(), paused=True)
    recorder.on("data", raises)
    recorder.exchange.resume_reading()
    await recorder.end()
    assert type(recorder.error) is ValueError
    assert 0 < len(recorder.body) < 2 * MIB
    await check_books(client)
    await client.still_works()


@pytest.mark.parametrize("code", [ErrorCodes.INTERNAL_ERROR, ErrorCodes.REFUSED_STREAM])
async def test_held_content_of_a_stream_that_the_server_resets_is_credited(connect_http2, segment, code):
    client = await connect_http2(config=SMALL, segment=segment)
    other, _ = await client.ask()  # who is refused while there is no other takes the connection for full
    recorder = await download(client, content(5000), paused=True)
    client.peer.reset(3, code)
    await recorder.end()
    assert recorder.body == b""
    await check_books(client)
    client.peer.respond(1)
    await other.end()
    await client.still_works()


@pytest.mark.parametrize("drop", [True, False])
async def test_held_content_of_a_stream_that_has_ended_is_credited(connect_http2, segment, drop):
    client = await connect_http2(config=SMALL, segment=segment)
    recorder = await download(client, content(700), paused=True)
    assert (client.protocol.in_flight, client.protocol.window.waiting) == (0, 700)
    if drop:
        recorder.exchange.abort()
    else:
        await resume(recorder)
    assert client.protocol.window.waiting == 0
    assert len(recorder.body) == (0 if drop else 700)
    assert increments(client.peer, 1) == []
    await check_books(client)
    await client.still_works()


async def test_held_content_may_be_dropped_between_resume_and_its_delivery(connect_http2):
    client = await connect_http2(config=SMALL)
    recorder = await download(client, content(700), paused=True)
    recorder.exchange.resume_reading()
    recorder.exchange.abort()
    await check_books(client)
    assert recorder.body == b""


@pytest.mark.parametrize("paused", [True, False])
@pytest.mark.parametrize("data", [b"", b"x"], ids=["nothing else", "a byte"])
async def test_padding_is_credited_whether_or_not_anybody_reads(connect_http2, segment, paused, data):
    client = await connect_http2(config=SMALL, segment=segment)
    recorder = await download(client, b"", paused=paused, end_stream=False)
    for _ in range(12):
        client.peer.send_data(1, data, pad_length=255)
    await client.settle()
    while client.peer.pending(1):
        await client.settle()
    await client.settle()
    assert client.protocol.window.waiting == (12 * len(data) if paused else 0)
    client.peer.send_data(1, b"", end_stream=True)
    await (resume(recorder) if paused else recorder.end())
    assert recorder.body == data * 12
    await check_books(client)


async def test_frames_without_content_take_no_credit_and_get_none(connect_http2, segment):
    client = await connect_http2(config=SMALL, segment=segment)
    recorder = await download(client, b"", end_stream=False)
    before = client.protocol.window.open
    for _ in range(20):
        client.peer.send_data(1, b"")
    client.peer.send_data(1, b"", end_stream=True)
    await recorder.end()
    assert recorder.names == ["started", "response", "complete"]
    await check_books(client)
    assert client.protocol.window.open == before
    assert increments(client.peer, 1) == []


async def test_content_above_a_goaway_is_credited(connect_http2, segment):
    client = await connect_http2(config=SMALL, segment=segment)
    first, _ = await client.ask()
    others = [await download(client, content(300), paused=paused, end_stream=False) for paused in (True, False)]
    client.peer.goaway(last_stream_id=1)
    for recorder in others:
        client.peer.send_data(stream_of(recorder), content(400), end_stream=True)
        await recorder.end()
    await check_books(client)
    client.peer.respond(1, body=content(20_000))
    assert (await first.end()).body == content(20_000)


@pytest.mark.parametrize("late", [True, False])
async def test_after_1000_cancelled_downloads_the_window_is_whole(connect_http2, late):
    client = await connect_http2(config=FIXED)
    for number in range(1000):
        recorder = Recorder()
        if number % 3 == 0:
            recorder.on("response", recorder_pauses(recorder))
        await client.ask(None, recorder)
        client.peer.respond(stream_of(recorder), body=content(50_000), end_stream=number % 2 == 0)
        if not late:
            await recorder.until("response")
        recorder.exchange.abort()
        while not client.protocol.available:  # the server is still to confirm that it knows of the resets
            await client.settle()
    await check_books(client)
    assert client.protocol.available == 100
    assert client.protocol.window.open >= 65535
    assert (await client.answer(body=content(200_000))).body == content(200_000)


def recorder_pauses(recorder: Recorder):
    return lambda: recorder.exchange.pause_reading()


async def test_late_content_of_over_1000_streams_at_once_is_credited(connect_http2):
    client = await connect_http2(HTTP2Peer({}), config=FIXED)  # a server without a limit of streams
    recorders = [(await client.ask())[0] for _ in range(1200)]
    for recorder in recorders:
        client.peer.respond(stream_of(recorder), body=content(300), end_stream=False)
        recorder.exchange.abort()
    await check_books(client)
    await client.still_works()
