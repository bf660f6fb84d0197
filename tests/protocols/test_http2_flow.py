"""The windows that HTTP2Protocol gives: nobody's content holds up another's, and each byte is credited once.

What no test says by itself, `HTTP2Client.finish` checks behind each: both ends agree on every window, and nothing that
was received waits for credit.
"""

from __future__ import annotations

import asyncio

import pytest
from h2.errors import ErrorCodes
from h2.settings import SettingCodes
from hyperframe.frame import DataFrame, WindowUpdateFrame

from httpcore.config import HTTP2Config
from httpcore.exceptions import RemoteProtocolError
from httpcore.protocols import HTTP2Protocol
from httpcore.request import Request
from httpcore.testing import HTTP2Peer
from tests.clock import turns
from tests.protocols.http2_script import HTTP2Client
from tests.protocols.recording import NO_TIMEOUT, URL, Recorder

KIB, MIB = 1024, 1024 * 1024
SMALL = HTTP2Config(stream_window=1000, max_stream_window=1000, connection_window=65535)
FIXED = HTTP2Config(stream_window=65535, max_stream_window=65535, connection_window=65535)


def content(size: int) -> bytes:
    return bytes(range(251)) * (size // 251) + bytes(range(size % 251))


def increments(peer: HTTP2Peer, stream_id: int) -> list[int]:
    """Returns what the client has credited."""
    frames = [frame for frame in peer.frames if isinstance(frame, WindowUpdateFrame)]
    return [frame.window_increment for frame in frames if frame.stream_id == stream_id]


def window(peer: HTTP2Peer, stream_id: int) -> int:
    """Returns how many bytes the client's window of a stream has room for."""
    return int(peer.h2.streams[stream_id].outbound_flow_control_window)


async def download(client: HTTP2Client, body: bytes, *, paused: bool = False, end_stream: bool = True) -> Recorder:
    """Sends a request and lets the peer answer as far as the windows allow; returns once both know."""
    recorder = Recorder()
    if paused:
        recorder.on("response", lambda: recorder.exchange.pause_reading())
    await client.ask(None, recorder)
    client.peer.respond(stream_of(recorder), body=body, end_stream=end_stream)
    await recorder.until("response")
    await client.settle()
    return recorder


def stream_of(recorder: Recorder) -> int:
    assert recorder.exchange.stream_id is not None
    return recorder.exchange.stream_id


async def resume(recorder: Recorder) -> None:
    recorder.reactions.clear()
    recorder.exchange.resume_reading()
    await recorder.end()


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
    config = HTTP2Config(stream_window=200 * KIB, max_stream_window=200 * KIB, connection_window=MIB)
    client = await connect_http2(config=config)
    slow = await download(client, content(400 * KIB), paused=True)
    assert increments(client.peer, 1) == []
    slow.on("data", lambda: slow.exchange.pause_reading())
    read = []
    while not slow.ended:
        slow.exchange.resume_reading()
        await client.settle()
        read.append((len(slow.body), sum(increments(client.peer, 1))))
    assert read[0] == (64 * KIB, 0)  # credited once it is half of the window
    assert read[1] == (128 * KIB, 128 * KIB)
    assert all(credited <= size for size, credited in read)
    assert slow.body == content(400 * KIB)


# Each byte is credited once: see HTTP2Client.finish


async def check_books(client: HTTP2Client) -> None:
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

    client = await connect_http2(config=HTTP2Config(stream_window=200_000))
    recorder = await download(client, content(500_000), paused=True)
    recorder.on("data", raises)
    recorder.exchange.resume_reading()
    await recorder.end()
    assert (type(recorder.error), len(recorder.body)) == (ValueError, 64 * KIB)
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
    assert client.peer.pending(1) == 0
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
    await check_books(client)
    assert client.protocol.available == 100
    assert client.protocol.window.open >= 65535
    assert (await client.answer(body=content(200_000))).body == content(200_000)


def recorder_pauses(recorder: Recorder):
    return lambda: recorder.exchange.pause_reading()


async def test_late_content_of_more_streams_than_are_remembered_is_credited(connect_http2):
    client = await connect_http2(HTTP2Peer({}), config=FIXED)  # a server without a limit of streams
    recorders = [(await client.ask())[0] for _ in range(1200)]
    for recorder in recorders:
        client.peer.respond(stream_of(recorder), body=content(100), end_stream=False)
        recorder.exchange.abort()
    await check_books(client)
    await client.still_works()


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
    largest = [size for size in (10_000, 20_000, 40_000, 65_000) if any(size // 2 < room <= size for room in seen)]
    assert largest == [10_000, 20_000, 40_000, 65_000]
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
    config = HTTP2Config(stream_window=200 * KIB, max_stream_window=16 * MIB)
    client = await connect_http2(config=config)
    slow = await download(client, content(2 * MIB), paused=True)
    slow.on("data", lambda: slow.exchange.pause_reading())
    while client.peer.pending(1):
        slow.exchange.resume_reading()
        await client.settle()
        assert client.protocol.window.waiting <= 200 * KIB
        assert len(slow.body) + client.protocol.window.waiting + window(client.peer, 1) <= len(slow.body) + 200 * KIB
    await resume(slow)
    assert slow.body == content(2 * MIB)


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
    asked = [await client.ask() for _ in range(count)]
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
    while not peers:
        await asyncio.sleep(0)
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
