"""Corners of HTTP/2, and of what it stands on, that nothing else passes through."""

from __future__ import annotations

import asyncio

import pytest
from h2.errors import ErrorCodes
from hpack import Decoder
from hyperframe.frame import HeadersFrame

from httpcore.exceptions import LocalProtocolError, ReadError, RemoteProtocolError, ResponseClosed
from httpcore.headers import Headers
from httpcore.protocols.deadlines import Deadlines
from httpcore.protocols.http2_frames import FrameType
from httpcore.request import Request
from httpcore.upgraded import _Handshake
from tests.clock import until
from tests.protocols.http2_owner import gone
from tests.protocols.http2_script import HTTP2Client
from tests.protocols.http2_tunnels import tunnel
from tests.protocols.http2_wire import OK, data, frame, goaway, head, rst, settings, trailers, wire_client
from tests.protocols.recording import URL, Clock

MAX_LATE = 10_000

# What the server goes on to send on stream 3, of which its GOAWAY said that it did nothing with it.
ABOVE = {
    "head": head(3, OK),
    "interim": head(3, (b":status", b"103")),
    "content": head(3, OK) + data(3, b"content"),
    "trailers": head(3, OK) + data(3, b"content") + trailers(3, (b"x-sum", b"1")),
    "interim and all": head(3, (b":status", b"103")) + head(3, OK) + trailers(3, (b"x-sum", b"1")),
    "reset": rst(3),
    "reset behind a head": head(3, OK) + rst(3),
}


# The receiver


async def test_of_too_many_resets_the_oldest_is_forgotten(http2: HTTP2Client) -> None:
    receiver = http2.protocol._receiver
    for number in range(MAX_LATE + 1):
        receiver.expect_late(2 * number + 1, 5)
    assert len(receiver._late) == MAX_LATE
    assert next(iter(receiver._late)) == 3
    assert next(reversed(receiver._late)) == 2 * MAX_LATE + 1
    assert receiver._late_frames == MAX_LATE


