"""The life of an HTTP/2 connection: how many streams it takes and when, and what its end is to those it carries."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import cast

import pytest
from h2.errors import ErrorCodes
from h2.settings import SettingCodes

from httpcore.config import HTTP2Config, TimeoutConfig
from httpcore.exceptions import (
    HTTPCoreError,
    LocalProtocolError,
    ReadError,
    ReadTimeout,
    RemoteProtocolError,
    ResponseClosed,
    TotalTimeout,
    WriteError,
    WriteTimeout,
)
from httpcore.protocols import HTTP2Protocol
from httpcore.protocols.exchange import HTTPExchange
from httpcore.protocols.states import HTTP2ConnectionState
from httpcore.request import PUSHED, Request
from httpcore.testing import HTTP2Peer
from tests.clock import turns, until
from tests.protocols.http2_script import HTTP2Client, shape
from tests.protocols.recording import URL, Recorder

MAX_STREAMS = SettingCodes.MAX_CONCURRENT_STREAMS
OWN_ERROR = ValueError("from the handler")


class Watch:
    """An owner: writes down what it could know of the connection each time that it is told of a change."""

    def __init__(self, client: HTTP2Client) -> None:
        self.seen: list[tuple[int, int, bool, bool]] = []
        client.protocol.on_change = self

    def __call__(self, changed: object) -> None:
        protocol = cast(HTTP2Protocol, changed)
        self.seen.append((protocol.available, protocol.in_flight, protocol.closing, protocol.closed))

    @property
    def last(self) -> tuple[int, int, bool, bool]:
        return self.seen[-1]


class Gate:
    """The body of a GET whose first chunk, and so the request's head, waits until the gate is opened."""

    def __init__(self) -> None:
        self.opened = asyncio.Event()
        self.request = Request("GET", URL, body=self.chunks())

    async def chunks(self):
        await self.opened.wait()
        yield b"behind the gate"


class Replays:
    """Who replays the exchanges that it watches: keeps them, made ready for another connection."""

    def __init__(self, *recorders: Recorder) -> None:
        self.exchanges: list[HTTPExchange] = []
        self.errors: list[HTTPCoreError] = []
        self.unprocessed: list[bool] = []
        for recorder in recorders:
            cast(HTTPExchange, recorder.exchange).replay = self

    def __call__(self, exchange: HTTPExchange, error: HTTPCoreError) -> bool:
        self.unprocessed.append(exchange.unprocessed)
        self.errors.append(error)
        self.exchanges.append(exchange)
        exchange.rewind()
        return True


async def stay_open(client: HTTP2Client) -> None:
    """Lets happen what happens by itself; the connection is to be there still."""
    await turns()
    assert not client.protocol.closed
    assert not client.transport.is_closing()


async def gone(client: HTTP2Client) -> None:
    """Waits for the connection's end, of which nothing is to be left."""
    await client.protocol.wait_closed()
    assert client.protocol.state == HTTP2ConnectionState.CLOSED
    assert (client.protocol.available, client.protocol.in_flight) == (0, 0)
    assert (client.protocol.closing, client.protocol.closed) == (True, True)


# The limit of streams


async def test_requests_go_out_before_the_servers_settings_came(connect_http2, segment):
    client = await connect_http2(HTTP2Peer(None), settled=False, segment=segment)
    assert client.protocol.state == HTTP2ConnectionState.PREFACE
    first, incoming = await client.ask()
    second, other = await client.ask(Request("POST", URL, body=b"body"))
    assert await client.peer.receive_body(other.stream_id) == b"body"
    watch = Watch(client)
    client.peer.update_settings({MAX_STREAMS: 3})
    await client.peer.receive_settings_ack()
    assert watch.last == (1, 2, False, False)
    assert client.protocol.state == HTTP2ConnectionState.OPEN
    for stream_id, recorder in ((incoming.stream_id, first), (other.stream_id, second)):
        client.peer.respond(stream_id, 200, body=b"ok")
        await recorder.end()
        assert recorder.body == b"ok"
    assert client.protocol.available == 3
    await client.still_works()


async def test_hundred_streams_are_assumed_until_the_server_has_said(connect_http2):
    client = await connect_http2(HTTP2Peer(None), settled=False)
    assert client.protocol.available == 100
    recorders = [client.dispatch() for _ in range(100)]
    assert (client.protocol.available, client.protocol.in_flight) == (0, 100)
    with pytest.raises(LocalProtocolError, match="can take no exchange"):
        client.protocol.dispatch(Request("GET", URL), Recorder())
    client.peer.update_settings({})  # no limit at all
    await client.peer.receive_settings_ack()
    assert client.protocol.available > 1_000_000
    recorders.append(client.dispatch())
    for _ in recorders:
        client.peer.respond((await client.peer.receive_request()).stream_id)
    for recorder in recorders:
        await recorder.end()
        assert recorder.statuses == [200]


