"""The end of an HTTP/2 connection, by whichever side, and what it is to the exchanges that it carries."""

from __future__ import annotations

import functools
from collections.abc import Callable

import pytest
from h2.errors import ErrorCodes

from httpcore.exceptions import (
    HTTPCoreError,
    LocalProtocolError,
    ReadError,
    RemoteProtocolError,
    ResponseClosed,
    WriteError,
)
from httpcore.protocols.states import HTTP2ConnectionState
from httpcore.request import PUSHED, Request
from httpcore.testing import HTTP2Peer
from tests.clock import turns, until
from tests.protocols.http2_owner import (
    LOSSES,
    Gate,
    Watch,
    announce,
    gone,
    stay_open,
    unprocessed,
)
from tests.protocols.http2_script import HTTP2Client, shape
from tests.protocols.recording import URL, Recorder

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
    error.__cause__ = cause = OSError()
    client.protocol.abort(error)
    assert watch.seen[-1][:3] == (0, 0, True)
    for recorder, _ in asked:
        assert type(recorder.error) is ReadError and recorder.error is not error
        assert str(recorder.error).startswith("enough (example.org:80, ")
        assert recorder.error.__cause__ is cause
    await gone(client)
    await client.peer.closed()


async def test_abort_in_exchange_started_sends_nothing(http2):
    error = ReadError("enough")
    recorder = Recorder().on("started", lambda: http2.protocol.abort(error))
    http2.dispatch(recorder=recorder)
    assert type(recorder.error) is ReadError
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
    assert type(other.error) is ReadError
    assert recorder.names[-1] == ("complete" if name == "complete" else "failed")
    await gone(client)


# Connections that are lost


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
        assert unprocessed(recorder) == (phase == "peeking")
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
    http2.peer.respond(incoming.stream_id, body=bytes(1_000_000))
    await until(lambda: http2.protocol.in_flight == 0)
    http2.peer.abort()
    await gone(http2)
    recorder.exchange.resume_reading()
    await recorder.until("data")
    await turns()
    assert 0 < len(recorder.body) <= 512 * 1024
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


# Several at the end

ENDS: dict[str, Callable[[HTTP2Client], None]] = {
    "lost": lambda client: client.peer.abort(),
    "closed": lambda client: client.peer.close(),
    "GOAWAY": lambda client: client.peer.goaway(0),
    "fault": lambda client: client.peer.send(b"\0\0\1\6\0\0\0\0\0?"),  # a PING of one byte
    "abort": lambda client: client.protocol.abort(ReadError("enough")),
}


@pytest.mark.parametrize("end", ENDS)
async def test_heads_that_wait_for_a_place_are_not_sent_any_more(cut_http2, end):
    """With those that were sent, places become free; but it is too late."""
    client = cut_http2
    first, _ = await client.ask()
    second, _ = await client.ask()
    gates = [Gate() for _ in range(3)]
    waiting = [client.dispatch(gate.request) for gate in gates]
    await announce(client, 1)
    for gate in gates:
        gate.opened.set()
    await turns()
    watch = Watch(client)
    ENDS[end](client)
    for recorder in (first, second, *waiting):
        await recorder.end()
        assert isinstance(recorder.error, HTTPCoreError)
        assert recorder.error.request_sent == (recorder in (first, second))
        if end != "abort":  # which is no failure of the connection
            assert unprocessed(recorder) == (recorder in waiting or end == "GOAWAY")
    await gone(client)
    assert all(seen[2] for seen in watch.seen)
    assert [frame.stream_id for frame in client.peer.frames if type(frame).__name__ == "HeadersFrame"] == [1, 3]


@pytest.mark.parametrize("end", ENDS)
@pytest.mark.parametrize("act", ["write", "write_eof", "abort", "resume_reading"])
async def test_handler_may_call_the_exchanges_that_end_with_its_own(cut_http2, end, act):
    client = cut_http2
    asked = [await client.ask(Request("POST", URL, body=PUSHED)) for _ in range(3)]
    client.peer.respond(1, body=b"held", end_stream=False)
    asked[0][0].exchange.pause_reading()
    for recorder, _ in asked:
        recorder.exchange.write(b"a part")

    def call_all() -> None:
        for recorder, _ in asked:
            exchange = recorder.exchange
            if act == "write":
                exchange.write(b"more")
            elif not exchange.ended:
                getattr(exchange, act)()

    for recorder, _ in asked:
        recorder.on("failed", call_all)
    ENDS[end](client)
    for recorder, _ in asked:
        await recorder.end()
        assert isinstance(recorder.error, HTTPCoreError)
    await gone(client)


@pytest.mark.parametrize("end", ENDS)
async def test_exchanges_fail_in_the_order_they_were_started(http2, end):
    order: list[int] = []
    for number in range(20):
        await http2.ask(recorder=Recorder().on("failed", functools.partial(order.append, number)))
    ENDS[end](http2)
    await gone(http2)
    assert order == list(range(20))
