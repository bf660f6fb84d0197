"""What an HTTP/2 server takes back: the connection by GOAWAY, or a stream by RST_STREAM."""

from __future__ import annotations

from typing import cast

import pytest
from h2.errors import ErrorCodes

from httpcore.exceptions import (
    HTTPCoreError,
    ReadError,
    RemoteProtocolError,
)
from httpcore.protocols.exchange import HTTPExchange
from httpcore.request import PUSHED, Request
from httpcore.testing import HTTP2Peer
from tests.clock import turns, until
from tests.protocols.http2_owner import (
    LOSSES,
    Gate,
    Replays,
    Watch,
    announce,
    answer,
    gone,
    stay_open,
    unprocessed,
)
from tests.protocols.http2_script import shape
from tests.protocols.recording import URL

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
        assert unprocessed(recorder)
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
    await answer(client, below)
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
    assert unprocessed(second)
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
    assert unprocessed(peeking)
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
    assert unprocessed(above)
    assert not unprocessed(below)  # it may have been worked for
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
    assert recorder.error.request_sent and not unprocessed(recorder)
    assert watch.seen == [(99, 1, False, False)]
    recorder.exchange.abort()
    await answer(http2, other)
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
    await announce(client, 5)
    assert watch.last == (4, 1, False, False)
    client.peer.respond(1)
    await client.recorders[0].end()


async def test_refused_while_there_is_no_other_closes(cut_http2):
    client = cut_http2
    recorder, incoming = await client.ask()
    watch = Watch(client)
    client.peer.reset(incoming.stream_id, ErrorCodes.REFUSED_STREAM)
    await recorder.end()
    assert unprocessed(recorder)
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
