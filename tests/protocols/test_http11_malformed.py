"""What no server may send: each transcript whole and byte by byte is the same error, and the end of the connection."""

from __future__ import annotations

import asyncio

import pytest

from httpcore.exceptions import RemoteProtocolError
from httpcore.request import Request
from tests.protocols.recording import URL, response

CL2, TE = b"Content-Length: 2", b"Transfer-Encoding: chunked"
OK_BODY = b"ok"


def status_line(line: bytes) -> bytes:
    return line + b"\r\nContent-Length: 2\r\n\r\nok"


def fields(*lines: bytes) -> bytes:
    return response(*lines, CL2, body=b"ok")


def chunked(body: bytes) -> bytes:
    return response(TE, body=body)


MALFORMED = {
    # The status line (RFC 9112 4).
    "not HTTP": b"SSH-2.0-OpenSSH_9.2\r\n\r\n",
    "TLS": b"\x16\x03\x01\x02\x00\x01\x00",
    "HTTP/0.9": b"<html>\r\n\r\n</html>",
    "empty line first": b"\r\n" + fields(),
    "LF first": b"\n" + fields(),
    "space first": b" " + fields(),
    "NUL first": b"\0" + fields(),
    "lower-case name": status_line(b"http/1.1 200 OK"),
    "other name": status_line(b"ICY/1.1 200 OK"),
    "no name": status_line(b"/1.1 200 OK"),
    "no version": status_line(b"HTTP 200 OK"),
    "no minor version": status_line(b"HTTP/1 200 OK"),
    "version of two digits": status_line(b"HTTP/1.10 200 OK"),
    "version with a sign": status_line(b"HTTP/+1.1 200 OK"),
    "version in words": status_line(b"HTTP/one.one 200 OK"),
    "version 0.9": status_line(b"HTTP/0.9 200 OK"),
    "version 2.0": status_line(b"HTTP/2.0 200 OK"),
    "version 2.0 of an interim response": response(status=b"103 OK", version=b"HTTP/2.0") + fields(),
    "two spaces before the status": status_line(b"HTTP/1.1  200 OK"),
    "tab before the status": status_line(b"HTTP/1.1\t200 OK"),
    "no status": status_line(b"HTTP/1.1"),
    "no status but a space": status_line(b"HTTP/1.1 "),
    "no status but a reason": status_line(b"HTTP/1.1 OK"),
    "status of two digits": status_line(b"HTTP/1.1 20 OK"),
    "status of four digits": status_line(b"HTTP/1.1 2000 OK"),
    "status with a sign": status_line(b"HTTP/1.1 +20 OK"),
    "status below zero": status_line(b"HTTP/1.1 -20 OK"),
    "status in hexadecimal": status_line(b"HTTP/1.1 2fF OK"),
    "status in other digits": status_line("HTTP/1.1 ²⁰⁰ OK".encode()),
    "status 000": status_line(b"HTTP/1.1 000 OK"),
    "status 099": status_line(b"HTTP/1.1 099 OK"),
    "status glued to the reason": status_line(b"HTTP/1.1 200OK"),
    "CR in the reason": status_line(b"HTTP/1.1 200 O\rK"),
    "NUL in the reason": status_line(b"HTTP/1.1 200 O\0K"),
    "two CRs": response(CL2).replace(b"OK\r\n", b"OK\r\r\n"),
    "lone CR for a line end": response(CL2).replace(b"\r\n", b"\r") + b"\r\n\r\n",
    "101 that nobody asked for": response(b"Upgrade: x", status=b"101 OK"),
    # Fields (RFC 9112 5, RFC 9110 5).
    "no colon": fields(b"X y"),
    "only a name": fields(b"X"),
    "no name of a field": fields(b": y"),
    "space before the colon": fields(b"X : y"),
    "tab before the colon": fields(b"X\t: y"),
    "space in a name": fields(b"X Y: z"),
    "NUL in a name": fields(b"X\0: y"),
    "CR in a name": fields(b"X\rY: z"),
    "a name that is no token": fields(b"X(): y"),
    "a name that is not ASCII": fields("Ünder: y".encode()),
    "quoted name": fields(b'"X": y'),
    "NUL in a value": fields(b"X: a\0b"),
    "CR in a value": fields(b"X: a\rb"),
    "CR at the end of a value": fields(b"X: a\r"),
    "vertical tab in a value": fields(b"X: a\x0bb"),
    "form feed in a value": fields(b"X: a\x0cb"),
    "CR in a folded line": fields(b"X: a\r\n b\rc"),
    "fold of the first field": response(b" X: y", CL2, body=b"ok"),
    "line of spaces first": response(b"  ", CL2, body=b"ok"),
    "no name in an interim response": response(b": y", status=b"103 OK") + fields(),
    # The framing (RFC 9112 6).
    "two lengths": response(CL2, b"Content-Length: 3", body=b"oko"),
    "two lengths in a list": response(b"Content-Length: 2, 3", body=b"oko"),
    "length and an empty one": response(b"Content-Length: 2,", body=b"ok"),
    "length and an empty line": response(CL2, b"Content-Length:", body=b"ok"),
    "no digits": response(b"Content-Length: ", body=b"ok"),
    "length in words": response(b"Content-Length: two", body=b"ok"),
    "length with a plus": response(b"Content-Length: +2", body=b"ok"),
    "length with a minus": response(b"Content-Length: -2", body=b"ok"),
    "length in hexadecimal": response(b"Content-Length: 0x2", body=b"ok"),
    "length with a point": response(b"Content-Length: 2.0", body=b"ok"),
    "length with a space": response(b"Content-Length: 1 2", body=b"ok"),
    "length with an underscore": response(b"Content-Length: 1_0", body=b"ok"),
    "length with a quotation mark": response(b'Content-Length: "2"', body=b"ok"),
    "length in other digits": response("Content-Length: ٢".encode(), body=b"ok"),
    "length in superscript": response("Content-Length: ²".encode("latin-1"), body=b"ok"),
    "length of 21 digits": response(b"Content-Length: 100000000000000000002", body=b"ok"),
    "folded lengths": response(b"Content-Length: 2\r\n 3", body=b"ok"),
    "bad length beside chunks": response(TE, b"Content-Length: x", body=b"0\r\n\r\n"),
    "bad length of a response without a body": response(b"Content-Length: x", status=b"204 OK"),
    "unknown coding": response(b"Transfer-Encoding: x", body=b"ok"),
    "known coding that was not asked for": response(b"Transfer-Encoding: gzip, chunked", body=b"0\r\n\r\n"),
    "coding behind chunks": response(b"Transfer-Encoding: chunked, gzip", body=b"0\r\n\r\n"),
    "chunks twice": response(b"Transfer-Encoding: chunked, chunked", body=b"0\r\n\r\n"),
    "chunks on two lines": response(TE, TE, body=b"0\r\n\r\n"),
    "no coding": response(b"Transfer-Encoding: ", body=b"ok"),
    "identity": response(b"Transfer-Encoding: identity", CL2, body=b"ok"),
    "chunked with a parameter": response(b"Transfer-Encoding: chunked;q=1", body=b"0\r\n\r\n"),
    "chunked with a control character": response(b"Transfer-Encoding: \x0bchunked", body=b"0\r\n\r\n"),
    "chunked in quotation marks": response(b'Transfer-Encoding: "chunked"', body=b"0\r\n\r\n"),
    "chunked misspelt": response(b"Transfer-Encoding: xchunked", CL2, body=b"ok"),
    # Chunks (RFC 9112 7.1).
    "no size": chunked(b"\r\nok\r\n0\r\n\r\n"),
    "size with a sign": chunked(b"+2\r\nok\r\n0\r\n\r\n"),
    "size below zero": chunked(b"-2\r\nok\r\n0\r\n\r\n"),
    "size with 0x": chunked(b"0x2\r\nok\r\n0\r\n\r\n"),
    "size with an underscore": chunked(b"0_2\r\nok\r\n0\r\n\r\n"),
    "size with a space before it": chunked(b" 2\r\nok\r\n0\r\n\r\n"),
    "size in other digits": chunked("٢\r\nok\r\n0\r\n\r\n".encode()),
    "size that is no hexadecimal": chunked(b"g\r\nok\r\n0\r\n\r\n"),
    "two sizes": chunked(b"2 2\r\nok\r\n0\r\n\r\n"),
    "size of 21 digits": chunked(b"0" * 20 + b"2\r\nok\r\n0\r\n\r\n"),
    "size that ends with LF": chunked(b"2\nok\r\n0\r\n\r\n"),
    "size that ends with CR": chunked(b"2\rok\r\n0\r\n\r\n"),
    "LF in an extension": chunked(b"2;a\nb\r\nok\r\n0\r\n\r\n"),
    "extension without its semicolon": chunked(b"2 a=b\r\nok\r\n0\r\n\r\n"),
    "chunk that goes on": chunked(b"2\r\nokay\r\n0\r\n\r\n"),
    "chunk that ends with LF": chunked(b"2\r\nok\n0\r\n\r\n"),
    "chunk that ends with CR": chunked(b"2\r\nok\r0\r\n\r\n"),
    "chunk that does not end": chunked(b"2\r\nok0\r\n\r\n"),
    "last size that is no size": chunked(b"2\r\nok\r\n0x\r\n\r\n"),
    "trailer without a colon": chunked(b"2\r\nok\r\n0\r\nX y\r\n\r\n"),
    "trailer with a space before its colon": chunked(b"2\r\nok\r\n0\r\nX : y\r\n\r\n"),
    "trailer with NUL": chunked(b"2\r\nok\r\n0\r\nX: \0\r\n\r\n"),
    "trailer that is folded first": chunked(b"2\r\nok\r\n0\r\n X: y\r\n\r\n"),
    "trailers with two lengths": chunked(b"0\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n"),
    # Limits.
    "300 fields": fields(*[b"a: b"] * 300),
    "257 fields": response(*[b"a: b"] * 257),
    "257 fields of an interim response": response(*[b"a: b"] * 257, status=b"103 OK") + fields(),
    "257 trailers": chunked(b"0\r\n" + b"a: b\r\n" * 257 + b"\r\n"),
}

