"""Is the server of an HTTP/2 connection still there? PING, silence, and the streams that were reset meanwhile."""

from __future__ import annotations

import asyncio

import pytest
from h2.errors import ErrorCodes
from hyperframe.frame import HeadersFrame, PingFrame, RstStreamFrame

from httpcore.config import HTTP2Config, TimeoutConfig
from httpcore.exceptions import ReadError, ReadTimeout
from httpcore.request import PUSHED, Request
from httpcore.testing import HTTP2Peer
from tests.clock import turns, until
from tests.protocols.http2_owner import MAX_STREAMS, Gate, Watch, answer, gone, unprocessed
from tests.protocols.http2_script import HTTP2Client
from tests.protocols.recording import URL, Recorder

OURS = b"httpcore"


def pings(client: HTTP2Client) -> int:
    """How many the client has sent, those of `settle` apart."""
    return sum(
        isinstance(frame, PingFrame) and "ACK" not in frame.flags and frame.opaque_data == OURS
        for frame in client.peer.frames
    )


def kinds(client: HTTP2Client) -> list[type]:
    """What the client has sent, from its first request on."""
    sent = [type(frame) for frame in client.peer.frames if not getattr(frame, "ACK", False)]
    return sent[sent.index(HeadersFrame) :]


def answer_ping(client: HTTP2Client) -> None:
    frame = PingFrame(0, OURS)
    frame.flags.add("ACK")
    client.peer.send_frame(frame)


async def silent(connect_http2, **options) -> HTTP2Client:
    """A client whose server, from now on, acknowledges nothing by itself."""
    client: HTTP2Client = await connect_http2(**options)
    client.peer.auto_ack = False
    return client


# Silence


async def test_silence_with_a_request_open_is_broken_by_a_ping(http2, clock):
    asked = await http2.ask()
    heard_at = clock.now
    assert await http2.peer.receive_ping() == OURS
    assert clock.now == heard_at + 15.0
    await http2.settle()
    heard_at = clock.now
    for interval in (15.0, 15.0, 15.0):  # it is answered, and so asked again after as long
        await http2.peer.receive_ping()
        assert clock.now == pytest.approx(heard_at + interval)
        heard_at = clock.now
    assert (http2.protocol.available, http2.protocol.in_flight) == (99, 1)
    await answer(http2, asked)
    await http2.still_works()


async def test_content_that_comes_puts_the_ping_off(http2, clock):
    recorder, incoming = await http2.ask()
    http2.peer.respond(incoming.stream_id, end_stream=False)
    for _ in range(10):
        await asyncio.sleep(10.0)
        http2.peer.send_data(incoming.stream_id, b".")
    await recorder.until_body(b"." * 10)
    assert pings(http2) == 0
    heard_at = clock.now
    await http2.peer.receive_ping()
    assert clock.now == heard_at + 15.0
    http2.peer.send_data(incoming.stream_id, b"", end_stream=True)
    await recorder.end()


async def test_silence_without_requests_means_nothing(http2, clock):
    await http2.still_works()
    sent = len(http2.peer.frames)
    await asyncio.sleep(600.0)
    assert len(http2.peer.frames) == sent
    assert http2.protocol.available == 100


async def test_server_that_does_not_answer_is_dead(connect_http2, clock):
    client = await silent(connect_http2)
    (waits, _), (sends, _) = await client.ask(), await client.ask(Request("POST", URL, body=PUSHED))
    watch, heard_at = Watch(client), clock.now
    for recorder in (waits, sends):
        await recorder.end()
        assert type(recorder.error) is ReadError
        assert "did not answer a PING within 5.0 seconds" in str(recorder.error)
        assert recorder.error.request_sent and not unprocessed(recorder)
    assert clock.now == heard_at + 20.0
    assert watch.seen[0][2]
    await gone(client)
    assert client.protocol.close_reason == "the server did not answer a PING within 5.0 seconds"


