"""What HTTP11Protocol writes: exact bytes."""

from __future__ import annotations

import array
import asyncio
import io

import pytest

from httpcore.exceptions import LocalProtocolError, ResponseClosed
from httpcore.protocols.states import ConnectionState
from httpcore.request import PUSHED, BodyTypes, Request
from tests.protocols.recording import URL, Recorder, response

OK = response(b"Content-Length: 2", body=b"ok")


def request(method: str = "POST", headers=(), body: BodyTypes = b"", **options) -> Request:
    return Request(method, URL, headers, body, **options)


async def chunks(*parts: bytes):
    for part in parts:
        await asyncio.sleep(0)
        yield part


HEAD = b" /path?query HTTP/1.1\r\nHost: example.org\r\n"
CHUNKED = b"Transfer-Encoding: chunked\r\n\r\n"
BIG = bytes(range(256)) * 1000  # over 64 KiB, so a task sends it

REQUESTS = {
    "GET": (lambda: request("GET"), b"GET" + HEAD + b"\r\n"),
    "HEAD": (lambda: request("HEAD"), b"HEAD" + HEAD + b"\r\n"),
    "OPTIONS of the server": (
        lambda: request("OPTIONS", target=b"*"),
        b"OPTIONS * HTTP/1.1\r\nHost: example.org\r\n\r\n",
    ),
    "a method of one's own, in its case": (lambda: request("bReW"), b"bReW" + HEAD + b"\r\n"),
    "DELETE without a body": (lambda: request("DELETE"), b"DELETE" + HEAD + b"\r\n"),
    "POST without a body": (lambda: request(), b"POST" + HEAD + b"Content-Length: 0\r\n\r\n"),
    "POST of bytes": (lambda: request(body=b"hello"), b"POST" + HEAD + b"Content-Length: 5\r\n\r\nhello"),
    "POST of text": (lambda: request(body="é"), b"POST" + HEAD + b"Content-Length: 2\r\n\r\n\xc3\xa9"),
    "GET of bytes": (lambda: request("GET", body=b"hello"), b"GET" + HEAD + b"Content-Length: 5\r\n\r\nhello"),
    "bytes over 64 KiB": (lambda: request(body=BIG), b"POST" + HEAD + b"Content-Length: 256000\r\n\r\n" + BIG),
    "a file in memory": (
        lambda: request("PUT", body=io.BytesIO(b"hello")),
        b"PUT" + HEAD + b"Content-Length: 5\r\n\r\nhello",
    ),
    "a stream": (
        lambda: request(body=chunks(b"hel", b"", b"lo" * 10)),
        b"POST" + HEAD + CHUNKED + b"3\r\nhel\r\n14\r\n" + b"lo" * 10 + b"\r\n0\r\n\r\n",
    ),
    "a stream that cannot wait": (
        lambda: request(body=iter([b"a", b"b"])),
        b"POST" + HEAD + CHUNKED + b"1\r\na\r\n1\r\nb\r\n0\r\n\r\n",
    ),
    "a stream's callable": (
        lambda: request(body=lambda: chunks(b"a")),
        b"POST" + HEAD + CHUNKED + b"1\r\na\r\n0\r\n\r\n",
    ),
    "a stream of a known length": (
        lambda: request(headers={"Content-Length": "5"}, body=chunks(b"hel", b"lo")),
        b"POST" + HEAD + b"Content-Length: 5\r\n\r\nhello",
    ),
    "an empty stream for POST": (lambda: request(body=chunks()), b"POST" + HEAD + CHUNKED + b"0\r\n\r\n"),
    "a stream for GET": (
        lambda: request("GET", body=chunks(b"", b"a", b"b")),
        b"GET" + HEAD + CHUNKED + b"1\r\na\r\n1\r\nb\r\n0\r\n\r\n",
    ),
    "an empty stream for GET": (lambda: request("GET", body=chunks(b"", b"")), b"GET" + HEAD + b"\r\n"),
    "an empty stream for GET that was to be announced": (
        lambda: request("GET", {"Expect": "100-continue", "X": "y"}, chunks()),
        b"GET" + HEAD + b"X: y\r\n\r\n",
    ),
    "an empty stream for GET that the caller framed": (
        lambda: request("GET", {"transfer-encoding": "chunked"}, chunks()),
        b"GET" + HEAD + b"transfer-encoding: chunked\r\n\r\n0\r\n\r\n",
    ),
    "trailers behind bytes": (
        lambda: request(body=b"hello", trailers=[("X-Sum", "1"), ("x-sum", "2")]),
        b"POST" + HEAD + CHUNKED + b"5\r\nhello\r\n0\r\nX-Sum: 1\r\nx-sum: 2\r\n\r\n",
    ),
    "trailers that are known at the end": (
        lambda: request("GET", body=chunks(b"a"), trailers=lambda: {"X-Sum": "1"}),
        b"GET" + HEAD + CHUNKED + b"1\r\na\r\n0\r\nX-Sum: 1\r\n\r\n",
    ),
    "trailers behind nothing": (
        lambda: request("GET", body=chunks(), trailers={"X-Sum": "1"}),
        b"GET" + HEAD + CHUNKED + b"0\r\nX-Sum: 1\r\n\r\n",
    ),
    "a memoryview of numbers": (
        lambda: request(body=chunks(memoryview(array.array("H", [1, 2, 3])))),  # type: ignore[arg-type]
        b"POST" + HEAD + CHUNKED + b"6\r\n" + array.array("H", [1, 2, 3]).tobytes() + b"\r\n0\r\n\r\n",
    ),
    "a memoryview with gaps": (
        lambda: request(body=chunks(memoryview(b"abcdef")[::2])),  # type: ignore[arg-type]
        b"POST" + HEAD + CHUNKED + b"3\r\nace\r\n0\r\n\r\n",
    ),
}