# The same, too long to be sent in single bytes: there in pieces of 1000.
FLOODS = {
    "head of 70 KiB": fields(b"X: " + b"a" * 70 * 1024),
    "status line of 70 KiB": status_line(b"HTTP/1.1 200 " + b"a" * 70 * 1024),
    "line without an end": b"HTTP/1.1 200 " + b"a" * 70 * 1024,
    "name without an end": b"HTTP/1.1 200 OK\r\n" + b"a" * 70 * 1024,
    "head of 70 KiB in many fields": fields(*[b"X: " + b"a" * 1020] * 70),
    "head without an end": b"HTTP/1.1 200 OK\r\n" + (b"X: " + b"a" * 1019 + b"\r\n") * 70,
    "head of 250 KiB": fields(b"X: " + b"a" * 250 * 1024),
    "interim responses without an end": response(status=b"100 OK") * 5000,
    "interim responses with fields": response(b"Link: " + b"a" * 1000, status=b"103 OK") * 70 + fields(),
    "interim responses behind 60 KiB": response(b"Link: " + b"a" * 60_000, status=b"103 OK")
    + response(b"X: " + b"a" * 10_000, body=b""),
    "chunk size line without an end": chunked(b"2;" + b"a" * 70 * 1024),
    "chunk extension of 70 KiB": chunked(b"2;" + b"a" * 70 * 1024 + b"\r\nok\r\n0\r\n\r\n"),
    "chunk extension of 20 KiB": chunked(b"2;" + b"a" * 20 * 1024 + b"\r\nok\r\n0\r\n\r\n"),
    "chunk extensions on small chunks": chunked((b"1;" + b"a" * 200 + b"\r\nx\r\n") * 500),
    "chunk extensions of 4 kB on chunks of one byte": chunked((b"1;" + b"a" * 4000 + b"\r\nx\r\n") * 50),
    "leading zeros on small chunks": chunked((b"0" * 19 + b"1\r\nx\r\n") * 10_000),
    "last chunk's extension of 20 KiB": chunked(b"2\r\nok\r\n0;" + b"a" * 20 * 1024 + b"\r\n\r\n"),
    "trailers of 70 KiB": chunked(b"0\r\nX: " + b"a" * 70 * 1024 + b"\r\n\r\n"),
    "trailers without an end": chunked(b"0\r\n" + (b"X: " + b"a" * 1019 + b"\r\n") * 70),
}