async def test_limit_is_followed_up_and_down_while_streams_are_open(cut_http2):
    client, watch = cut_http2, Watch(cut_http2)
    asked = [await client.ask() for _ in range(3)]
    assert client.protocol.available == 97

    async def announce(limit: int) -> int:
        client.peer.update_settings({MAX_STREAMS: limit})
        await client.peer.receive_settings_ack()
        assert watch.last == (client.protocol.available, client.protocol.in_flight, False, False)
        return client.protocol.available

    async def answer() -> int:
        recorder, incoming = asked.pop(0)
        client.peer.respond(incoming.stream_id, 200, body=b"ok")
        await recorder.end()
        assert (recorder.body, recorder.error) == (b"ok", None)
        return client.protocol.available

    assert await announce(10) == 7
    assert await announce(2) == 0  # those that are open may end
    assert await announce(3) == 0
    assert await announce(4) == 1
    assert await announce(2) == 0
    assert await answer() == 0
    assert await answer() == 1
    assert await announce(0) == 0
    assert await answer() == 0
    with pytest.raises(LocalProtocolError):
        client.protocol.dispatch(Request("GET", URL), Recorder())
    assert await announce(1) == 1
    await client.still_works()


async def test_heads_that_wait_for_a_place_go_out_in_their_order(cut_http2):
    client = cut_http2
    open_, incoming = await client.ask()
    gates = [Gate() for _ in range(5)]
    waiting = [client.dispatch(gate.request) for gate in gates]
    assert client.protocol.available == 94
    client.peer.update_settings({MAX_STREAMS: 1})
    await client.peer.receive_settings_ack()
    for gate in gates:
        gate.opened.set()
        await turns()
    # It stays at one, and is said again and again: nobody loses their place by that.
    for _ in range(3):
        client.peer.update_settings({MAX_STREAMS: 1})
        await client.peer.receive_settings_ack()
    assert [recorder.exchange.stream_id for recorder in waiting] == [None] * 5
    assert (client.protocol.available, client.protocol.in_flight) == (0, 6)
    waiting.pop(2).exchange.abort()  # one gives up, and sends nothing
    for recorder in (open_, *waiting):
        client.peer.respond(incoming.stream_id, body=b"ok")
        await recorder.end()
        assert recorder.body == b"ok"
        if recorder is not waiting[-1]:
            incoming = await client.peer.receive_request()
            assert len(client.protocol.streams) == 1
    assert [recorder.exchange.stream_id for recorder in waiting] == [3, 5, 7, 9]
    assert client.protocol.available == 1


async def test_heads_that_wait_go_out_as_the_limit_is_raised(cut_http2):
    client = cut_http2
    gates = [Gate() for _ in range(4)]
    client.peer.update_settings({MAX_STREAMS: 10})
    await client.peer.receive_settings_ack()
    waiting = [client.dispatch(gate.request) for gate in gates]
    client.peer.update_settings({MAX_STREAMS: 0})
    await client.peer.receive_settings_ack()
    for gate in gates:
        gate.opened.set()
    await stay_open(client)
    assert shape(client.peer) == []
    client.peer.update_settings({MAX_STREAMS: 3})
    bodies = []
    for _ in range(3):
        bodies.append((await client.peer.receive_request()).stream_id)
    assert bodies == [1, 3, 5]
    await client.settle()
    assert shape(client.peer, 7) == []
    client.peer.respond(3)
    assert await client.peer.receive_body((await client.peer.receive_request()).stream_id) == b"behind the gate"
    for stream_id in (1, 5, 7):
        client.peer.respond(stream_id)
    for recorder in waiting:
        await recorder.end()
        assert recorder.statuses == [200]


async def test_handlers_of_waiting_streams_may_end_one_another(http2):
    """A stream that leaves lets the next one go out: also where that is in the middle of letting one go out."""
    client = http2
    asked, incoming = await client.ask()
    gates = [Gate() for _ in range(4)]
    waiting = [client.dispatch(gate.request) for gate in gates]
    client.peer.update_settings({MAX_STREAMS: 1})
    await client.peer.receive_settings_ack()
    for gate in gates:
        gate.opened.set()
    await turns()
    for recorder, next_ in zip(waiting, waiting[1:], strict=False):
        recorder.on("failed", next_.exchange.abort)
    asked.on("complete", waiting[0].exchange.abort)
    client.peer.respond(incoming.stream_id)
    for recorder in waiting:
        await recorder.end()
        assert type(recorder.error) is ResponseClosed
    assert await client.peer.receive_reset(3) == ErrorCodes.CANCEL  # the first had gone out by then
    await client.settle()
    await client.still_works()


async def test_head_that_waits_for_a_place_for_too_long_ends_with_a_write_timeout(http2):
    gate = Gate()
    recorder = http2.dispatch(gate.request, timeout=7.0)
    http2.peer.update_settings({MAX_STREAMS: 0})
    await http2.peer.receive_settings_ack()
    gate.opened.set()
    await recorder.end()
    assert type(recorder.error) is WriteTimeout
    assert not recorder.error.request_sent
    assert (http2.protocol.in_flight, http2.protocol.closing) == (0, False)
    http2.peer.update_settings({MAX_STREAMS: 1})
    await http2.peer.receive_settings_ack()
    await http2.still_works()


