"""The windows that HTTP2Protocol gives: nobody's content holds up another's, and each byte is credited once.

What no test says by itself, `HTTP2Client.finish` checks behind each: both ends agree on every window, and nothing that
was received waits for credit.
"""

from __future__ import annotations

import pytest
from h2.settings import SettingCodes

from httpcore.config import HTTP2Config
from httpcore.testing import HTTP2Peer
from tests.clock import turns
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

# What is announced


@pytest.mark.parametrize(
    "config",
    [
        HTTP2Config(),
        HTTP2Config(stream_window=1, max_stream_window=1, connection_window=65535),
        HTTP2Config(stream_window=12345, max_stream_window=12345, connection_window=100_000),
        HTTP2Config(stream_window=2**31 - 1, max_stream_window=2**31 - 1, connection_window=2**31 - 1),
    ],
    ids=["default", "least", "some", "most"],
)
async def test_windows_are_announced_before_the_first_request(connect_http2, config):
    client = await connect_http2(config=config)
    settings = await client.peer.receive_settings()
    assert settings[SettingCodes.INITIAL_WINDOW_SIZE] == config.stream_window
    assert sum(increments(client.peer, 0)) + 65535 == config.connection_window == client.protocol.window.open
    recorder, _ = await client.ask()
    assert window(client.peer, 1) == config.stream_window
    assert client.peer.h2.outbound_flow_control_window == client.protocol.window.open
    client.peer.respond(1, body=b"ok")
    await recorder.end()


async def test_windows_of_one_byte_let_everything_through(connect_http2, segment):
    config = HTTP2Config(stream_window=1, max_stream_window=1, connection_window=65535)
    client = await connect_http2(config=config, segment=segment)
    recorder = await client.answer(body=content(200))
    assert recorder.body == content(200)
    assert increments(client.peer, 1) == [1] * 199  # for the last byte there is nothing to open a window for


async def test_window_of_one_byte_grows(connect_http2):
    client = await connect_http2(config=HTTP2Config(stream_window=1, max_stream_window=65535))
    recorder = await client.answer(body=content(200_000))
    assert recorder.body == content(200_000)
    assert len(increments(client.peer, 1)) < 40


async def test_content_over_the_least_connection_window_arrives_whole(connect_http2, segment):
    client = await connect_http2(config=FIXED, segment=segment)
    size = 3 * 65535 if segment is None else 70_000
    recorder = await client.answer(body=content(size))
    assert recorder.body == content(size)


# One that is not read


async def test_paused_stream_that_has_used_its_window_holds_up_nobody(connect_http2, segment):
    client = await connect_http2(config=SMALL, segment=segment)
    slow = await download(client, content(5000), paused=True)
    assert (client.protocol.window.waiting, client.peer.pending(1), window(client.peer, 1)) == (1000, 4000, 0)
    others = [(await client.ask())[0] for _ in range(10)]
    for recorder in others:
        client.peer.respond(stream_of(recorder), body=content(3000))
    for recorder in others:
        assert (await recorder.end()).body == content(3000)
        assert client.transport.is_reading()
    assert slow.body == b""
    assert increments(client.peer, 1) == []
    await resume(slow)
    assert slow.body == content(5000)


async def test_many_paused_streams_that_have_used_their_windows_hold_up_nobody(connect_http2):
    client = await connect_http2(config=FIXED)
    slow = [await download(client, content(200_000), paused=True) for _ in range(20)]
    assert client.protocol.window.waiting == 20 * 65535  # twenty times what the connection's window began with
    assert client.transport.is_reading()
    recorder = await client.answer(body=content(200_000))
    assert recorder.body == content(200_000)
    for paused in slow:
        await resume(paused)
        assert paused.body == content(200_000)


async def test_paused_streams_that_were_received_whole_hold_up_nobody(connect_http2):
    client = await connect_http2(config=FIXED)
    slow = [await download(client, content(60_000), paused=True) for _ in range(20)]
    assert client.protocol.in_flight == 0
    recorder = await client.answer(body=content(200_000))
    assert recorder.body == content(200_000)
    for paused in slow:
        await resume(paused)
        assert paused.body == content(60_000)


