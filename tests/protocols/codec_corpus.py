"""What servers may send, for better or worse: each a request, and what comes before the connection ends or goes on.

Of the classes of error that parsers of HTTP/1.1 were found to have: request smuggling's response side (RFC 9112 11.2),
splitting, sizes, folds, odd blanks and line ends, controls, and what comes early or late.
"""

from __future__ import annotations

from collections.abc import Iterator

from httpcore.request import Request
from tests.protocols.recording import URL, response
from tests.protocols.test_http11_leftovers import COMPLETE, REST
from tests.protocols.test_http11_malformed import MALFORMED, TRUNCATED
from tests.protocols.test_http11_responses import RESPONSES

GET = Request("GET", URL)
HEAD = Request("HEAD", URL)
CONNECT = Request("CONNECT", "http://proxy:3128", target="example.org:443")
UPGRADE = Request("GET", URL, {"Connection": "upgrade", "Upgrade": "websocket"})
CLOSE = Request("GET", URL, {"Connection": "close"})
CL2, TE = b"Content-Length: 2", b"Transfer-Encoding: chunked"
CHUNKS = b"2\r\nok\r\n0\r\n\r\n"

STATUS_LINES = [
    *(
        b"HTTP/1.1 200 OK ",
        b"HTTP/1.1 200 \t",
        b"HTTP/1.1 200 ",
        b"HTTP/1.1 200",
        b"HTTP/1.1 200  OK",
        b"HTTP/1.1 200\tOK",
    ),
    *(
        b"HTTP/1.1 %d X" % status
        for status in (100, 101, 102, 199, 200, 201, 204, 205, 206, 299, 300, 304, 404, 600, 999)
    ),
    *(
        b"HTTP/1.1 %b X" % status
        for status in (b"0", b"000", b"001", b"099", b"1", b"20", b"0200", b"2 00", b"1e2", b"2OO")
    ),
    *(b"HTTP/1.1 %b X" % digits.encode() for digits in ("٢٠٠", "２００", "²⁰⁰")),
    *(
        b"HTTP/%b 200 OK" % version
        for version in (b"0.9", b"1.0", b"1.1", b"1.2", b"1.9", b"2.0", b"2", b"3.0", b"1.", b".1")
    ),
    *(
        b"HTTP/%b 200 OK" % version
        for version in (b"1.11", b"11.1", b"01.1", b"1.1.1", b"1,1", b"1 .1", b" 1.1", b"-1.1", b"A.B")
    ),
    *(
        b"%b 200 OK" % name
        for name in (b"http/1.1", b"Http/1.1", b"HTTPS/1.1", b"RTSP/1.0", b"ICE/1.0", b"HTP/1.1", b"HTTP")
    ),
    *(
        b"HTTP/1.1 200 O%bK" % byte
        for byte in (b"\0", b"\1", b"\x0b", b"\x0c", b"\r", b"\x1b", b"\x7f", b"\x80", b"\xff", b"\t")
    ),
    *(b"\r\nHTTP/1.1 200 OK", b"\nHTTP/1.1 200 OK", b"\rHTTP/1.1 200 OK", b" HTTP/1.1 200 OK", b"\tHTTP/1.1 200 OK"),
    *(b"HTTP/1.1 200 OK\r", b"HTTP/1.1\r\n200 OK", b"HTTP/1.1 200\r OK", b"GET / HTTP/1.1", b"HTTP/1.1 200 OK\n"),
]

FIELDS = [
    *(b"X: a%bb" % bytes([byte]) for byte in [*range(0x21), 0x7F, 0x80, 0x85, 0xA0, 0xFF]),
    *(
        b"X%bY: a" % bytes([byte])
        for byte in [*range(0x31), *range(0x3A, 0x41), 0x5B, 0x5C, 0x5D, 0x7B, 0x7D, 0x7F, 0x80]
    ),
    *(
        b"X:",
        b"X: ",
        b"X:\t",
        b"X:a",
        b"X:  a",
        b"X:\t a\t ",
        b"X: a b\tc",
        b"X::",
        b"X: :a",
        b":",
        b": a",
        b"X",
        b"X a",
    ),
    *(
        b"X : a",
        b"X\t: a",
        b" X: a",
        b"\tX: a",
        b"X: a\r\n b",
        b"X: a\r\n\tb",
        b"X: a\r\n ",
        b"X: a\r\n \r\n b",
        b"X:\r\n a",
    ),
    *(b"X: a\nY: b", b"X: a\rY: b", b"X: a\r\r\nY: b", b"X: a\n\rY: b", b"X: a\n\nHTTP/1.1 200 OK", b"X: \r\rY: b"),
    *(b"X: \x85a", b"X: a\xa0", b"X: a\x1c", b"X: a\x0b", b"X: \x0ba", b"X: a\0", b"X: \xc2\xa0", "Ü: a".encode()),
    *(
        b"!#$%&'*+-.^_`|~09azAZ: tchar",
        b"X: " + bytes(range(0x21, 0x7F)),
        b"X: \xef\xbb\xbf",
        b"(c): a",
        b'"X": a',
        b"X;: a",
    ),
    *(b"Connection: close", b"Connection: Close , x", b"Connection: closed", b"Connection: x\r\nConnection: close"),
    *(
        b"Connection: keep-alive",
        b"Connection: upgrade\r\nUpgrade: websocket",
        b"Upgrade: h2c",
        b"Proxy-Connection: close",
    ),
    *(b"Keep-Alive: timeout=5", b"Keep-Alive: \xff", b"Connection: close\r\nConnection: keep-alive", b"Connection:"),
]