async def test_head_that_waited_for_a_place_has_the_write_timeout_anew_for_its_body(http2):
    gate = Gate()
    recorder = http2.dispatch(gate.request, timeout=TimeoutConfig(write_timeout=7.0))
    http2.peer.update_settings({MAX_STREAMS: 0})
    await http2.peer.receive_settings_ack()
    gate.opened.set()
    await asyncio.sleep(6.0)
    http2.peer.update_settings({MAX_STREAMS: 1})
    incoming = await http2.peer.receive_request()
    assert await http2.peer.receive_body(incoming.stream_id) == b"behind the gate"
    await asyncio.sleep(60.0)
    http2.peer.respond(incoming.stream_id)
    await recorder.end()
    assert recorder.statuses == [200]


# Closing


async def test_close_of_an_idle_connection_says_goaway_and_closes(cut_http2):
    watch = Watch(cut_http2)
    cut_http2.protocol.close("no longer wanted")
    assert watch.seen == [(0, 0, True, False)]
    assert cut_http2.protocol.close_reason == "no longer wanted"
    goaway = await cut_http2.peer.receive_goaway()
    assert (goaway.error_code, goaway.last_stream_id) == (ErrorCodes.NO_ERROR, 0)
    await cut_http2.peer.receive_eof()
    await gone(cut_http2)
    assert watch.last == (0, 0, True, True)
    cut_http2.protocol.close("again")
    assert cut_http2.protocol.close_reason == "no longer wanted"


async def test_close_before_the_servers_settings_came(connect_http2):
    client = await connect_http2(HTTP2Peer(None), settled=False)
    client.protocol.close("no longer wanted")
    await client.peer.receive_goaway()
    await gone(client)


@pytest.mark.parametrize("count", [1, 3])
async def test_close_lets_open_streams_end_and_then_closes(cut_http2, count):
    client = cut_http2
    asked = [await client.ask() for _ in range(count - 1)]
    asked.append(await client.ask(Request("POST", URL, body=PUSHED)))
    watch = Watch(client)
    client.protocol.close("no longer wanted")
    assert watch.seen == [(0, count, True, False)]
    assert client.protocol.state == HTTP2ConnectionState.DRAINING
    with pytest.raises(LocalProtocolError):
        client.protocol.dispatch(Request("GET", URL), Recorder())
    asked[-1][0].exchange.write(b"still")
    asked[-1][0].exchange.write_eof()
    for recorder, incoming in asked:
        await stay_open(client)
        client.peer.respond(incoming.stream_id, body=b"to its end")
        await recorder.end()
        assert recorder.body == b"to its end"
    assert await client.peer.receive_body(asked[-1][1].stream_id) == b"still"
    goaway = await client.peer.receive_goaway()
    assert goaway.error_code == ErrorCodes.NO_ERROR
    await gone(client)


async def test_close_in_exchange_started_still_sends_the_request(http2):
    recorder = Recorder().on("started", lambda: http2.protocol.close("after this one"))
    _, incoming = await http2.ask(recorder=recorder)
    http2.peer.respond(incoming.stream_id)
    await recorder.end()
    assert recorder.statuses == [200]
    await http2.peer.receive_goaway()
    await gone(http2)


async def test_close_in_response_complete_closes_at_once(http2):
    recorder = Recorder().on("complete", lambda: http2.protocol.close("that was the last"))
    _, incoming = await http2.ask(recorder=recorder)
    http2.peer.respond(incoming.stream_id)
    await http2.peer.receive_goaway()
    await gone(http2)


@pytest.mark.parametrize("count", [0, 1, 3])
async def test_abort_fails_all_streams_and_closes(cut_http2, count):
    client = cut_http2
    asked = [await client.ask() for _ in range(count)]
    watch = Watch(client)
    error = ReadError("enough")
    client.protocol.abort(error)
    assert watch.seen[-1][:3] == (0, 0, True)
    for recorder, _ in asked:
        assert recorder.error is error
    await gone(client)
    await client.peer.closed()


async def test_abort_in_exchange_started_sends_nothing(http2):
    error = ReadError("enough")
    recorder = Recorder().on("started", lambda: http2.protocol.abort(error))
    http2.dispatch(recorder=recorder)
    assert recorder.error is error
    assert shape(http2.peer) == []
    await gone(http2)


@pytest.mark.parametrize("name", ["informational", "response", "data", "complete", "failed"])
async def test_abort_of_the_connection_in_a_callback(cut_http2, name):
    client = cut_http2
    error = ReadError("enough")
    recorder = Recorder().on(name, lambda: client.protocol.abort(error))
    _, incoming = await client.ask(recorder=recorder)
    other, _ = await client.ask()
    if name == "failed":
        client.peer.reset(incoming.stream_id)
    else:
        client.peer.respond(incoming.stream_id, 103, end_stream=False)
        client.peer.respond(incoming.stream_id, body=b"body")
    await recorder.end()
    assert other.error is error
    assert recorder.names[-1] == ("complete" if name == "complete" else "failed")
    await gone(client)


# Connections that are lost

