"""What comes late on HTTP/2, or all at once: behind a reset, with the last byte, after a refusal, after many frames."""

from __future__ import annotations

from h2.errors import ErrorCodes

from httpcore.config import HTTP2Config
from httpcore.request import PUSHED, Request
from tests.protocols.http2_owner import Watch
from tests.protocols.recording import URL


async def test_interim_response_behind_our_reset_leaves_the_connection_alone(connect_http2):
    client = await connect_http2()
    recorder, incoming = await client.ask()
    recorder.exchange.abort()
    # Sent before the server hears of the reset. h2, which knows the stream as closed, would end the connection for it.
    client.peer.respond(incoming.stream_id, 103, [("link", "x")], end_stream=False)
    client.peer.respond(incoming.stream_id, 200, body=b"late")
    await client.settle()  # before another request, for which h2 forgets the closed stream

    await client.still_works()


async def test_last_content_that_would_open_the_window_of_an_ended_stream_is_delivered(connect_http2):
    client = await connect_http2(config=HTTP2Config(stream_window=1000))

    recorder = await client.answer(body=b"x" * 900)  # one frame, more than half of the window, and the end

    assert bytes(recorder.body) == b"x" * 900
    await client.still_works()


async def test_answer_after_a_refusal_tells_the_owner_that_there_is_room(connect_http2):
    client = await connect_http2()
    answered, first = await client.ask()
    _, second = await client.ask()
    client.peer.reset(second.stream_id, ErrorCodes.REFUSED_STREAM)
    await client.settle()
    assert client.protocol.available == 0
    watch = Watch(client)

    client.peer.respond(first.stream_id, 200, end_stream=False)  # the head alone: the stream stays
    await client.settle()

    assert watch.last == (99, 1, False, False)
    client.peer.send_data(first.stream_id, b"", end_stream=True)
    await answered.end()


async def test_credit_for_many_small_frames_that_comes_at_once_is_no_flood(connect_http2):
    client = await connect_http2()
    recorder, incoming = await client.ask(Request("POST", URL, body=PUSHED))
    for _ in range(1500):
        recorder.exchange.write(b"x" * 20)
    await client.settle()

    for _ in range(1500):
        client.peer.credit(20)
        client.peer.credit(20, incoming.stream_id)
    await client.settle()

    recorder.exchange.write_eof()
    client.peer.respond(incoming.stream_id, 200, body=b"ok")
    await recorder.end()
    assert bytes(recorder.body) == b"ok"
    await client.still_works()