LENGTHS = [
    *(
        b"0",
        b"2",
        b"02",
        b"00000000000000000002",
        b"000000000000000000002",
        b"2 ",
        b"\t2\t",
        b"",
        b" ",
        b"+2",
        b"-2",
        b"-0",
    ),
    *(
        b"2,2",
        b"2, 2",
        b"2,,2",
        b"2,",
        b",2",
        b"2,3",
        b"2 2",
        b"2\t2",
        b"2;",
        b"2.0",
        b"2e0",
        b"0x2",
        b"1_0",
        b"two",
        b"'2'",
    ),
    *(b"18446744073709551615", b"18446744073709551616", b"9223372036854775808", b"99999999999999999999"),
    *(
        "٢".encode(),
        "２".encode(),
        b"\xb2",
        b"2\0",
        b"\x0b2",
        b"2\x0c",
        b"2\r\n 3",
        b"2\r\n ",
        b"\r\n 2",
        b"2\x85",
        b"2\xa0",
    ),
]

CODINGS = [
    *(
        b"chunked",
        b"Chunked",
        b"CHUNKED",
        b" chunked ",
        b"chunked,",
        b",chunked",
        b"chunked, chunked",
        b"chunked chunked",
    ),
    *(b"identity", b"gzip", b"gzip, chunked", b"chunked, gzip", b"chunked;q=1", b'"chunked"', b"xchunked", b"chunkedx"),
    *(
        b"",
        b"\x0bchunked",
        b"chunked\x0c",
        b"chunked\0",
        b"\r\n chunked",
        b"chu\r\n nked",
        b"chunked\r\n ",
        b"ch\xfcnked",
    ),
]

BODIES = [
    *(
        b"0\r\n\r\n",
        b"00000000\r\n\r\n",
        b"000000000\r\n\r\n",
        b"00000000000000000000\r\n\r\n",
        b"0" * 21 + b"\r\n\r\n",
    ),
    *(
        b"%b\r\nok\r\n0\r\n\r\n" % size
        for size in (b"2", b"02", b"00000002", b"000000002", b"0" * 19 + b"2", b"0" * 20 + b"2")
    ),
    *(
        b"%b\r\nok\r\n0\r\n\r\n" % size
        for size in (b"2 ", b"2\t", b"2 \t ", b" 2", b"2 2", b"+2", b"-2", b"0x2", b"2h", b"2_0", b"")
    ),
    *(
        b"%b\r\nok\r\n0\r\n\r\n" % size
        for size in (b"2;", b"2;a", b"2;a=b", b'2;a="b;c"', b"2;a=b ", b"2 ;a", b"2; a", b"2;;", b"2,a")
    ),
    *(
        b"2;%b\r\nok\r\n0\r\n\r\n" % extension
        for extension in (b"\0", b"\r", b"\n", b"\x0b", b"\x80", b'"', b'a="', b"a\\", b"\r\r")
    ),
    *(
        b"%b\r\nok\r\n0\r\n\r\n" % size
        for size in (b"1", b"3", b"4", b"5", b"12", b"ffffffff", b"fffffffff", b"f" * 16, b"1" + b"0" * 16)
    ),
    *(
        b"%b\r\n" % size
        for size in (b"f" * 20, b"f" * 21, b"7" + b"f" * 15, b"8" + b"0" * 15, b"g", b"0x0", b"-0", b"\xb2")
    ),
    *(
        b"2\nok\r\n0\r\n\r\n",
        b"2\r\nok\n0\r\n\r\n",
        b"2\r\nok\r\n0\n\r\n",
        b"2\r\nok\r\n0\r\n\n",
        b"2\r\nok\r\n0\n\n",
        b"2\rok\r\n0\r\n\r\n",
    ),
    *(
        b"2\r\nok0\r\n\r\n",
        b"2\r\nok\r0\r\n\r\n",
        b"2\r\nok\r\n\r\n0\r\n\r\n",
        b"2\r\n\r\nok\r\n0\r\n\r\n",
        b"\r\n2\r\nok\r\n0\r\n\r\n",
    ),
    *(
        b"2\r\nok\r\n0\r\n%b\r\n\r\n" % trailer
        for trailer in (b"X: a", b"X:", b"X: a\r\nY: b", b"x: \xff", b"X: \t a \t", b"X : a", b"X a")
    ),
    *(
        b"2\r\nok\r\n0\r\n%b\r\n\r\n" % trailer
        for trailer in (b" X: a", b"X: a\r\n b", b"X: \0", b"X: \1", b"X: \x0b", b": a", b"\xff: a", b"0: 0")
    ),
    *(
        b"0\r\n%b\r\n\r\n" % trailer
        for trailer in (b"Content-Length: 5", TE, b"Transfer-Encoding: gzip", b"Connection: close")
    ),
    *(
        b"0\r\n%b\r\n\r\n" % trailer
        for trailer in (b"Content-Length: 5\r\nContent-Length: 6", b"Content-Length: x", TE + b"\r\n" + TE)
    ),
    *(
        b"0\r\nX: a\n\r\n",
        b"0\r\nX: a\n\n",
        b"0\r\nX: a\r\n\n",
        b"0\r\n\rX",
        b"0\r\nX: a\r\rY: b\r\n\r\n",
        b"0\r\r\n\r\n",
        b"0;a\r\n\r\n",
        b"0 \r\n\r\n",
    ),
    *(
        b"0\r\n\r\n\r\n",
        b"0\r\n\r\n\n",
        b"0\r\n\r\n0\r\n\r\n",
        b"0\r\n\r\n\0",
        b"0\r\nX: a\r\n\r\n\r\n",
        b"0\r\n\r\nHTTP/1.1 200 OK\r\n\r\n",
    ),
    *(
        b"1\r\n\r\r\n0\r\n\r\n",
        b"1\r\n\n\r\n0\r\n\r\n",
        b"2\r\n\r\n\r\n0\r\n\r\n",
        b"4\r\n\r\n\r\n\r\n0\r\n\r\n",
        b"5\r\n0\r\n\r\n\r\n0\r\n\r\n",
    ),
    *(
        b"15\r\n" + b"0" * 21 + b"\r\n0\r\n\r\n",
        b"1\r\na\r\n1;x\r\nb\r\n1\r\nc\r\n0\r\n\r\n",
        b"A\r\n0123456789\r\na\r\n0123456789\r\n0\r\n\r\n",
    ),
]


