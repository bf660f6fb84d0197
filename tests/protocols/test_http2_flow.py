"""The windows that HTTP2Protocol gives: nobody's content holds up another's, and each byte is credited once.

What no test says by itself, `HTTP2Client.finish` checks behind each: both ends agree on every window, and nothing that
was received waits for credit.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import cast

import pytest
from h2.settings import SettingCodes
from hypothesis import given, settings
from hypothesis import strategies as st

from httpcore.config import HTTP2Config
from httpcore.protocols import HTTP2Protocol
from httpcore.protocols.exchange import HTTPExchange
from httpcore.request import Request
from httpcore.testing import HTTP2Peer
from tests.clock import turns, until
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
from tests.protocols.recording import NO_TIMEOUT, URL, Recorder

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
    """On a path of 100 ms, seven round trips are 0.7 seconds; with windows that stay at 64 KiB, 32 MiB take 51."""
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


# Real sockets


async def test_paused_stream_on_a_socket_holds_up_nobody():
    loop = asyncio.get_running_loop()
    peers: list[HTTP2Peer] = []

    def accept() -> HTTP2Peer:
        peers.append(HTTP2Peer())
        return peers[-1]

    server = await loop.create_server(accept, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    transport, protocol = await loop.create_connection(HTTP2Protocol, "127.0.0.1", port)
    slow = Recorder()
    slow.on("response", lambda: slow.exchange.pause_reading())
    recorders = [slow, *(Recorder() for _ in range(10))]
    for recorder in recorders:
        protocol.dispatch(Request("GET", URL), recorder, timeout=NO_TIMEOUT)
    body = content(3 * MIB)
    await until(lambda: bool(peers))
    for _ in recorders:
        peers[0].respond((await peers[0].receive_request()).stream_id, body=body)
    for recorder in recorders[1:]:
        assert (await recorder.end()).body == body
    assert protocol.window.waiting == MIB
    assert transport.is_reading()
    await resume(slow)
    assert slow.body == body
    protocol.close("the test is over")
    await protocol.wait_closed()
    await peers[0].closed()
    server.close()
    await server.wait_closed()
    assert [recorder.violations for recorder in recorders] == [[]] * 11


# Whatever happens in whatever order

CONFIGS = [
    FIXED,
    SMALL,
    HTTP2Config(stream_window=4000, max_stream_window=5000, connection_window=65535),
    HTTP2Config(stream_window=65535, max_stream_window=300_000, connection_window=65535),
    HTTP2Config(stream_window=1, max_stream_window=50_000, connection_window=65535),
    HTTP2Config(stream_window=20_000, max_stream_window=20_000, connection_window=100_000),
]


class Downloads:
    """A client, and a peer that always sends all that its windows allow."""

    def __init__(self, config: HTTP2Config) -> None:
        self.client = HTTP2Client(config=config)
        self.config = config
        self.all: list[tuple[Recorder, bytes]] = []

    async def open(self, number: int) -> None:
        if self.client.protocol.available:
            recorder, incoming = await self.client.ask(None, Reader())
            body = content(min(number * 997, 20 * self.config.max_stream_window))
            self.all.append((recorder, body))
            self.client.peer.send_headers(incoming.stream_id, [(":status", "200")])
            padding = number % 256 if number % 3 == 0 and self.config.stream_window > 512 else None
            self.client.peer.send_data(incoming.stream_id, body, end_stream=True, pad_length=padding)

    async def open_paused(self, number: int) -> None:
        await self.open(number)
        await self.pause(-1)

    async def open_many_paused(self, number: int) -> None:
        for _ in range(number % 16):
            await self.open_paused(number)

    async def abandon_at_once(self, number: int) -> None:
        """Abandons streams whose content is on its way."""
        for _ in range(number % 16):
            await self.open(number)
            await self.abandon(-1)

    async def pause(self, number: int) -> None:
        if self.all:
            self.all[number % len(self.all)][0].exchange.pause_reading()

    async def pause_on_data(self, number: int) -> None:
        if self.all:
            recorder = self.all[number % len(self.all)][0]
            recorder.on("data", recorder.exchange.pause_reading)

    async def resume(self, number: int) -> None:
        if self.all:
            recorder = self.all[number % len(self.all)][0]
            recorder.reactions.clear()
            recorder.exchange.resume_reading()

    async def abandon(self, number: int) -> None:
        if self.all:
            self.all[number % len(self.all)][0].exchange.abort()

    async def wait(self, number: int) -> None:
        await turns(number % 10)

    async def check(self, number: int) -> None:
        """Waits until nothing moves any more: whoever is not paused has all there is then."""
        before = None
        while before != (before := self._progress()):
            await turns()
        for recorder, body in self.all:
            paused = cast(HTTPExchange, recorder.exchange).reading_paused
            assert recorder.ended or paused
            assert recorder.error is not None or paused or recorder.body == body
        held = sum(not recorder.ended for recorder, _ in self.all) * self.config.max_stream_window
        assert self.client.protocol.window.waiting <= held
        assert self.client.transport.is_reading()

    def _progress(self) -> tuple[object, ...]:
        peer, window = self.client.peer, self.client.protocol.window
        return len(peer.frames), sum(len(recorder.body) for recorder, _ in self.all), window.open, window.waiting


STEPS = [
    Downloads.open,
    Downloads.open_paused,
    Downloads.open_many_paused,
    Downloads.abandon_at_once,
    Downloads.pause,
    Downloads.pause_on_data,
    Downloads.resume,
    Downloads.abandon,
    Downloads.wait,
    Downloads.check,
]


@pytest.mark.parametrize("config", CONFIGS, ids=range(len(CONFIGS)))
@settings(max_examples=40, deadline=None, derandomize=True, database=None)
@given(steps=st.lists(st.tuples(st.sampled_from(STEPS), st.integers(0, 300)), min_size=5, max_size=60))
def test_whoever_reads_gets_its_content_whatever_the_others_do(
    config: HTTP2Config, steps: list[tuple[Callable[[Downloads, int], Awaitable[None]], int]]
) -> None:
    async def live() -> None:
        world = Downloads(config)
        try:
            await world.client.peer.receive_settings_ack()
            for step, number in steps:
                await step(world, number)
            for number in range(len(world.all)):
                await world.resume(number)
            await world.check(0)
            world.client.recorders.clear()  # they do not write everything down
            await world.client.finish()
        finally:
            world.client.transport.abort()
            world.client.peer_transport.abort()
            await turns()

    asyncio.run(live())