LOSSES: dict[str, Callable[[HTTP2Peer], None]] = {
    "eof": lambda peer: peer.send_eof(),
    "close": lambda peer: peer.close(),
    "reset": lambda peer: peer.abort(),
}


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("settings", [{}, None], ids=["settled", "before SETTINGS"])
async def test_idle_connection_that_is_lost_tells_its_owner(connect_http2, segment, loss, settings):
    client = await connect_http2(HTTP2Peer(settings), settled=settings is not None, segment=segment)
    watch = Watch(client)
    LOSSES[loss](client.peer)
    await gone(client)
    assert watch.seen[0][2] and watch.last == (0, 0, True, True)
    assert client.protocol.close_reason


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("count", [1, 4])
@pytest.mark.parametrize("phase", ["peeking", "head sent", "sending", "head received", "receiving"])
async def test_exchanges_fail_with_the_connection(connect_http2, segment, loss, count, phase):
    client = await connect_http2(segment=segment)
    body = PUSHED if phase == "sending" else b""
    recorders = []
    for _ in range(count):
        if phase == "peeking":
            recorders.append(client.dispatch(Gate().request))
            continue
        recorder, incoming = await client.ask(Request("POST", URL, body=body))
        recorders.append(recorder)
        if phase == "sending":
            recorder.exchange.write(b"a part")
            assert await client.peer.receive_data(incoming.stream_id) == b"a part"
        elif phase in ("head received", "receiving"):
            client.peer.respond(incoming.stream_id, end_stream=False)
            await recorder.until("response")
        if phase == "receiving":
            client.peer.send_data(incoming.stream_id, b"a part")
            await recorder.until("data")
    watch = Watch(client)
    LOSSES[loss](client.peer)
    if loss == "reset":
        expected: type[HTTPCoreError] = WriteError if phase == "sending" else ReadError
    else:
        expected = RemoteProtocolError
    for recorder in recorders:
        await recorder.end()
        assert type(recorder.error) is expected
        assert recorder.error.request_sent == (phase != "peeking")
        assert recorder.error.host == "example.org"
        assert (loss == "reset") == (type(recorder.error.__cause__) is ConnectionResetError)
        assert cast(HTTPExchange, recorder.exchange).unprocessed == (phase == "peeking")
    assert len({id(recorder.error) for recorder in recorders}) == count
    await gone(client)
    assert watch.last == (0, 0, True, True)
    assert client.protocol.close_reason


async def test_owner_hears_of_the_loss_before_the_handlers(http2):
    """What is sent again must not come back here, and there is room for it elsewhere by then."""
    watch = Watch(http2)
    seen = []
    for _ in range(2):
        await http2.ask(recorder=Recorder().on("failed", lambda: seen.append(watch.last[2:])))
    http2.peer.abort()
    await gone(http2)
    assert seen == [(True, True)] * 2


async def test_handler_that_ends_the_other_exchanges_as_its_own_is_lost(http2):
    first, _ = await http2.ask()
    second, _ = await http2.ask()
    for recorder, other in ((first, second), (second, first)):
        recorder.on("failed", other.exchange.abort)
    http2.peer.abort()
    await gone(http2)
    assert {type(first.error), type(second.error)} == {ReadError, ResponseClosed}


@pytest.mark.parametrize("name", ["failed", "complete"])
async def test_handler_that_dispatches_on_the_connection_that_has_gone_is_told(http2, name):
    refused = []

    def dispatch() -> None:
        with pytest.raises(LocalProtocolError, match="can take no exchange"):
            http2.protocol.dispatch(Request("GET", URL), Recorder())
        refused.append(name)

    recorder, incoming = await http2.ask(recorder=Recorder().on(name, dispatch))
    if name == "failed":
        http2.peer.abort()
    else:
        http2.protocol.close("drains")
        http2.peer.respond(incoming.stream_id)
    await recorder.end()
    assert refused == [name]


@pytest.mark.parametrize("loss", LOSSES)
async def test_reader_gets_all_of_a_held_response_after_the_connection_has_gone(connect_http2, segment, loss):
    client = await connect_http2(segment=segment)
    recorder = Recorder()
    recorder.on("response", lambda: recorder.exchange.pause_reading())
    _, incoming = await client.ask(recorder=recorder, timeout=60.0)
    body = bytes(range(256)) * 1000
    client.peer.respond(incoming.stream_id, 200, body=body, trailers=[("x-sum", "1")])
    await until(lambda: client.protocol.in_flight == 0)
    assert recorder.names == ["started", "response"]
    LOSSES[loss](client.peer)
    await gone(client)
    assert not recorder.ended
    recorder.exchange.resume_reading()
    await recorder.end()
    assert recorder.body == body
    assert list(recorder.trailers or ()) == [(b"x-sum", b"1")]


async def test_held_response_may_be_paused_again_and_aborted_after_the_connection_has_gone(http2):
    recorder = Recorder()
    recorder.on("response", lambda: recorder.exchange.pause_reading())
    recorder.on("data", lambda: recorder.exchange.pause_reading())
    _, incoming = await http2.ask(recorder=recorder, timeout=60.0)
    http2.peer.respond(incoming.stream_id, body=bytes(200_000))
    await until(lambda: http2.protocol.in_flight == 0)
    http2.peer.abort()
    await gone(http2)
    recorder.exchange.resume_reading()
    await recorder.until("data")
    await turns()
    assert 0 < len(recorder.body) <= 64 * 1024
    recorder.exchange.abort()
    recorder.exchange.resume_reading()
    await turns()
    assert recorder.names == ["started", "response", "data", "failed"]