def _cases() -> Iterator[tuple[str, Request, bytes]]:
    for name, (request, transcript, _, _) in RESPONSES.items():
        yield f"response: {name}", request, transcript
    for name, transcript in MALFORMED.items():
        yield f"malformed: {name}", GET, transcript
        if name.startswith(("two lengths", "length", "unknown", "identity", "no name")):
            yield f"malformed answer to HEAD: {name}", HEAD, transcript
    for name, transcript in TRUNCATED.items():
        yield f"truncated: {name}", GET, transcript[:-1]
    for name, (request, transcript) in COMPLETE.items():
        for rest, behind in REST.items():
            yield f"{rest} behind {name}", request, transcript + behind
    for line in STATUS_LINES:
        yield f"status line {line!r}", GET, line + b"\r\n" + CL2 + b"\r\n\r\nok"
        yield f"status line {line!r} and no end", GET, line
    for line in FIELDS:
        yield f"field {line!r}", GET, response(line, CL2, body=b"ok")
        yield (
            f"field {line!r} first, last and in an interim head",
            GET,
            response(line, status=b"103 E") + response(CL2, line, body=b"ok"),
        )
    for value in LENGTHS:
        yield f"length {value!r}", GET, response(b"Content-Length: " + value, body=b"ok")
        yield f"length {value!r} and 2", GET, response(b"content-length: " + value, CL2, body=b"ok")
        yield f"length {value!r} and chunks", GET, response(b"Content-length:" + value, TE, body=CHUNKS)
        yield f"length {value!r} without a body", HEAD, response(b"Content-Length: " + value)
    for value in CODINGS:
        yield f"coding {value!r}", GET, response(b"Transfer-Encoding: " + value, body=CHUNKS)
        yield f"coding {value!r} and a length", GET, response(b"Transfer-encoding: " + value, CL2, body=CHUNKS)
        yield (
            f"coding {value!r} in HTTP/1.0",
            GET,
            response(b"transfer-encoding:" + value, body=CHUNKS, version=b"HTTP/1.0"),
        )
        yield f"coding {value!r} without a body", GET, response(b"Transfer-Encoding: " + value, status=b"304 N")
    for body in BODIES:
        yield f"chunks {body!r}", GET, response(TE, body=body)
        yield (
            f"chunks {body!r} behind another, and a close",
            GET,
            response(TE, b"Connection: close", body=b"3\r\nabc\r\n" + body),
        )
    for status in (b"101 S", b"200 OK", b"204 N", b"304 N", b"403 F", b"103 E", b"299 X", b"300 X"):
        for name, request in (
            ("GET", GET),
            ("HEAD", HEAD),
            ("CONNECT", CONNECT),
            ("upgrade", UPGRADE),
            ("close", CLOSE),
        ):
            for framing in ((CL2,), (TE,), (), (b"Connection: upgrade", b"Upgrade: websocket")):
                yield f"{status!r} with {framing!r} to {name}", request, response(*framing, status=status, body=CHUNKS)


CORPUS = {name: (request, transcript) for name, request, transcript in _cases()}