@pytest.mark.parametrize("case", REQUESTS)
async def test_request_on_the_wire(cut_client, case):
    make, expected = REQUESTS[case]
    recorder = cut_client.dispatch(make())
    assert await cut_client.peer.receive(len(expected)) == expected
    cut_client.peer.send(OK if b"HEAD " not in expected else response(b"Content-Length: 2"))
    await recorder.end()
    assert recorder.names[-1] == "complete"
    assert cut_client.peer.received == expected
    assert cut_client.protocol.available == 1


async def test_order_and_case_of_headers_are_kept(client):
    sent = b"GET /path?query HTTP/1.1\r\nzeta: 1\r\nALPHA: 2\r\nHoSt: other:8080\r\nzeta: 3\r\nX-Odd: \xff;\t~\r\n\r\n"
    headers = [(b"zeta", b"1"), (b"ALPHA", b"2"), (b"HoSt", b"other:8080"), (b"zeta", b"3"), (b"X-Odd", b" \xff;\t~ ")]
    client.dispatch(request("GET", headers))
    assert await client.peer.receive_until(b"\r\n\r\n") == sent


async def test_file_on_disk_is_sent_from_where_it_stands(client, tmp_path):
    path = tmp_path / "file"
    path.write_bytes(b"skipped" + BIG)
    with path.open("rb") as file:
        file.seek(7)
        client.dispatch(request("PUT", body=file))
        expected = b"PUT" + HEAD + b"Content-Length: 256000\r\n\r\n" + BIG
        assert await client.peer.receive(len(expected)) == expected


async def test_small_request_is_one_write(client):
    """Head and body share a segment: the peer gets them in one piece."""
    client.dispatch(request(body=b"hello"))
    assert (await client.peer.receive_some()).endswith(b"\r\n\r\nhello")


@pytest.mark.parametrize(
    "parts", [(b"hel", b"lo!"), (b"hello!",), (b"hell",), (), (b"hello", b"!")], ids=lambda parts: b"|".join(parts)
)
async def test_stream_that_does_not_fit_its_length_fails_and_drops_the_connection(client, parts):
    recorder = client.dispatch(request(headers={"Content-Length": "5"}, body=chunks(*parts)))
    await recorder.end()
    assert type(recorder.error) is LocalProtocolError
    assert recorder.error.request_sent
    await client.peer.closed()
    assert not client.peer.received.endswith(b"!")
    assert client.protocol.closed


@pytest.mark.parametrize("pushed", [[b"hello", b"!"], [b"hello!"]])
async def test_pushing_more_than_the_length_is_told_to_the_caller_as_well(client, pushed):
    recorder = client.dispatch(request(headers={"Content-Length": "5"}, body=PUSHED))
    for data in pushed[:-1]:
        recorder.exchange.write(data)
    with pytest.raises(LocalProtocolError, match="content-length"):
        recorder.exchange.write(pushed[-1])
    assert type(recorder.error) is LocalProtocolError
    await client.peer.closed()
    assert b"!" not in client.peer.received


async def test_pushing_less_than_the_length_is_told_to_the_caller_as_well(client):
    recorder = client.dispatch(request(headers={"Content-Length": "5"}, body=PUSHED))
    recorder.exchange.write(b"hell")
    with pytest.raises(LocalProtocolError):
        recorder.exchange.write_eof()
    assert type(recorder.error) is LocalProtocolError
    await client.peer.closed()


@pytest.mark.parametrize("when", ["at the start", "later"])
@pytest.mark.parametrize(
    ("method", "headers", "parts", "trailers", "expected"),
    [
        ("POST", (), [b"a", b"", bytearray(b"bc")], (), CHUNKED + b"1\r\na\r\n2\r\nbc\r\n0\r\n\r\n"),
        ("POST", (), [], (), CHUNKED + b"0\r\n\r\n"),
        ("POST", (), [b"a"], {"X-Sum": "1"}, CHUNKED + b"1\r\na\r\n0\r\nX-Sum: 1\r\n\r\n"),
        ("POST", {"Content-Length": "3"}, [b"a", b"bc"], (), b"Content-Length: 3\r\n\r\nabc"),
        ("POST", {"Content-Length": "0"}, [], (), b"Content-Length: 0\r\n\r\n"),
        ("GET", (), [b"a"], (), CHUNKED + b"1\r\na\r\n0\r\n\r\n"),
        ("GET", (), [], (), b"\r\n"),
        ("GET", (), [], {"X-Sum": "1"}, CHUNKED + b"0\r\nX-Sum: 1\r\n\r\n"),
    ],
)
async def test_pushed_body_on_the_wire(cut_client, when, method, headers, parts, trailers, expected):
    recorder = Recorder()

    def push() -> None:
        for part in parts:
            recorder.exchange.write(part)
        recorder.exchange.write_eof(trailers)

    if when == "at the start":
        recorder.on("started", push)
    cut_client.dispatch(request(method, headers, PUSHED), recorder)
    if when == "later":
        push()
    expected = method.encode() + HEAD + expected
    assert await cut_client.peer.receive(len(expected)) == expected
    cut_client.peer.send(OK)
    await recorder.end()
    assert recorder.names == ["started", "response", *["data"] * len(recorder.pieces), "complete"]
    assert cut_client.peer.received == expected
    assert cut_client.protocol.available == 1


