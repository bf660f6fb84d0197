"""What HTTP11Protocol makes of good responses: each transcript whole and byte by byte, with the same events."""

from __future__ import annotations

import pytest

from httpcore.protocols.states import ConnectionState
from httpcore.request import Request
from tests.protocols.recording import URL, response

REUSED, CLOSED = "reused", "closed"
GET = Request("GET", URL)
HEAD = Request("HEAD", URL)
CONNECT = Request("CONNECT", "http://proxy:3128", target="example.org:443")
UPGRADE = Request("GET", URL, {"Connection": "upgrade", "Upgrade": "websocket"})
CL2, TE = b"Content-Length: 2", b"Transfer-Encoding: chunked"


def final(status: int, *fields: bytes, reason: bytes = b"OK", version: bytes = b"HTTP/1.1") -> tuple[object, ...]:
    return "response", status, reason, version, [tuple(field.split(b": ")) for field in fields]


def interim(status: int, *fields: bytes) -> tuple[object, ...]:
    return "informational", status, [tuple(field.split(b": ")) for field in fields]


STARTED = ("started",)
OK = ("data", b"ok")
END: tuple[object, ...] = ("complete", [])
cl2, te = b"content-length: 2", b"transfer-encoding: chunked"
CHUNKS = b"2\r\nok\r\n0\r\n\r\n"