async def test_response_that_was_not_whole_when_the_connection_went_fails_though_it_is_paused(http2):
    recorder = Recorder()
    recorder.on("response", lambda: recorder.exchange.pause_reading())
    _, incoming = await http2.ask(recorder=recorder)
    http2.peer.respond(incoming.stream_id, body=b"a part", end_stream=False)
    await until(lambda: http2.protocol.window.waiting == 6)
    http2.peer.abort()
    await recorder.end()
    assert type(recorder.error) is ReadError
    assert http2.protocol.window.waiting == 0


# Exchanges that end early


async def answer_others(client: HTTP2Client, *asked: object) -> None:
    for recorder, incoming in cast("tuple[tuple[Recorder, object], ...]", asked):
        client.peer.respond(incoming.stream_id, body=b"not affected")  # type: ignore[attr-defined]
        await recorder.end()
        assert recorder.body == b"not affected"


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
    await answer_others(client, behind, before)
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
    await answer_others(http2, other)


@pytest.mark.parametrize("name", ["complete", "failed"])
async def test_handler_that_raises_at_its_end_is_reported_and_harms_nobody(cut_http2, name):
    client, reported = cut_http2, []
    asyncio.get_running_loop().set_exception_handler(lambda loop, context: reported.append(context["exception"]))

    def fail() -> None:
        raise OWN_ERROR

    recorder, incoming = await client.ask(recorder=Recorder().on(name, fail))
    other = await client.ask()
    if name == "complete":
        client.peer.respond(incoming.stream_id)
    else:
        client.peer.reset(incoming.stream_id)
    await recorder.end()
    await answer_others(client, other)
    assert reported == [OWN_ERROR]


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
    await answer_others(client, other)


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


@pytest.mark.parametrize("name", ["started", "informational", "response", "data", "complete", "failed"])
async def test_another_request_may_be_dispatched_from_within_each_callback(cut_http2, name):
    client, more = cut_http2, []

    def dispatch() -> None:
        if not more:
            more.append(client.dispatch())

    recorder, incoming = await client.ask(recorder=Recorder().on(name, dispatch))
    if name == "failed":
        client.peer.reset(incoming.stream_id)
    else:
        play(client, incoming.stream_id)
        client.peer.send_data(incoming.stream_id, b"more", end_stream=True)
    await recorder.end()
    assert (type(recorder.error) is RemoteProtocolError) if name == "failed" else (recorder.body == b"somemore")
    assert more
    taken = [frame.stream_id for frame in client.peer.frames if type(frame).__name__ == "HeadersFrame"]
    while len(taken) < 1 + len(more):
        taken.append((await client.peer.receive_request()).stream_id)
    for stream_id in set(taken) - {incoming.stream_id}:
        client.peer.respond(stream_id, body=b"another")
    for other in more:
        await other.end()
        assert other.body == b"another"


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


# GOAWAY


async def test_goaway_without_streams_closes(cut_http2):
    watch = Watch(cut_http2)
    cut_http2.peer.goaway(0)
    await cut_http2.peer.receive_goaway()
    await gone(cut_http2)
    assert watch.seen[0] == (0, 0, True, False)
    assert cut_http2.protocol.close_reason == "the server sent GOAWAY: NO_ERROR (0x0)"


async def test_goaway_before_settings_is_against_the_rules(connect_http2, segment):
    """RFC 9113 3.4: the server's first frame is SETTINGS."""
    client = await connect_http2(HTTP2Peer(None), settled=False, segment=segment)
    recorder, _ = await client.ask()
    client.peer.goaway(0)
    await recorder.end()
    assert type(recorder.error) is RemoteProtocolError
    assert "PROTOCOL_ERROR" in str(recorder.error)
    await gone(client)


@pytest.mark.parametrize("last", [0, 1, 3, 5, 2**31 - 1])
async def test_goaway_lets_those_below_its_last_id_end_and_fails_those_above(cut_http2, last):
    client = cut_http2
    asked = [await client.ask() for _ in range(3)]
    watch = Watch(client)
    client.peer.goaway(last)
    above = [recorder for recorder, incoming in asked if incoming.stream_id > last]
    below = [(recorder, incoming) for recorder, incoming in asked if incoming.stream_id <= last]
    for recorder in above:
        await recorder.end()
        assert type(recorder.error) is RemoteProtocolError
        assert str(recorder.error).startswith("the server sent GOAWAY: NO_ERROR (0x0)")
        assert recorder.error.request_sent
        assert cast(HTTPExchange, recorder.exchange).unprocessed
    await until(lambda: client.protocol.closing)
    await turns()
    assert watch.seen and all(seen[0] == 0 and seen[2] for seen in watch.seen)
    for recorder, incoming in below:
        await stay_open(client)
        assert not recorder.ended
        client.peer.respond(incoming.stream_id, body=b"to its end")
        await recorder.end()
        assert recorder.body == b"to its end"
    await client.peer.receive_goaway()
    await gone(client)


