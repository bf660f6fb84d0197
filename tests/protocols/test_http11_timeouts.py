"""Timeouts of an exchange, to the exact second: the loop's clock jumps."""

from __future__ import annotations

import asyncio

import pytest

from httpcore.config import TimeoutConfig
from httpcore.exceptions import Phase, ReadTimeout, TotalTimeout, WriteTimeout
from httpcore.request import PUSHED, Request
from tests.protocols.recording import URL, Recorder, response

READ, WRITE = TimeoutConfig(read_timeout=5), TimeoutConfig(write_timeout=5)
TOTAL = TimeoutConfig(total_timeout=60)
TE = b"Transfer-Encoding: chunked"


async def drip(client, recorder: Recorder, pieces, every: float = 4.0) -> None:
    """Sends one of the pieces at each step of the clock, until they or the exchange end."""
    for piece in pieces:
        await asyncio.sleep(every)
        if recorder.ended:
            return
        client.peer.send(piece)
    await recorder.end()


async def test_server_that_never_answers_is_a_read_timeout(client, clock):
    recorder = client.dispatch(timeout=READ)
    await recorder.end()
    assert clock.now == 1005.0
    assert type(recorder.error) is ReadTimeout
    assert recorder.error.phase is Phase.RECEIVING_HEAD
    assert recorder.error.request_sent
    assert str(recorder.error) == (
        "the server made no progress for 5 seconds (example.org:80, waiting for the response head)"
    )
    await client.peer.closed()
    assert client.protocol.closed


@pytest.mark.parametrize(
    ("start", "pieces"),
    [
        (b"", [b"HTTP/1.1 200 OK\r\n", *[b"x: y\r\n"] * 9]),
        (b"", [response(status=b"103 Early Hints")] * 9),
        (b"", [response(status=b"100 Continue")] * 9),
        (response(TE), [b"1", *[b"0"] * 15]),
        (response(TE), [b"1;", *[b"extension"] * 15]),
        (response(TE, body=b"0\r\n"), [b"x: y\r\n"] * 9),
    ],
    ids=["head", "103", "100", "chunk size", "chunk extension", "trailers"],
)
async def test_what_leads_nowhere_does_not_restart_the_read_timeout(client, clock, start, pieces):
    recorder = client.dispatch(timeout=READ)
    client.peer.send(start)
    await drip(client, recorder, pieces, every=1.0)
    assert clock.now == 1005.0
    assert type(recorder.error) is ReadTimeout


@pytest.mark.parametrize(
    ("start", "pieces", "expected"),
    [
        (response(b"Content-Length: 9"), [b"x"] * 9, b"x" * 9),
        (response(TE), [*[b"1\r\nx\r\n"] * 9, b"0\r\n\r\n"], b"x" * 9),
    ],
)
async def test_content_restarts_the_read_timeout(client, clock, start, pieces, expected):
    recorder = client.dispatch(timeout=READ)
    client.peer.send(start)
    await drip(client, recorder, pieces)
    assert recorder.body == expected
    assert clock.now == 1000.0 + 4 * len(pieces)


async def test_head_restarts_the_read_timeout(client, clock):
    recorder = client.dispatch(timeout=READ)
    await drip(client, recorder, [response(b"Content-Length: 1")])
    assert clock.now == 1009.0
    assert type(recorder.error) is ReadTimeout
    assert recorder.error.phase is Phase.RECEIVING_BODY


async def test_read_timeout_begins_when_the_request_is_sent(client, clock):
    recorder = client.dispatch(Request("POST", URL, body=PUSHED), timeout=READ)
    await asyncio.sleep(100)
    recorder.exchange.write(b"some")
    await asyncio.sleep(100)
    recorder.exchange.write_eof()
    await recorder.end()
    assert clock.now == 1205.0


async def test_read_timeout_runs_while_the_answer_comes_before_the_request_ended_not(client, clock):
    recorder = client.dispatch(Request("POST", URL, body=PUSHED), timeout=READ)
    client.peer.send(response(b"Content-Length: 2", body=b"o"))
    await asyncio.sleep(100)
    assert not recorder.ended
    recorder.exchange.write_eof()
    await recorder.end()
    assert clock.now == 1105.0


async def test_read_timeout_does_not_run_while_reading_is_paused(client, clock):
    recorder = client.dispatch(timeout=READ)
    client.peer.send(response(b"Content-Length: 2", body=b"o"))
    await recorder.until_body(b"o")
    recorder.exchange.pause_reading()
    await asyncio.sleep(100)
    assert not recorder.ended
    recorder.exchange.resume_reading()
    recorder.exchange.resume_reading()
    await recorder.end()
    assert clock.now == 1105.0
    assert type(recorder.error) is ReadTimeout


@pytest.mark.parametrize("pause_in", ["started", "response", "data"])
async def test_read_timeout_does_not_run_while_a_handler_has_paused(client, clock, pause_in):
    recorder = Recorder()
    client.dispatch(None, recorder.on(pause_in, lambda: recorder.exchange.pause_reading()), timeout=READ)
    client.peer.send(response(b"Content-Length: 2", body=b"o"))
    await asyncio.sleep(100)
    assert not recorder.ended
    recorder.reactions.clear()
    recorder.exchange.resume_reading()
    client.peer.send(b"k")
    await recorder.end()
    assert recorder.body == b"ok"