async def test_head_of_a_pushed_get_waits_for_the_first_byte(client):
    recorder = client.dispatch(request("GET", body=PUSHED))
    recorder.exchange.write(b"")
    await asyncio.sleep(0.1)
    assert client.peer.received == b""
    recorder.exchange.write(b"a")
    assert await client.peer.receive_until(b"\r\n\r\n") == b"GET" + HEAD + CHUNKED


async def test_write_to_a_request_with_a_body_of_its_own_is_refused(client):
    recorder = client.dispatch(request(body=b"hello"))
    with pytest.raises(LocalProtocolError, match="PUSHED"):
        recorder.exchange.write(b"more")
    with pytest.raises(LocalProtocolError, match="PUSHED"):
        recorder.exchange.write_eof()
    client.peer.send(OK)
    await recorder.end()
    assert recorder.names[-1] == "complete"


async def test_write_after_write_eof_is_refused_and_harms_nothing(client):
    recorder = client.dispatch(request(body=PUSHED))
    recorder.exchange.write_eof()
    with pytest.raises(LocalProtocolError, match="ended already"):
        recorder.exchange.write(b"more")
    with pytest.raises(LocalProtocolError, match="ended already"):
        recorder.exchange.write_eof()
    client.peer.send(OK)
    await recorder.end()
    assert recorder.names[-1] == "complete"


async def test_write_of_what_is_no_bytes_is_refused_and_harms_nothing(client):
    recorder = client.dispatch(request(body=PUSHED))
    with pytest.raises(TypeError, match="write takes bytes, not str"):
        recorder.exchange.write("text")
    with pytest.raises(LocalProtocolError, match="not allowed in trailers"):
        recorder.exchange.write_eof({"Content-Length": "1"})
    recorder.exchange.write_eof()
    client.peer.send(OK)
    await recorder.end()
    assert recorder.names[-1] == "complete"


async def test_trailers_of_a_body_with_a_length_are_refused(client):
    recorder = client.dispatch(request(headers={"Content-Length": "1"}, body=PUSHED))
    recorder.exchange.write(b"a")
    with pytest.raises(LocalProtocolError):
        recorder.exchange.write_eof({"X-Sum": "1"})
    assert type(recorder.error) is LocalProtocolError


async def test_calls_after_the_end_are_ignored(client):
    recorder = client.dispatch(request(body=PUSHED))
    exchange = recorder.exchange
    exchange.abort()
    exchange.write(b"a")
    exchange.write_eof()
    exchange.write(b"a")
    exchange.pause_reading()
    exchange.resume_reading()
    exchange.abort(ValueError())
    assert recorder.names == ["started", "failed"]
    assert type(recorder.error) is ResponseClosed
    await client.peer.closed()
    assert client.peer.received == b"POST" + HEAD + CHUNKED


async def test_next_request_on_the_connection_is_like_the_first(cut_client):
    for number in range(3):
        recorder = await cut_client.answer(OK, request("GET"))
        assert recorder.body == b"ok"
        assert cut_client.protocol.reused
        assert cut_client.protocol.state == ConnectionState.IDLE
        assert cut_client.peer.received == (b"GET" + HEAD + b"\r\n") * (number + 1)


@pytest.mark.parametrize(
    ("pair", "error"),
    [
        ((b"x", b"a\r\nsmuggled: b"), LocalProtocolError),
        ((b"x", b"a\nsmuggled: b"), LocalProtocolError),
        ((b"x", b"a\rb"), LocalProtocolError),
        ((b"x", b"a\0b"), LocalProtocolError),
        ((b"x: y\r\nsmuggled", b"b"), LocalProtocolError),
        (("x", "y"), TypeError),
        (5, TypeError),
    ],
)
@pytest.mark.parametrize("method", ["POST", "GET"])
async def test_header_that_was_put_into_the_list_cannot_smuggle(client, method, pair, error):
    """`Request` checks what it is made from; what is put into `Request.headers` afterwards it does not see."""
    changed = request(method, body=lambda: iter([b"a"]))
    changed.headers.append(pair)
    recorder = client.dispatch(changed)
    await recorder.end()
    assert type(recorder.error) is error
    await client.peer.closed()
    assert client.peer.received == b""
