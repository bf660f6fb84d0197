"""Expect: 100-continue on HTTP/2: the body waits for 100, for nothing long enough, or is never sent."""

from __future__ import annotations

import asyncio

import pytest
from h2.errors import ErrorCodes

from httpcore.config import TimeoutConfig
from httpcore.exceptions import LocalProtocolError, ReadTimeout
from httpcore.request import PUSHED, Request
from tests.protocols.http2_script import HTTP2Client, shape
from tests.protocols.recording import URL, Recorder


async def chunks():
    yield b"hel"
    yield b"lo"


async def nothing():
    for part in list[bytes]():
        yield part


def push(recorder: Recorder) -> None:
    recorder.exchange.write(b"hel")
    recorder.exchange.write(b"lo")
    recorder.exchange.write_eof()


# name: (method, what makes the body, the body)
BODIES = {
    "bytes": ("POST", lambda: b"hello", b"hello"),
    "many bytes": ("POST", lambda: b"h" * 70_000, b"h" * 70_000),
    "stream": ("POST", chunks, b"hello"),
    "empty stream": ("POST", nothing, b""),
    "peeked stream": ("GET", chunks, b"hello"),
    "pushed": ("POST", lambda: PUSHED, b"hello"),
    "peeked and pushed": ("GET", lambda: PUSHED, b"hello"),
}


@pytest.fixture(params=BODIES)
def body(request: pytest.FixtureRequest):
    return BODIES[request.param]


async def send(client: HTTP2Client, body, continue_timeout: float = 1.0, recorder: Recorder | None = None) -> Recorder:
    """Sends a request that expects 100; returns once its head has come to the peer."""
    method, make, _ = body
    request = Request(method, URL, {"Expect": "100-continue"}, make())
    recorder = client.dispatch(request, recorder, timeout=TimeoutConfig(5, continue_timeout=continue_timeout))
    if request.pushed:
        push(recorder)
    assert (b"expect", b"100-continue") in (await client.peer.receive_request()).headers
    return recorder


async def test_body_follows_100(cut_http2, clock, body):
    recorder = await send(cut_http2, body)
    await asyncio.sleep(0.5)
    assert shape(cut_http2.peer) == ["HEADERS"]
    cut_http2.peer.respond(1, 100, end_stream=False)
    assert await cut_http2.peer.receive_body(1) == body[2]
    assert clock.now < 1000.6
    cut_http2.peer.respond(1)
    await recorder.end()
    assert recorder.statuses == [100, 200]
    assert recorder.names[-1] == "complete"
    await asyncio.sleep(2)  # nothing happens when the time for the continuation would have been over
    await cut_http2.still_works()


async def test_bytes_that_follow_100_end_with_their_last_frame(http2):
    recorder = await send(http2, BODIES["bytes"])
    http2.peer.respond(1, 100, end_stream=False)
    await http2.peer.receive_body(1)
    assert shape(http2.peer) == ["HEADERS", "DATA 5 END"]
    http2.peer.respond(1)
    await recorder.end()


async def test_body_follows_when_nothing_comes_for_long_enough(http2, clock, body):
    recorder = await send(http2, body, continue_timeout=0.25)
    assert clock.now == 1000.0
    assert await http2.peer.receive_body(1) == body[2]
    assert clock.now == 1000.25
    http2.peer.respond(1, 100, end_stream=False)  # late, and therefore void
    http2.peer.respond(1)
    await recorder.end()
    assert recorder.statuses == [100, 200]
    assert recorder.names[-1] == "complete"


async def test_other_interim_responses_do_not_release_the_body(http2, clock, body):
    recorder = await send(http2, body)
    http2.peer.respond(1, 102, end_stream=False)
    http2.peer.respond(1, 103, end_stream=False)
    await recorder.until("informational", 2)
    await asyncio.sleep(0.5)
    assert shape(http2.peer) == ["HEADERS"]
    assert await http2.peer.receive_body(1) == body[2]
    assert clock.now == 1001.0
    http2.peer.respond(1)
    await recorder.end()


@pytest.mark.parametrize(("status", "content"), [(417, b"no"), (204, b""), (200, b"")])
async def test_final_response_instead_means_no_body_and_the_connection_lives(cut_http2, body, status, content):
    recorder = await send(cut_http2, body)
    cut_http2.peer.respond(1, status, body=content)
    await recorder.end()
    assert recorder.names[-1] == "complete"
    assert (recorder.statuses, recorder.body) == ([status], content)
    assert await cut_http2.peer.receive_reset(1) in (ErrorCodes.CANCEL, ErrorCodes.NO_ERROR)
    assert shape(cut_http2.peer) == ["HEADERS", "RSTSTREAM"]
    await cut_http2.still_works()


async def test_final_head_instead_means_no_body_however_long_its_content_takes(http2, clock):
    recorder = await send(http2, BODIES["bytes"])
    http2.peer.respond(1, body=b"o", end_stream=False)
    await recorder.until_body(b"o")
    await asyncio.sleep(3)  # longer than the continuation is waited for
    http2.peer.send_data(1, b"k", end_stream=True)
    await recorder.end()
    assert recorder.names[-1] == "complete"
    await http2.still_works()
    assert shape(http2.peer) == ["HEADERS", "RSTSTREAM"]