async def test_read_timeout_of_one_exchange_does_not_touch_the_next(client, clock):
    for _ in range(10):
        recorder = await client.answer(response(b"Content-Length: 2", body=b"ok"), timeout=READ)
        assert recorder.body == b"ok"
        await asyncio.sleep(3)
    await asyncio.sleep(100)
    assert client.protocol.available == 1


async def test_shorter_read_timeout_on_a_used_connection_is_kept(client, clock):
    await client.answer(response(b"Content-Length: 2", body=b"ok"), timeout=TimeoutConfig(read_timeout=50))
    recorder = client.dispatch(timeout=TimeoutConfig(read_timeout=2))
    await recorder.end()
    assert clock.now == 1002.0


async def test_five_seconds_are_the_default(client, clock):
    recorder = Recorder()
    client.recorders.append(recorder)
    client.protocol.dispatch(Request("GET", URL), recorder)
    await recorder.end()
    assert clock.now == 1005.0


@pytest.fixture
async def narrow(connect):
    """A client whose peer reads nothing, on a link that holds little."""
    client = await connect(capacity=1000)
    client.peer.pause()
    return client


async def test_server_that_takes_nothing_is_a_write_timeout(narrow, clock):
    recorder = narrow.dispatch(Request("POST", URL, body=bytes(500_000)), timeout=WRITE)
    await recorder.end()
    assert clock.now == 1005.0
    assert type(recorder.error) is WriteTimeout
    assert recorder.error.phase is Phase.SENDING_BODY
    assert "the server took none of the request for 5 seconds" in str(recorder.error)
    await narrow.protocol.wait_closed()


async def test_server_that_takes_little_by_little_is_no_write_timeout(narrow, clock):
    recorder = narrow.dispatch(Request("POST", URL, body=bytes(100_000)), timeout=WRITE)
    narrow.peer_transport._read_size = 1000  # what it takes at a time
    taken = 0
    while taken < 90_000:
        await asyncio.sleep(4)
        assert not recorder.ended
        narrow.peer.resume()
        taken += len(await narrow.peer.receive_some())
        narrow.peer.pause()
    narrow.peer.resume()
    narrow.peer.send(response(b"Content-Length: 0"))
    await recorder.end()
    assert recorder.names[-1] == "complete"
    assert clock.now > 1300


async def test_server_that_stops_taking_in_the_middle_is_a_write_timeout(narrow, clock):
    recorder = narrow.dispatch(Request("POST", URL, body=bytes(500_000)), timeout=WRITE)
    await asyncio.sleep(3)
    narrow.peer.resume()
    await narrow.peer.receive(10_000)
    narrow.peer.pause()
    await recorder.end()
    # At 1005 it is seen that something was taken since 1000; at 1010 that nothing was since.
    assert clock.now == 1010.0
    assert type(recorder.error) is WriteTimeout


async def test_without_a_write_timeout_the_server_may_take_for_ever(narrow, clock):
    recorder = narrow.dispatch(Request("POST", URL, body=bytes(500_000)), timeout=READ)
    await asyncio.sleep(10_000)
    assert not recorder.ended


async def test_write_timeout_of_a_pushed_body(narrow, clock):
    recorder = narrow.dispatch(Request("POST", URL, body=PUSHED), timeout=WRITE)
    recorder.exchange.write(bytes(100_000))
    assert recorder.writing_paused
    await recorder.end()
    assert clock.now == 1005.0
    assert type(recorder.error) is WriteTimeout


async def test_exchange_that_starts_on_a_full_transport_has_a_write_timeout(narrow, clock):
    """The server answered before it had read the request; what is left of that stands before the next one."""
    narrow.transport.set_write_buffer_limits(high=1000)
    await narrow.answer_early(Request("POST", URL, body=bytes(60_000)))
    assert narrow.protocol.available == 1
    recorder = narrow.dispatch(Request("POST", URL, body=PUSHED), timeout=WRITE)
    assert recorder.names == ["started", "pause_writing"]
    await recorder.end()
    assert clock.now == 1005.0
    assert type(recorder.error) is WriteTimeout


async def test_total_timeout_ends_a_drip(client, clock):
    recorder = client.dispatch(timeout=TimeoutConfig(5, total_timeout=60))
    client.peer.send(response(b"Content-Length: 1000"))
    await drip(client, recorder, [b"x"] * 100)
    assert clock.now == 1060.0
    assert type(recorder.error) is TotalTimeout
    assert recorder.error.phase is Phase.RECEIVING_BODY
    await client.peer.closed()


async def test_total_timeout_runs_while_reading_is_paused(client, clock):
    recorder = client.dispatch(timeout=TOTAL)
    recorder.exchange.pause_reading()
    await recorder.end()
    assert clock.now == 1060.0
    assert type(recorder.error) is TotalTimeout


@pytest.mark.parametrize("method", ["POST", "GET"])
async def test_total_timeout_runs_while_the_body_takes_its_time(client, clock, method):
    async def body():
        await asyncio.sleep(1000)
        yield b""

    recorder = client.dispatch(Request(method, URL, body=body()), timeout=TOTAL)
    await recorder.end()
    assert clock.now == 1060.0
    assert type(recorder.error) is TotalTimeout
    assert recorder.error.request_sent is (method == "POST")
    assert recorder.error.phase is Phase.SENDING_HEAD


async def test_total_timeout_that_was_not_needed_leaves_nothing(client, clock):
    await client.answer(response(b"Content-Length: 2", body=b"ok"), timeout=TOTAL)
    await asyncio.sleep(100)
    assert client.protocol.available == 1