async def test_goaway_lets_an_upload_below_it_end(cut_http2):
    client = cut_http2
    recorder, incoming = await client.ask(Request("POST", URL, body=PUSHED))
    client.peer.goaway()
    await until(lambda: client.protocol.closing)
    recorder.exchange.write(b"x" * 100_000)
    recorder.exchange.write_eof()
    assert await client.peer.receive_body(incoming.stream_id) == b"x" * 100_000
    client.peer.respond(incoming.stream_id, 201)
    await recorder.end()
    assert recorder.statuses == [201]
    await gone(client)


async def test_goaway_fails_an_upload_above_it(cut_http2):
    client = cut_http2
    below = await client.ask()
    recorder, incoming = await client.ask(Request("POST", URL, body=PUSHED))
    recorder.exchange.write(b"x")
    client.peer.goaway(1)
    await recorder.end()
    assert type(recorder.error) is RemoteProtocolError
    recorder.exchange.write(b"ignored")
    client.peer.respond(incoming.stream_id, body=b"what it had said it would not do")
    await answer_others(client, below)
    await gone(client)


async def test_goaway_twice_with_a_lower_id_fails_more(cut_http2):
    client = cut_http2
    (first, kept), (second, _), (third, _) = [await client.ask() for _ in range(3)]
    client.peer.goaway(3)
    await third.end()
    await stay_open(client)
    assert not second.ended
    client.peer.goaway(1, ErrorCodes.INTERNAL_ERROR)
    await second.end()
    assert "INTERNAL_ERROR (0x2)" in str(second.error)
    assert cast(HTTPExchange, second.exchange).unprocessed
    client.peer.respond(kept.stream_id, body=b"ok")
    await first.end()
    assert first.body == b"ok"
    await gone(client)
    assert client.protocol.close_reason == "the server sent GOAWAY: NO_ERROR (0x0)"  # that is why it takes no more


async def test_graceful_goaway_stops_new_streams_first(cut_http2):
    """RFC 9113 6.8: the largest id first, the real one a round trip later."""
    client = cut_http2
    (first, kept), (second, _) = [await client.ask() for _ in range(2)]
    peeking = client.dispatch(Gate().request)
    client.peer.goaway(2**31 - 1)
    await peeking.end()
    assert cast(HTTPExchange, peeking.exchange).unprocessed
    assert cast(HTTPCoreError, peeking.error).request_sent is False
    await stay_open(client)
    assert (first.ended, second.ended, client.protocol.closing) == (False, False, True)
    client.peer.goaway(1)
    await second.end()
    client.peer.respond(kept.stream_id)
    await first.end()
    assert first.statuses == [200]
    await gone(client)


@pytest.mark.parametrize(
    ("code", "debug", "expected"),
    [
        (ErrorCodes.ENHANCE_YOUR_CALM, b"too_many_pings", "ENHANCE_YOUR_CALM (0xb) 'too_many_pings'"),
        (ErrorCodes.NO_ERROR, b"line\r\nbreak\xff", r"NO_ERROR (0x0) 'line\r\nbreak\\xff'"),
        (0xDEAD, b"", "0xdead"),
        (ErrorCodes.PROTOCOL_ERROR, b"x" * 10_000, "PROTOCOL_ERROR (0x1) '" + "x" * 120 + "'..."),
    ],
)
async def test_goaway_is_quoted_in_the_error(cut_http2, code, debug, expected):
    recorder, _ = await cut_http2.ask()
    cut_http2.peer.goaway(0, code, debug)
    await recorder.end()
    assert str(recorder.error).startswith(f"the server sent GOAWAY: {expected} (example.org:80, ")
    await gone(cut_http2)
    assert cut_http2.protocol.close_reason == f"the server sent GOAWAY: {expected}"


@pytest.mark.parametrize("loss", LOSSES)
async def test_goaway_and_then_the_end_fails_those_that_were_to_finish(connect_http2, segment, loss):
    client = await connect_http2(segment=segment)
    (below, _), (above, _) = [await client.ask() for _ in range(2)]
    client.peer.goaway(1)
    LOSSES[loss](client.peer)
    await below.end()
    await above.end()
    assert cast(HTTPExchange, above.exchange).unprocessed
    assert not cast(HTTPExchange, below.exchange).unprocessed  # it may have been worked for
    assert type(below.error) is (ReadError if loss == "reset" else RemoteProtocolError)
    await gone(client)
    assert client.protocol.close_reason.startswith("the server sent GOAWAY")


async def test_answers_behind_goaway_and_before_the_end_are_taken(cut_http2):
    client = cut_http2
    recorder, incoming = await client.ask()
    client.peer.goaway()
    client.peer.respond(incoming.stream_id, body=b"the last answer")
    client.peer.close()
    await recorder.end()
    assert recorder.body == b"the last answer"
    await gone(client)


