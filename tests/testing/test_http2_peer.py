"""`HTTP2Peer`: requests, responses and frames instead of bytes."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import TypeVar, cast

import pytest
from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.errors import ErrorCodes
from h2.events import (
    ConnectionTerminated,
    DataReceived,
    Event,
    InformationalResponseReceived,
    PingAckReceived,
    PingReceived,
    ResponseReceived,
    SettingsAcknowledged,
    StreamEnded,
    StreamReset,
    TrailersReceived,
    WindowUpdated,
)
from h2.exceptions import FlowControlError, ProtocolError, StreamClosedError, TooManyStreamsError
from h2.settings import SettingCodes
from hpack import HeaderTuple, NeverIndexedHeaderTuple
from hyperframe.frame import (
    ContinuationFrame,
    DataFrame,
    GoAwayFrame,
    HeadersFrame,
    PingFrame,
    PushPromiseFrame,
    RstStreamFrame,
)

from httpcore.testing import FramePeer, HTTP2Peer, ScriptedPeer, memory_link
from httpcore.testing.changes import Changes
from tests.testing.links import link_over_tcp, turns

EventT = TypeVar("EventT", bound=Event)
GET = [(":method", "GET"), (":scheme", "https"), (":authority", "a"), (":path", "/")]
POST = [(":method", "POST"), *GET[1:]]


class H2Client(asyncio.Protocol):
    """h2 in the client's role, which takes any field: what is sent goes out at once, and so do h2's answers."""

    def __init__(self) -> None:
        self.h2 = H2Connection(H2Configuration(validate_inbound_headers=False, normalize_inbound_headers=False))
        self.events: list[Event] = []
        self.taken = 0
        self.lost = False
        self.at_eof = False
        self.changes = Changes()
        self.transport = cast(asyncio.Transport, None)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)
        self.h2.initiate_connection()
        self.flush()

    def data_received(self, data: bytes) -> None:
        self.events += self.h2.receive_data(data)
        self.flush()
        self.changes.notify()

    def eof_received(self) -> None:
        self.at_eof = True

    def connection_lost(self, exc: Exception | None) -> None:
        self.lost = True
        self.changes.notify()

    def flush(self) -> None:
        self.transport.write(self.h2.data_to_send())

    def ask(self, stream_id: int = 1, headers=GET, body: bytes | None = None, *, end_stream: bool = True) -> None:
        self.h2.send_headers(stream_id, headers, end_stream=end_stream and body is None)
        if body is not None:
            self.h2.send_data(stream_id, body, end_stream=end_stream)
        self.flush()

    async def event(self, kind: type[EventT], stream_id: int | None = None) -> EventT:
        """Waits for the next event of a kind, and forgets those before it."""
        found: list[EventT] = []

        def has_come() -> bool:
            for event in self.events[self.taken :]:
                self.taken += 1
                if isinstance(event, kind) and stream_id in (None, getattr(event, "stream_id", None)):
                    found.append(event)
                    return True
            assert not self.lost
            return False

        await self.changes.wait_until(has_come)
        return found[0]

    def data(self, stream_id: int = 1) -> list[bytes]:
        """The DATA frames of a stream."""
        return [event.data for event in self.events if isinstance(event, DataReceived) and event.stream_id == stream_id]


@pytest.fixture(params=[None, 1], ids=["whole", "byte by byte"])
def segment(request: pytest.FixtureRequest) -> int | None:
    return cast("int | None", request.param)


@pytest.fixture(params=["whole", "byte by byte", "tcp"])
async def link(request: pytest.FixtureRequest) -> AsyncIterator:
    """Links a client to a peer of its own making."""
    ends: list[tuple[H2Client, HTTP2Peer]] = []

    async def make(peer: HTTP2Peer | None = None) -> tuple[H2Client, HTTP2Peer]:
        client, peer = H2Client(), peer or HTTP2Peer()
        if request.param == "tcp":
            await link_over_tcp(client, peer)
        else:
            memory_link(client, peer, segment=1 if request.param == "byte by byte" else None)
            await turns()
        ends.append((client, peer))
        return client, peer

    yield make
    for client, peer in ends:
        for transport in (client.transport, peer.transport):
            if transport.get_protocol() is not None:  # asyncio's abort fails after the end
                transport.abort()
        await peer.closed()
        await client.changes.wait_until(lambda client=client: client.lost)  # type: ignore[misc]


@pytest.fixture
async def linked(link):
    return await link()


# Requests


async def test_request_shows_its_fields_in_order(linked):
    client, peer = linked
    client.ask(headers=[*GET, ("cookie", "a=1"), HeaderTuple("x", "y"), ("cookie", "b=2")])
    request = await peer.receive_request()
    assert (request.stream_id, request.method, request.scheme, request.authority, request.path) == (
        1,
        b"GET",
        b"https",
        b"a",
        b"/",
    )
    assert request.headers == [(b"cookie", b"a=1"), (b"x", b"y"), (b"cookie", b"b=2")]
    assert [name for name, _ in request.fields[:4]] == [b":method", b":scheme", b":authority", b":path"]
    assert request.end_stream
    assert request.pseudo(b":protocol") == b""


async def test_field_that_was_sent_to_be_never_indexed_shows_it(linked):
    client, peer = linked
    client.ask(headers=[*GET, NeverIndexedHeaderTuple("authorization", "x"), ("y", "z")])
    never, other = (await peer.receive_request()).headers
    assert isinstance(never, NeverIndexedHeaderTuple)
    assert not isinstance(other, NeverIndexedHeaderTuple)


async def test_requests_are_received_in_order_whoever_waits_first(linked):
    client, peer = linked
    waiting = [asyncio.ensure_future(peer.receive_request()) for _ in range(2)]
    await turns()
    client.ask(1)
    client.ask(3)
    client.ask(5)
    assert [(await task).stream_id for task in waiting] == [1, 3]
    assert (await peer.receive_request()).stream_id == 5


async def test_body_is_received_whole_or_piece_by_piece(linked):
    client, peer = linked
    client.ask(headers=POST, body=b"one", end_stream=False)
    request = await peer.receive_request()
    assert not request.end_stream
    assert await peer.receive_data(1) == b"one"
    for part, end_stream in ((b"two", False), (b"", False), (b"three", True)):
        client.h2.send_data(1, part, end_stream=end_stream)
    client.flush()
    assert await peer.receive_data(1) == b"two"
    assert await peer.receive_body(1) == b"three"
    assert await peer.receive_data(1) == b""
    assert await peer.receive_body(1) == b""
    assert await peer.receive_trailers(1) == []


async def test_trailers_of_a_request(linked):
    client, peer = linked
    client.ask(headers=POST, body=b"body", end_stream=False)
    client.h2.send_headers(1, [("checksum", "1")], end_stream=True)
    client.flush()
    assert await peer.receive_trailers(1) == [(b"checksum", b"1")]
    assert await peer.receive_body(1) == b"body"


async def test_extended_connect_is_received(link):
    client, peer = await link(HTTP2Peer({SettingCodes.ENABLE_CONNECT_PROTOCOL: 1}))
    await peer.receive_settings_ack()
    client.ask(headers=[(":method", "CONNECT"), (":protocol", "websocket"), *GET[1:]], end_stream=False)
    request = await peer.receive_request()
    assert (request.method, request.pseudo(b":protocol"), request.end_stream) == (b"CONNECT", b"websocket", False)


async def test_frames_tell_what_events_do_not(linked):
    client, peer = linked
    client.ask(headers=[*POST, ("x", "y" * 20_000)], body=b"body")
    assert await peer.receive_body(1) == b"body"
    of_stream = [frame for frame in peer.frames if frame.stream_id == 1]
    assert [type(frame) for frame in of_stream] == [HeadersFrame, ContinuationFrame, DataFrame]
    assert (await peer.receive_frame(HeadersFrame, 1)).flags == set()
    assert (await peer.receive_frame(DataFrame, 1)).flags == {"END_STREAM"}
    assert type(peer.events[-1]) is StreamEnded


# Flow control


async def test_body_larger_than_the_windows_is_credited_as_it_comes(linked):
    client, peer = linked
    client.ask(headers=POST, end_stream=False)
    body = memoryview(bytes(range(256)) * 1000)
    while body:
        await client.changes.wait_until(lambda: client.h2.local_flow_control_window(1) > 0)
        size = min(client.h2.local_flow_control_window(1), client.h2.max_outbound_frame_size)
        client.h2.send_data(1, body[:size].tobytes(), end_stream=size >= len(body))
        client.flush()
        body = body[size:]
    assert await peer.receive_body(1) == bytes(range(256)) * 1000
    assert peer.h2.inbound_flow_control_window == 65535
    await client.changes.wait_until(lambda: client.h2.outbound_flow_control_window == 65535)


async def test_body_is_credited_by_hand(link):
    client, peer = await link(HTTP2Peer({SettingCodes.INITIAL_WINDOW_SIZE: 10}, auto_credit=False))
    await peer.receive_settings_ack()
    client.ask(headers=POST, body=b"0123456789", end_stream=False)
    assert await peer.receive_data(1) == b"0123456789"
    assert client.h2.local_flow_control_window(1) == 0
    peer.credit(3, 1)
    peer.credit(4)
    assert (await client.event(WindowUpdated, 1)).delta == 3
    assert (await client.event(WindowUpdated, 0)).delta == 4
    assert client.h2.local_flow_control_window(1) == 3
    assert client.h2.outbound_flow_control_window == peer.h2.inbound_flow_control_window == 65535 - 10 + 4
    client.h2.send_data(1, b"abc", end_stream=True)
    client.flush()
    assert await peer.receive_body(1) == b"abc"


async def test_credit_beyond_the_largest_window_is_an_error(linked):
    _, peer = linked
    with pytest.raises(FlowControlError):
        peer.credit(2**31 - 1)
    with pytest.raises(ValueError, match="increment"):
        peer.credit(0)


async def test_end_of_a_request_needs_no_window(link):
    client, peer = await link(HTTP2Peer(auto_credit=False))
    await peer.receive_settings_ack()
    client.ask(headers=POST, body=b"more than a byte", end_stream=False)
    await peer.receive_request()
    peer.update_settings({SettingCodes.INITIAL_WINDOW_SIZE: 1})
    await peer.receive_settings_ack()
    assert client.h2.local_flow_control_window(1) == peer.h2.remote_flow_control_window(1) == -15
    client.h2.end_stream(1)
    client.flush()
    assert await peer.receive_body(1) == b"more than a byte"


async def test_request_that_settings_left_without_a_window_gets_one(link):
    client, peer = await link()
    await peer.receive_settings_ack()
    client.ask(headers=POST, body=b"more than a byte", end_stream=False)
    assert await peer.receive_data(1) == b"more than a byte"
    peer.update_settings({SettingCodes.INITIAL_WINDOW_SIZE: 1})
    await peer.receive_settings_ack()
    await client.changes.wait_until(lambda: client.h2.local_flow_control_window(1) == 1)
    client.h2.send_data(1, b"!", end_stream=True)
    client.flush()
    assert await peer.receive_body(1) == b"!"


async def test_data_beyond_the_window_is_a_violation(link):
    client, peer = await link(HTTP2Peer({SettingCodes.INITIAL_WINDOW_SIZE: 1}))
    await peer.receive_settings_ack()
    client.ask(headers=POST, end_stream=False)
    client.transport.write(DataFrame(1, b"ab").serialize())
    with pytest.raises(ConnectionError, match="the client sent what is not allowed"):
        await peer.receive_body(1)
    assert isinstance(peer.violation, FlowControlError)


async def test_response_waits_for_the_windows_and_ends_once_they_opened(linked):
    client, peer = linked
    client.ask()
    await peer.receive_request()
    body = bytes(range(256)) * 300
    peer.respond(1, 200, [("x", "y")], body, [("checksum", "1")])
    assert peer.pending(1) == len(body) - 65535
    await client.changes.wait_until(lambda: sum(map(len, client.data())) == 65535)
    assert peer.h2.outbound_flow_control_window == 0
    client.h2.increment_flow_control_window(50_000)
    client.h2.increment_flow_control_window(1, 1)
    client.flush()
    assert await peer.receive_window_update() == 50_000
    assert await peer.receive_window_update(1) == 1
    await client.changes.wait_until(lambda: sum(map(len, client.data())) == 65536)
    client.h2.increment_flow_control_window(50_000, 1)
    client.flush()
    assert (await client.event(TrailersReceived)).headers == [(b"checksum", b"1")]
    assert b"".join(client.data()) == body
    assert peer.pending(1) == 0


async def test_responses_that_wait_share_the_window(linked):
    client, peer = linked
    for stream_id in (1, 3):
        client.ask(stream_id)
        await peer.receive_request()
    peer.respond(1, body=b"a" * 100_000)
    peer.respond(3, body=b"b" * 100_000)
    await client.changes.wait_until(lambda: sum(map(len, client.data())) == 65535)
    client.h2.increment_flow_control_window(40_000)
    for stream_id in (1, 3):
        client.h2.increment_flow_control_window(100_000, stream_id)
    client.flush()
    await client.changes.wait_until(lambda: sum(map(len, client.data() + client.data(3))) == 65535 + 40_000)
    assert sum(map(len, client.data(3))) >= 16384


async def test_window_that_opens_by_settings_lets_data_out(linked):
    client, peer = linked
    client.ask()
    await peer.receive_request()
    client.h2.increment_flow_control_window(100_000)
    client.flush()
    await peer.receive_window_update()
    peer.respond(1, body=b"a" * 100_000)
    client.h2.update_settings({SettingCodes.INITIAL_WINDOW_SIZE: 200_000})
    client.flush()
    await client.event(StreamEnded)
    assert sum(map(len, client.data())) == 100_000


# Responses


async def test_response_without_a_body_is_one_frame(linked):
    client, peer = linked
    client.ask()
    await peer.receive_request()
    peer.respond(1, 204, [("X-Case", b"kept"), ("empty", "")])
    response = await client.event(ResponseReceived)
    assert response.headers == [(b":status", b"204"), (b"X-Case", b"kept"), (b"empty", b"")]
    assert response.stream_ended is not None


async def test_body_ends_with_its_last_frame(linked):
    client, peer = linked
    client.ask()
    await peer.receive_request()
    peer.respond(1, body=b"x" * 16385)
    await client.event(StreamEnded)
    ends = [event.stream_ended is not None for event in client.events if isinstance(event, DataReceived)]
    assert [len(data) for data in client.data()] == [16384, 1]
    assert ends == [False, True]


async def test_response_piece_by_piece(linked):
    client, peer = linked
    client.ask()
    await peer.receive_request()
    peer.respond(1, 103, [("link", "</a>")], end_stream=False)
    assert (await client.event(InformationalResponseReceived)).headers == [(b":status", b"103"), (b"link", b"</a>")]
    peer.send_headers(1, [(":status", "200")])
    await client.event(ResponseReceived)
    peer.send_data(1, b"")
    assert (await client.event(DataReceived)).data == b""
    peer.send_data(1, b"data", pad_length=5)
    padded = await client.event(DataReceived)
    assert (padded.data, padded.flow_controlled_length) == (b"data", 10)
    peer.send_data(1, b"", end_stream=True)
    await client.event(StreamEnded)


async def test_padding_that_no_window_has_room_for_waits(linked):
    client, peer = linked
    client.ask()
    await peer.receive_request()
    peer.respond(1, body=b"x" * 65530, end_stream=False)
    peer.send_data(1, b"ab", pad_length=4)
    peer.send_data(1, b"", pad_length=0, end_stream=True)
    assert peer.pending(1) == 2
    client.h2.increment_flow_control_window(2)
    client.h2.increment_flow_control_window(2, 1)
    client.flush()
    await client.changes.wait_until(lambda: client.data()[-1:] == [b"ab"])
    assert peer.pending(1) == 0
    client.h2.increment_flow_control_window(1)
    client.h2.increment_flow_control_window(1, 1)
    client.flush()
    await client.event(StreamEnded)


async def test_end_of_a_response_needs_no_window(linked):
    client, peer = linked
    client.ask()
    await peer.receive_request()
    peer.respond(1, body=b"x" * 65535, end_stream=False)
    assert peer.h2.local_flow_control_window(1) == 0
    peer.send_data(1, b"", end_stream=True)
    await client.event(StreamEnded)


async def test_response_on_a_closed_stream_is_h2s_error_and_nothing_of_it_waits(linked):
    client, peer = linked
    client.ask()
    await peer.receive_request()
    peer.respond(1)
    with pytest.raises(ProtocolError):
        peer.respond(1, body=b"again")
    assert peer.pending(1) == 0


# Frames beside


async def test_settings_are_announced_and_count_once_they_are_acknowledged(link):
    client, peer = await link(HTTP2Peer({SettingCodes.MAX_CONCURRENT_STREAMS: 1}, close_on_eof=False))
    assert await peer.receive_settings() == dict(client.h2.local_settings)
    await client.changes.wait_until(lambda: client.h2.remote_settings.max_concurrent_streams == 1)
    await peer.receive_settings_ack()
    assert peer.h2.local_settings.max_concurrent_streams == 1
    client.h2.remote_settings.max_concurrent_streams = 100
    client.h2.remote_settings.acknowledge()
    client.ask(1)
    client.ask(3)
    await peer.receive_request()
    with pytest.raises(ConnectionError, match="before a request came, the client sent what is not allowed") as caught:
        await peer.receive_request()
    assert caught.value.__cause__ is peer.violation
    assert isinstance(peer.violation, TooManyStreamsError)
    assert (await client.event(ConnectionTerminated)).error_code == ErrorCodes.PROTOCOL_ERROR
    assert await peer.closed() is None


async def test_settings_that_are_not_acknowledged_yet_bind_nobody(linked):
    client, peer = linked
    await peer.receive_settings_ack()
    client.ask(1)
    await peer.receive_request()
    peer.update_settings({SettingCodes.MAX_CONCURRENT_STREAMS: 1})
    peer.update_settings({SettingCodes.INITIAL_WINDOW_SIZE: 1})
    client.ask(3, POST, b"more than one byte")
    assert await peer.receive_body(3) == b"more than one byte"
    await peer.receive_settings_ack()
    assert peer.h2.local_settings.max_concurrent_streams == 1
    await peer.receive_settings_ack()
    assert peer.h2.local_settings.initial_window_size == 1
    assert peer.violation is None


async def test_acknowledgements_are_held_back_and_sent_later(link):
    client, peer = await link(HTTP2Peer(auto_ack=False))
    client.h2.ping(b"12345678")
    client.ask()
    await peer.receive_request()
    assert await peer.receive_ping() == b"12345678"
    peer.respond(1)
    await client.event(StreamEnded)
    assert not [event for event in client.events if isinstance(event, (SettingsAcknowledged, PingAckReceived))]
    peer.acknowledge()
    await client.event(SettingsAcknowledged)
    assert (await client.event(PingAckReceived)).ping_data == b"12345678"
    peer.auto_ack = True
    client.h2.ping(b"87654321")
    client.flush()
    assert (await client.event(PingAckReceived)).ping_data == b"87654321"


async def test_server_that_is_slow_to_say_its_settings_says_nothing_before(link):
    client, peer = await link(HTTP2Peer(None))
    await peer.receive_settings()
    await turns()
    assert client.events == []
    peer.update_settings({})
    await client.event(SettingsAcknowledged)
    await peer.receive_settings_ack()


async def test_ping_is_answered(linked):
    client, peer = linked
    peer.ping(b"01234567")
    assert (await client.event(PingReceived)).ping_data == b"01234567"
    assert await peer.receive_ping_ack() == b"01234567"


async def test_streams_go_on_after_a_goaway_of_either_end(segment):
    client, peer = ScriptedPeer(close_on_eof=True), HTTP2Peer()
    memory_link(client, peer, segment=segment)
    await turns()
    http = H2Connection()  # would refuse everything after a GOAWAY
    http.initiate_connection()
    http.send_headers(1, POST)
    http.send_data(1, b"one")
    client.send(http.data_to_send() + GoAwayFrame(0, 0, ErrorCodes.NO_ERROR, b"bye").serialize())
    goaway = await peer.receive_goaway()
    assert (goaway.last_stream_id, goaway.error_code, goaway.additional_data) == (0, 0, b"bye")
    peer.goaway(debug_data=b"maintenance")
    http.send_data(1, b"two", end_stream=True)
    client.send(http.data_to_send())
    assert await peer.receive_body(1) == b"onetwo"
    peer.respond(1, body=b"body")
    sent = GoAwayFrame(0, 1, ErrorCodes.NO_ERROR, b"maintenance").serialize()
    assert sent in await client.receive_until(b"body")
    assert peer.violation is None
    client.close()
    await peer.closed()
    await client.closed()


async def test_goaway_names_the_stream_it_is_told(linked):
    client, peer = linked
    client.ask(1)
    client.ask(3)
    await peer.receive_request()
    peer.goaway(1, ErrorCodes.ENHANCE_YOUR_CALM)
    terminated = await client.event(ConnectionTerminated)
    assert (terminated.last_stream_id, terminated.error_code) == (1, ErrorCodes.ENHANCE_YOUR_CALM)


async def test_reset_by_the_peer_drops_what_waits(linked):
    client, peer = linked
    client.ask(1, POST, end_stream=False)
    await peer.receive_request()
    peer.respond(1, body=b"x" * 100_000)
    receiving = asyncio.ensure_future(peer.receive_body(1))
    await turns()
    peer.reset(1, ErrorCodes.INTERNAL_ERROR)
    assert peer.pending(1) == 0
    assert (await client.event(StreamReset)).error_code == ErrorCodes.INTERNAL_ERROR
    with pytest.raises(ConnectionError, match="stream 1 was reset before the end of the request came"):
        await receiving


async def test_reset_of_a_stream_that_h2_does_not_have_is_sent_all_the_same(linked):
    client, peer = linked
    peer.reset(7)  # h2 would refuse even to think of it
    client.ask(1)
    await peer.receive_request()
    peer.respond(1)
    await client.event(StreamEnded)
    assert peer.h2.open_inbound_streams == 0  # counting forgets those that are closed
    peer.reset(1)
    peer.ping()
    await peer.receive_ping_ack()
    assert peer.violation is None


async def test_reset_by_the_client_ends_waits_for_its_stream_only(linked):
    client, peer = linked
    client.ask(1, POST, b"part", end_stream=False)
    client.ask(3)
    await peer.receive_request()
    peer.respond(1, body=b"x" * 100_000)
    client.h2.reset_stream(1, ErrorCodes.CANCEL)
    client.flush()
    assert await peer.receive_reset(1) is ErrorCodes.CANCEL
    assert peer.pending(1) == 0
    assert await peer.receive_data(1) == b"part"
    for wait in (peer.receive_data(1), peer.receive_body(1), peer.receive_trailers(1)):
        with pytest.raises(ConnectionError, match="stream 1 was reset before"):
            await wait
    assert (await peer.receive_request()).stream_id == 3


async def test_reset_with_a_code_of_its_own(linked):
    client, peer = linked
    client.ask(1, POST, end_stream=False)
    frame = RstStreamFrame(1)
    frame.error_code = 4711
    client.transport.write(frame.serialize())
    assert await peer.receive_reset(1) == 4711


async def test_frames_of_ones_own_go_out_as_they_are(linked):
    client, peer = linked
    client.ask(1)
    await peer.receive_request()
    block = peer.encode_headers([(":status", "200"), ("x", "y" * 100)])
    peer.send_frame(HeadersFrame(1, block[:50]))
    peer.send_frame(ContinuationFrame(1, block[50:], flags=["END_HEADERS"]))
    assert (await client.event(ResponseReceived)).headers == [(b":status", b"200"), (b"x", b"y" * 100)]
    peer.respond(1, end_stream=False, headers=[("x", "y" * 100)])  # its compression builds on the block before
    assert peer.violation is None


@pytest.mark.parametrize(
    "fields",
    [[("Upper-Case", "x")], [("connection", "close")], [(":status", "200")], [("x", "a\r\nb")], [("", "")]],
)
async def test_malformed_fields_are_sent(linked, fields):
    client, peer = linked
    client.ask(1)
    await peer.receive_request()
    peer.respond(1, 200, fields)
    received = (await client.event(ResponseReceived)).headers
    assert received == [(b":status", b"200"), *((name.encode(), value.encode()) for name, value in fields)]


# The end


async def test_close_ends_every_wait(linked):
    client, peer = linked
    await client.event(SettingsAcknowledged)  # it has nothing more to say by itself
    client.ask(1, POST, b"part", end_stream=False)
    client.transport.write_eof()
    assert (await peer.receive_request()).stream_id == 1
    await peer.receive_settings_ack()
    for wait, awaited in (
        (lambda: peer.receive_request(), "a request"),
        (lambda: peer.receive_body(1), "the end of the request on stream 1"),
        (lambda: peer.receive_reset(1), "RstStreamFrame on stream 1"),
        (lambda: peer.receive_ping(), "PingFrame"),
        (lambda: peer.receive_settings_ack(), "SettingsFrame with ACK"),
        (lambda: peer.receive_window_update(), "WindowUpdateFrame"),
        (lambda: peer.receive_goaway(), "GoAwayFrame"),
        (lambda: peer.receive_frame(PushPromiseFrame, 1), "PushPromiseFrame on stream 1"),
    ):
        with pytest.raises(ConnectionError, match=f"before {awaited} came"):
            await wait()
    assert await peer.receive_data(1) == b"part"
    assert await peer.closed() is None


async def test_reset_of_the_connection_ends_every_wait(linked):
    _, peer = linked
    receiving = asyncio.ensure_future(peer.receive_request())
    await turns()
    peer.abort()
    with pytest.raises(ConnectionError, match="was lost before a request came"):
        await receiving


@pytest.mark.parametrize(
    "data",
    [
        b"GET / HTTP/1.1\r\n\r\n",
        DataFrame(1, b"x").serialize(),
        PingFrame(0, b"12345678").serialize()[:3] + b"\x06\x00\x00\x00\x00\x01" + b"12345678",
    ],
)
async def test_client_that_speaks_something_else_is_told_so_and_closed(data):
    client, peer = H2Client(), HTTP2Peer()
    if data.startswith(b"GET"):
        client.flush = lambda: client.transport.write(data)  # type: ignore[method-assign]
    memory_link(client, peer)
    await turns()
    client.transport.write(data)
    with pytest.raises(ConnectionError, match="the client sent what is not allowed"):
        await peer.receive_request()
    assert await peer.closed() is None
    client.transport.abort()
    await client.changes.wait_until(lambda: client.lost)


async def test_goaway_that_is_broken_closes(linked):
    client, peer = linked
    client.transport.write(b"\0\0\1" + bytes([7, 0, 0, 0, 0, 0]) + b"x")
    with pytest.raises(ConnectionError, match="the client sent what is not allowed"):
        await peer.receive_goaway()
    assert await peer.closed() is None


async def test_data_on_a_stream_that_the_peer_reset_is_credited_once(linked):
    client, peer = linked
    client.ask(1, POST, end_stream=False)
    await peer.receive_request()
    peer.reset(1)
    with pytest.raises(StreamClosedError):
        while True:
            client.h2.send_data(1, b"x" * 16000)
            client.flush()
            await turns()
    peer.ping()
    await peer.receive_ping_ack()
    client.h2.ping(b"12345678")
    client.flush()
    await client.event(PingAckReceived)
    assert peer.h2.inbound_flow_control_window == client.h2.outbound_flow_control_window


async def test_peer_that_knows_frames_only_answers_nothing(segment):
    client, peer = H2Client(), FramePeer()
    memory_link(client, peer, segment=segment)
    await turns()
    client.ask(body=b"body")
    client.h2.ping(b"12345678")
    client.flush()
    assert (await peer.receive_frame(DataFrame, 1)).data == b"body"
    assert await peer.receive_ping() == b"12345678"
    assert [type(frame).__name__ for frame in peer.frames] == [
        "SettingsFrame",
        "HeadersFrame",
        "DataFrame",
        "PingFrame",
    ]
    assert client.events == []
    peer.goaway()
    assert (await client.event(ConnectionTerminated)).last_stream_id == 1
    client.transport.close()
    with pytest.raises(ConnectionError, match="before GoAwayFrame came"):
        await peer.receive_goaway()
    assert await peer.closed() is None
