"""Tunnels on HTTP/2 in use: their flow, their two ends, and what becomes of them with the connection they are on."""

from __future__ import annotations

import asyncio
import gc

import pytest
from h2.errors import ErrorCodes

from httpcore.config import HTTP2Config, TimeoutConfig
from httpcore.exceptions import (
    ReadError,
    RemoteProtocolError,
    ResponseClosed,
    WriteError,
)
from httpcore.upgraded import UpgradedStream
from tests.clock import Clock, clock, turns, until
from tests.protocols.http2_owner import LOSSES, Watch, gone, unprocessed
from tests.protocols.http2_script import HTTP2Client, shape
from tests.protocols.http2_tunnels import PATTERN, attached, read_all, tunnel

__all__ = ["clock"]


async def echo(client: HTTP2Client, stream_id: int) -> None:
    """The server's end: sends back what comes, and its end."""
    while data := await client.peer.receive_data(stream_id):
        client.peer.send_data(stream_id, data)
    client.peer.send_data(stream_id, b"", end_stream=True)


# Flow


@pytest.mark.parametrize("tunnels", [1, 3])
async def test_much_goes_both_ways_at_once(connect_http2, segment, tunnels):
    client = await connect_http2(segment=segment)
    size = 3_000_000 if segment is None else 30_000
    content = (PATTERN * 12)[:size]
    most = 0

    async def send(stream: UpgradedStream) -> None:
        nonlocal most
        for start in range(0, size, 40_000):
            stream.write(memoryview(content)[start : start + 40_000])
            await stream.drain()
            most = max(most, stream._receiver.transport.get_write_buffer_size())
        stream.write_eof()

    async def use(stream: UpgradedStream, stream_id: int) -> None:
        received, _, _ = await asyncio.gather(read_all(stream), send(stream), echo(client, stream_id))
        assert received == content
        await stream.wait_closed()

    streams = [await tunnel(client) for _ in range(tunnels)]
    await asyncio.gather(*(use(stream, 2 * number + 1) for number, stream in enumerate(streams)))
    assert most <= 64 * 1024
    assert client.protocol.in_flight == 0
    await client.still_works()


async def test_reader_that_pauses_withholds_its_own_credit_only(connect_http2):
    client = await connect_http2(config=HTTP2Config(stream_window=50_000, max_stream_window=50_000))
    paused, other = await attached(client), await attached(client)
    assert paused.transport.is_reading()
    paused.transport.pause_reading()
    paused.transport.pause_reading()
    assert not paused.transport.is_reading()
    client.peer.send_data(1, PATTERN)
    client.peer.send_data(3, PATTERN)
    await other.until_received(len(PATTERN))
    await client.settle()
    assert (len(paused.received), client.peer.pending(1)) == (0, len(PATTERN) - 50_000)
    paused.transport.resume_reading()
    assert len(paused.received) == 0  # whoever asks for it is not called back at once
    await paused.until_received(len(PATTERN))
    assert paused.received == other.received == PATTERN
    for caller in (paused, other):
        caller.transport.abort()
    await client.settle()


async def test_reader_that_pauses_in_data_received_gets_no_more(http2):
    caller = await attached(http2)
    caller.on("data", lambda: caller.transport.pause_reading())
    for part in (b"one", b"two", b"three"):
        http2.peer.send_data(1, part)
    http2.peer.send_data(1, b"", end_stream=True)
    await http2.settle()
    assert caller.received == b"one"
    caller.transport.resume_reading()
    caller.transport.pause_reading()
    await http2.settle()
    assert caller.received == b"one"
    caller.transport.resume_reading()
    await caller.until("eof")
    assert caller.received == b"onetwothree"
    caller.transport.close()
    await caller.until("lost")