async def test_frame_at_which_h2_breaks_ends_the_connection(clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    def receive_data(data: bytes) -> list[object]:
        raise IndexError("out of range")

    async with wire_client() as client:
        recorder, stream_id = await client.ask()
        monkeypatch.setattr(client.protocol.h2, "receive_data", receive_data)
        client.peer.send(head(stream_id, OK))
        await until(lambda: recorder.ended)
        assert type(recorder.error) is RemoteProtocolError
        assert "a frame of type 1 cannot be read" in str(recorder.error)
        await client.peer.receive_goaway()
        assert client.goaways == [ErrorCodes.PROTOCOL_ERROR]


@pytest.mark.parametrize("stream_id", [2, 101])
async def test_priority_of_wrong_size_on_an_idle_stream_ends_the_connection(clock: Clock, stream_id: int) -> None:
    async with wire_client() as client:
        recorder, _ = await client.ask()
        client.peer.send(frame(FrameType.PRIORITY, stream_id, bytes(4)))
        await until(lambda: recorder.ended)
        assert type(recorder.error) is RemoteProtocolError
        await client.peer.receive_goaway()
        assert client.goaways == [ErrorCodes.FRAME_SIZE_ERROR]


@pytest.mark.parametrize("sent", ABOVE)
async def test_what_comes_above_a_goaway_is_ignored(clock: Clock, sent: str) -> None:
    async with wire_client() as client:
        below, _ = await client.ask()
        above, stream_id = await client.ask()
        assert stream_id == 3
        client.peer.send(goaway(1))
        await until(lambda: above.ended)
        names = list(above.names)
        client.peer.send(ABOVE[sent])
        await client.settle()
        assert above.names == names == ["started", "failed"]
        assert type(above.error) is RemoteProtocolError
        assert client.goaways == []
        client.peer.send(head(1, OK) + trailers(1, (b"x-sum", b"2")))
        await until(lambda: below.ended)
        assert below.names == ["started", "response", "complete"]
        assert below.trailers == [(b"x-sum", b"2")]


async def test_exchange_that_its_owner_aborts_when_its_head_makes_room_gets_no_head(clock: Clock) -> None:
    """The server had refused a stream; with the first answer there is room for another, of which the owner is told."""
    async with wire_client() as client:
        (first, number), (second, refused), (third, _) = [await client.ask() for _ in range(3)]
        client.peer.send(rst(refused, ErrorCodes.REFUSED_STREAM))
        await until(lambda: second.ended)
        client.protocol.on_change = lambda protocol: first.exchange.abort()
        client.peer.send(head(number, OK))
        await until(lambda: first.ended)
        client.protocol.on_change = None
        assert type(first.error) is ResponseClosed
        assert first.names == ["started", "failed"]
        assert not third.ended
        third.exchange.abort()


async def test_owner_that_raises_when_settings_come_is_heard(http2: HTTP2Client) -> None:
    def raises(protocol: object) -> None:
        raise ZeroDivisionError

    http2.protocol.on_change = raises
    with pytest.raises(ZeroDivisionError):
        http2.protocol.data_received(settings((0x3, 50)))
    http2.protocol.on_change = None
    assert http2.protocol.available == 50
    assert not http2.protocol.closing


# The connection


async def test_bytes_behind_an_abort_mean_nothing(http2: HTTP2Client) -> None:
    recorder, _ = await http2.ask()
    http2.protocol.abort(ReadError("enough"))
    assert type(recorder.error) is ReadError
    assert str(recorder.error).startswith("enough")
    names = list(recorder.names)
    http2.protocol.data_received(head(1, OK) + b"no frames at all")
    assert recorder.names == names
    assert http2.protocol.close_reason == "enough"
    await gone(http2)


async def test_ping_without_answer_behind_an_abort_changes_nothing(http2: HTTP2Client) -> None:
    recorder, _ = await http2.ask()
    http2.protocol.abort(ReadError("enough"))
    http2.protocol._not_alive()
    assert type(recorder.error) is ReadError
    assert str(recorder.error).startswith("enough")
    assert http2.protocol.close_reason == "enough"
    await gone(http2)


async def test_abort_of_a_closed_connection_changes_nothing(http2: HTTP2Client) -> None:
    http2.protocol.abort(ReadError("enough"))
    await gone(http2)
    http2.protocol.abort(ReadError("once more"))
    assert http2.protocol.close_reason == "enough"
    await gone(http2)


# Requests


async def test_empty_host_is_no_authority(clock: Clock) -> None:
    async with wire_client() as client:
        recorder = client.dispatch(Request("GET", URL, headers={"Host": ""}))
        asked = await client.peer.receive_frame(HeadersFrame, 1)
        names = [name for name, _ in Decoder().decode(asked.data, raw=True)]
        assert names[:3] == [b":method", b":scheme", b":path"]
        assert not {b":authority", b"host"} & set(names)
        client.peer.send(trailers(1, OK))
        await until(lambda: recorder.ended)
        assert recorder.statuses == [200]


async def test_trailers_spoilt_before_100_fail_the_exchange(clock: Clock) -> None:
    request = Request("POST", URL, body=b"hello", headers={"Expect": "100-continue"}, trailers=[("x-sum", "1")])
    async with wire_client() as client:
        recorder, stream_id = await client.ask(request)
        assert isinstance(request.trailers, Headers)
        request.trailers.append((b"content-length", b"5\r\n"))
        client.peer.send(head(stream_id, (b":status", b"100")))
        await until(lambda: recorder.ended)
        assert type(recorder.error) is LocalProtocolError
        await client.peer.receive_reset(stream_id)
        assert client.resets == [(stream_id, ErrorCodes.CANCEL)]
        assert client.protocol.in_flight == 0


async def test_tunnel_knows_its_protocol(http2: HTTP2Client) -> None:
    stream = await tunnel(http2)
    receiver = stream._receiver
    assert receiver.transport.get_protocol() is receiver.owner
    stream.abort()
    await stream.wait_closed()


# What it stands on


async def test_deadlines_may_be_closed_by_one_that_expires(clock: Clock) -> None:
    expired: list[str] = []

    def expire(item: str) -> None:
        expired.append(item)
        deadlines.close()

    deadlines = Deadlines(asyncio.get_running_loop(), expire)
    deadlines.set("first", 5.0)
    deadlines.set("other", 7.0)
    await asyncio.sleep(20)
    assert expired == ["first"]
    deadlines.set("again", 5.0)
    await asyncio.sleep(20)
    assert expired == ["first", "again"]


class Owner(asyncio.Protocol):
    """Writes down its callbacks."""

    def __init__(self) -> None:
        self.events: list[object] = []

    def data_received(self, data: bytes) -> None:
        self.events.append(data)

    def eof_received(self) -> bool:
        self.events.append("eof")
        return True

    def pause_writing(self) -> None:
        self.events.append("pause")

    def resume_writing(self) -> None:
        self.events.append("resume")

    def connection_lost(self, exc: Exception | None) -> None:
        self.events.append(exc)


def test_owner_hears_all_that_comes_with_the_end_of_a_handshake_and_once_that_it_is_lost() -> None:
    owner, error = Owner(), OSError("lost")
    handshake = _Handshake(owner)
    handshake.data_received(b"data")
    handshake.pause_writing()
    handshake.resume_writing()
    assert handshake.eof_received() is True
    handshake.connection_lost(error)
    handshake.connection_lost(None)
    assert owner.events == [b"data", "pause", "resume", "eof", error]