async def test_requests_above_goaway_are_replayed_elsewhere(connect_http2, segment):
    client, other = await connect_http2(segment=segment), await connect_http2(segment=segment)
    below, incoming = await client.ask()
    above = [(await client.ask(Request("POST", URL, body=b"body")))[0] for _ in range(2)]
    watch = Watch(client)
    replays = Replays(below, *above)
    client.peer.goaway(1)
    await until(lambda: len(replays.exchanges) == 2)
    assert replays.exchanges == [recorder.exchange for recorder in above]  # in their order
    assert all(seen[2] for seen in watch.seen)  # the owner knew before
    assert replays.unprocessed == [True, True]
    assert not any(recorder.ended for recorder in above)
    for exchange in replays.exchanges:
        other.protocol.start(exchange)
        again = await other.peer.receive_request()
        assert await other.peer.receive_body(again.stream_id) == b"body"
        other.peer.respond(again.stream_id, body=b"elsewhere")
    for recorder in above:
        await recorder.end()
        assert recorder.names == ["started", "response", "data", "complete"]
        assert cast(HTTPExchange, recorder.exchange).replays == 1
    client.peer.respond(incoming.stream_id, body=b"here")
    await below.end()
    assert below.body == b"here"
    await gone(client)


# Streams that the server resets


@pytest.mark.parametrize("phase", ["head sent", "sending", "receiving"])
@pytest.mark.parametrize("code", [*(code for code in ErrorCodes if code != ErrorCodes.REFUSED_STREAM), 0x1234])
async def test_reset_fails_its_exchange_and_names_the_code(http2, code, phase):
    other = await http2.ask()
    recorder, incoming = await http2.ask(Request("POST", URL, body=PUSHED if phase == "sending" else b""))
    if phase == "receiving":
        http2.peer.respond(incoming.stream_id, body=b"a part", end_stream=False)
        await recorder.until_body(b"a part")
    watch = Watch(http2)
    http2.peer.reset(incoming.stream_id, code)
    await recorder.end()
    assert type(recorder.error) is RemoteProtocolError
    name = f"{code.name} " if isinstance(code, ErrorCodes) else ""
    assert f"the server reset the stream: {name}" in str(recorder.error) and f"0x{code:x}" in str(recorder.error)
    assert recorder.error.request_sent and not cast(HTTPExchange, recorder.exchange).unprocessed
    assert watch.seen == [(99, 1, False, False)]
    recorder.exchange.abort()
    await answer_others(http2, other)
    await http2.settle()
    assert "RSTSTREAM" not in " ".join(shape(http2.peer, 3))  # it knows
    await http2.still_works()


async def test_reset_that_crosses_ours_is_nothing(cut_http2):
    client = cut_http2
    recorder, incoming = await client.ask()
    client.peer.pause()
    recorder.exchange.abort()
    client.peer.reset(incoming.stream_id, ErrorCodes.INTERNAL_ERROR)
    client.peer.resume()
    await client.still_works()


async def test_refused_stream_lowers_what_is_available_until_an_answer(cut_http2):
    client = cut_http2
    (first, answered), (second, _), (third, refused) = [await client.ask() for _ in range(3)]
    watch, replays = Watch(client), Replays(third)
    client.peer.reset(refused.stream_id, ErrorCodes.REFUSED_STREAM)
    await until(lambda: bool(replays.exchanges))
    assert replays.unprocessed == [True]
    assert "REFUSED_STREAM (0x7)" in str(replays.errors[0])
    assert watch.seen == [(0, 2, False, False)]
    assert client.protocol.available == 0  # it takes the two that it has
    client.peer.respond(answered.stream_id, end_stream=False)
    await first.until("response")
    assert watch.last == (98, 2, False, False)  # told at once, not when the response has ended
    client.protocol.start(replays.exchanges[0])
    again = await client.peer.receive_request()
    client.peer.respond(again.stream_id)
    await third.end()
    assert third.statuses == [200]
    client.peer.send_data(answered.stream_id, b"", end_stream=True)
    await first.end()
    client.peer.respond(3)
    await second.end()


async def test_refused_stream_settings_lift_the_limit_again(cut_http2):
    client = cut_http2
    (_, _), (second, refused) = [await client.ask() for _ in range(2)]
    watch = Watch(client)
    client.peer.reset(refused.stream_id, ErrorCodes.REFUSED_STREAM)
    await second.end()
    assert type(second.error) is RemoteProtocolError
    assert watch.seen == [(0, 1, False, False)]
    client.peer.update_settings({MAX_STREAMS: 5})
    await client.peer.receive_settings_ack()
    assert watch.last == (4, 1, False, False)
    client.peer.respond(1)
    await client.recorders[0].end()


async def test_refused_while_there_is_no_other_closes(cut_http2):
    client = cut_http2
    recorder, incoming = await client.ask()
    watch = Watch(client)
    client.peer.reset(incoming.stream_id, ErrorCodes.REFUSED_STREAM)
    await recorder.end()
    assert cast(HTTPExchange, recorder.exchange).unprocessed
    assert watch.seen[0] == (0, 0, True, False)
    await client.peer.receive_goaway()
    await gone(client)


async def test_refused_behind_a_part_of_the_response_is_no_less_an_error(cut_http2):
    client = cut_http2
    recorder, incoming = await client.ask()
    client.peer.respond(incoming.stream_id, body=b"a part", end_stream=False)
    await recorder.until_body(b"a part")
    client.peer.reset(incoming.stream_id, ErrorCodes.REFUSED_STREAM)
    await recorder.end()
    assert type(recorder.error) is RemoteProtocolError
    assert "REFUSED_STREAM" in str(recorder.error)


