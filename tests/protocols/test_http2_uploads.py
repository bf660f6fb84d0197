"""How HTTP2Protocol sends bodies: as the windows and the transport take them, one frame of each in its turn."""

from __future__ import annotations

import asyncio
import tracemalloc
from collections.abc import AsyncIterator

import pytest
from h2.errors import ErrorCodes
from h2.settings import SettingCodes

from httpcore.request import PUSHED
from tests.protocols.http2_downloads import KIB, MIB, content
from tests.protocols.http2_script import shape
from tests.protocols.http2_uploads import (
    FRAME,
    WINDOW,
    answer,
    data_frames,
    pieces,
    post,
    received,
    thrifty,
    upload,
)
from tests.protocols.recording import Recorder


@pytest.fixture(params=["bytes", "stream", "pushed"])
def kind(request: pytest.FixtureRequest) -> str:
    """How the body is given."""
    return request.param  # type: ignore[no-any-return]


# Windows


async def test_upload_stops_at_the_window_and_goes_on_as_it_opens(connect_http2, segment, kind):
    client = await connect_http2(thrifty((SettingCodes.INITIAL_WINDOW_SIZE, 1000)), segment=segment)
    recorder = upload(client, content(4000), kind)
    await client.settle()
    assert received(client.peer, 1) == 1000
    for total, credit in ((1001, 1), (1500, 499), (3999, 2499)):
        client.peer.credit(credit, 1)
        await client.settle()
        assert received(client.peer, 1) == total
    client.peer.credit(1000, 1)
    assert await client.peer.receive_body(1) == content(4000)
    await answer(client, recorder)


async def test_upload_stops_at_the_window_of_the_connection(connect_http2, segment, kind):
    client = await connect_http2(thrifty((SettingCodes.INITIAL_WINDOW_SIZE, MIB)), segment=segment)
    recorder = upload(client, content(WINDOW + 5000), kind)
    await client.settle()
    assert received(client.peer, 1) == WINDOW
    client.peer.credit(4999)
    await client.settle()
    assert received(client.peer, 1) == WINDOW + 4999
    client.peer.credit(1)
    assert await client.peer.receive_body(1) == content(WINDOW + 5000)
    await answer(client, recorder)


async def test_last_frame_of_bytes_ends_the_request_however_they_are_cut(connect_http2):
    client = await connect_http2(thrifty((SettingCodes.INITIAL_WINDOW_SIZE, 100)))
    recorder = upload(client, content(300), "bytes")
    for _ in range(2):
        await client.settle()
        client.peer.credit(100, 1)
    assert await client.peer.receive_body(1) == content(300)
    assert shape(client.peer) == ["HEADERS", "DATA 100", "DATA 100", "DATA 100 END"]
    await answer(client, recorder)


async def test_trailers_follow_a_body_that_had_to_wait(connect_http2, segment):
    client = await connect_http2(thrifty((SettingCodes.INITIAL_WINDOW_SIZE, 100)), segment=segment)
    recorder = client.dispatch(post(content(200), trailers={"x-sum": "1"}))
    streamed = client.dispatch(post(pieces(content(200)), trailers=lambda: {"x-sum": "2"}))
    await client.settle()
    assert [shape(client.peer, stream_id) for stream_id in (1, 3)] == [["HEADERS", "DATA 100"]] * 2
    for stream_id in (1, 3):
        client.peer.credit(100, stream_id)
    assert await client.peer.receive_trailers(1) == [(b"x-sum", b"1")]
    assert await client.peer.receive_trailers(3) == [(b"x-sum", b"2")]
    assert shape(client.peer, 1) == shape(client.peer, 3) == ["HEADERS", "DATA 100", "DATA 100", "HEADERS END"]
    await answer(client, recorder, streamed)


