"""How many streams an HTTP/2 connection takes, who waits for a place, and what its owner is told of it."""

from __future__ import annotations

import asyncio
import itertools

import pytest
from h2.errors import ErrorCodes

from httpcore.config import TimeoutConfig
from httpcore.exceptions import (
    LocalProtocolError,
    ResponseClosed,
    WriteTimeout,
)
from httpcore.protocols.states import HTTP2ConnectionState
from httpcore.request import Request
from httpcore.testing import HTTP2Peer
from tests.clock import turns, until
from tests.protocols.http2_owner import (
    MAX_STREAMS,
    Gate,
    Watch,
    announce,
    answer,
    gone,
    stay_open,
)
from tests.protocols.http2_script import HTTP2Client, shape
from tests.protocols.recording import URL, Recorder

# The limit of streams


async def test_requests_go_out_before_the_servers_settings_came(connect_http2, segment):
    client = await connect_http2(HTTP2Peer(None), settled=False, segment=segment)
    assert client.protocol.state == HTTP2ConnectionState.PREFACE
    first, incoming = await client.ask()
    second, other = await client.ask(Request("POST", URL, body=b"body"))
    assert await client.peer.receive_body(other.stream_id) == b"body"
    watch = Watch(client)
    await announce(client, 3)
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

    async def allow(limit: int) -> int:
        await announce(client, limit)
        assert watch.last == (client.protocol.available, client.protocol.in_flight, False, False)
        return int(client.protocol.available)

    async def end_one() -> int:
        recorder, incoming = asked.pop(0)
        client.peer.respond(incoming.stream_id, 200, body=b"ok")
        await recorder.end()
        assert (recorder.body, recorder.error) == (b"ok", None)
        return int(client.protocol.available)

    assert await allow(10) == 7
    assert await allow(2) == 0  # those that are open may end
    assert await allow(3) == 0
    assert await allow(4) == 1
    assert await allow(2) == 0
    assert await end_one() == 0
    assert await end_one() == 1
    assert await allow(0) == 0
    assert await end_one() == 0
    with pytest.raises(LocalProtocolError):
        client.protocol.dispatch(Request("GET", URL), Recorder())
    assert await allow(1) == 1
    await client.still_works()


async def test_heads_that_wait_for_a_place_go_out_in_their_order(cut_http2):
    client = cut_http2
    open_, incoming = await client.ask()
    gates = [Gate() for _ in range(5)]
    waiting = [client.dispatch(gate.request) for gate in gates]
    assert client.protocol.available == 94
    await announce(client, 1)
    for gate in gates:
        gate.opened.set()
        await turns()
    # It stays at one, and is said again and again: nobody loses their place by that.
    for _ in range(3):
        await announce(client, 1)
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
    await announce(client, 10)
    waiting = [client.dispatch(gate.request) for gate in gates]
    await announce(client, 0)
    for gate in gates:
        gate.opened.set()
    await stay_open(client)
    assert shape(client.peer) == []
    client.peer.update_settings({MAX_STREAMS: 3})
    assert [(await client.peer.receive_request()).stream_id for _ in range(3)] == [1, 3, 5]
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
    await announce(client, 1)
    for gate in gates:
        gate.opened.set()
    await turns()
    for recorder, next_ in itertools.pairwise(waiting):
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
    await announce(http2, 0)
    gate.opened.set()
    await recorder.end()
    assert type(recorder.error) is WriteTimeout
    assert not recorder.error.request_sent
    assert (http2.protocol.in_flight, http2.protocol.closing) == (0, False)
    await announce(http2, 1)
    await http2.still_works()


async def test_head_that_waited_for_a_place_has_the_write_timeout_anew_for_its_body(http2):
    gate = Gate()
    recorder = http2.dispatch(gate.request, timeout=TimeoutConfig(write_timeout=7.0))
    await announce(http2, 0)
    gate.opened.set()
    await asyncio.sleep(6.0)
    http2.peer.update_settings({MAX_STREAMS: 1})
    incoming = await http2.peer.receive_request()
    assert await http2.peer.receive_body(incoming.stream_id) == b"behind the gate"
    await asyncio.sleep(60.0)
    http2.peer.respond(incoming.stream_id)
    await recorder.end()
    assert recorder.statuses == [200]


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
    await answer(client, other)


async def test_owner_that_lets_the_exchange_be_aborted_as_its_place_gets_free(cut_http2):
    """It gives the place to the next request, whose handler may know the first."""
    client = cut_http2
    recorder, incoming = await client.ask()
    client.protocol.on_change = lambda protocol: recorder.exchange.abort()
    client.peer.respond(incoming.stream_id, body=b"all of it")
    await recorder.end()
    assert recorder.names == ["started", "response", "data", "failed"]
    assert type(recorder.error) is ResponseClosed
    client.protocol.on_change = None
    await client.still_works()


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