# name: (request, what the server sends, the events, what becomes of the connection)
RESPONSES = {
    "a length": (GET, response(CL2, body=b"ok"), [final(200, cl2), OK, END], REUSED),
    "a length of zero": (GET, response(b"Content-Length: 0"), [final(200, b"content-length: 0"), END], REUSED),
    "no reason phrase": (
        GET,
        response(CL2, body=b"ok", status=b"200 "),
        [final(200, cl2, reason=b""), OK, END],
        REUSED,
    ),
    "no reason phrase and no space before it": (
        GET,
        response(CL2, body=b"ok", status=b"200"),
        [final(200, cl2, reason=b""), OK, END],
        REUSED,
    ),
    "an odd reason phrase": (
        GET,
        response(CL2, body=b"ok", status=b"200 \tO K\xff"),
        [final(200, cl2, reason=b"\tO K\xff"), OK, END],
        REUSED,
    ),
    "a status beyond 599": (
        GET,
        response(CL2, body=b"ok", status=b"999 OK"),
        [final(999, cl2), OK, END],
        REUSED,
    ),
    "a higher minor version": (
        GET,
        response(CL2, body=b"ok", version=b"HTTP/1.2"),
        [final(200, cl2, version=b"HTTP/1.2"), OK, END],
        REUSED,
    ),
    "lines that end with LF alone": (
        GET,
        response(CL2, b"X: y").replace(b"\r\n", b"\n") + b"ok",
        [final(200, cl2, b"x: y"), OK, END],
        REUSED,
    ),
    "fields that repeat, are empty, padded, not ASCII": (
        GET,
        response(b"X: 1", b"x:2", b"E:", b"P:  \t a  b\t ", b"N: \xe9", CL2, body=b"ok"),
        [
            (
                "response",
                200,
                b"OK",
                b"HTTP/1.1",
                [
                    (b"x", b"1"),
                    (b"x", b"2"),
                    (b"e", b""),
                    (b"p", b"a  b"),
                    (b"n", b"\xe9"),
                    (b"content-length", b"2"),
                ],
            ),
            OK,
            END,
        ],
        REUSED,
    ),
    "a folded field": (
        GET,
        response(b"X: a\r\n\t b", CL2, body=b"ok"),
        [final(200, b"x: a b", cl2), OK, END],
        REUSED,
    ),
    "the same length twice": (
        GET,
        response(CL2, CL2, body=b"ok"),
        [final(200, cl2), OK, END],
        REUSED,
    ),
    "the same length as a list": (
        GET,
        response(b"Content-Length: 2, 2", body=b"ok"),
        [final(200, cl2), OK, END],
        REUSED,
    ),
    "the most fields": (
        GET,
        response(*[b"a: b"] * 255, CL2, body=b"ok"),
        [final(200, *[b"a: b"] * 255, cl2), OK, END],
        REUSED,
    ),
    "a big head": (
        GET,
        response(b"x: " + b"a" * 60_000, CL2, body=b"ok"),
        [final(200, b"x: " + b"a" * 60_000, cl2), OK, END],
        REUSED,
    ),
    "chunks": (GET, response(TE, body=b"1\r\no\r\n1\r\nk\r\n0\r\n\r\n"), [final(200, te), OK, END], REUSED),
    "no chunk": (GET, response(TE, body=b"0\r\n\r\n"), [final(200, te), END], REUSED),
    "chunks of an odd form": (
        GET,
        response(b"TRANSFER-ENCODING: CHUNKED", body=b'0001;a=b;c="d"\r\no\r\n1 \t\r\nk\r\n00;x\r\n\r\n'),
        [final(200, te), OK, END],
        REUSED,
    ),
    "chunks with what h11 lets pass": (  # RFC 9112 2.2, 7.1.1; it ends no line, so nothing shifts
        GET,
        response(TE, body=b"1;a\rb\0c\r\no\r\n1  \r\nk\r\n0\r\n\n"),
        [final(200, te), OK, END],
        REUSED,
    ),
    "control characters that h11 lets pass in a value": (
        GET,
        response(b"X: a\x01\x7fb", CL2, body=b"ok"),
        [final(200, b"x: a\x01\x7fb", cl2), OK, END],
        REUSED,
    ),
    "a chunk's size in hexadecimal": (
        GET,
        response(TE, body=b"1a\r\n" + b"x" * 26 + b"\r\nB\r\n" + b"y" * 11 + b"\r\n0\r\n\r\n"),
        [final(200, te), ("data", b"x" * 26 + b"y" * 11), END],
        REUSED,
    ),
    "trailers": (
        GET,
        response(TE, body=b"2\r\nok\r\n0\r\nX-Sum: 1\r\nX-sum: 2\r\n\r\n"),
        [final(200, te), OK, ("complete", [(b"x-sum", b"1"), (b"x-sum", b"2")])],
        REUSED,
    ),
    "chunks and a length": (GET, response(CL2, TE, body=CHUNKS), [final(200, cl2, te), OK, END], CLOSED),
    "chunks and a wrong length": (
        GET,
        response(TE, b"Content-Length: 99", body=CHUNKS),
        [final(200, te, b"content-length: 99"), OK, END],
        CLOSED,
    ),
    "the connection's end": (GET, response(body=b"ok"), [final(200), OK, END], "eof"),
    "the connection's end, of nothing": (GET, response(), [final(200), END], "eof"),
    "Connection: close": (
        GET,
        response(b"Connection: x, Close", CL2, body=b"ok"),
        [final(200, b"connection: x, Close", cl2), OK, END],
        CLOSED,
    ),
    "Connection: close, asked for": (
        Request("GET", URL, {"Connection": "close"}),
        response(CL2, body=b"ok"),
        [final(200, cl2), OK, END],
        CLOSED,
    ),
    "HTTP/1.0 with a length": (
        GET,
        response(CL2, body=b"ok", version=b"HTTP/1.0"),
        [final(200, cl2, version=b"HTTP/1.0"), OK, END],
        CLOSED,
    ),
    "HTTP/1.0 with a length and keep-alive": (
        GET,
        response(CL2, b"Connection: keep-alive", body=b"ok", version=b"HTTP/1.0"),
        [final(200, cl2, b"connection: keep-alive", version=b"HTTP/1.0"), OK, END],
        CLOSED,
    ),
    "HTTP/1.0 to the connection's end": (
        GET,
        response(body=b"ok", version=b"HTTP/1.0"),
        [final(200, version=b"HTTP/1.0"), OK, END],
        "eof",
    ),
    "HTTP/1.0 with chunks": (
        GET,
        response(TE, body=CHUNKS, version=b"HTTP/1.0"),
        [final(200, te, version=b"HTTP/1.0"), OK, END],
        CLOSED,
    ),
    "HEAD with a length": (HEAD, response(CL2), [final(200, cl2), END], REUSED),
    "HEAD with chunks": (HEAD, response(TE), [final(200, te), END], REUSED),
    "HEAD with neither": (HEAD, response(), [final(200), END], REUSED),
    "204": (GET, response(status=b"204 OK"), [final(204), END], REUSED),
    "204 with a length": (GET, response(CL2, status=b"204 OK"), [final(204, cl2), END], REUSED),
    "304 with a length": (GET, response(CL2, status=b"304 OK"), [final(304, cl2), END], REUSED),
    "304 with chunks": (GET, response(TE, status=b"304 OK"), [final(304, te), END], REUSED),
    "205 with a length": (
        GET,
        response(b"Content-Length: 0", status=b"205 OK"),
        [final(205, b"content-length: 0"), END],
        REUSED,
    ),
    "interim responses": (
        GET,
        response(status=b"100 Continue")
        + response(status=b"102 Processing")
        + response(b"Link: a", status=b"103 Early Hints")
        + response(b"Link: b", CL2, status=b"103 Early Hints")
        + response(status=b"199")
        + response(CL2, body=b"ok"),
        [
            *(interim(100), interim(102), interim(103, b"link: a"), interim(103, b"link: b", cl2), interim(199)),
            *(final(200, cl2), OK, END),
        ],
        REUSED,
    ),
    "upgrade that is refused": (UPGRADE, response(CL2, body=b"ok"), [final(200, cl2), OK, END], REUSED),
    "CONNECT that is refused": (
        CONNECT,
        response(CL2, body=b"ok", status=b"403 OK"),
        [final(403, cl2), OK, END],
        REUSED,
    ),
    "CONNECT that is refused with chunks": (
        CONNECT,
        response(TE, body=CHUNKS, status=b"407 OK"),
        [final(407, te), OK, END],
        REUSED,
    ),
}


