"""Bytes behind a complete response are no answer to anything: the response stands, the connection goes."""

from __future__ import annotations

import asyncio

import pytest

from httpcore.exceptions import LocalProtocolError, RemoteProtocolError
from httpcore.request import PUSHED, Request
from tests.protocols.recording import URL, Recorder, response

GET = Request("GET", URL)
HEAD = Request("HEAD", URL)
CL2, TE = b"Content-Length: 2", b"Transfer-Encoding: chunked"
CHUNKS = b"2\r\nok\r\n0\r\n\r\n"


async def nothing_yet():
    await asyncio.Event().wait()
    yield b""


COMPLETE = {
    "length": (GET, response(CL2, body=b"ok")),
    "chunks": (GET, response(TE, body=CHUNKS)),
    "trailers": (GET, response(TE, body=b"2\r\nok\r\n0\r\na: b\r\n\r\n")),
    "HEAD": (HEAD, response(CL2)),
    "204": (GET, response(CL2, status=b"204 OK")),
    "304": (GET, response(CL2, status=b"304 OK")),
    "behind 1xx": (GET, response(status=b"103 OK") + response(CL2, body=b"ok")),
}
REST = {"a body": b"ok", "a response": response(CL2, body=b"no"), "a line end": b"\r\n", "one byte": b"\0"}


@pytest.mark.parametrize("rest", REST)
@pytest.mark.parametrize("case", COMPLETE)
async def test_bytes_behind_a_response_close(cut_client, case, rest):
    request, transcript = COMPLETE[case]
    recorder = await cut_client.answer(transcript + REST[rest], request)
    assert recorder.names[-1] == "complete"
    await cut_client.peer.closed()
    assert cut_client.protocol.closed
    with pytest.raises(LocalProtocolError, match="can take no exchange"):
        cut_client.protocol.dispatch(GET, Recorder())


@pytest.mark.parametrize("case", COMPLETE)
async def test_bytes_in_a_later_segment_close(cut_client, case):
    request, transcript = COMPLETE[case]
    recorder = await cut_client.answer(transcript, request)
    assert recorder.names[-1] == "complete"
    assert cut_client.protocol.available == 1
    cut_client.peer.send(response(CL2, body=b"no"))
    await cut_client.peer.closed()
    assert cut_client.protocol.close_reason == "bytes came while it was idle"


async def test_bytes_before_the_first_request_close(client):
    client.peer.send(b"\r\n")
    await client.peer.closed()
    assert client.protocol.close_reason == "bytes came while it was idle"


@pytest.mark.parametrize("body", [PUSHED, nothing_yet], ids=["pushed", "stream"])
async def test_bytes_before_the_request_was_sent_are_no_answer(cut_client, body):
    """The head waits for the body's first chunk: what comes meanwhile answers nothing."""
    recorder = cut_client.dispatch(Request("GET", URL, body=body))
    cut_client.peer.send(response(CL2, body=b"no", status=b"408 Request Timeout"))
    await recorder.end()
    assert recorder.names == ["started", "failed"]
    assert type(recorder.error) is RemoteProtocolError
    assert recorder.error.request_sent is False
    await cut_client.peer.closed()


@pytest.mark.parametrize("body", [PUSHED, nothing_yet], ids=["pushed", "stream"])
async def test_end_before_the_request_was_sent_is_an_error(client, body):
    recorder = client.dispatch(Request("GET", URL, body=body))
    client.peer.send_eof()
    await recorder.end()
    assert type(recorder.error) is RemoteProtocolError
    assert recorder.error.request_sent is False


async def test_end_while_idle_closes(client):
    await client.answer(response(CL2, body=b"ok"))
    client.peer.send_eof()
    await client.peer.closed()
    assert client.protocol.close_reason == "the server closed it"


async def test_reset_while_idle_closes(client):
    await client.answer(response(CL2, body=b"ok"))
    client.peer.abort()
    await client.protocol.wait_closed()
    assert client.protocol.closed
    assert client.protocol.close_reason.startswith("connection lost: ")