async def test_window_that_shrinks_below_what_was_sent_is_kept(connect_http2, segment, kind):
    client = await connect_http2(thrifty((SettingCodes.INITIAL_WINDOW_SIZE, 2000)), segment=segment)
    recorder = upload(client, content(5000), kind)
    await client.settle()
    assert received(client.peer, 1) == 2000
    client.peer.update_settings({SettingCodes.INITIAL_WINDOW_SIZE: 500})
    await client.settle()
    assert client.protocol.h2.local_flow_control_window(1) == -1500
    for credit, total in ((1499, 2000), (1, 2000), (7, 2007)):
        client.peer.credit(credit, 1)
        await client.settle()
        assert received(client.peer, 1) == total
    client.peer.update_settings({SettingCodes.INITIAL_WINDOW_SIZE: 0})
    await client.settle()
    assert received(client.peer, 1) == 2007
    client.peer.update_settings({SettingCodes.INITIAL_WINDOW_SIZE: 5000})
    assert await client.peer.receive_body(1) == content(5000)
    await answer(client, recorder)


async def test_body_ends_though_its_window_is_negative(connect_http2, segment):
    """What has no content needs no window (RFC 9113 6.9.1)."""
    client = await connect_http2(thrifty((SettingCodes.INITIAL_WINDOW_SIZE, 2000)), segment=segment)
    recorder = client.dispatch(post(PUSHED))
    recorder.exchange.write(content(2000))
    await client.settle()
    client.peer.update_settings({SettingCodes.INITIAL_WINDOW_SIZE: 0})
    await client.settle()
    recorder.exchange.write_eof()
    assert await client.peer.receive_body(1) == content(2000)
    assert shape(client.peer) == ["HEADERS", "DATA 2000", "DATA 0 END"]
    await answer(client, recorder)


async def test_frames_are_as_large_as_the_server_allows(connect_http2):
    credit = (SettingCodes.INITIAL_WINDOW_SIZE, MIB)
    client = await connect_http2(thrifty((SettingCodes.MAX_FRAME_SIZE, 20_000), credit))
    client.peer.credit(2 * MIB)
    await client.settle()
    recorder = client.dispatch(post(content(50_000)))
    await client.peer.receive_body(1)
    assert shape(client.peer) == ["HEADERS", "DATA 20000", "DATA 20000", "DATA 10000 END"]
    client.peer.update_settings({SettingCodes.MAX_FRAME_SIZE: 2**24 - 1})
    await client.settle()
    large = client.dispatch(post(content(200_000)))
    await client.peer.receive_body(3)
    assert max(len(frame.data) for frame in data_frames(client.peer, 3)) == 64 * KIB  # others are to have their turn
    client.peer.update_settings({SettingCodes.MAX_FRAME_SIZE: FRAME})
    await client.settle()
    small = client.dispatch(post(content(50_000)))
    await client.peer.receive_body(5)
    assert max(len(frame.data) for frame in data_frames(client.peer, 5)) == FRAME
    await answer(client, recorder, large, small)


async def test_bytes_are_sent_from_where_they_are(connect_http2):
    client = await connect_http2(thrifty((SettingCodes.INITIAL_WINDOW_SIZE, 2**31 - 1)))
    body = content(8 * MIB)
    tracemalloc.start()
    try:
        recorder = client.dispatch(post(body))
        await client.settle()
        assert tracemalloc.get_traced_memory()[1] < MIB
        for _ in range(20):
            tracemalloc.reset_peak()
            before = tracemalloc.get_traced_memory()[0]
            client.peer.credit(1000)
            await client.settle()
            assert tracemalloc.get_traced_memory()[1] - before < 100_000
    finally:
        tracemalloc.stop()
    assert received(client.peer, 1) == WINDOW + 20_000
    recorder.exchange.abort()
    await client.settle()


# Several at once