async def test_credit_is_given_as_what_was_held_is_read(connect_http2):
    client = await connect_http2(config=HTTP2Config(stream_window=4 * MIB, max_stream_window=4 * MIB))
    slow = await download(client, bytes(8 * MIB), Reader(), paused=True)
    assert increments(client.peer, 1) == []
    slow.on("data", lambda: slow.exchange.pause_reading())
    while not slow.ended:
        before = len(slow.body)
        slow.exchange.resume_reading()
        await client.settle()
        assert before < len(slow.body) < before + 2 * MIB  # bounded, whatever is held
        least = min(len(slow.body), 4 * MIB) - 2 * MIB  # by halves of the window, and only as long as more is to come
        assert least <= sum(increments(client.peer, 1)) <= len(slow.body)
    assert len(slow.body) == 8 * MIB


# How windows grow


async def test_window_doubles_up_to_its_maximum_while_it_is_read(connect_http2):
    client = await connect_http2(config=HTTP2Config(stream_window=10_000, max_stream_window=65_000))
    recorder = await download(client, b"", end_stream=False)
    given, seen = 10_000, []
    for _ in range(60):
        before = len(increments(client.peer, 1))
        client.peer.send_data(1, content(window(client.peer, 1) // 2 + 1))
        await client.settle()
        for increment in increments(client.peer, 1)[before:]:
            given += increment
        seen.append(given - len(recorder.body))
    assert max(seen) <= 65_000
    assert seen[0] == 20_000
    assert all(room > 32_500 for room in seen[10:])
    assert client.protocol.window.open > 65_000
    client.peer.send_data(1, b"", end_stream=True)
    await recorder.end()


@pytest.mark.parametrize("padding", [None, 255])
async def test_window_does_not_grow_while_it_is_not_read(connect_http2, padding):
    client = await connect_http2(config=HTTP2Config(stream_window=10_000, max_stream_window=100_000))
    recorder = await download(client, b"", paused=True, end_stream=False)
    for _ in range(100):
        client.peer.send_data(1, b"" if padding else content(100), pad_length=padding)
    await client.settle()
    assert sum(increments(client.peer, 1)) <= (100 * 256 if padding else 0)
    assert window(client.peer, 1) <= 10_000
    client.peer.send_data(1, b"", end_stream=True)
    await resume(recorder)


async def test_window_does_not_grow_while_its_reader_is_behind(connect_http2):
    client = await connect_http2(config=HTTP2Config(stream_window=4 * MIB))
    slow = await download(client, bytes(12 * MIB), Reader(), paused=True)
    slow.on("data", lambda: slow.exchange.pause_reading())
    while client.peer.pending(1):
        slow.exchange.resume_reading()
        await client.settle()
        assert client.protocol.window.waiting <= 4 * MIB
        assert sum(increments(client.peer, 1)) <= len(slow.body)
    await resume(slow)
    assert len(slow.body) == 12 * MIB


# How many round trips


class FarPeer(HTTP2Peer):
    """A peer at the end of a long path: what the client sends is on its way until `round_trip`."""

    def __init__(self) -> None:
        super().__init__()
        self.far = False
        self._on_the_way = bytearray()

    def data_received(self, data: bytes) -> None:
        if self.far:
            self._on_the_way += data
        else:
            super().data_received(data)

    def arrive(self) -> None:
        """Takes what was on its way, and answers with all that the windows allow."""
        data = bytes(self._on_the_way)
        self._on_the_way.clear()
        super().data_received(data)


@pytest.mark.parametrize(
    ("count", "size", "most"),
    [(1, 32 * MIB, 7), (1, MIB, 1), (8, 3 * MIB, 3), (32, MIB // 2, 1)],
    ids=["one large", "one that fits", "eight", "many that fit"],
)
async def test_windows_are_large_enough_for_few_round_trips(connect_http2, count, size, most):
    """Seven round trips of 100 ms are 0.7 seconds; with windows that stay at 64 KiB, 32 MiB take 512 of them."""
    peer = FarPeer()
    client = await connect_http2(peer)
    asked = [await client.ask(None, Reader()) for _ in range(count)]
    await turns()
    peer.far = True
    body = bytes(size)
    for _, incoming in asked:
        peer.respond(incoming.stream_id, body=body)
    trips = 0
    while True:
        trips += 1
        for recorder, incoming in asked:
            sent = size - peer.pending(incoming.stream_id)
            await recorder.changes.wait_until(lambda recorder=recorder, sent=sent: len(recorder.body) == sent)
        if all(recorder.ended for recorder, _ in asked):
            break
        await turns()
        peer.arrive()
    assert trips <= most
    peer.far = False
    peer.arrive()