async def test_writer_is_paused_and_resumed(http2):
    http2.peer.auto_credit = False
    caller = await attached(http2)
    caller.transport.write(bytes(65_535))
    assert "pause" not in caller.events
    caller.transport.writelines([bytes(64 * 1024), b"x"])
    assert caller.events == ["made", "pause"]
    assert caller.transport.get_write_buffer_size() == 64 * 1024 + 1
    http2.peer.credit(100_000)
    http2.peer.credit(49_152, 1)
    await http2.settle()
    assert caller.transport.get_write_buffer_size() == 16 * 1024 + 1
    assert "resume" not in caller.events
    http2.peer.credit(1, 1)
    await caller.until("resume")
    caller.transport.write(b"last")
    caller.transport.close()
    http2.peer.credit(20_000, 1)
    assert len(await http2.peer.receive_body(1)) == 65_535 + 64 * 1024 + 5
    http2.peer.send_data(1, b"", end_stream=True)
    await caller.until("lost")
    await http2.settle()
    http2.peer.auto_credit = True


async def test_what_was_written_may_be_changed_afterwards(http2):
    http2.peer.auto_credit = False
    stream = await tunnel(http2)
    stream.write(bytes(65_535))
    data = bytearray(b"as it was")
    stream.write(data)
    stream.write(b"")
    data[:] = b"different"
    stream.write_eof()
    http2.peer.credit(100)
    http2.peer.credit(100, 1)
    assert (await http2.peer.receive_body(1))[65_535:] == b"as it was"
    http2.peer.auto_credit = True
    http2.peer.send_data(1, b"", end_stream=True)
    await stream.wait_closed()


async def test_timeouts_of_the_request_do_not_bound_the_tunnel(http2, clock: Clock):
    stream = await tunnel(http2, timeout=TimeoutConfig(3.0, total_timeout=4.0))
    await clock.advance(14.0)
    http2.peer.auto_credit = False
    stream.write(bytes(100_000))
    await clock.advance(14.0)
    http2.peer.send_data(1, b"later")
    assert await stream.read() == b"later"
    stream.abort()
    http2.peer.auto_credit = True


# Ends


async def test_end_of_this_side_is_sent_behind_what_waits(cut_http2):
    cut_http2.peer.auto_credit = False
    stream = await tunnel(cut_http2)
    stream.write(bytes(65_530) + b"the rest")
    stream.write_eof()
    stream.write_eof()
    with pytest.raises(RuntimeError, match="write after write_eof"):
        stream.write(b"more")
    await cut_http2.settle()
    assert shape(cut_http2.peer)[-1] == "DATA 16383"
    cut_http2.peer.credit(100)
    cut_http2.peer.credit(100, 1)
    assert (await cut_http2.peer.receive_body(1))[65_530:] == b"the rest"
    cut_http2.peer.send_data(1, b"and back", end_stream=True)
    assert await read_all(stream) == b"and back"
    await stream.wait_closed()
    assert cut_http2.protocol.in_flight == 0
    cut_http2.peer.auto_credit = True


async def test_trailers_of_the_server_end_its_side(cut_http2):
    stream = await tunnel(cut_http2)
    cut_http2.peer.send_data(1, b"last")
    cut_http2.peer.send_headers(1, [("x-sum", "1")], end_stream=True)
    assert await read_all(stream) == b"last"
    stream.close()
    await stream.wait_closed()
    assert cut_http2.protocol.in_flight == 0


async def test_protocol_that_does_not_keep_its_side_open_has_it_ended(cut_http2):
    caller = await attached(cut_http2)
    caller.on("eof", lambda: False)
    caller.transport.write(b"written before")
    cut_http2.peer.send_data(1, b"the end", end_stream=True)
    await caller.until("lost")
    assert caller.events == ["made", "data", "eof", "lost"]
    assert caller.received == b"the end"
    assert caller.error is None
    assert await cut_http2.peer.receive_body(1) == b"written before"
    await cut_http2.still_works()