@pytest.mark.parametrize("case", RESPONSES)
async def test_response_gives_its_events(cut_client, case):
    request, transcript, events, then = RESPONSES[case]
    recorder = await cut_client.answer(transcript, request, then=then)
    assert recorder.events == [STARTED, *events]
    if then == REUSED:
        assert cut_client.protocol.state == ConnectionState.IDLE
        again = await cut_client.answer(response(CL2, body=b"ok"))
        assert again.body == b"ok"
    else:
        assert cut_client.protocol.closing
        assert cut_client.protocol.close_reason == "HTTP says that it ends"
        await cut_client.peer.closed()


async def test_head_keeps_the_case_of_names(cut_client):
    recorder = await cut_client.answer(response(b"X-CaSe: Value", b"content-Length: 0"))
    assert recorder.head is not None
    assert recorder.head.raw_headers == [(b"X-CaSe", b"Value"), (b"content-Length", b"0")]


async def test_content_comes_as_it_arrives(client):
    recorder = client.dispatch()
    await client.peer.receive_until(b"\r\n\r\n")
    client.peer.send(response(TE, body=b"5\r\nhel"))
    await recorder.until_body(b"hel")
    client.peer.send(b"lo\r\n")
    await recorder.until_body(b"hello")
    client.peer.send(b"0\r\n\r\n")
    await recorder.end()
    assert recorder.pieces == [b"hel", b"lo"]


@pytest.mark.parametrize(
    ("header", "hint"),
    [
        (b"Keep-Alive: timeout=5, max=100", 5.0),
        (b"keep-alive: max=100,Timeout=30", 30.0),
        (b"Keep-Alive: timeout=", None),
        (b"Keep-Alive: xtimeout=5", None),
        (b"X: timeout=5", None),
    ],
)
async def test_keep_alive_hint_is_noted(client, header, hint):
    await client.answer(response(header, b"Content-Length: 0"))
    assert client.protocol.keep_alive_hint == hint
