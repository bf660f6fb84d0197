"""What no HTTP/2 server may send, and what it may though it looks odd: whole or byte by byte, the verdict is the same.

Which error ends a stream and which the connection is RFC 9113's choice, but for `STRICTER`.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import pytest
from h2.errors import ErrorCodes

from httpcore.config import HTTP2Config
from httpcore.exceptions import RemoteProtocolError
from httpcore.protocols.http2_frames import FrameType
from httpcore.request import PUSHED, Request
from tests.protocols.http2_wire import (
    ACK,
    END_HEADERS,
    END_STREAM,
    FIRST,
    OK,
    PADDED,
    PRIORITY_FLAG,
    WireClient,
    answer,
    block,
    data,
    frame,
    goaway,
    head,
    number,
    ping,
    rst,
    settings,
    trailers,
    update,
    wire_client,
)
from tests.protocols.recording import URL, Recorder

DATA, HEADERS, PRIORITY, RST_STREAM, SETTINGS, PUSH_PROMISE, PING, GOAWAY, WINDOW_UPDATE, CONTINUATION = FrameType
ALTSVC, ORIGIN, UNKNOWN = 0xA, 0xC, 0xEE
ALL = END_STREAM | END_HEADERS | PADDED | PRIORITY_FLAG
LARGEST = 2**31 - 1

# The streams that there are when a transcript is sent.
VICTIM, OTHER, CANCELLED, ENDED, REFUSED, IDLE, EVEN = 1, 3, 5, 7, 9, 101, 2

DEPENDS = number(OTHER) + b"\x10"  # the payload of PRIORITY
ON_ITSELF = number(VICTIM) + b"\x10"
CL2, CL3 = (b"content-length", b"2"), (b"content-length", b"3")
X = (b"x", b"y")


@dataclass
class Prepared:
    """A client with a stream in each of the states that there are."""

    client: WireClient
    victim: Recorder
    other: Recorder
    resets: list[tuple[int, int]] = field(default_factory=list)


async def prepare(client: WireClient, method: str) -> Prepared:
    victim, _ = await client.ask(Request(method, URL))
    other, _ = await client.ask()
    cancelled, _ = await client.ask()
    ended, _ = await client.ask()
    refused, _ = await client.ask()
    await client.cancel(cancelled)
    client.peer.send(answer(ENDED) + rst(REFUSED))
    await ended.end()
    await refused.end()
    await client.settle()
    return Prepared(client, victim, other, client.resets)


def check_error(recorder: Recorder, code: str) -> None:
    error = recorder.error
    assert type(error) is RemoteProtocolError, (recorder.events, error)
    text = str(error)
    assert "the server broke the rules of HTTP/2: " in text
    assert f"{code} (0x{ErrorCodes[code]:x})" in text
    assert error.host == "example.org"
    assert error.request_sent
    assert text.isprintable()
    assert text.isascii()
    assert len(text) < 400


def check_ok(recorder: Recorder) -> None:
    assert recorder.body == b"ok"
    assert recorder.names[-1] == "complete"


# Breaches that end a stream. "-" where it has ended on both sides already, so that nothing may be sent on it any more.


def response(*fields: tuple[bytes, bytes]) -> bytes:
    return head(VICTIM, OK, *fields)


def status(value: bytes) -> bytes:
    return head(VICTIM, (b":status", value))


def with_trailers(*fields: tuple[bytes, bytes]) -> bytes:
    return response() + data(VICTIM, b"ok") + trailers(VICTIM, *fields)


BAD_STATUS = {
    "empty": b"",
    "in words": b"OK",
    "of two digits": b"99",
    "of four digits": b"1000",
    "099": b"099",
    "000": b"000",
    "with a sign": b"+20",
    "below zero": b"-20",
    "with a space before": b" 200",
    "with a space behind": b"200 ",
    "with a reason": b"200 OK",
    "in hexadecimal": b"2fF",
    "in superscript": "²00".encode("latin-1"),
    "101": b"101",
    "one digit": b"1",
    "1xx in words": b"1xx",
}
BAD_NAMES = {
    "upper case": b"X-Y",
    "one upper-case letter": b"x-Y",
    "empty": b"",
    "a colon within": b"x:y",
    "a colon behind": b"x:",
    "only a colon": b":",
    "a space within": b"x y",
    "a space before": b" x",
    "a space behind": b"x ",
    "a tab": b"x\ty",
    "NUL": b"x\0",
    "CR": b"x\ry",
    "LF": b"x\ny",
    "CR LF and another field": b"x: y\r\nz",
    "a control character": b"x\x01",
    "DEL": b"x\x7f",
    "not ASCII": "ünder".encode(),
    "no token": b"x()",
    "quoted": b'"x"',
    "unknown pseudo-field": b":x",
    "upper-case pseudo-field": b":Status",
}
BAD_VALUES = {
    "NUL": b"a\0b",
    "CR": b"a\rb",
    "LF": b"a\nb",
    "CR LF and another field": b"a\r\nx: y",
    "LF at the end": b"a\n",
    "a space before": b" a",
    "a space behind": b"a ",
    "a tab before": b"\ta",
    "a tab behind": b"a\t",
    "only a space": b" ",
    "a control character": b"a\x01b",
    "vertical tab": b"a\x0bb",
    "DEL": b"a\x7fb",
}
BAD_LENGTHS = {
    "in words": b"two",
    "empty": b"",
    "with a plus": b"+2",
    "below zero": b"-2",
    "in hexadecimal": b"0x2",
    "with a point": b"2.0",
    "with a space": b"1 2",
    "with an underscore": b"1_0",
    "in superscript": "²".encode("latin-1"),
    "of 21 digits": b"100000000000000000002",
    "as a list": b"2, 3",
}
CONNECTION_SPECIFIC = {
    b"connection": b"close",
    b"keep-alive": b"timeout=5",
    b"proxy-connection": b"keep-alive",
    b"transfer-encoding": b"chunked",
    b"upgrade": b"websocket",
}
REQUEST_PSEUDO = {b":method": b"GET", b":scheme": b"http", b":path": b"/", b":authority": b"a", b":protocol": b"b"}

ENDS_STREAM = {
    "no status": ("GET", "PROTOCOL_ERROR", head(VICTIM, X)),
    "no fields": ("GET", "PROTOCOL_ERROR", head(VICTIM)),
    "no status, and the end": ("GET", "-PROTOCOL_ERROR", head(VICTIM, X, flags=END_HEADERS | END_STREAM)),
    "two statuses": ("GET", "PROTOCOL_ERROR", response(OK)),
    "two statuses that differ": ("GET", "PROTOCOL_ERROR", response((b":status", b"404"))),
    "status behind a field": ("GET", "PROTOCOL_ERROR", head(VICTIM, X, OK)),
    "interim status behind a field": ("GET", "PROTOCOL_ERROR", head(VICTIM, X, (b":status", b"103"))),
    "status behind another pseudo-field": ("GET", "PROTOCOL_ERROR", head(VICTIM, (b":path", b"/"), OK)),
    "a request for a response": (
        "GET",
        "PROTOCOL_ERROR",
        head(VICTIM, (b":method", b"GET"), (b":scheme", b"http"), (b":path", b"/")),
    ),
    **{f"status {name}": ("GET", "PROTOCOL_ERROR", status(value)) for name, value in BAD_STATUS.items()},
    **{f"name: {name}": ("GET", "PROTOCOL_ERROR", response((value, b"y"))) for name, value in BAD_NAMES.items()},
    **{f"value: {name}": ("GET", "PROTOCOL_ERROR", response((b"x", value))) for name, value in BAD_VALUES.items()},
    **{f"field {pair[0].decode()}": ("GET", "PROTOCOL_ERROR", response(pair)) for pair in CONNECTION_SPECIFIC.items()},
    **{f"field {pair[0].decode()}": ("GET", "PROTOCOL_ERROR", response(pair)) for pair in REQUEST_PSEUDO.items()},
    "bad name of an interim response": ("GET", "PROTOCOL_ERROR", head(VICTIM, (b":status", b"103"), (b"X", b"y"))),
    "bad value of an interim response": ("GET", "PROTOCOL_ERROR", head(VICTIM, (b":status", b"103"), (b"x", b"\0"))),
    "pseudo-field of an interim response": ("GET", "PROTOCOL_ERROR", head(VICTIM, (b":status", b"103"), OK)),
    "257 fields": ("GET", "ENHANCE_YOUR_CALM", response(*[(b"a", b"b")] * 256)),
    "257 fields of an interim response": (
        "GET",
        "ENHANCE_YOUR_CALM",
        head(VICTIM, (b":status", b"103"), *[(b"a", b"b")] * 256),
    ),
    # Trailers (RFC 9113 8.1).
    "status in trailers": ("GET", "-PROTOCOL_ERROR", with_trailers(OK)),
    "path in trailers": ("GET", "-PROTOCOL_ERROR", with_trailers((b":path", b"/"))),
    "upper case in trailers": ("GET", "-PROTOCOL_ERROR", with_trailers((b"X", b"y"))),
    "no name in trailers": ("GET", "-PROTOCOL_ERROR", with_trailers((b"", b"y"))),
    "NUL in trailers": ("GET", "-PROTOCOL_ERROR", with_trailers((b"x", b"\0"))),
    "connection in trailers": ("GET", "-PROTOCOL_ERROR", with_trailers((b"connection", b"close"))),
    "257 trailers": ("GET", "-ENHANCE_YOUR_CALM", with_trailers(*[(b"a", b"b")] * 257)),
    # Lengths (RFC 9113 8.1.1).
    **{
        f"length {name}": ("GET", "PROTOCOL_ERROR", response((b"content-length", value)))
        for name, value in BAD_LENGTHS.items()
    },
    "bad length of a response without content": ("HEAD", "PROTOCOL_ERROR", response((b"content-length", b"x"))),
    "two lengths": ("GET", "PROTOCOL_ERROR", response(CL2, CL3)),
    "longer than its length": ("GET", "PROTOCOL_ERROR", response(CL2) + data(VICTIM, b"oko")),
    "longer than its length, in pieces": ("GET", "PROTOCOL_ERROR", response(CL2) + data(VICTIM, b"o") * 3),
    "longer than its length, at the end": (
        "GET",
        "-PROTOCOL_ERROR",
        response(CL2) + data(VICTIM, b"oko", END_STREAM),
    ),
    "longer than its length, padded": (
        "GET",
        "PROTOCOL_ERROR",
        response(CL2) + data(VICTIM, b"\x03oko\0\0\0", PADDED),
    ),
    "shorter than its length": ("GET", "-PROTOCOL_ERROR", response(CL3) + data(VICTIM, b"ok", END_STREAM)),
    "shorter than its length, before trailers": (
        "GET",
        "-PROTOCOL_ERROR",
        response(CL3) + data(VICTIM, b"ok") + trailers(VICTIM, X),
    ),
    "no content but a length": ("GET", "-PROTOCOL_ERROR", head(VICTIM, OK, CL2, flags=END_HEADERS | END_STREAM)),
    "content of an answer to HEAD": ("HEAD", "PROTOCOL_ERROR", response(CL2) + data(VICTIM, b"ok")),
    "content of 204": ("GET", "PROTOCOL_ERROR", status(b"204") + data(VICTIM, b"ok")),
    "content of 304": ("GET", "PROTOCOL_ERROR", status(b"304") + data(VICTIM, b"ok")),
    # Flow control (RFC 9113 6.9.1).
    "window of the stream over 2^31-1": ("GET", "FLOW_CONTROL_ERROR", update(VICTIM, LARGEST)),
    "window of the stream over 2^31-1 behind the head": (
        "GET",
        "FLOW_CONTROL_ERROR",
        response() + update(VICTIM, LARGEST),
    ),
}


@pytest.mark.parametrize("case", ENDS_STREAM)
async def test_breach_ends_its_stream_and_no_other(clock, segment, case):
    method, code, transcript = ENDS_STREAM[case]
    ended, code = code.startswith("-"), code.removeprefix("-")
    async with wire_client(segment=segment) as client:
        there = await prepare(client, method)
        client.peer.send(transcript)
        await there.victim.end()
        check_error(there.victim, code)
        await client.settle()
        assert client.resets == there.resets + ([] if ended else [(VICTIM, ErrorCodes[code])])
        assert client.goaways == []
        client.peer.send(answer(OTHER))
        await there.other.end()
        check_ok(there.other)
        if client.protocol.liveness.unconfirmed:  # PING goes with RST_STREAM
            client.peer.send(ping(await client.peer.receive_ping(), ACK))
        await client.still_works()


# Breaches that end the connection, by RFC 9113 5.4.1.

LITERAL = b"\0\x01x\x01y"
BROKEN_BLOCKS = {
    "index 0": b"\x80",
    "index beyond the tables": b"\xff\x80\x01",
    "index of a name beyond the tables": b"\x7f\x80\x01\x01y",
    "index without its end": b"\xff",
    "index that never ends": b"\xff" + b"\xff" * 64,
    "index over 2^64": b"\xff" + b"\xff" * 10 + b"\x01",
    "literal without its name": b"\0",
    "literal cut in its name": b"\0\x05ab",
    "literal without its value": b"\0\x01x",
    "literal cut in its value": b"\0\x01x\x05ab",
    "literal of 2^32 bytes": b"\0\x7f\x80\xff\xff\xff\x0f",
    "padding of Huffman code that is not ones": b"\0\x81\x00\x01y",
    "padding of Huffman code that is too long": b"\0\x82\xff\xff\x01y",
    "end of string in Huffman code": b"\0\x84\xff\xff\xff\xff\x01y",
    "table larger than announced": b"\x3f\xe2\x1f" + LITERAL,
    "table of 2^31 bytes": b"\x3f\xe1\xff\xff\xff\x07" + LITERAL,
    "table size behind a field": LITERAL + b"\x20",
}
SIZES = {
    "SETTINGS of 5 bytes": frame(SETTINGS, 0, bytes(5)),
    "SETTINGS of 7 bytes": frame(SETTINGS, 0, bytes(7)),
    "acknowledgement with settings": settings((0x3, 1), flags=ACK),
    "PING of 7 bytes": ping(bytes(7)),
    "PING of 9 bytes": ping(bytes(9)),
    "acknowledgement of PING of 9 bytes": ping(bytes(9), ACK),
    "empty PING": ping(b""),
    "RST_STREAM of 3 bytes": frame(RST_STREAM, VICTIM, bytes(3)),
    "RST_STREAM of 5 bytes": frame(RST_STREAM, VICTIM, bytes(5)),
    "RST_STREAM of 3 bytes on a stream we reset": frame(RST_STREAM, CANCELLED, bytes(3)),
    "RST_STREAM of 5 bytes on a stream that ended": frame(RST_STREAM, ENDED, bytes(5)),
    "WINDOW_UPDATE of 3 bytes": frame(WINDOW_UPDATE, 0, bytes(3)),
    "WINDOW_UPDATE of 5 bytes": frame(WINDOW_UPDATE, 0, bytes(5)),
    "WINDOW_UPDATE of 3 bytes on a stream": frame(WINDOW_UPDATE, VICTIM, bytes(3)),
    "WINDOW_UPDATE of 3 bytes on a stream we reset": frame(WINDOW_UPDATE, CANCELLED, bytes(3)),
    "GOAWAY of 7 bytes": frame(GOAWAY, 0, bytes(7)),
    "empty GOAWAY": frame(GOAWAY, 0),
    "DATA of 16385 bytes": response() + data(VICTIM, bytes(16385))[:9],
    "HEADERS of 16385 bytes": frame(HEADERS, VICTIM, bytes(16385), END_HEADERS)[:9],
    "frame of 2^24-1 bytes": b"\xff\xff\xff" + frame(DATA, VICTIM)[3:],
    "unknown frame of 16385 bytes": frame(UNKNOWN, 0, bytes(16385))[:9],
    "padded DATA without the padding's length": response() + data(VICTIM, b"", PADDED),
    "padded HEADERS without the padding's length": frame(HEADERS, VICTIM, b"", PADDED | END_HEADERS),
    "HEADERS too short for their priority": frame(HEADERS, VICTIM, bytes(4), PRIORITY_FLAG | END_HEADERS),
}
BODIES = {  # frames of streams: what they have to have, to be read
    DATA: b"ok",
    HEADERS: block(OK),
    PRIORITY: DEPENDS,
    RST_STREAM: bytes(4),
    PUSH_PROMISE: number(EVEN) + block((b":method", b"GET")),
    WINDOW_UPDATE: number(1),
    CONTINUATION: block(X),
}
OF_CONNECTION = {SETTINGS: b"", PING: bytes(8), GOAWAY: bytes(8)}
INTERRUPTIONS = {
    "DATA": data(VICTIM, b"ok"),
    "HEADERS": head(VICTIM, X),
    "HEADERS of another stream": head(OTHER, OK),
    "CONTINUATION of another stream": frame(CONTINUATION, OTHER, block(X), END_HEADERS),
    "CONTINUATION of a stream we reset": frame(CONTINUATION, CANCELLED, block(X), END_HEADERS),
    "CONTINUATION of stream 0": frame(CONTINUATION, 0, block(X), END_HEADERS),
    "PRIORITY": frame(PRIORITY, VICTIM, DEPENDS),
    "RST_STREAM": rst(VICTIM),
    "SETTINGS": settings(),
    "PING": ping(),
    "GOAWAY": goaway(VICTIM),
    "WINDOW_UPDATE": update(0, 1),
    "unknown frame": frame(UNKNOWN),
    "ALTSVC": frame(ALTSVC, 0, b"\0\1ax"),
}
OPEN_BLOCK = frame(HEADERS, VICTIM, block(OK))

ENDS_CONNECTION = {
    **{f"{kind.name} on stream 0": ("PROTOCOL_ERROR", frame(kind, 0, BODIES[kind], END_HEADERS))
       for kind in BODIES if kind != WINDOW_UPDATE},
    **{f"{kind.name} on stream {where}": ("PROTOCOL_ERROR", frame(kind, where, body))
       for kind, body in OF_CONNECTION.items() for where in (VICTIM, CANCELLED, ENDED, REFUSED, IDLE, EVEN)},
    **{f"{kind.name} on stream {where}, which is idle": ("PROTOCOL_ERROR", frame(kind, where, body, END_HEADERS))
       for kind, body in BODIES.items() for where in (IDLE, EVEN) if kind != PRIORITY},
    **{f"PUSH_PROMISE on stream {where}": ("PROTOCOL_ERROR", frame(PUSH_PROMISE, where, BODIES[PUSH_PROMISE], flags))
       for where in (VICTIM, CANCELLED, ENDED, REFUSED) for flags in (END_HEADERS,)},
    "PUSH_PROMISE that goes on": ("PROTOCOL_ERROR", frame(PUSH_PROMISE, VICTIM, BODIES[PUSH_PROMISE])),
    "PUSH_PROMISE that is broken": ("PROTOCOL_ERROR", frame(PUSH_PROMISE, VICTIM, b"")),
    "HEADERS on a stream that ended": ("STREAM_CLOSED", head(ENDED, OK)),
    "HEADERS at the end of a stream that ended": ("STREAM_CLOSED", trailers(ENDED, X)),
    **{name: ("FRAME_SIZE_ERROR", transcript) for name, transcript in SIZES.items()},
    # Padding (RFC 9113 6.1, 6.2).
    "padding of DATA longer than the frame": ("PROTOCOL_ERROR", response() + data(VICTIM, b"\x05ok", PADDED)),
    "padding of DATA as long as the frame": ("PROTOCOL_ERROR", response() + data(VICTIM, b"\x03ok", PADDED)),
    "padding of DATA alone, too long": ("PROTOCOL_ERROR", response() + data(VICTIM, b"\x01", PADDED)),
    "padding of HEADERS longer than the frame": (
        "PROTOCOL_ERROR",
        frame(HEADERS, VICTIM, b"\xff" + block(OK), PADDED | END_HEADERS),
    ),
    # Settings (RFC 9113 6.5.2).
    "INITIAL_WINDOW_SIZE 2^31": ("FLOW_CONTROL_ERROR", settings((0x4, 2**31))),
    "INITIAL_WINDOW_SIZE 2^32-1": ("FLOW_CONTROL_ERROR", settings((0x4, 2**32 - 1))),
    "INITIAL_WINDOW_SIZE that a stream's window does not bear": (
        "FLOW_CONTROL_ERROR",
        update(VICTIM, LARGEST - 65535) + settings((0x4, 65536)),
    ),
    "MAX_FRAME_SIZE 0": ("PROTOCOL_ERROR", settings((0x5, 0))),
    "MAX_FRAME_SIZE 16383": ("PROTOCOL_ERROR", settings((0x5, 16383))),
    "MAX_FRAME_SIZE 2^24": ("PROTOCOL_ERROR", settings((0x5, 2**24))),
    "ENABLE_PUSH 1": ("PROTOCOL_ERROR", settings((0x2, 1))),
    "ENABLE_PUSH 2": ("PROTOCOL_ERROR", settings((0x2, 2))),
    "101 settings": ("ENHANCE_YOUR_CALM", settings(*[(code, 1) for code in range(0x100, 0x100 + 101)])),
    "ENABLE_CONNECT_PROTOCOL 2": ("PROTOCOL_ERROR", settings((0x8, 2))),
    # Flow control (RFC 9113 6.9).
    "WINDOW_UPDATE of 0": ("PROTOCOL_ERROR", update(0, 0)),
    "WINDOW_UPDATE over 2^31-1": ("FLOW_CONTROL_ERROR", update(0, LARGEST)),
    "WINDOW_UPDATE over 2^31-1 in the end": ("FLOW_CONTROL_ERROR", update(0, LARGEST - 65535) + update(0, 1)),
    # Field blocks (RFC 9113 4.3, 6.10).
    "CONTINUATION without HEADERS": ("PROTOCOL_ERROR", frame(CONTINUATION, VICTIM, block(OK), END_HEADERS)),
    "CONTINUATION that goes on, without HEADERS": ("PROTOCOL_ERROR", frame(CONTINUATION, VICTIM, block(OK))),
    "CONTINUATION behind whole HEADERS": (
        "PROTOCOL_ERROR",
        response() + frame(CONTINUATION, VICTIM, block(X), END_HEADERS),
    ),
    "CONTINUATION on a stream that ended": ("PROTOCOL_ERROR", frame(CONTINUATION, ENDED, b"", END_HEADERS)),
    "CONTINUATION on a stream we reset": ("PROTOCOL_ERROR", frame(CONTINUATION, CANCELLED, b"", END_HEADERS)),
    "CONTINUATION on a stream the server reset": ("PROTOCOL_ERROR", frame(CONTINUATION, REFUSED, b"", END_HEADERS)),
    **{f"block interrupted by {name}": ("PROTOCOL_ERROR", OPEN_BLOCK + transcript)
       for name, transcript in INTERRUPTIONS.items()},
    "block interrupted on a stream we reset": ("PROTOCOL_ERROR", frame(HEADERS, CANCELLED, block(OK)) + ping()),
    **{name: ("COMPRESSION_ERROR", frame(HEADERS, VICTIM, broken, END_HEADERS))
       for name, broken in BROKEN_BLOCKS.items()},
    "broken block on a stream we reset": ("COMPRESSION_ERROR", frame(HEADERS, CANCELLED, b"\x80", END_HEADERS)),
    "broken trailers": ("COMPRESSION_ERROR", response() + frame(HEADERS, VICTIM, b"\x80", END_HEADERS | END_STREAM)),
}  # fmt: skip

# Where RFC 9113 ends the stream and we end the connection, which it allows (5.4.1). h2 does so; no server that breaks
# these rules is worth going on with, as each of them says that it has lost count of what it sends.
STRICTER = {
    "DATA before HEADERS": ("PROTOCOL_ERROR", data(VICTIM, b"ok")),
    "empty DATA before HEADERS": ("PROTOCOL_ERROR", data(VICTIM, b"", END_STREAM)),
    "DATA behind an interim response": (
        "PROTOCOL_ERROR",
        head(VICTIM, (b":status", b"103")) + data(VICTIM, b"ok"),
    ),
    "HEADERS twice": ("PROTOCOL_ERROR", response() + response()),
    "trailers that do not end the stream": ("PROTOCOL_ERROR", response() + data(VICTIM, b"ok") + head(VICTIM, X)),
    "interim response that ends the stream": ("PROTOCOL_ERROR", trailers(VICTIM, (b":status", b"103"))),
    "interim response behind the final one": ("PROTOCOL_ERROR", response() + head(VICTIM, (b":status", b"103"))),
    "interim status in trailers": ("PROTOCOL_ERROR", with_trailers((b":status", b"103"))),
    "WINDOW_UPDATE of 0 on a stream": ("PROTOCOL_ERROR", update(VICTIM, 0)),
    "WINDOW_UPDATE of 0 on a stream we reset": ("PROTOCOL_ERROR", update(CANCELLED, 0)),
    "WINDOW_UPDATE with its reserved bit set": ("PROTOCOL_ERROR", update(0, 2**31 + 1)),
    "PRIORITY of 4 bytes": ("FRAME_SIZE_ERROR", frame(PRIORITY, VICTIM, bytes(4))),
    "PRIORITY of 6 bytes": ("FRAME_SIZE_ERROR", frame(PRIORITY, OTHER, bytes(6))),
    "PRIORITY of 4 bytes on a stream we reset": ("FRAME_SIZE_ERROR", frame(PRIORITY, CANCELLED, bytes(4))),
    "HEADERS that depend on their own stream": (
        "PROTOCOL_ERROR",
        frame(HEADERS, VICTIM, ON_ITSELF + block(OK), END_HEADERS | PRIORITY_FLAG),
    ),
}


@pytest.mark.parametrize("case", ENDS_CONNECTION | STRICTER)
async def test_breach_ends_the_connection(clock, segment, case):
    code, transcript = (ENDS_CONNECTION | STRICTER)[case]
    async with wire_client(segment=segment) as client:
        there = await prepare(client, "GET")
        client.peer.send(transcript)
        for recorder in (there.victim, there.other):
            await recorder.end()
            check_error(recorder, code)
        assert client.protocol.closing
        assert client.protocol.available == 0
        await client.peer.closed()
        assert client.goaways == [ErrorCodes[code]]
        assert client.resets == there.resets
        assert code in client.protocol.close_reason


FIRST_BYTES = {
    "HTTP/1.1": ("PROTOCOL_ERROR", b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n"),
    "HTTP/1.0": ("PROTOCOL_ERROR", b"HTTP/1.0 505 HTTP Version Not Supported\r\n\r\n"),
    "a client's preface": ("FRAME_SIZE_ERROR", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + FIRST),
    "SSH": ("FRAME_SIZE_ERROR", b"SSH-2.0-OpenSSH_9.2\r\n"),
    "TLS": ("FRAME_SIZE_ERROR", b"\x15\x03\x01\0\x02\x02\x46\0\0"),
    "zeros": ("PROTOCOL_ERROR", bytes(100)),
    "ones": ("FRAME_SIZE_ERROR", b"\xff" * 100),
    "HTML": ("FRAME_SIZE_ERROR", b"<html></html>"),
    "HEADERS": ("PROTOCOL_ERROR", head(VICTIM, OK) + FIRST),
    "a whole response": ("PROTOCOL_ERROR", answer(VICTIM) + FIRST),
    "PING": ("PROTOCOL_ERROR", ping() + FIRST),
    "WINDOW_UPDATE": ("PROTOCOL_ERROR", update(0, 1) + FIRST),
    "GOAWAY": ("PROTOCOL_ERROR", goaway(0) + FIRST),
    "RST_STREAM": ("PROTOCOL_ERROR", rst(VICTIM) + FIRST),
    "an unknown frame": ("PROTOCOL_ERROR", frame(UNKNOWN) + FIRST),
    "an acknowledgement": ("PROTOCOL_ERROR", settings(flags=ACK) + FIRST),
    "SETTINGS of 5 bytes": ("FRAME_SIZE_ERROR", frame(SETTINGS, 0, bytes(5))),
    "SETTINGS on the stream": ("PROTOCOL_ERROR", settings(stream_id=VICTIM)),
    "bad SETTINGS": ("PROTOCOL_ERROR", settings((0x5, 0))),
}


@pytest.mark.parametrize("case", FIRST_BYTES)
async def test_first_bytes_that_are_no_settings_end_the_connection(clock, segment, case):
    code, transcript = FIRST_BYTES[case]
    async with wire_client(b"", segment=segment) as client:
        recorder, _ = await client.ask()
        client.peer.send(transcript)
        await recorder.end()
        check_error(recorder, code)
        assert ("HTTP/1.1" in str(recorder.error)) == case.startswith("HTTP/")
        assert recorder.names == ["started", "failed"]
        await client.peer.closed()
        assert client.goaways == [ErrorCodes[code]]


OVER_WINDOW = {
    "at once": (VICTIM, data(VICTIM, bytes(1001))),
    "in the end": (VICTIM, data(VICTIM, bytes(499)) + data(VICTIM, bytes(499)) + data(VICTIM, bytes(3))),
    "with padding": (VICTIM, data(VICTIM, b"\xc8" + bytes(1000), PADDED)),
    "on a stream we reset": (CANCELLED, data(CANCELLED, bytes(1001))),
    "on a stream we reset, in the end": (CANCELLED, data(CANCELLED, bytes(600)) * 2),
}


@pytest.mark.parametrize("case", OVER_WINDOW)
async def test_content_over_a_streams_window_ends_the_connection(clock, segment, case):
    """RFC 9113 6.9.1 leaves the choice: a server that counts wrong on one stream counts wrong on the connection."""
    _, transcript = OVER_WINDOW[case]
    config = HTTP2Config(stream_window=1000, max_stream_window=1000)
    async with wire_client(segment=segment, config=config) as client:
        there = await prepare(client, "GET")
        there.victim.on("response", lambda: there.victim.exchange.pause_reading())
        client.peer.send(response() + transcript)
        for recorder in (there.victim, there.other):
            await recorder.end()
            check_error(recorder, "FLOW_CONTROL_ERROR")
        await client.peer.closed()
        assert client.goaways == [ErrorCodes.FLOW_CONTROL_ERROR]


# What is allowed, or is to be ignored: the connection lives, and nothing is said about it.

TOLERATED = {
    **{f"unknown frame on stream {where}": frame(UNKNOWN, where, b"anything", flags)
       for where in (0, VICTIM, OTHER, CANCELLED, ENDED, REFUSED, IDLE, EVEN) for flags in (0xFF,)},
    "frames of each unknown type": b"".join(frame(kind, VICTIM) for kind in range(10, 256)),
    "ALTSVC": frame(ALTSVC, 0, b"\0\x0bexample.orgh2=\":1\""),
    "broken ALTSVC": frame(ALTSVC, 0, b"\xff\xffx"),
    "empty ALTSVC on the stream": frame(ALTSVC, VICTIM, b""),
    "ORIGIN": frame(ORIGIN, 0, b"\0\x13https://example.org"),
    **{f"PRIORITY on stream {where}": frame(PRIORITY, where, number(where ^ 4) + b"\xff")
       for where in (VICTIM, OTHER, CANCELLED, ENDED, REFUSED, IDLE, EVEN)},
    "PRIORITY that depends on itself": frame(PRIORITY, VICTIM, ON_ITSELF),
    "exclusive PRIORITY": frame(PRIORITY, VICTIM, number(2**31 + OTHER) + b"\0"),
    "no settings": settings(),
    "settings twice": settings((0x3, 100)) * 2,
    "a setting twice in one frame": settings((0x3, 1), (0x3, 100)),
    "unknown settings": settings((0, 1), (0x7, 1), (0xFFFF, 2**32 - 1)),
    "100 unknown settings": settings(*[(code, 1) for code in range(0x100, 0x100 + 100)]),
    "settings that change nothing here": settings((0x2, 0), (0x6, 1), (0x8, 1)),
    "largest settings": settings((0x1, 2**32 - 1), (0x3, 2**32 - 1), (0x4, LARGEST), (0x5, 2**24 - 1)),
    "no compression": settings((0x1, 0)),
    "no window": settings((0x4, 0)),
    "acknowledgement of nothing": settings(flags=ACK),
    "answer to no PING": ping(b"whatever", ACK),
    "largest window": update(0, LARGEST - 65535) + update(VICTIM, LARGEST - 65535),
    "RST_STREAM on streams that are over": rst(CANCELLED) + rst(ENDED) + rst(REFUSED) + rst(ENDED, 0xFFFFFFFF),
    "WINDOW_UPDATE on streams that are over": update(CANCELLED, 1) + update(ENDED, 1) + update(REFUSED, LARGEST),
    "window over 2^31-1 of a stream we reset": update(CANCELLED, LARGEST) * 2,
    "response on a stream we reset": answer(CANCELLED),
    "response in CONTINUATION on a stream we reset": frame(HEADERS, CANCELLED)
    + frame(CONTINUATION, CANCELLED, block(OK), END_HEADERS)
    + data(CANCELLED, b"\x02ok\0\0", PADDED)
    + trailers(CANCELLED, X),
    "interim response on a stream we reset": head(CANCELLED, (b":status", b"103")) + answer(CANCELLED),
    "malformed response on a stream we reset": head(CANCELLED, (b"X", b"\0")) + data(CANCELLED, b"ok"),
    "interim responses": head(VICTIM, (b":status", b"100")) + head(VICTIM, (b":status", b"103"), (b"link", b"a")) * 3,
    "an interim response without meaning": head(VICTIM, (b":status", b"199")),
    "reserved bits": b"".join(
        item[:5] + bytes((item[5] | 0x80,)) + item[6:] for item in (ping(), settings(), update(VICTIM, 1))
    ),
    "flags without meaning": settings(flags=0xFE) + ping(flags=0xFE) + frame(WINDOW_UPDATE, 0, number(1), 0xFF),
    "PRIORITY with all flags": frame(PRIORITY, VICTIM, DEPENDS, 0xFF),
}  # fmt: skip


@pytest.mark.parametrize("case", TOLERATED)
async def test_what_is_tolerated_leaves_no_trace(clock, segment, case):
    async with wire_client(segment=segment) as client:
        there = await prepare(client, "GET")
        client.peer.send(TOLERATED[case] + answer(VICTIM))
        await there.victim.end()
        check_ok(there.victim)
        client.peer.send(answer(OTHER))
        await there.other.end()
        check_ok(there.other)
        await client.still_works()
        await client.settle()
        assert client.resets == there.resets
        assert client.goaways == []


WELL_FORMED = {
    "padded": frame(HEADERS, VICTIM, b"\x03" + block(OK) + bytes(3), PADDED | END_HEADERS)
    + data(VICTIM, b"\xffo" + bytes(255), PADDED)
    + data(VICTIM, b"\0k", PADDED | END_STREAM),
    "with priority": frame(HEADERS, VICTIM, DEPENDS + block(OK), PRIORITY_FLAG | END_HEADERS)
    + data(VICTIM, b"ok", END_STREAM),
    "in CONTINUATION": frame(HEADERS, VICTIM)
    + b"".join(frame(CONTINUATION, VICTIM, bytes((byte,))) for byte in block(OK, X))
    + frame(CONTINUATION, VICTIM, b"", END_HEADERS)
    + data(VICTIM, b"ok", END_STREAM),
    "in one CONTINUATION, at the end of the stream": frame(HEADERS, VICTIM, block(OK), END_HEADERS)
    + data(VICTIM, b"ok")
    + frame(HEADERS, VICTIM, block(X), END_STREAM)
    + frame(CONTINUATION, VICTIM, b"", END_HEADERS),
    "with trailers": with_trailers(X),
    "with empty trailers": with_trailers(),
    "with empty DATA": response() + data(VICTIM, b"") * 3 + data(VICTIM, b"ok") + data(VICTIM, b"", END_STREAM),
    "with its length": response(CL2) + data(VICTIM, b"ok", END_STREAM),
    "with its length twice": response(CL2, CL2) + data(VICTIM, b"ok") + data(VICTIM, b"", END_STREAM),
    "with unusual values": response((b"a", b""), (b"b", b"x \t y"), (b"c", b"\x80\xff"), (b"!#$%&'*+-.^_`|~1", b":"))
    + data(VICTIM, b"ok", END_STREAM),
    "compressed": frame(HEADERS, VICTIM, b"\x88\x40\x01x\x01y\xbe\xbe", END_HEADERS)
    + data(VICTIM, b"ok")
    + frame(HEADERS, VICTIM, b"\xbe", END_HEADERS | END_STREAM),
    "with tables of other sizes": frame(HEADERS, VICTIM, b"\x20\x3f\xe1\x1f\x88", END_HEADERS)
    + data(VICTIM, b"ok", END_STREAM),
    "of status 599": status(b"599") + data(VICTIM, b"ok", END_STREAM),
    "of status 999": status(b"999") + data(VICTIM, b"ok", END_STREAM),
    "behind RST_STREAM of another": rst(OTHER) + answer(VICTIM),
}


@pytest.mark.parametrize("case", WELL_FORMED)
async def test_odd_response_is_accepted(clock, segment, case):
    async with wire_client(segment=segment) as client:
        there = await prepare(client, "GET")
        client.peer.send(WELL_FORMED[case])
        await there.victim.end()
        check_ok(there.victim)
        if not there.other.ended:
            client.peer.send(answer(OTHER))
        await there.other.end()
        await client.still_works()


@pytest.mark.parametrize("stream_id", [ENDED, REFUSED])
async def test_content_on_a_stream_that_is_over_is_answered_with_stream_closed(clock, segment, stream_id):
    async with wire_client(segment=segment) as client:
        there = await prepare(client, "GET")
        client.peer.send(data(stream_id, b"ok") + answer(VICTIM) + answer(OTHER))
        for recorder in (there.victim, there.other):
            await recorder.end()
            assert recorder.body == b"ok"
        await client.settle()
        assert client.resets == [*there.resets, (stream_id, ErrorCodes.STREAM_CLOSED)]
        await client.still_works()


async def test_head_on_a_stream_that_the_server_reset_is_answered_with_stream_closed(clock, segment):
    async with wire_client(segment=segment) as client:
        there = await prepare(client, "GET")
        client.peer.send(head(REFUSED, OK) + answer(VICTIM) + answer(OTHER))
        for recorder in (there.victim, there.other):
            await recorder.end()
            assert recorder.body == b"ok"
        await client.settle()
        assert client.resets == [*there.resets, (REFUSED, ErrorCodes.STREAM_CLOSED)]
        await client.still_works()


async def test_breach_on_a_stream_whose_request_is_still_sent_ends_the_request(clock, segment):
    async with wire_client(segment=segment) as client:
        recorder, stream_id = await client.ask(Request("POST", URL, body=PUSHED))
        recorder.exchange.write(b"some")
        client.peer.send(head(stream_id, OK, CL3) + data(stream_id, b"ok", END_STREAM))
        await recorder.end()
        check_error(recorder, "PROTOCOL_ERROR")
        assert await client.peer.receive_reset(stream_id) is ErrorCodes.PROTOCOL_ERROR
        client.peer.send(ping(await client.peer.receive_ping(), ACK))
        await client.still_works()


async def test_content_behind_the_end_of_a_tunnel_ends_its_stream(clock, segment):
    async with wire_client(segment=segment) as client:
        recorder, _ = await client.ask(Request("CONNECT", URL, target=b"example.com:443"))
        other, _ = await client.ask()
        client.peer.send(response() + data(VICTIM, b"bytes", END_STREAM))
        await recorder.end()
        assert recorder.stream is not None
        assert await recorder.stream.read() == b"bytes"
        assert await recorder.stream.read() == b""
        client.peer.send(data(VICTIM, b"late"))
        assert await client.peer.receive_reset(VICTIM) is ErrorCodes.STREAM_CLOSED
        client.peer.send(answer(OTHER) + data(VICTIM, b"later"))
        await other.end()
        assert other.body == b"ok"
        await client.settle()
        assert client.resets == [(VICTIM, ErrorCodes.STREAM_CLOSED)]
        await client.still_works()


async def test_content_before_a_breach_is_delivered(clock, segment):
    async with wire_client(segment=segment) as client:
        recorder, _ = await client.ask()
        client.peer.send(response() + data(VICTIM, b"some") + ping(bytes(7)))
        await recorder.end()
        check_error(recorder, "FRAME_SIZE_ERROR")
        assert recorder.body == b"some"
        await client.peer.closed()


async def test_complete_response_before_a_breach_stands(clock, segment):
    async with wire_client(segment=segment) as client:
        recorder, _ = await client.ask()
        other, _ = await client.ask()
        client.peer.send(answer(VICTIM) + frame(DATA, 0, b"x"))
        await recorder.end()
        check_ok(recorder)
        await other.end()
        check_error(other, "PROTOCOL_ERROR")
        await client.peer.closed()


@pytest.mark.parametrize("last", [OTHER, LARGEST])
async def test_second_goaway_with_a_higher_last_id_revives_nothing(clock, segment, last):
    """RFC 9113 6.8 forbids it; what was given up by then may be on its way elsewhere already."""
    async with wire_client(segment=segment) as client:
        victim, _ = await client.ask()
        other, _ = await client.ask()
        client.peer.send(goaway(VICTIM) + goaway(last) + head(OTHER, OK) + data(OTHER, b"ok") + answer(VICTIM))
        await other.end()
        assert type(other.error) is RemoteProtocolError
        assert other.names == ["started", "failed"]
        await victim.end()
        assert victim.body == b"ok"
        await client.peer.closed()


async def test_peers_text_in_an_error_is_escaped_and_cut(clock):
    async with wire_client() as client:
        recorder, _ = await client.ask()
        client.peer.send(response((b"\x1b[31m\r\n" + b"evil" * 1000, b"y")))
        await recorder.end()
        check_error(recorder, "PROTOCOL_ERROR")
        assert "\\x1b[31m" in str(recorder.error)


async def test_error_names_its_cause(clock):
    async with wire_client() as client:
        recorder, _ = await client.ask()
        client.peer.send(ping(bytes(7)))
        await recorder.end()
        assert recorder.error is not None
        cause = recorder.error.__cause__
        assert type(cause).__name__ == "ConnectionFault"
        assert cause is not None
        assert type(cause.__cause__).__module__.startswith("h2")