@pytest.mark.parametrize("ended_before", [False, True])
async def test_close_ends_with_the_servers_side_and_leaves_no_timer(cut_http2, ended_before):
    stream = await tunnel(cut_http2)
    if ended_before:
        cut_http2.peer.send_data(1, b"", end_stream=True)
        assert await stream.read() == b""
    stream.close()
    stream.close()
    await stream.wait_closed()
    with pytest.raises(WriteError):
        stream.write(b"more")
    if not ended_before:
        with pytest.raises(ResponseClosed):
            await stream.read()
        assert cut_http2.protocol.in_flight == 1
        cut_http2.peer.send_data(1, b"what nobody reads", end_stream=True)
        await until(lambda: cut_http2.protocol.in_flight == 0)
    assert "RSTSTREAM" not in shape(cut_http2.peer)
    await cut_http2.still_works()


async def test_close_behind_write_eof(cut_http2):
    stream = await tunnel(cut_http2)
    stream.write(b"all")
    stream.write_eof()
    stream.close()
    await stream.wait_closed()
    assert await cut_http2.peer.receive_body(1) == b"all"
    assert cut_http2.protocol.in_flight == 1
    cut_http2.peer.send_data(1, b"", end_stream=True)
    await until(lambda: cut_http2.protocol.in_flight == 0)


async def test_close_gives_up_after_five_seconds_what_the_server_does_not_take(http2, clock: Clock):
    http2.peer.auto_credit = False
    stream, started = await tunnel(http2), clock.now
    stream.write(bytes(100_000))
    stream.close()
    await clock.advance(4.9)
    assert (http2.protocol.in_flight, stream._receiver.lost) == (1, False)
    await clock.advance(0.2)
    assert await http2.peer.receive_reset(1) == ErrorCodes.CANCEL
    assert clock.now == pytest.approx(started + 5.1)
    await stream.wait_closed()
    http2.peer.credit(65_535)
    http2.peer.auto_credit = True
    await http2.still_works()


@pytest.mark.parametrize("how", ["abort", "drop"])
async def test_content_that_nobody_has_read_is_credited(http2, how, recwarn):
    stream = await tunnel(http2)
    http2.peer.send_data(1, PATTERN)
    await http2.settle()
    assert http2.protocol.window.waiting > 0
    if how == "abort":
        stream.abort()
        stream.abort()
    else:
        del stream
        gc.collect()
        assert [warning.category for warning in recwarn.list] == [ResourceWarning]
        recwarn.clear()
    assert await http2.peer.receive_reset(1) == ErrorCodes.CANCEL
    assert http2.protocol.window.waiting == 0
    await http2.still_works()


async def test_abort_behind_close_does_not_wait(http2):
    stream = await tunnel(http2)
    stream.close()
    stream.abort()
    assert await http2.peer.receive_reset(1) == ErrorCodes.CANCEL
    await stream.wait_closed()
    await http2.still_works()


@pytest.mark.parametrize("code", [ErrorCodes.NO_ERROR, ErrorCodes.CANCEL, ErrorCodes.REFUSED_STREAM, 0x1234])
async def test_reset_by_the_server_is_an_error_with_its_code(cut_http2, code):
    stream, other = await tunnel(cut_http2), await tunnel(cut_http2)
    watch = Watch(cut_http2)
    cut_http2.peer.reset(1, code)
    with pytest.raises(ReadError) as caught:
        await stream.read()
    assert type(caught.value.__cause__) is RemoteProtocolError
    assert f"0x{code:x}" in str(caught.value.__cause__)
    with pytest.raises(WriteError):
        await stream.drain()
    assert watch.seen == [(99, 1, False, False)]
    other.write(b"alive")
    assert await cut_http2.peer.receive_data(3) == b"alive"
    other.abort()


async def test_reset_behind_the_servers_end_leaves_the_reader_what_came(cut_http2):
    caller = await attached(cut_http2)
    caller.transport.pause_reading()
    cut_http2.peer.send_data(1, PATTERN[:40_000], end_stream=True)
    cut_http2.peer.reset(1, ErrorCodes.NO_ERROR)
    await until(lambda: cut_http2.protocol.in_flight == 0)
    await turns()
    assert caller.events == ["made"]
    caller.transport.write(b"goes nowhere")
    caller.transport.resume_reading()
    await caller.until("lost")
    assert caller.received == PATTERN[:40_000]
    assert caller.events == ["made", "data", "eof", "lost"]
    assert cut_http2.protocol.window.waiting == 0
    await cut_http2.still_works()


