"""Expect: 100-continue: the body waits for 100, for nothing long enough, or is never sent (RFC 9110 10.1.1)."""

from __future__ import annotations

import asyncio

import pytest

from httpcore.config import TimeoutConfig
from httpcore.exceptions import LocalProtocolError, ReadTimeout
from httpcore.request import PUSHED, Request
from tests.protocols.recording import URL, Client, Recorder, response

CONTINUE = response(status=b"100 Continue")
OK = response(b"Content-Length: 2", body=b"ok")
HEAD = b" /path?query HTTP/1.1\r\nHost: example.org\r\nExpect: 100-continue\r\n"
LENGTH = HEAD + b"Content-Length: 5\r\n\r\n"
CHUNKED = HEAD + b"Transfer-Encoding: chunked\r\n\r\n"
CHUNKS = b"3\r\nhel\r\n2\r\nlo\r\n0\r\n\r\n"


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


# name: (method, what makes the body, head, body)
BODIES = {
    "bytes": ("POST", lambda: b"hello", b"POST" + LENGTH, b"hello"),
    "many bytes": (
        "POST",
        lambda: b"h" * 70_000,
        b"POST" + HEAD + b"Content-Length: 70000\r\n\r\n",
        b"h" * 70_000,
    ),
    "stream": ("POST", chunks, b"POST" + CHUNKED, CHUNKS),
    "empty stream": ("POST", nothing, b"POST" + CHUNKED, b"0\r\n\r\n"),
    "peeked stream": ("GET", chunks, b"GET" + CHUNKED, CHUNKS),
    "pushed": ("POST", lambda: PUSHED, b"POST" + CHUNKED, CHUNKS),
    "peeked and pushed": ("GET", lambda: PUSHED, b"GET" + CHUNKED, CHUNKS),
}


@pytest.fixture(params=BODIES)
def body(request: pytest.FixtureRequest):
    return BODIES[request.param]


def send(client: Client, body, continue_timeout: float = 1.0, recorder: Recorder | None = None) -> Recorder:
    method, make, _, _ = body
    request = Request(method, URL, {"Expect": "100-continue"}, make())
    recorder = client.dispatch(request, recorder, timeout=TimeoutConfig(5, continue_timeout=continue_timeout))
    if request.pushed:
        push(recorder)
    return recorder


async def test_body_follows_100(cut_client, clock, body):
    _, _, head, content = body
    recorder = send(cut_client, body)
    assert await cut_client.peer.receive_until(b"\r\n\r\n") == head
    await asyncio.sleep(0.5)
    assert cut_client.peer.received == head
    cut_client.peer.send(CONTINUE)
    assert await cut_client.peer.receive(len(content)) == content
    assert clock.now < 1000.6
    cut_client.peer.send(OK)
    await recorder.end()
    assert recorder.statuses == [100, 200]
    assert recorder.names[-1] == "complete"
    assert cut_client.peer.received == head + content
    assert cut_client.protocol.available == 1
    await asyncio.sleep(2)  # nothing happens when the time for the continuation would have been over
    assert cut_client.protocol.available == 1


async def test_body_follows_when_nothing_comes_for_long_enough(client, clock, body):
    _, _, head, content = body
    recorder = send(client, body, continue_timeout=0.25)
    assert await client.peer.receive_until(b"\r\n\r\n") == head
    assert clock.now == 1000.0
    assert await client.peer.receive(len(content)) == content
    assert clock.now == 1000.25
    client.peer.send(CONTINUE + OK)  # late, and therefore void
    await recorder.end()
    assert recorder.statuses == [100, 200]
    assert recorder.names[-1] == "complete"
    assert client.peer.received == head + content


async def test_other_interim_responses_do_not_release_the_body(client, clock, body):
    _, _, head, content = body
    recorder = send(client, body)
    await client.peer.receive_until(b"\r\n\r\n")
    client.peer.send(response(status=b"102 Processing") + response(status=b"103 Early Hints"))
    await recorder.until("informational", 2)
    await asyncio.sleep(0.5)
    assert client.peer.received == head
    assert await client.peer.receive(len(content)) == content
    assert clock.now == 1001.0
    client.peer.send(OK)
    await recorder.end()


@pytest.mark.parametrize(
    "transcript", [response(b"Content-Length: 2", body=b"no", status=b"417 No"), response(status=b"204 No")]
)
async def test_final_response_instead_means_no_body_and_no_reuse(cut_client, body, transcript):
    _, _, head, _ = body
    recorder = send(cut_client, body)
    await cut_client.peer.receive_until(b"\r\n\r\n")
    cut_client.peer.send(transcript)
    await recorder.end()
    assert recorder.names[-1] == "complete"
    await cut_client.peer.closed()
    assert cut_client.peer.received == head
    assert cut_client.protocol.close_reason == "the response came before the request had ended"


