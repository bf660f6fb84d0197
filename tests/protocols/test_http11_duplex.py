"""Full duplex: the response is delivered while the request is still being sent."""

from __future__ import annotations

import asyncio

import pytest

from httpcore.request import PUSHED, Request
from tests.protocols.recording import URL, Recorder, response

GET = Request("GET", URL)
HEAD = Request("HEAD", URL)
CL2, TE = b"Content-Length: 2", b"Transfer-Encoding: chunked"
CHUNKS = b"2\r\nok\r\n0\r\n\r\n"


async def test_echo_whose_body_waits_for_its_own_answer(cut_client):
    recorder = Recorder()

    async def body():
        for number in range(5):
            yield b"%d" % number
            await recorder.until_body(b"01234"[: number + 1])

    cut_client.dispatch(Request("POST", URL, body=body()), recorder)
    peer = cut_client.peer
    await peer.receive_until(b"\r\n\r\n")
    peer.send(response(TE))
    for _ in range(5):
        peer.send(await peer.receive(6))
    assert await peer.receive(5) == b"0\r\n\r\n"
    peer.send(b"0\r\n\r\n")
    await recorder.end()
    assert recorder.body == b"01234"
    assert recorder.names[-1] == "complete"
    assert cut_client.protocol.available == 1


@pytest.mark.parametrize("framing", [CL2 + b"\r\n\r\nok", TE + b"\r\n\r\n" + CHUNKS])
async def test_response_before_the_request_body_ends_closes(cut_client, framing):
    closed = asyncio.Event()

    async def body():
        try:
            yield b"some"
            await asyncio.Event().wait()
        finally:
            closed.set()

    recorder = cut_client.dispatch(Request("POST", URL, body=body()))
    await cut_client.peer.receive_until(b"some\r\n")
    cut_client.peer.send(b"HTTP/1.1 413 OK\r\n" + framing)
    await recorder.end()
    assert (recorder.statuses, recorder.body, recorder.names[-1]) == ([413], b"ok", "complete")
    assert cut_client.protocol.close_reason == "the response came before the request had ended"
    await closed.wait()
    await cut_client.peer.closed()


async def test_response_before_the_first_piece_leaves_the_body_unopened(client):
    opened = False

    async def body():
        nonlocal opened
        opened = True
        yield b"some"

    recorder = client.dispatch(Request("POST", URL, body=body))
    # Before the task that reads the body takes its first step: on a busy machine the server can be that fast.
    client.protocol.data_received(response(CL2, body=b"ok", status=b"413 OK"))
    await recorder.end()
    assert (recorder.statuses, recorder.body, recorder.names[-1]) == ([413], b"ok", "complete")
    assert client.protocol.close_reason == "the response came before the request had ended"
    await client.peer.closed()
    assert not opened


async def test_head_of_an_early_response_comes_at_once_and_the_upload_goes_on(cut_client):
    recorder = cut_client.dispatch(Request("POST", URL, body=PUSHED))
    cut_client.peer.send(response(CL2, body=b"o"))
    await recorder.until("data")
    recorder.exchange.write(b"more")
    recorder.exchange.write_eof()
    await cut_client.peer.receive_until(b"4\r\nmore\r\n0\r\n\r\n")
    cut_client.peer.send(b"k")
    await recorder.end()
    assert recorder.names[-1] == "complete"
    assert cut_client.protocol.available == 1


async def test_upload_stops_although_the_server_reads_nothing(connect):
    client = await connect(capacity=1000)
    client.peer.pause()
    given = 0

    async def body():
        nonlocal given
        while True:
            given += 10_000
            yield bytes(10_000)

    recorder = client.dispatch(Request("POST", URL, body=body()))
    client.peer.send(response(CL2, body=b"ok", status=b"413 OK"))
    await recorder.end()
    assert (recorder.statuses, recorder.names[-1]) == ([413], "complete")
    await client.protocol.wait_closed()
    assert given < 200_000