async def check_refusal(client, transcript: bytes) -> None:
    recorder = await client.answer(transcript)
    assert type(recorder.error) is RemoteProtocolError, (recorder.events, recorder.error)
    assert "complete" not in recorder.names
    assert recorder.error.host == "example.org"
    text = str(recorder.error)
    assert text.isprintable()
    assert text.isascii()
    assert len(text) < 400
    await client.peer.closed()
    assert client.protocol.closed


@pytest.mark.parametrize("case", MALFORMED)
async def test_malformed_response_is_an_error_and_closes(cut_client, case):
    await check_refusal(cut_client, MALFORMED[case])


@pytest.mark.parametrize("piece", [None, 1000], ids=["whole", "pieces"])
@pytest.mark.parametrize("case", FLOODS)
async def test_flood_is_an_error_and_closes(connect, case, piece):
    client = await connect(segment=piece, capacity=1024 * 1024)
    await check_refusal(client, FLOODS[case])
    assert client.transport.is_closed()


@pytest.mark.parametrize("start", ["length", "chunks", "until the end"])
async def test_what_is_behind_a_response_in_its_last_segment_is_no_flood(connect, start):
    """Junk behind a complete response closes the connection, and does not take the response away."""
    transcript = {
        "length": response(CL2, body=b"ok"),
        "chunks": chunked(b"2\r\nok\r\n0\r\n\r\n"),
        "until the end": response(status=b"204 OK"),
    }[start]
    client = await connect(capacity=1024 * 1024)
    recorder = await client.answer(transcript + b"x" * 200_000)
    assert recorder.names[-1] == "complete"
    await client.peer.closed()