async def test_final_head_instead_means_no_body_however_long_its_content_takes(client, clock):
    recorder = send(client, BODIES["bytes"])
    head = await client.peer.receive_until(b"\r\n\r\n")
    client.peer.send(response(b"Content-Length: 2", body=b"o"))
    await recorder.until_body(b"o")
    await asyncio.sleep(3)  # longer than the continuation is waited for
    client.peer.send(b"k")
    await recorder.end()
    assert recorder.names[-1] == "complete"
    await client.peer.closed()
    assert client.peer.received == head


async def test_final_head_instead_that_goes_no_further_is_a_read_timeout(client, clock):
    recorder = send(client, BODIES["bytes"])
    await client.peer.receive_until(b"\r\n\r\n")
    client.peer.send(response(b"Content-Length: 2", body=b"o"))
    await recorder.end()
    assert isinstance(recorder.error, ReadTimeout)
    assert clock.now == 1005.0


async def test_abort_while_waiting_sends_no_body(client, body):
    recorder = send(client, body)
    await client.peer.receive_until(b"\r\n\r\n")
    recorder.exchange.abort()
    await client.peer.closed()
    assert client.peer.received == body[2]


async def test_without_a_body_nothing_is_waited_for(client):
    await client.answer(OK, Request("GET", URL, {"Expect": "100-continue"}))
    assert client.protocol.available == 1


async def test_who_pushes_is_asked_to_wait(client):
    recorder = client.dispatch(Request("POST", URL, {"Expect": "100-continue"}, PUSHED))
    assert recorder.names == ["started", "pause_writing"]
    client.peer.send(CONTINUE)
    await recorder.until("resume_writing")
    recorder.exchange.write(b"hel")
    recorder.exchange.write(b"lo")
    recorder.exchange.write_eof()
    assert await client.peer.receive_until(b"0\r\n\r\n") == b"POST" + CHUNKED + CHUNKS
    client.peer.send(OK)
    await recorder.end()


async def test_what_was_pushed_meanwhile_must_fit_its_length(client):
    headers = {"Expect": "100-continue", "Content-Length": "4"}
    recorder = client.dispatch(Request("POST", URL, headers, PUSHED))
    push(recorder)
    client.peer.send(CONTINUE)
    await recorder.end()
    assert type(recorder.error) is LocalProtocolError
    assert recorder.names == ["started", "pause_writing", "informational", "failed"]
    await client.peer.closed()


async def test_buffer_that_is_given_meanwhile_may_be_used_again(client):
    recorder = client.dispatch(Request("POST", URL, {"Expect": "100-continue"}, PUSHED))
    buffer = bytearray(b"hello")
    recorder.exchange.write(buffer)
    buffer[:] = b"other"
    recorder.exchange.write(memoryview(buffer))
    buffer[:] = b"third"
    recorder.exchange.write_eof()
    client.peer.send(CONTINUE)
    await client.peer.receive_until(b"0\r\n\r\n")
    assert client.peer.received.endswith(b"\r\n\r\n5\r\nhello\r\n5\r\nother\r\n0\r\n\r\n")
    client.peer.send(OK)
    await recorder.end()


async def test_handler_that_aborts_in_100_sends_no_body(client):
    recorder = Recorder()
    recorder.on("informational", lambda: recorder.exchange.abort())
    send(client, BODIES["bytes"], recorder=recorder)
    client.peer.send(CONTINUE)
    await client.peer.closed()
    assert client.peer.received == BODIES["bytes"][2]


async def test_full_transport_keeps_who_pushes_waiting_after_100(connect):
    client = await connect(capacity=1000)
    client.peer.pause()
    recorder = client.dispatch(Request("POST", URL, {"Expect": "100-continue"}, PUSHED))
    client.transport.set_write_buffer_limits(high=1000)
    recorder.exchange.write(bytes(100_000))
    client.peer.send(CONTINUE)
    await recorder.until("informational")
    await asyncio.sleep(0.5)
    assert recorder.writing_paused
    client.peer.resume()
    await recorder.until("resume_writing", recorder.names.count("pause_writing"))
    recorder.exchange.write_eof()
    client.peer.send(OK)
    await recorder.end()


async def test_transport_that_fills_after_the_exchange_ended_holds_up_the_next(connect):
    """100 and the final response in one segment: the body is handed over as the exchange ends."""
    client = await connect(capacity=1000)
    client.peer.pause()
    client.transport.set_write_buffer_limits(high=1000)
    recorder = client.dispatch(Request("POST", URL, {"Expect": "100-continue"}, bytes(50_000)))
    client.peer.send(CONTINUE + OK)
    await recorder.end()
    assert recorder.names[-1] == "complete"
    assert client.protocol.available == 1
    again = client.dispatch(Request("POST", URL, body=PUSHED))
    assert again.writing_paused
    client.peer.resume()
    await again.until("resume_writing")
    again.exchange.abort()