async def test_server_that_takes_nothing_either_is_dead_and_its_connection_goes_at_once(connect_http2, clock):
    """Not after another 5 seconds in which it might take what is still buffered."""
    client = await silent(connect_http2, capacity=1000)
    recorder, _ = await client.ask(Request("POST", URL, body=PUSHED))
    heard_at = clock.now
    client.peer.pause()
    recorder.exchange.write(bytes(50_000))
    await recorder.end()
    assert type(recorder.error) is ReadError
    await client.protocol.wait_closed()
    assert clock.now == heard_at + 20.0
    client.peer.resume()


async def test_servers_time_to_answer_can_be_set(connect_http2, clock):
    client = await silent(connect_http2, config=HTTP2Config(ping_interval=100.0, ping_timeout=2.5))
    recorder, _ = await client.ask()
    heard_at = clock.now
    await recorder.end()
    assert clock.now == heard_at + 102.5
    await gone(client)


async def test_server_that_says_anything_else_is_not_dead(connect_http2, clock):
    client = await silent(connect_http2)
    recorder, incoming = await client.ask()
    for _ in range(3):
        await client.peer.receive_ping()
        await asyncio.sleep(4.0)
        client.peer.credit(1)
    await asyncio.sleep(4.0)
    assert not recorder.ended
    await client.peer.receive_ping()
    client.peer.respond(incoming.stream_id, body=b"late")
    await recorder.end()
    assert recorder.body == b"late"


async def test_part_of_a_frame_is_a_sign_of_life(connect_http2, clock):
    client = await silent(connect_http2)
    recorder, incoming = await client.ask()
    client.peer.respond(incoming.stream_id, end_stream=False)
    content = b"\0\0\5\0\1\0\0\0\1hello"
    for byte in range(len(content)):
        await asyncio.sleep(14.0)
        client.peer.send(content[byte : byte + 1])
    await recorder.end()
    assert recorder.body == b"hello"
    assert pings(client) == 0


@pytest.mark.parametrize("timeout", [None, 600.0])
async def test_ping_can_be_switched_off(connect_http2, clock, timeout):
    client = await silent(connect_http2, config=HTTP2Config(ping_interval=None))
    recorder, incoming = await client.ask(timeout=TimeoutConfig(timeout))
    await asyncio.sleep(500.0)
    assert pings(client) == 0
    client.peer.respond(incoming.stream_id)
    await recorder.end()
    await asyncio.sleep(500.0)
    await answer(client, await client.ask())
    assert pings(client) == 0


async def test_silence_is_broken_also_while_a_body_keeps_the_head_waiting(connect_http2, clock):
    """So that the request does not go to a dead connection in the end."""
    client = await silent(connect_http2)
    gate = Gate()
    recorder = client.dispatch(gate.request)
    await recorder.end()
    assert type(recorder.error) is ReadError
    assert not recorder.error.request_sent and unprocessed(recorder)
    await gone(client)


async def test_held_response_is_not_watched(http2, clock):
    """All of it has come: its reader's time is its own."""
    recorder = Recorder()
    recorder.on("response", lambda: recorder.exchange.pause_reading())
    _, incoming = await http2.ask(recorder=recorder)
    http2.peer.respond(incoming.stream_id, body=b"held")
    await until(lambda: http2.protocol.in_flight == 0)
    await asyncio.sleep(600.0)
    assert pings(http2) == 0
    recorder.exchange.resume_reading()
    await recorder.end()
    assert recorder.body == b"held"


# Reuse after a long silence


async def test_ping_goes_with_the_first_request_after_a_long_silence(http2, clock):
    await http2.still_works()
    await asyncio.sleep(15.0)
    sent = len(http2.peer.frames)
    asked = await http2.ask()
    other = await http2.ask()
    assert [type(frame) for frame in http2.peer.frames[sent:]] == [PingFrame, HeadersFrame, HeadersFrame]
    await answer(http2, asked, other)
    await http2.still_works()


async def test_no_ping_goes_with_a_request_after_a_short_silence(http2, clock):
    await http2.still_works()
    await asyncio.sleep(14.9)
    await answer(http2, await http2.ask())
    assert pings(http2) == 0