TRUNCATED = {
    "length": response(CL2, b"X: y", body=b"ok"),
    "chunks": response(TE, body=b"1;a=b\r\no\r\n1\r\nk\r\n0\r\nX: y\r\n\r\n"),
    "interim": response(b"X: y", status=b"103 OK") + response(CL2, body=b"ok"),
    "folded": response(b"X: y\r\n z", CL2, body=b"ok"),
    "HEAD": response(CL2),
}


@pytest.mark.parametrize("case", TRUNCATED)
async def test_response_that_is_cut_off_at_any_byte_is_an_error(connect, segment, case):
    transcript = TRUNCATED[case]
    request = Request("HEAD" if case == "HEAD" else "GET", URL)
    body = 0
    for count in range(len(transcript)):
        client = await connect(segment=segment)
        recorder = await client.answer(transcript[:count], request, then="eof")
        assert type(recorder.error) is RemoteProtocolError, (count, recorder.events)
        what = "in the middle of its response" if count else "without sending a response"
        assert f"the server closed the connection {what}" in str(recorder.error)
        assert recorder.error.request_sent
        assert b"ok".startswith(bytes(recorder.body))  # what came stays readable
        body = max(body, len(recorder.body))
        await client.peer.closed()
        assert client.protocol.closed
    assert body == {"length": 1, "interim": 1, "folded": 1, "chunks": 2, "HEAD": 0}[case]


async def test_response_that_is_cut_off_by_the_connections_end_is_an_error_only_in_its_head(connect, segment):
    transcript = response(b"X: y", body=b"ok")
    for count in range(len(transcript) + 1):
        client = await connect(segment=segment)
        recorder = await client.answer(transcript[:count], then="eof")
        if count < len(transcript) - 2:
            assert type(recorder.error) is RemoteProtocolError
        else:
            assert recorder.names[-1] == "complete"


async def test_peers_text_is_escaped_and_cut(client):
    recorder = await client.answer(b"HTTP/1.1 200 \x1b[31m\r\x00" + b"evil" * 1000 + b"\r\n\r\n")
    text = str(recorder.error)
    assert "\x1b" not in text
    assert "\r" not in text
    assert "\\\\x1b[31m" in text
    assert len(text) < 300


async def test_error_names_its_cause(client):
    recorder = await client.answer(fields(b"X y"))
    assert type(recorder.error.__cause__).__module__.startswith("h11")
    assert "the server broke the rules of HTTP/1.1: " in str(recorder.error)
    assert "illegal header line" in str(recorder.error)


async def test_many_good_chunks_are_no_flood(connect):
    client = await connect(capacity=1024 * 1024)
    recorder = await client.answer(chunked(b"1\r\nx\r\n" * 30_000 + b"0\r\n\r\n"))
    assert len(recorder.body) == 30_000
    assert client.protocol.available == 1


async def test_error_behind_a_handlers_pause_comes_all_the_same(client):
    """Reading is paused, so what was read already is still worked off: an error in it ends the exchange."""
    recorder = client.dispatch()
    recorder.on("data", lambda: recorder.exchange.pause_reading())
    client.peer.send(chunked(b"2\r\nok\r\nx"))
    await recorder.until("data")
    await asyncio.sleep(1)
    assert not recorder.ended
    client.peer.send(b"\r\n")
    await asyncio.sleep(1)
    assert not recorder.ended
    recorder.exchange.resume_reading()
    await recorder.end()
    assert type(recorder.error) is RemoteProtocolError
