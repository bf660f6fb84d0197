"""Trace hooks on HTTP/2: which stream and which connection an event is about, and what happens to both."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest
from h2.errors import ErrorCodes
from h2.settings import SettingCodes

from httpcore import trace
from httpcore.config import HTTP2Config, TimeoutConfig
from httpcore.protocols import HTTP2Protocol
from httpcore.request import PUSHED, BodyTypes, Request
from httpcore.testing import HTTP2Peer
from httpcore.trace import TraceEvent, TraceHook
from tests.clock import Clock, clock, turns
from tests.protocols.http2_script import HTTP2Client
from tests.protocols.recording import URL, Recorder

__all__ = ["clock"]

OFTEN = HTTP2Config(ping_interval=5.0, ping_timeout=2.0)


class Log:
    """A hook that keeps what it gets."""

    def __init__(self) -> None:
        self.events: list[TraceEvent] = []

    def __call__(self, event: TraceEvent) -> None:
        self.events.append(event)

    @property
    def types(self) -> list[type[TraceEvent]]:
        return [type(event) for event in self.events]

    def of(self, *kinds: type[TraceEvent]) -> list[TraceEvent]:
        return [event for event in self.events if type(event) in kinds]


@pytest.fixture
def log() -> Log:
    return Log()


@pytest.fixture
async def connect(clock: Clock):
    """Makes clients whose clock stands still; checks them when the test ends."""
    clients: list[HTTP2Client] = []

    async def make(peer: HTTP2Peer | None = None, config: HTTP2Config | None = None) -> HTTP2Client:
        client = HTTP2Client(peer, config=config)
        clients.append(client)
        await turns()
        return client

    yield make
    for client in clients:
        await client.finish()


@pytest.fixture
async def client(connect) -> HTTP2Client:
    return await connect()  # type: ignore[no-any-return]


# Streams


async def test_events_of_a_request_name_connection_and_stream(client: HTTP2Client, clock: Clock, log: Log) -> None:
    number = client.protocol.info.connection_id
    await client.answer()  # stream 1
    recorder = client.dispatch(Request("POST", URL, body=b"body"), trace=log)
    await turns()
    now = clock.now
    await clock.advance(1.0)
    client.peer.respond(3, 103, end_stream=False)
    await turns()
    await clock.advance(1.0)
    client.peer.respond(3, 200, body=b"content")
    await recorder.end()
    assert recorder.exchange.stream_id == 3
    assert log.events == [
        trace.SlotAssigned(now, number, reused=True),
        trace.HeadSent(now, number, 3),
        trace.BodySent(now, number, 3),
        trace.InformationalReceived(now + 1, 103, number, 3),
        trace.HeadReceived(now + 2, 200, now + 1, number, 3),
        trace.ConnectionReleased(now + 2, number),
        trace.ResponseComplete(now + 2, number, 3),
    ]


async def test_events_of_exchanges_at_once_are_told_apart_by_their_stream(client: HTTP2Client, log: Log) -> None:
    recorders = [client.dispatch(trace=log) for _ in range(3)]
    await turns()
    for stream_id in (5, 1, 3):
        client.peer.respond(stream_id)
    for recorder in recorders:
        await recorder.end()
    heads = [event.stream_id for event in log.of(trace.HeadSent) if isinstance(event, trace.HeadSent)]
    ends = [event.stream_id for event in log.of(trace.ResponseComplete) if isinstance(event, trace.ResponseComplete)]
    assert (heads, ends) == ([1, 3, 5], [5, 1, 3])
    assert len({event.connection_id for event in log.events}) == 1  # type: ignore[attr-defined]


async def test_request_that_is_aborted_resets_its_stream(client: HTTP2Client, clock: Clock, log: Log) -> None:
    number = client.protocol.info.connection_id
    recorder = client.dispatch(trace=log)
    log.events.clear()
    recorder.exchange.abort()
    assert recorder.error is not None
    assert log.events == [
        trace.PingSent(clock.now, number),
        trace.StreamReset(clock.now, number, 1, ErrorCodes.CANCEL, remote=False),
        trace.ConnectionReleased(clock.now, number),
        trace.ExchangeFailed(clock.now, recorder.error),
    ]


async def test_request_that_the_server_resets(client: HTTP2Client, clock: Clock, log: Log) -> None:
    number = client.protocol.info.connection_id
    recorder = client.dispatch(trace=log)
    await turns()
    log.events.clear()
    client.peer.reset(1, ErrorCodes.INTERNAL_ERROR)
    await recorder.end()
    assert recorder.error is not None
    assert log.events == [
        trace.StreamReset(clock.now, number, 1, ErrorCodes.INTERNAL_ERROR, remote=True),
        trace.ConnectionReleased(clock.now, number),
        trace.ExchangeFailed(clock.now, recorder.error),
    ]


async def test_reset_of_a_stream_that_has_ended_is_none(client: HTTP2Client, log: Log) -> None:
    recorder = Recorder()
    recorder.on("data", lambda: recorder.exchange.abort())
    client.dispatch(recorder=recorder, trace=log)
    await turns()
    client.peer.respond(1, body=b"all")
    await recorder.end()
    assert log.of(trace.StreamReset, trace.PingSent) == []


async def test_response_before_the_body_has_ended_resets_the_stream(client: HTTP2Client, log: Log) -> None:
    recorder = client.dispatch(Request("POST", URL, body=PUSHED), trace=log)
    await turns()
    client.peer.respond(1, 413)
    await recorder.end()
    (reset,) = log.of(trace.StreamReset)
    assert isinstance(reset, trace.StreamReset)
    assert (reset.stream_id, reset.error_code, reset.remote) == (1, ErrorCodes.CANCEL, False)
    assert log.types[-2:] == [trace.ConnectionReleased, trace.ResponseComplete]


async def test_reset_of_a_stream_that_broke_the_rules_names_the_code(client: HTTP2Client, log: Log) -> None:
    recorder = client.dispatch(trace=log)
    await turns()
    client.peer.send_headers(1, [(":status", "two hundred")])
    await recorder.end()
    (reset,) = log.of(trace.StreamReset)
    assert isinstance(reset, trace.StreamReset)
    assert (reset.error_code, reset.remote) == (ErrorCodes.PROTOCOL_ERROR, False)


# Windows


async def test_body_that_waits_for_its_streams_window(client: HTTP2Client, clock: Clock, log: Log) -> None:
    number = client.protocol.info.connection_id
    client.peer.auto_credit = False
    recorder = client.dispatch(Request("POST", URL, body=bytes(65535)), trace=log)
    await turns()
    assert log.of(trace.WindowStalled) == []  # it was just enough
    client.peer.respond(1)
    await recorder.end()
    client.peer.credit(65535)
    await turns()
    recorder = client.dispatch(Request("POST", URL, body=bytes(100_000)), trace=log)
    await turns()
    client.peer.credit(70_000)  # of the connection's, which is not what is missing
    await turns()
    stalled = trace.WindowStalled(clock.now, number, 3, connection=True)
    assert log.of(trace.WindowStalled, trace.WindowOpened) == [stalled]
    await clock.advance(2.0)
    client.peer.credit(1000, 3)
    await turns()
    opened = trace.WindowOpened(clock.now, number, 3)
    again = trace.WindowStalled(clock.now, number, 3, connection=False)
    assert log.of(trace.WindowStalled, trace.WindowOpened) == [stalled, opened, again]
    client.peer.credit(100_000, 3)
    await turns()
    assert log.of(trace.WindowStalled, trace.WindowOpened) == [stalled, opened, again, opened]
    client.peer.respond(3)
    await recorder.end()
    client.peer.auto_credit = True


async def test_window_of_one_stream_does_not_stall_another(client: HTTP2Client, log: Log) -> None:
    client.peer.auto_credit = False
    client.peer.credit(200_000)
    await turns()
    first = client.dispatch(Request("POST", URL, body=bytes(70_000)), trace=log)
    other = Log()
    second = client.dispatch(Request("POST", URL, body=bytes(60_000)), trace=other)
    await turns()
    (stalled,) = log.of(trace.WindowStalled)
    assert isinstance(stalled, trace.WindowStalled)
    assert (stalled.stream_id, stalled.connection) == (1, False)
    assert other.of(trace.WindowStalled, trace.WindowOpened) == []
    for stream_id, recorder in ((1, first), (3, second)):
        client.peer.respond(stream_id)
        await recorder.end()
    client.peer.auto_credit = True


# The connection


async def test_settings_are_told_to_each_hook_once(client: HTTP2Client, clock: Clock, log: Log) -> None:
    other = Log()
    recorders = [client.dispatch(trace=hook) for hook in (log, other, log, None)]
    await turns()
    client.peer.update_settings({SettingCodes.MAX_CONCURRENT_STREAMS: 7, 0xCD: 5, SettingCodes.MAX_FRAME_SIZE: 20000})
    await turns()
    for hook in (log, other):
        (event,) = hook.of(trace.SettingsReceived)
        assert isinstance(event, trace.SettingsReceived)
        assert (event.time, event.connection_id) == (clock.now, client.protocol.info.connection_id)
        assert event.settings == ((3, 7), (0xCD, 5), (5, 20000))
    for stream_id, recorder in zip((1, 3, 5, 7), recorders, strict=True):
        client.peer.respond(stream_id)
        await recorder.end()


async def test_first_settings_are_told_to_the_request_that_did_not_wait(connect, log: Log) -> None:
    client = await connect(HTTP2Peer(None))
    recorder = client.dispatch(trace=log)
    client.peer.update_settings({SettingCodes.MAX_CONCURRENT_STREAMS: 10})
    await turns()
    assert log.types == [trace.SlotAssigned, trace.HeadSent, trace.BodySent, trace.SettingsReceived]
    client.peer.respond(1)
    await recorder.end()


async def test_goaway_is_told_before_what_comes_of_it(client: HTTP2Client, clock: Clock, log: Log) -> None:
    number = client.protocol.info.connection_id
    below, other = Log(), Recorder()
    kept = client.dispatch(trace=below)
    failed = client.dispatch(recorder=other, trace=log)
    await turns()
    for hook in (log, below):
        hook.events.clear()
    client.peer.goaway(1, ErrorCodes.ENHANCE_YOUR_CALM, b"too much\r\n")
    await failed.end()
    goaway = trace.GoawayReceived(clock.now, number, 1, ErrorCodes.ENHANCE_YOUR_CALM, b"too much\r\n")
    reason = r"the server sent GOAWAY: ENHANCE_YOUR_CALM (0xb) 'too much\r\n'"
    closed = trace.ConnectionClosed(clock.now, number, reason)
    assert failed.error is not None
    assert log.events == [goaway, closed, trace.ExchangeFailed(clock.now, failed.error)]
    assert below.events == [goaway]
    client.peer.respond(1)
    await kept.end()
    assert below.types == [
        trace.GoawayReceived,
        trace.HeadReceived,
        trace.ConnectionClosed,
        trace.ResponseComplete,
    ]


@pytest.mark.parametrize(
    ("end", "reason"),
    [
        (lambda client: client.peer.abort(), "connection lost: "),
        (lambda client: client.peer.close(), "the server closed it"),
        (lambda client: client.peer.send(b"\0\0\1\6\0\0\0\0\0?"), "the server broke the rules of HTTP/2: "),
    ],
)
async def test_connection_that_ends_says_why(
    client: HTTP2Client, log: Log, end: Callable[[HTTP2Client], None], reason: str
) -> None:
    recorder = client.dispatch(trace=log)
    await turns()
    end(client)
    await recorder.end()
    assert log.types[-2:] == [trace.ConnectionClosed, trace.ExchangeFailed]
    closed = log.events[-2]
    assert isinstance(closed, trace.ConnectionClosed)
    assert closed.reason.startswith(reason)


async def test_pings_in_silence_and_how_long_their_answers_took(connect, clock: Clock, log: Log) -> None:
    client = await connect(config=OFTEN)
    number = client.protocol.info.connection_id
    recorder = client.dispatch(trace=log)
    await turns()
    log.events.clear()
    started = clock.now
    client.peer.auto_ack = False
    await clock.advance(5.0)
    assert log.events == [trace.PingSent(started + 5, number)]
    await clock.advance(1.5)
    client.peer.acknowledge()
    await turns()
    assert log.events[1:] == [trace.PingAnswered(started + 6.5, number, 1.5)]
    client.peer.respond(1)
    await recorder.end()
    client.peer.auto_ack = True


async def test_ping_that_goes_with_a_request_is_told_to_it(connect, clock: Clock, log: Log) -> None:
    client = await connect(config=OFTEN)
    await client.answer()
    await clock.advance(60.0)
    recorder = client.dispatch(trace=log)
    assert sorted(event.name for event in log.events) == [
        "http2.ping_sent",
        "request.body_sent",
        "request.head_sent",
        "slot.assigned",
    ]
    await turns()
    client.peer.respond(1 + 2)
    await recorder.end()
    assert [type(event) for event in log.events if event.name.startswith("http2.")] == [
        trace.PingSent,
        trace.PingAnswered,
    ]


async def test_server_that_is_dead(connect, clock: Clock, log: Log) -> None:
    client = await connect(config=OFTEN)
    client.peer.auto_ack = False
    recorder = client.dispatch(trace=log)
    await clock.advance(7.0)
    await recorder.end()
    assert log.types[-3:] == [trace.PingSent, trace.ConnectionClosed, trace.ExchangeFailed]
    closed = log.events[-2]
    assert isinstance(closed, trace.ConnectionClosed)
    assert closed.reason == "the server did not answer a PING within 2.0 seconds"


async def test_read_timeout_is_a_reset_and_a_ping(connect, clock: Clock, log: Log) -> None:
    client = await connect()
    recorder = client.dispatch(timeout=TimeoutConfig(read_timeout=2.0), trace=log)
    await clock.advance(2.0)
    await recorder.end()
    assert log.types[3:] == [
        trace.PingSent,
        trace.StreamReset,
        trace.ConnectionReleased,
        trace.ExchangeFailed,
    ]


# Hooks


def raising(event: TraceEvent) -> None:
    raise ValueError(event.name)


async def test_hook_that_raises_changes_nothing(connect, clock: Clock) -> None:
    reported: list[str] = []
    asyncio.get_running_loop().set_exception_handler(lambda loop, context: reported.append(str(context["exception"])))
    client = await connect(config=OFTEN)
    client.peer.auto_credit = False
    upload = client.dispatch(Request("POST", URL, body=bytes(100_000)), trace=raising)
    aborted = client.dispatch(trace=raising)
    await turns()
    await clock.advance(5.0)
    client.peer.update_settings({SettingCodes.MAX_CONCURRENT_STREAMS: 50})
    client.peer.credit(100_000)
    client.peer.credit(100_000, 1)
    aborted.exchange.abort()
    await turns()
    assert len(await client.peer.receive_body(1)) == 100_000
    client.peer.goaway(1)
    client.peer.respond(1, body=b"content")
    await upload.end()
    assert upload.body == b"content"
    await client.protocol.wait_closed()
    told = {name for name in reported if name.startswith("http2.")}
    assert told == {
        "http2.settings_received",
        "http2.goaway_received",
        "http2.stream_reset",
        "http2.window_stalled",
        "http2.window_opened",
        "http2.ping_sent",
        "http2.ping_answered",
    }


@pytest.mark.parametrize("body", [b"", b"body", PUSHED], ids=["no body", "body", "pushed"])
@pytest.mark.parametrize("act", ["abort", "dispatch", "close"])
async def test_hook_may_call_back_into_what_it_is_told_of(connect, act: str, body: BodyTypes) -> None:
    """In every event: an exchange that it aborts, a request that it makes, a connection that it closes."""
    reported: list[object] = []
    asyncio.get_running_loop().set_exception_handler(lambda loop, context: reported.append(context))
    for turn in range(12):
        client = await connect()
        protocol: HTTP2Protocol = client.protocol
        seen: list[TraceEvent] = []
        recorders: list[Recorder] = []

        def call_back(
            event: TraceEvent,
            turn: int = turn,
            client: HTTP2Client = client,
            protocol: HTTP2Protocol = protocol,
            seen: list[TraceEvent] = seen,
            recorders: list[Recorder] = recorders,
        ) -> None:
            seen.append(event)
            if len(seen) - 1 != turn:
                return
            if act == "abort":
                for recorder in recorders:
                    if recorder.names:  # which has its exchange
                        recorder.exchange.abort()
            elif act == "close":
                protocol.close("says the hook")
            elif protocol.available:
                client.dispatch().exchange.abort()

        hook: TraceHook = call_back
        for _ in range(2):
            if protocol.available:
                recorder = Recorder()
                client.recorders.append(recorder)
                request = Request("POST", URL, body=body)
                recorders.append(recorder)
                protocol.dispatch(request, recorder, timeout=TimeoutConfig(), trace=hook)
        await turns()
        client.peer.update_settings({SettingCodes.MAX_CONCURRENT_STREAMS: 20})
        for stream_id in list(client.peer.h2.streams):
            if stream_id not in client.peer._over:
                client.peer.respond(stream_id, body=b"content")
        for recorder in recorders:
            await recorder.end()
        assert seen
        assert reported == []


async def test_hook_may_abort_a_request_whose_head_has_waited(client: HTTP2Client) -> None:
    async def body():
        await opened.wait()
        yield b""

    opened, recorder = asyncio.Event(), Recorder()

    def abort(event: TraceEvent) -> None:
        if isinstance(event, trace.HeadSent):
            recorder.exchange.abort()

    client.dispatch(Request("GET", URL, body=body()), recorder, trace=abort)
    for limit in (0, 1):
        client.peer.update_settings({SettingCodes.MAX_CONCURRENT_STREAMS: limit})
        await turns()
        opened.set()
        await turns()
    assert recorder.names == ["started", "failed"]
    assert await client.peer.receive_reset(1) == ErrorCodes.CANCEL
    await client.still_works()