async def test_all_of_many_refused_in_one_read(http2):
    asked = [await http2.ask() for _ in range(4)]
    replays = Replays(*(recorder for recorder, _ in asked))
    for _, incoming in asked:
        http2.peer.reset(incoming.stream_id, ErrorCodes.REFUSED_STREAM)
    await gone(http2)
    assert replays.unprocessed == [True] * 4
    for exchange in replays.exchanges:
        exchange.abort()


# Stream ids


def use_up(client: HTTP2Client, last: int) -> None:
    """Leaves the connection as if it had used all stream ids up to this one."""
    client.protocol.h2.highest_outbound_stream_id = last
    client.protocol.last_stream_id = last


async def test_stream_ids_are_used_to_the_last_and_then_the_connection_drains(cut_http2):
    client = cut_http2
    early, kept = await client.ask()
    use_up(client, 2**31 - 5)
    watch = Watch(client)
    assert client.protocol.available == 2
    first, incoming = await client.ask()
    assert incoming.stream_id == 2**31 - 3
    assert (client.protocol.available, client.protocol.closing) == (1, False)
    second, last = await client.ask()
    assert last.stream_id == 2**31 - 1
    assert (client.protocol.available, client.protocol.closing) == (0, True)
    with pytest.raises(LocalProtocolError):
        client.protocol.dispatch(Request("GET", URL), Recorder())
    client.peer.respond(last.stream_id, body=b"ok")
    await second.end()
    assert watch.last == (0, 2, True, False)
    client.peer.respond(incoming.stream_id, body=b"ok")
    client.peer.respond(kept.stream_id, body=b"ok")
    for recorder in (first, early):
        await recorder.end()
        assert recorder.body == b"ok"
    await client.peer.receive_goaway()
    await gone(client)
    assert client.protocol.close_reason == "its stream ids are used up"


async def test_ids_are_kept_for_requests_whose_head_waits(http2):
    use_up(http2, 2**31 - 5)
    gates = [Gate(), Gate()]
    waiting = [http2.dispatch(gate.request) for gate in gates]
    assert http2.protocol.available == 0
    waiting[0].exchange.abort()
    assert http2.protocol.available == 1
    gates[1].opened.set()
    incoming = await http2.peer.receive_request()
    assert incoming.stream_id == 2**31 - 3
    assert http2.protocol.available == 1
    recorder, last = await http2.ask()
    http2.peer.respond(incoming.stream_id)
    http2.peer.respond(last.stream_id)
    await waiting[1].end()
    await recorder.end()
    await gone(http2)


# What the owner is told


@pytest.mark.parametrize("how", ["complete", "reset", "abort", "timeout"])
async def test_owner_hears_of_a_free_place_before_the_handler_of_the_end(connect_http2, segment, how):
    client = await connect_http2(HTTP2Peer({MAX_STREAMS: 2}), segment=segment)
    order: list[object] = []
    client.protocol.on_change = lambda protocol: order.append((protocol.available, protocol.in_flight))
    recorder = Recorder()
    recorder.on("complete", lambda: order.append("end")).on("failed", lambda: order.append("end"))
    _, incoming = await client.ask(recorder=recorder, timeout=5.0 if how == "timeout" else None)
    other = await client.ask()
    if how == "complete":
        client.peer.respond(incoming.stream_id)
    elif how == "reset":
        client.peer.reset(incoming.stream_id)
    elif how == "abort":
        recorder.exchange.abort()
    await recorder.end()
    if how in ("complete", "reset"):
        assert order == [(1, 1), "end"]
    else:  # the place is there when the server has confirmed that it knows
        assert order == [(0, 1), "end"]
        await until(lambda: order == [(0, 1), "end", (1, 1)] or (how == "timeout" and len(order) > 2))
        await client.settle()
        assert client.protocol.available == 1
    await answer_others(client, other)


async def test_held_response_keeps_no_place(connect_http2, segment):
    """Its stream has ended: what is left is between us and its reader."""
    client = await connect_http2(HTTP2Peer({MAX_STREAMS: 1}), segment=segment)
    recorder = Recorder()
    recorder.on("response", lambda: recorder.exchange.pause_reading())
    _, incoming = await client.ask(recorder=recorder)
    client.peer.respond(incoming.stream_id, body=b"held")
    await until(lambda: client.protocol.available == 1)
    assert recorder.names == ["started", "response"]
    await client.still_works()
    recorder.exchange.resume_reading()
    await recorder.end()
    assert recorder.body == b"held"


# Timeouts


async def test_read_timeout_ends_its_stream_and_no_other(http2):
    patient = await http2.ask(timeout=60.0)
    recorder, incoming = await http2.ask(timeout=5.0)
    others = [await http2.ask(timeout=TimeoutConfig(read_timeout=6.0)), await http2.ask(timeout=TimeoutConfig())]
    await recorder.end()
    assert type(recorder.error) is ReadTimeout
    assert recorder.error.request_sent
    assert await http2.peer.receive_reset(incoming.stream_id) == ErrorCodes.CANCEL
    await answer_others(http2, patient, *others)
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
    await answer_others(http2, other)
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