async def test_uploads_take_turns_frame_by_frame(connect_http2):
    client = await connect_http2(thrifty((SettingCodes.INITIAL_WINDOW_SIZE, MIB)))
    first = client.dispatch(post(content(200_000)))
    await client.settle()
    second = client.dispatch(post(content(200_000)))
    small = client.dispatch(post(content(20_000)))
    await client.settle()
    before = len(data_frames(client.peer))
    client.peer.credit(MIB)
    for stream_id in (1, 3, 5):
        await client.peer.receive_body(stream_id)
    order = [frame.stream_id for frame in data_frames(client.peer)[before:]]
    assert order[:8] == [1, 3, 5, 1, 3, 5, 1, 3]
    assert order[8:20] == [1, 3] * 6
    assert order.count(5) == 2
    await answer(client, first, second, small)


async def test_small_upload_does_not_wait_for_large_ones(connect_http2, kind):
    client = await connect_http2()
    large = [upload(client, content(MIB), kind) for _ in range(2)]
    small = upload(client, content(30_000), kind)
    assert await client.peer.receive_body(5) == content(30_000)
    assert max(received(client.peer, stream_id) for stream_id in (1, 3)) < MIB // 2
    for stream_id in (1, 3):
        assert await client.peer.receive_body(stream_id) == content(MIB)
    await answer(client, small, *large)


async def test_uploads_share_a_window_that_opens_by_a_byte(connect_http2, segment):
    client = await connect_http2(thrifty(), segment=segment)
    blocker = upload(client, content(WINDOW), "bytes")
    await client.settle()
    uploads = [upload(client, content(20), kind) for kind in ("bytes", "stream", "pushed")]
    await client.settle()
    assert [received(client.peer, stream_id) for stream_id in (3, 5, 7)] == [0, 0, 0]
    for number in range(1, 61):
        client.peer.credit(1)
        await client.settle()
        sizes = [received(client.peer, stream_id) for stream_id in (3, 5, 7)]
        assert sum(sizes) == number
        assert max(sizes) - min(sizes) <= 1
    for stream_id in (3, 5, 7):
        assert await client.peer.receive_body(stream_id) == content(20)
    await answer(client, blocker, *uploads)


async def test_upload_whose_window_is_shut_holds_up_nobody(connect_http2, segment, kind):
    client = await connect_http2(thrifty((SettingCodes.INITIAL_WINDOW_SIZE, 1000)), segment=segment)
    stuck = upload(client, content(3000), kind)
    await client.settle()
    other = upload(client, content(1000), kind)
    assert await client.peer.receive_body(3) == content(1000)
    await answer(client, other)
    client.peer.credit(2000, 1)
    assert await client.peer.receive_body(1) == content(3000)
    await answer(client, stuck)


async def test_upload_that_is_abandoned_while_it_waits_leaves_the_window_to_others(connect_http2, segment, kind):
    client = await connect_http2(thrifty((SettingCodes.INITIAL_WINDOW_SIZE, MIB)), segment=segment)
    first = upload(client, content(WINDOW + 100), kind)
    await client.settle()
    other = upload(client, content(50), kind)
    await client.settle()
    first.exchange.abort()
    assert await client.peer.receive_reset(1) is ErrorCodes.CANCEL
    client.peer.credit(50)
    assert await client.peer.receive_body(3) == content(50)
    await answer(client, other)


# Who gives the body


async def test_stream_is_read_no_further_than_the_marks(connect_http2):
    given = 0

    async def body() -> AsyncIterator[bytes]:
        nonlocal given
        for _ in range(1000):
            given += 10_000
            yield bytes(10_000)

    client = await connect_http2(thrifty((SettingCodes.INITIAL_WINDOW_SIZE, MIB)))
    recorder = client.dispatch(post(body()))
    await client.settle()
    sent = WINDOW
    assert received(client.peer, 1) == sent
    for credit in (10_000, 30_000, 5000, 100_000):
        assert sent <= given <= sent + 64 * KIB + 10_000
        client.peer.credit(credit)
        sent += credit
        await client.settle()
        assert received(client.peer, 1) == sent
    assert sent <= given <= sent + 64 * KIB + 10_000
    recorder.exchange.abort()
    await client.settle()