async def test_dead_server_is_noticed_within_the_ping_timeout_of_a_request_after_a_long_silence(connect_http2, clock):
    client = await silent(connect_http2)
    await asyncio.sleep(3600.0)
    started_at = clock.now
    recorder, _ = await client.ask()
    await recorder.end()
    assert type(recorder.error) is ReadError
    assert clock.now == started_at + 5.0
    await gone(client)


async def test_answer_to_the_request_is_as_good_as_one_to_the_ping(connect_http2, clock):
    client = await silent(connect_http2)
    await asyncio.sleep(3600.0)
    asked = await client.ask()
    await asyncio.sleep(1.0)
    await answer(client, asked)
    await asyncio.sleep(10.0)
    assert not client.protocol.closing
    await answer(client, await client.ask())
    assert pings(client) == 1


# Timeouts in silence


async def test_timeout_in_silence_makes_the_connection_suspect(connect_http2, clock):
    """Nobody else is to be sent to what is perhaps dead, and its owner is told so."""
    client = await silent(connect_http2)
    recorder, _ = await client.ask(timeout=3.0)
    watch = Watch(client)
    await recorder.end()
    assert type(recorder.error) is ReadTimeout
    assert (client.protocol.available, client.protocol.closing) == (0, False)
    assert watch.last == (0, 0, False, False)
    await turns()
    assert kinds(client) == [HeadersFrame, RstStreamFrame, PingFrame]
    assert await client.peer.receive_reset(1) == ErrorCodes.CANCEL
    client.peer.acknowledge()  # the answer to that PING
    await until(lambda: client.protocol.available == 100)
    assert watch.last == (100, 0, False, False)
    await answer(client, await client.ask())


async def test_connection_that_is_suspect_and_stays_silent_ends(connect_http2, clock):
    client = await silent(connect_http2)
    recorder, _ = await client.ask(timeout=3.0)
    await recorder.end()
    ended_at = clock.now
    await gone(client)
    assert clock.now == ended_at + 5.0


async def test_anything_that_is_heard_ends_the_suspicion(connect_http2, clock):
    client = await silent(connect_http2)
    asked = await client.ask()
    recorder, _ = await client.ask(timeout=3.0)
    await recorder.end()
    watch = Watch(client)
    client.peer.credit(1)
    await until(lambda: client.protocol.available > 0)
    assert watch.last == (98, 1, False, False)  # the place of the one that was reset is not confirmed yet
    client.peer.acknowledge()
    await until(lambda: client.protocol.available == 99)
    assert watch.last == (99, 1, False, False)
    await answer(client, asked)


async def test_timeout_that_is_longer_than_the_silence_does_not_clear_the_connection(connect_http2, clock):
    client = await silent(connect_http2, config=HTTP2Config(ping_timeout=60.0))
    longer, _ = await client.ask(timeout=TimeoutConfig(read_timeout=10.0))
    await asyncio.sleep(6.0)
    client.peer.credit(1)
    await turns()
    heard_at = clock.now
    shorter, _ = await client.ask(timeout=TimeoutConfig(read_timeout=2.0))
    await shorter.end()
    assert (clock.now, client.protocol.available) == (heard_at + 2.0, 0)
    await longer.end()  # after 10 seconds, of which only the last 4 were silent
    assert (clock.now, client.protocol.available) == (heard_at + 4.0, 0)
    client.peer.acknowledge()
    await until(lambda: client.protocol.available > 0)


async def test_timeout_amid_what_is_heard_is_the_requests_own_affair(http2, clock):
    recorder, _ = await http2.ask(timeout=3.0)
    await asyncio.sleep(2.0)
    await http2.settle()
    await recorder.end()
    assert type(recorder.error) is ReadTimeout
    assert http2.protocol.available == 99  # until the server has confirmed the reset
    await http2.settle()
    assert http2.protocol.available == 100


# Resets


