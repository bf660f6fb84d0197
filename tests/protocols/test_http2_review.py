"""What handlers, trace hooks and mutated requests may do to HTTP2Protocol in the middle of its work."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import pytest
from h2.settings import SettingCodes
from hyperframe.frame import GoAwayFrame, HeadersFrame

from httpcore import PUSHED, HTTP2Config, Request, TimeoutConfig
from httpcore.exceptions import LocalProtocolError, ReadError, RemoteProtocolError, ResponseClosed, WriteTimeout
from httpcore.testing import HTTP2Peer
from httpcore.trace import TraceEvent, WindowOpened, WindowStalled
from tests.clock import turns
from tests.protocols.http2_script import HTTP2Client
from tests.protocols.recording import URL, Client, Clock, Recorder

Connect = Callable[..., Awaitable[HTTP2Client]]


def expecting() -> Request:
    return Request("POST", URL, headers=[("expect", "100-continue")], body=PUSHED)


def aborting() -> Recorder:
    recorder = Recorder()
    return recorder.on("pause_writing", lambda: recorder.exchange.abort())


async def test_abort_when_told_to_wait_for_100_leaves_no_timer(http2: HTTP2Client) -> None:
    recorder = http2.dispatch(expecting(), aborting())
    assert recorder.names == ["started", "pause_writing", "failed"]
    await http2.still_works()  # that no timer is left is checked when the test ends


async def test_abort_when_told_to_wait_for_100_leaves_no_timer_http11(client: Client) -> None:
    recorder = client.dispatch(expecting(), aborting())
    assert recorder.names == ["started", "pause_writing", "failed"]
    assert client.protocol.closing


@pytest.mark.parametrize("event_type", [WindowStalled, WindowOpened])
async def test_trace_hook_that_aborts_a_stream_whose_window_shuts_or_opens_ends_it_alone(
    connect_http2: Connect, event_type: type[TraceEvent]
) -> None:
    peer = HTTP2Peer(settings={SettingCodes.INITIAL_WINDOW_SIZE: 1000}, auto_credit=False)
    client = await connect_http2(peer)
    recorder, other = Recorder(), Recorder()
    reported: list[dict[str, object]] = []
    asyncio.get_running_loop().set_exception_handler(lambda loop, context: reported.append(context))

    def hook(event: TraceEvent) -> None:
        if isinstance(event, event_type):
            recorder.exchange.abort()

    client.dispatch(Request("POST", URL, body=PUSHED), recorder, trace=hook)
    client.dispatch(Request("POST", URL, body=PUSHED), other)
    recorder.exchange.write(b"a" * 3000)
    other.exchange.write(b"b" * 3000)
    other.exchange.write_eof()
    await turns()
    if not recorder.ended:
        peer.credit(1000, 1)
        await turns()
    assert isinstance(recorder.error, ResponseClosed)
    peer.credit(2000, 3)
    assert await peer.receive_body(3) == b"b" * 3000
    peer.respond(3, 200)
    await other.end()
    assert other.statuses == [200]
    assert reported == []


async def test_goaway_first_piece_of_a_request_that_was_lost_with_it_opens_no_stream(http2: HTTP2Client) -> None:
    kept, _ = await http2.ask()
    lost, _ = await http2.ask()
    held_back = http2.dispatch(Request("GET", URL, body=PUSHED))  # whose head waits for the first piece

    def write() -> None:
        held_back.exchange.write(b"too late")
        held_back.exchange.write_eof()

    lost.on("failed", write)
    frame = GoAwayFrame(0)
    frame.last_stream_id = 1
    http2.peer.send_frame(frame)
    await held_back.end()
    await turns()
    assert isinstance(held_back.error, RemoteProtocolError)
    assert list(http2.protocol.streams) == [1]
    assert [frame.stream_id for frame in http2.peer.frames if isinstance(frame, HeadersFrame)] == [1, 3]
    http2.peer.respond(1, 200)
    await kept.end()


async def test_loss_first_piece_of_a_request_that_was_lost_with_it_opens_no_stream(http2: HTTP2Client) -> None:
    lost, _ = await http2.ask()
    held_back = http2.dispatch(Request("GET", URL, body=PUSHED))
    lost.on("failed", lambda: held_back.exchange.write_eof())
    http2.peer.abort()
    await held_back.end()
    assert isinstance(held_back.error, ReadError)
    assert http2.protocol.streams == {}


@pytest.mark.parametrize("body", [b"", b"content"], ids=["empty", "content"])
@pytest.mark.parametrize("field", [(b"x", b"y\r\nevil: 1"), (b":path", b"/"), (b"content-length", b"1")])
async def test_trailers_put_into_the_requests_list_that_must_not_be_sent_are_not(
    http2: HTTP2Client, body: bytes, field: tuple[bytes, bytes]
) -> None:
    request = Request("POST", URL, body=body, trailers=[("x-good", "1")])
    assert isinstance(request.trailers, list)
    request.trailers.append(field)
    recorder = http2.dispatch(request)
    await recorder.end()
    assert isinstance(recorder.error, LocalProtocolError)
    await http2.still_works()


async def test_timeout_of_a_request_that_waits_for_settings_asks_whether_the_server_is_there(
    connect_http2: Connect, clock: Clock
) -> None:
    client = await connect_http2(HTTP2Peer(settings=None), settled=False)
    request = Request("CONNECT", URL, protocol="websocket")
    recorder = client.dispatch(request, timeout=TimeoutConfig(write_timeout=2.0))
    before = clock.now
    await recorder.end()
    assert isinstance(recorder.error, WriteTimeout)
    assert client.protocol.available == 0
    await client.protocol.wait_closed()
    assert "PING" in client.protocol.close_reason
    assert clock.now - before == pytest.approx(2.0 + HTTP2Config().ping_timeout)


class HalfOpen(asyncio.Protocol):
    """A protocol in a tunnel that pauses and resumes in the middle of what is delivered, and goes on behind the end."""

    def __init__(self, transport: asyncio.Transport) -> None:
        self.transport = transport
        self.received = bytearray()
        self.ends = 0

    def data_received(self, data: bytes) -> None:
        self.received += data
        self.transport.pause_reading()
        self.transport.resume_reading()

    def eof_received(self) -> bool:
        self.ends += 1
        return True


async def test_tunnel_reader_that_pauses_and_resumes_in_the_middle_hears_of_the_end_once(http2: HTTP2Client) -> None:
    content = bytes(700_000)  # more than is delivered at once
    recorder, incoming = await http2.ask(Request("CONNECT", "http://example.org:80/"))
    http2.peer.respond(incoming.stream_id, 200, end_stream=False)
    await recorder.until("upgraded")
    tunnel = http2.protocol.streams[incoming.stream_id]._tunnel
    assert tunnel is not None
    reader = HalfOpen(tunnel)
    tunnel.set_protocol(reader)
    tunnel.pause_reading()
    http2.peer.send_data(incoming.stream_id, content, end_stream=True)
    await http2.settle()
    assert not reader.received
    tunnel.resume_reading()
    await turns()
    assert reader.received == content
    assert reader.ends == 1
    tunnel.abort()
    await turns()