async def test_final_head_instead_that_goes_no_further_is_a_read_timeout(http2, clock):
    recorder = await send(http2, BODIES["bytes"])
    http2.peer.respond(1, body=b"o", end_stream=False)
    await recorder.end()
    assert isinstance(recorder.error, ReadTimeout)
    assert clock.now == 1005.0
    assert await http2.peer.receive_reset(1) is ErrorCodes.CANCEL


async def test_abort_while_waiting_sends_no_body(http2, body):
    recorder = await send(http2, body)
    recorder.exchange.abort()
    assert await http2.peer.receive_reset(1) is ErrorCodes.CANCEL
    await asyncio.sleep(2)
    await http2.still_works()
    assert shape(http2.peer) == ["HEADERS", "RSTSTREAM"]


async def test_reset_by_the_server_while_waiting_sends_no_body(http2, body):
    recorder = await send(http2, body)
    http2.peer.reset(1, ErrorCodes.INTERNAL_ERROR)
    await recorder.end()
    assert recorder.names[-1] == "failed"
    await asyncio.sleep(2)
    await http2.still_works()
    assert shape(http2.peer) == ["HEADERS"]


async def test_without_a_body_nothing_is_waited_for(http2):
    recorder = await http2.answer(Request("GET", URL, {"Expect": "100-continue"}))
    assert recorder.names[-1] == "complete"
    assert shape(http2.peer) == ["HEADERS END"]


async def test_pushed_get_that_has_no_body_after_all_expects_nothing(http2):
    recorder = http2.dispatch(Request("GET", URL, {"Expect": "100-continue"}, PUSHED))
    recorder.exchange.write_eof()
    incoming = await http2.peer.receive_request()
    assert incoming.headers == []
    http2.peer.respond(1)
    await recorder.end()
    assert recorder.names == ["started", "response", "complete"]
    assert shape(http2.peer) == ["HEADERS END"]


async def test_trailers_follow_the_body_that_was_waited_for(http2):
    request = Request("POST", URL, {"Expect": "100-continue"}, b"hello", trailers={"X-Sum": "1"})
    recorder, _ = await http2.ask(request)
    http2.peer.respond(1, 100, end_stream=False)
    assert await http2.peer.receive_trailers(1) == [(b"x-sum", b"1")]
    assert shape(http2.peer) == ["HEADERS", "DATA 5", "HEADERS END"]
    http2.peer.respond(1)
    await recorder.end()


async def test_who_pushes_is_asked_to_wait(http2):
    recorder, _ = await http2.ask(Request("POST", URL, {"Expect": "100-continue"}, PUSHED))
    assert recorder.names == ["started", "pause_writing"]
    http2.peer.respond(1, 100, end_stream=False)
    await recorder.until("resume_writing")
    push(recorder)
    assert await http2.peer.receive_body(1) == b"hello"
    http2.peer.respond(1)
    await recorder.end()


async def test_what_was_pushed_meanwhile_must_fit_its_length(http2):
    headers = {"Expect": "100-continue", "Content-Length": "4"}
    recorder = http2.dispatch(Request("POST", URL, headers, PUSHED))
    recorder.exchange.write(b"hel")
    with pytest.raises(LocalProtocolError):
        recorder.exchange.write(b"lo")
    await recorder.end()
    assert type(recorder.error) is LocalProtocolError
    assert await http2.peer.receive_reset(1) is ErrorCodes.CANCEL
    await http2.still_works()


async def test_buffer_that_is_given_meanwhile_may_be_used_again(http2):
    recorder, _ = await http2.ask(Request("POST", URL, {"Expect": "100-continue"}, PUSHED))
    buffer = bytearray(b"hello")
    recorder.exchange.write(buffer)
    buffer[:] = b"other"
    recorder.exchange.write(memoryview(buffer))
    buffer[:] = b"third"
    recorder.exchange.write_eof()
    http2.peer.respond(1, 100, end_stream=False)
    assert await http2.peer.receive_body(1) == b"helloother"
    http2.peer.respond(1)
    await recorder.end()


async def test_handler_that_aborts_in_100_sends_no_body(http2):
    recorder = Recorder()
    recorder.on("informational", lambda: recorder.exchange.abort())
    await send(http2, BODIES["bytes"], recorder=recorder)
    http2.peer.respond(1, 100, end_stream=False)
    assert await http2.peer.receive_reset(1) is ErrorCodes.CANCEL
    await http2.still_works()
    assert shape(http2.peer) == ["HEADERS", "RSTSTREAM"]


async def test_window_that_is_shut_keeps_who_pushes_waiting_after_100(connect_http2):
    client = await connect_http2()
    client.peer.auto_credit = False
    recorder, _ = await client.ask(Request("POST", URL, {"Expect": "100-continue"}, PUSHED))
    recorder.exchange.write(bytes(200_000))
    client.peer.respond(1, 100, end_stream=False)
    await recorder.until("informational")
    await client.settle()
    assert recorder.writing_paused
    client.peer.credit(200_000)
    client.peer.credit(200_000, 1)
    await recorder.until("resume_writing", recorder.names.count("pause_writing"))
    recorder.exchange.write_eof()
    assert len(await client.peer.receive_body(1)) == 200_000
    client.peer.respond(1)
    await recorder.end()


async def test_100_without_expect_is_told_and_changes_nothing(cut_http2):
    recorder, _ = await cut_http2.ask(Request("POST", URL, body=b"hello"))
    assert await cut_http2.peer.receive_body(1) == b"hello"
    cut_http2.peer.respond(1, 100, end_stream=False)
    cut_http2.peer.respond(1)
    await recorder.end()
    assert recorder.statuses == [100, 200]