# The connection


@pytest.mark.parametrize("loss", LOSSES)
async def test_tunnels_are_lost_with_the_connection(connect_http2, segment, loss):
    client = await connect_http2(segment=segment)
    stream, caller = await tunnel(client), await attached(client)
    client.peer.send_data(1, b"came before")
    await client.settle()
    LOSSES[loss](client.peer)
    await gone(client)
    await caller.until("lost")
    assert type(caller.error) is (ReadError if loss == "reset" else RemoteProtocolError)
    assert await stream.read() == b"came before"
    with pytest.raises(ReadError):
        await stream.read()
    with pytest.raises(WriteError):
        stream.write(b"more")
    await stream.wait_closed()
    stream.close()


@pytest.mark.parametrize("loss", LOSSES)
async def test_reader_gets_all_of_what_the_server_had_ended_before_the_connection_went(connect_http2, segment, loss):
    client = await connect_http2(segment=segment)
    caller = await attached(client)
    caller.transport.pause_reading()
    client.peer.send_data(1, PATTERN[:100_000], end_stream=True)
    await until(lambda: client.protocol.window.waiting == 100_000)
    LOSSES[loss](client.peer)
    await gone(client)
    caller.transport.resume_reading()
    await caller.until("lost")
    assert caller.received == PATTERN[:100_000]
    assert caller.events == ["made", "data", "eof", "lost"]


@pytest.mark.parametrize("act", ["abort", "close"])
async def test_tunnel_that_outlives_its_connection_with_something_to_read_may_be_ended(http2, act):
    caller = await attached(http2)
    caller.transport.pause_reading()
    http2.peer.send_data(1, PATTERN[:10_000], end_stream=True)
    await until(lambda: http2.protocol.window.waiting == 10_000)
    http2.peer.abort()
    await gone(http2)
    getattr(caller.transport, act)()
    await caller.until("lost")
    assert caller.received == b""


async def test_goaway_below_a_tunnel_ends_it_and_above_it_does_not(cut_http2):
    client = cut_http2
    kept, lost = await attached(client), await attached(client)
    client.peer.goaway(1, ErrorCodes.INTERNAL_ERROR, b"why")
    await lost.until("lost")
    assert type(lost.error) is RemoteProtocolError
    assert str(lost.error) == "the server sent GOAWAY: INTERNAL_ERROR (0x2) 'why'"
    assert not unprocessed(client.recorders[0])
    kept.transport.write(b"still here")
    assert await client.peer.receive_data(1) == b"still here"
    client.peer.send_data(1, b"you too", end_stream=True)
    await kept.until("eof")
    assert kept.received == b"you too"
    kept.transport.close()
    await kept.until("lost")
    await client.peer.receive_goaway()
    await gone(client)


async def test_connection_that_is_closed_waits_for_its_tunnels_and_one_that_is_aborted_does_not(http2):
    caller = await attached(http2)
    http2.protocol.close("no longer wanted")
    caller.transport.write(b"still here")
    assert await http2.peer.receive_data(1) == b"still here"
    http2.protocol.abort(ReadError("enough"))
    await caller.until("lost")
    assert str(caller.error) == "enough"
    await gone(http2)


async def test_idle_tunnel_is_watched_like_a_request(http2, clock: Clock):
    stream = await tunnel(http2)
    await clock.advance(100.0)  # PINGs are answered
    assert http2.protocol.available == 99
    http2.peer.auto_ack = False
    await clock.advance(20.0)
    with pytest.raises(ReadError) as caught:
        await stream.read()
    assert "did not answer a PING" in str(caught.value.__cause__)
    await gone(http2)