async def test_who_pushes_is_told_at_the_marks(connect_http2):
    client = await connect_http2(thrifty((SettingCodes.INITIAL_WINDOW_SIZE, MIB)))
    recorder = client.dispatch(post(PUSHED))
    recorder.exchange.write(bytes(WINDOW + 64 * KIB))
    assert not recorder.writing_paused
    recorder.exchange.write(b"a")
    assert recorder.writing_paused
    client.peer.credit(48 * KIB)
    await client.settle()
    assert recorder.writing_paused
    client.peer.credit(1)
    await client.settle()
    assert not recorder.writing_paused
    recorder.exchange.write(bytes(48 * KIB))
    assert not recorder.writing_paused
    recorder.exchange.write(b"a")
    assert recorder.writing_paused
    assert recorder.names == ["started", "pause_writing", "resume_writing", "pause_writing"]
    recorder.exchange.write_eof()
    client.peer.credit(MIB)
    assert len(await client.peer.receive_body(1)) == WINDOW + 112 * KIB + 2
    await answer(client, recorder)


# The response ends first


@pytest.mark.parametrize("reset", [None, ErrorCodes.NO_ERROR])
@pytest.mark.parametrize("shut", ["stream", "connection"])
async def test_response_that_ends_first_stops_an_upload_that_waits(connect_http2, segment, kind, shut, reset):
    size = 1000 if shut == "stream" else MIB
    client = await connect_http2(thrifty((SettingCodes.INITIAL_WINDOW_SIZE, size)), segment=segment)
    recorder = upload(client, content(WINDOW + 100_000), kind)
    await client.settle()
    other = upload(client, content(500), "bytes")
    client.peer.respond(1, 413, body=b"too much", trailers=[("x-sum", "1")])
    if reset is not None:
        client.peer.reset(1, reset)  # RFC 9113 8.1
    await recorder.end()
    assert (recorder.statuses, bytes(recorder.body)) == ([413], b"too much")
    assert recorder.events[-1] == ("complete", [(b"x-sum", b"1")])
    if reset is None:
        assert await client.peer.receive_reset(1) is ErrorCodes.CANCEL
    client.peer.credit(1000)
    assert await client.peer.receive_body(3) == content(500)
    assert received(client.peer, 1) == (1000 if shut == "stream" else WINDOW)
    await answer(client, other)
    await client.still_works()


async def test_response_that_ends_first_closes_the_stream_that_waits(connect_http2):
    closed = asyncio.Event()

    async def body() -> AsyncIterator[bytes]:
        try:
            while True:
                yield bytes(10_000)
        finally:
            closed.set()

    client = await connect_http2(thrifty())
    recorder = client.dispatch(post(body()))
    await client.settle()
    client.peer.respond(1, body=b"enough")
    await recorder.end()
    await closed.wait()
    assert (bytes(recorder.body), recorder.names[-1]) == (b"enough", "complete")


async def test_reset_after_the_whole_response_harms_nothing(connect_http2, segment):
    client = await connect_http2(segment=segment)
    recorder = upload(client, content(1000), "bytes")
    await client.peer.receive_body(1)
    client.peer.respond(1, body=b"whole")
    client.peer.reset(1, ErrorCodes.NO_ERROR)
    await recorder.end()
    assert (bytes(recorder.body), recorder.names[-1]) == (b"whole", "complete")
    await client.still_works()


async def test_reset_after_a_whole_response_that_is_not_read_yet_leaves_it_intact(connect_http2, segment):
    client = await connect_http2(thrifty(), segment=segment)
    recorder = Recorder()
    recorder.on("response", lambda: recorder.exchange.pause_reading())
    client.dispatch(post(content(WINDOW + 1)), recorder)
    await client.settle()
    client.peer.respond(1, body=b"whole")
    client.peer.reset(1, ErrorCodes.NO_ERROR)
    await client.settle()
    assert not recorder.ended
    recorder.exchange.resume_reading()
    await recorder.end()
    assert (bytes(recorder.body), recorder.names[-1]) == (b"whole", "complete")