async def test_reset_streams_keep_their_places_until_a_ping_is_answered(connect_http2):
    client = await silent(connect_http2, peer=HTTP2Peer({MAX_STREAMS: 5}))
    asked = [await client.ask() for _ in range(4)]
    watch = Watch(client)
    for recorder, _ in asked[:3]:
        recorder.exchange.abort()
    assert (client.protocol.in_flight, client.protocol.available) == (1, 1)
    assert [seen[:2] for seen in watch.seen] == [(1, 3), (1, 2), (1, 1)]
    await turns()
    # One PING confirms the first; that the others came behind it is for the next to confirm.
    assert pings(client) == 1
    client.peer.acknowledge()
    await until(lambda: client.protocol.available == 2)
    assert watch.last == (2, 1, False, False)
    await until(lambda: pings(client) == 2)
    client.peer.acknowledge()
    await until(lambda: client.protocol.available == 4)
    assert watch.last == (4, 1, False, False)
    await turns()
    assert pings(client) == 2
    await answer(client, asked[3])


async def test_many_resets_in_one_round_trip_need_two_pings(connect_http2):
    client = await silent(connect_http2)
    asked = [await client.ask() for _ in range(50)]
    for recorder, _ in asked:
        recorder.exchange.abort()
        await turns(1)
    for _ in range(5):
        client.peer.acknowledge()
        await turns()
    assert pings(client) == 2
    assert client.protocol.available == 100


async def test_server_that_answers_requests_but_no_ping_gets_the_places_back_in_time(connect_http2, clock):
    client = await silent(connect_http2, peer=HTTP2Peer({MAX_STREAMS: 2}))
    recorder, _ = await client.ask()
    watch = Watch(client)
    recorder.exchange.abort()
    reset_at = clock.now
    assert client.protocol.available == 1
    await asyncio.sleep(1.0)
    await answer(client, await client.ask())
    await asyncio.sleep(3.9)
    assert client.protocol.available == 1
    await asyncio.sleep(0.2)
    assert clock.now == pytest.approx(reset_at + 5.1)
    assert watch.last == (2, 0, False, False)


async def test_answer_to_no_ping_is_nothing(cut_http2):
    answer_ping(cut_http2)
    answer_ping(cut_http2)
    await cut_http2.still_works()
    assert cut_http2.protocol.available == 100


# Answers of ours


@pytest.mark.parametrize("callback", ["informational", "response", "data", "complete"])
async def test_ping_and_settings_are_answered_while_a_handler_raises(cut_http2, callback):
    """All in one read, with a handler in the middle that raises."""
    client = cut_http2
    asyncio.get_running_loop().set_exception_handler(lambda loop, context: None)

    def fail() -> None:
        raise ValueError("from the handler")

    _, incoming = await client.ask(recorder=Recorder().on(callback, fail))
    client.peer.ping(b"before..")
    client.peer.respond(incoming.stream_id, 103, end_stream=False)
    client.peer.respond(incoming.stream_id, body=b"content", end_stream=False)
    if callback == "complete":
        client.peer.send_data(incoming.stream_id, b"", end_stream=True)
    client.peer.update_settings({MAX_STREAMS: 7})
    client.peer.ping(b"behind..")
    assert await client.peer.receive_ping_ack() == b"before.."
    assert await client.peer.receive_ping_ack() == b"behind.."
    await client.peer.receive_settings_ack()
    await client.recorders[0].end()
    await client.settle()
    assert client.protocol.available == 7
    await client.still_works()


async def test_ping_is_answered_while_a_reader_is_slow_and_another_ends(cut_http2):
    client = cut_http2
    slow = Recorder()
    slow.on("response", lambda: slow.exchange.pause_reading())
    _, incoming = await client.ask(recorder=slow)
    client.peer.respond(incoming.stream_id, body=bytes(10_000), end_stream=False)
    client.peer.ping(b"12345678")
    assert await client.peer.receive_ping_ack() == b"12345678"
    client.protocol.close("drains")
    client.peer.ping(b"draining")
    assert await client.peer.receive_ping_ack() == b"draining"
    client.peer.reset(incoming.stream_id)
    await slow.end()
