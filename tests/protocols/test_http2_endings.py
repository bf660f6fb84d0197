"""Exchanges that end before their time on HTTP/2: each ends its own stream, and no other."""

from __future__ import annotations

import asyncio

import pytest
from h2.errors import ErrorCodes

from httpcore.config import HTTP2Config, TimeoutConfig
from httpcore.exceptions import (
    ReadTimeout,
    ResponseClosed,
    TotalTimeout,
)
from httpcore.request import PUSHED, Request
from httpcore.testing import HTTP2Peer
from tests.clock import until
from tests.protocols.http2_owner import (
    MAX_STREAMS,
    Gate,
    Watch,
    answer,
    gone,
)
from tests.protocols.http2_script import HTTP2Client, shape
from tests.protocols.recording import URL, Recorder

OWN_ERROR = ValueError("from the handler")


# Exchanges that end early


def play(client: HTTP2Client, stream_id: int) -> None:
    """Sends a response that has everything, as far as the client lets it come."""
    client.peer.respond(stream_id, 103, [("link", "x")], end_stream=False)
    client.peer.respond(stream_id, 200, [("content-length", "8")], end_stream=False)
    client.peer.send_data(stream_id, b"some")


@pytest.mark.parametrize("name", ["informational", "response", "data"])
@pytest.mark.parametrize("how", ["abort", "raise", "cancelled"])
@pytest.mark.parametrize("body", [b"", PUSHED], ids=["sent", "sending"])
async def test_exchange_that_ends_in_a_callback_resets_its_stream_and_no_other(cut_http2, name, how, body):
    client, recorder = cut_http2, Recorder()
    error = OWN_ERROR if how == "raise" else asyncio.CancelledError()

    def end() -> None:
        if how == "abort":
            recorder.exchange.abort()
        else:
            raise error

    before = await client.ask()
    _, incoming = await client.ask(Request("POST", URL, body=body), recorder.on(name, end))
    behind = await client.ask()
    watch = Watch(client)
    recorder.on("failed", lambda: seen.append(watch.last))
    seen: list[object] = []
    play(client, incoming.stream_id)
    await recorder.end()
    assert (type(recorder.error) is ResponseClosed) if how == "abort" else (recorder.error is error)
    # The server may not know yet, and the place is kept until it does.
    assert seen == [(97, 2, False, False)]
    assert await client.peer.receive_reset(incoming.stream_id) == ErrorCodes.CANCEL
    await client.settle()
    assert client.protocol.available == 98
    await answer(client, behind, before)
    await client.still_works()


@pytest.mark.parametrize("how", ["abort", "raise"])
async def test_exchange_that_ends_in_exchange_started_sends_nothing(http2, how):
    recorder = Recorder()

    def end() -> None:
        if how == "raise":
            raise OWN_ERROR
        recorder.exchange.abort(OWN_ERROR)

    other = await http2.ask()
    watch = Watch(http2)
    http2.dispatch(Request("POST", URL, body=PUSHED), recorder.on("started", end))
    assert recorder.error is OWN_ERROR and recorder.names == ["started", "failed"]
    assert watch.seen == [(99, 1, False, False)]
    await http2.settle()
    assert shape(http2.peer, 3) == []
    await answer(http2, other)


async def test_abort_with_the_last_bytes_of_a_response_sends_no_reset(http2):
    """Both sides have ended: there is nothing to be reset, and no place to be kept."""
    recorder = Recorder()
    _, incoming = await http2.ask(recorder=recorder.on("data", lambda: recorder.exchange.abort()))
    http2.peer.respond(incoming.stream_id, body=b"all of it")
    await recorder.end()
    assert type(recorder.error) is ResponseClosed
    assert http2.protocol.available == 100
    await http2.settle()
    assert shape(http2.peer) == ["HEADERS END"]


async def test_abort_from_outside_at_any_moment(cut_http2):
    client = cut_http2
    other = await client.ask()
    recorder, incoming = await client.ask()
    recorder.exchange.abort()
    recorder.exchange.abort()
    assert await client.peer.receive_reset(incoming.stream_id) == ErrorCodes.CANCEL
    recorder, incoming = await client.ask()
    client.peer.respond(incoming.stream_id, body=b"a part", end_stream=False)
    await recorder.until_body(b"a part")
    recorder.exchange.abort()
    assert await client.peer.receive_reset(incoming.stream_id) == ErrorCodes.CANCEL
    gate = Gate()
    recorder = client.dispatch(gate.request)
    recorder.exchange.abort()
    await client.settle()
    assert [frame.stream_id for frame in client.peer.frames if type(frame).__name__ == "HeadersFrame"] == [1, 3, 5]
    assert client.protocol.available == 99
    await answer(client, other)


async def test_content_that_comes_for_a_stream_that_was_reset_is_credited(cut_http2):
    client = cut_http2
    recorder, incoming = await client.ask()
    client.peer.respond(incoming.stream_id, body=b"read", end_stream=False)
    await recorder.until_body(b"read")
    recorder.exchange.pause_reading()
    client.peer.send_data(incoming.stream_id, b"x" * 500)
    await client.settle()
    assert client.protocol.window.waiting == 500
    before = client.protocol.window.open
    client.peer.pause()
    recorder.exchange.abort()
    assert client.protocol.window.waiting == 0
    for _ in range(20):
        client.peer.send_data(incoming.stream_id, b"y" * 500, pad_length=11)
    client.peer.send_headers(incoming.stream_id, [("x-sum", "1")], end_stream=True)
    await until(lambda: client.protocol.window.open == before - 20 * 512)
    client.peer.resume()
    await client.settle()
    await client.still_works()  # finish() compares the windows


async def test_next_request_takes_the_only_place_from_within_response_complete(connect_http2, segment):
    client = await connect_http2(HTTP2Peer({MAX_STREAMS: 1}), segment=segment)
    more: list[Recorder] = []

    def dispatch() -> None:
        if len(more) < 5:
            more.append(client.dispatch(recorder=Recorder().on("complete", dispatch)))
            assert client.protocol.available == 0

    client.dispatch(recorder=Recorder().on("complete", dispatch))
    for _ in range(6):
        client.peer.respond((await client.peer.receive_request()).stream_id)
    for recorder in more:
        await recorder.end()
    assert len(more) == 5


# Timeouts


async def test_read_timeout_ends_its_stream_and_no_other(http2):
    patient = await http2.ask(timeout=60.0)
    recorder, incoming = await http2.ask(timeout=5.0)
    others = [await http2.ask(timeout=TimeoutConfig(read_timeout=6.0)), await http2.ask(timeout=TimeoutConfig())]
    await recorder.end()
    assert type(recorder.error) is ReadTimeout
    assert recorder.error.request_sent
    assert await http2.peer.receive_reset(incoming.stream_id) == ErrorCodes.CANCEL
    await answer(http2, patient, *others)
    await http2.still_works()


async def test_read_timeout_counts_anew_from_every_piece_of_content(http2):
    recorder, incoming = await http2.ask(timeout=5.0)
    await asyncio.sleep(4.0)
    http2.peer.respond(incoming.stream_id, end_stream=False)
    for _ in range(3):
        await asyncio.sleep(4.0)
        http2.peer.send_data(incoming.stream_id, b".")
    await recorder.until_body(b"...")
    for _ in range(3):  # but not from what is no progress
        await asyncio.sleep(1.0)
        http2.peer.send_data(incoming.stream_id, b"")
    start = asyncio.get_running_loop().time()
    await recorder.end()
    assert type(recorder.error) is ReadTimeout
    assert asyncio.get_running_loop().time() - start == 2.0
    assert await http2.peer.receive_reset(incoming.stream_id) == ErrorCodes.CANCEL


async def test_read_timeout_does_not_run_while_the_reader_is_slow(http2):
    recorder = Recorder()
    recorder.on("response", lambda: recorder.exchange.pause_reading())
    _, incoming = await http2.ask(recorder=recorder, timeout=5.0)
    http2.peer.respond(incoming.stream_id, body=b"a part", end_stream=False)
    await recorder.until("response")
    await asyncio.sleep(60.0)
    assert not recorder.ended
    recorder.exchange.resume_reading()
    await recorder.end()
    assert recorder.body == b"a part"
    assert type(recorder.error) is ReadTimeout


async def test_total_timeout_ends_a_stream_in_every_phase(http2):
    timeout = TimeoutConfig(total_timeout=5.0)
    waits, _ = await http2.ask(timeout=timeout)
    sends, _ = await http2.ask(Request("POST", URL, body=PUSHED), timeout=timeout)
    receives, incoming = await http2.ask(timeout=timeout)
    http2.peer.respond(incoming.stream_id, body=b"a part", end_stream=False)
    held = Recorder()
    held.on("response", lambda: held.exchange.pause_reading())
    _, incoming = await http2.ask(recorder=held, timeout=timeout)
    http2.peer.respond(incoming.stream_id, body=b"all")
    peeks = http2.dispatch(Gate().request, timeout=timeout)
    other = await http2.ask(timeout=TimeoutConfig(total_timeout=50.0))
    for recorder in (waits, sends, receives, held, peeks):
        await recorder.end()
        assert type(recorder.error) is TotalTimeout
    for stream_id in (1, 3, 5):
        assert await http2.peer.receive_reset(stream_id) == ErrorCodes.CANCEL
    await http2.settle()
    assert "RSTSTREAM" not in " ".join(shape(http2.peer, 7))
    assert http2.protocol.window.waiting == 0
    await answer(http2, other)
    await http2.still_works()


async def test_connection_that_was_closed_leaves_no_timer_whatever_was_running(connect_http2):
    """The check after every test looks for timers; here, all that there are were running."""
    client = await connect_http2(config=HTTP2Config(ping_interval=15.0))
    everything = TimeoutConfig(30.0, total_timeout=40.0, continue_timeout=20.0)
    await client.ask(timeout=everything)
    await client.ask(Request("POST", URL, {"Expect": "100-continue"}, PUSHED), timeout=everything)
    recorder, _ = await client.ask(Request("POST", URL, body=b"x" * 100_000), timeout=everything)
    aborted, _ = await client.ask(timeout=everything)
    client.peer.auto_ack = False
    aborted.exchange.abort()
    client.peer.abort()
    await recorder.end()
    await gone(client)
    handles = asyncio.get_running_loop()._scheduled  # type: ignore[attr-defined]
    assert [handle for handle in handles if not handle.cancelled()] == []
