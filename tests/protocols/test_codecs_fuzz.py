"""Responses that nobody thought of: parts that go together or do not, cut and damaged anywhere, read alike by all."""

from __future__ import annotations

import itertools

from hypothesis import given, settings
from hypothesis import strategies as st

from httpcore.protocols.h11_codec import H11Codec
from httpcore.protocols.llhttp_codec import LLHTTPCodec
from httpcore.request import Request
from tests.protocols import codec_corpus as corpus
from tests.protocols.codec_reference import H11Alone, bytewise, judge, run

VISIBLE = st.integers(0x21, 0x7E).map(lambda byte: bytes([byte]))
ODD = st.sampled_from(
    [b"\0", b"\t", b"\n", b"\r", b"\x0b", b"\x0c", b"\x1f", b" ", b":", b";", b",", b"\x7f", b"\xb2", b"\xff"]
)
TEXT = st.lists(st.one_of(VISIBLE, VISIBLE, VISIBLE, ODD), max_size=8).map(b"".join)
BLANK = st.sampled_from([b" ", b" ", b" ", b"", b"\t", b" \t ", b"\r\n "])
LINE_END = st.sampled_from([b"\r\n"] * 12 + [b"\n", b"\r", b"\r\r\n"])

NAMES = st.one_of(
    st.sampled_from(
        [b"X", b"Server", b"Content-Length", b"Transfer-Encoding", b"Connection", b"Upgrade", b"Keep-Alive"]
    ),
    st.sampled_from(
        [b"content-length", b"TRANSFER-ENCODING", b"X ", b"", b" X", b"Content-Length ", b"C\xf6ntent-Length"]
    ),
    TEXT,
)
VALUES = st.one_of(
    st.sampled_from([b"a", b"0", b"2", b"5", b"chunked", b"close", b"keep-alive", b"upgrade", b"websocket"]),
    st.sampled_from([*corpus.LENGTHS, *corpus.CODINGS]),
    TEXT,
)
FIELD = st.one_of(
    st.tuples(NAMES, st.just(b":"), BLANK, VALUES, st.sampled_from([b"", b"", b"", b" ", b"\t"])).map(b"".join),
    st.sampled_from([corpus.CL2, corpus.TE, b"Content-Length: 0", b"Connection: close"]),
    st.sampled_from([b"Server: x", b"X:", b"Y: \t a b \t", b"Z: \xe9", b"Date:a:b"]),
    st.sampled_from(corpus.FIELDS),
)
STATUS_LINE = st.one_of(
    st.sampled_from(
        [b"HTTP/1.1 200 OK"] * 4 + [b"HTTP/1.1 204 N", b"HTTP/1.1 304 N", b"HTTP/1.1 101 S", b"HTTP/1.0 200 OK"]
    ),
    st.tuples(st.just(b"HTTP/1.1 "), st.integers(100, 999).map(b"%d".__mod__), st.just(b" "), TEXT).map(b"".join),
    st.sampled_from(corpus.STATUS_LINES),
)
HEAD = st.tuples(
    STATUS_LINE,
    LINE_END,
    st.lists(st.tuples(FIELD, LINE_END).map(b"".join), max_size=5).map(b"".join),
    LINE_END,
).map(b"".join)
INTERIM = st.tuples(
    st.sampled_from([b"HTTP/1.1 100 C", b"HTTP/1.1 103 E", b"HTTP/1.0 199 "]),
    st.just(b"\r\n"),
    st.lists(st.tuples(FIELD, LINE_END).map(b"".join), max_size=2).map(b"".join),
    st.just(b"\r\n"),
).map(b"".join)

CONTENT = st.one_of(st.binary(min_size=1, max_size=20), st.sampled_from([b"\r\n", b"0\r\n\r\n", b"a" * 300]))
EXTENSION = st.sampled_from([b""] * 8 + [b" ", b";a", b";a=b", b'; a="\r"', b" ;a", b"\t", b";\0"])
SIZE = st.sampled_from([b"%x"] * 8 + [b"%X", b"0%x", b"%08x", b"%09x", b"%020x", b"%021x", b"+%x", b"0x%x", b" %x"])


def chunk(content: bytes, size: bytes, extension: bytes, ends: tuple[bytes, bytes]) -> bytes:
    return size % len(content) + extension + ends[0] + content + ends[1]


CHUNK = st.builds(chunk, CONTENT, SIZE, EXTENSION, st.tuples(LINE_END, LINE_END))
LAST = st.tuples(
    st.sampled_from([b"0"] * 8 + [b"00", b"0" * 8, b"0" * 9, b"0" * 21, b"0;a", b"0 ", b""]),
    LINE_END,
    st.lists(st.tuples(FIELD, LINE_END).map(b"".join), max_size=2).map(b"".join),
    LINE_END,
).map(b"".join)
CHUNKS = st.tuples(st.lists(CHUNK, max_size=5).map(b"".join), LAST).map(b"".join)
BODY = st.one_of(CHUNKS, st.binary(max_size=8), st.sampled_from([b"", b"ok", *corpus.BODIES]))

RESPONSE = st.one_of(
    st.tuples(st.lists(INTERIM, max_size=2).map(b"".join), HEAD, BODY, st.sampled_from([b"", b"", b"\r\n", b"x"])).map(
        b"".join
    ),
    st.tuples(st.just(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"), CHUNKS).map(b"".join),
)
REQUEST = st.sampled_from([corpus.GET] * 4 + [corpus.HEAD, corpus.CONNECT, corpus.UPGRADE, corpus.CLOSE])
DAMAGE = st.lists(
    st.tuples(st.integers(0, 10_000), st.sampled_from(["flip", "insert", "delete", "double"]), st.one_of(VISIBLE, ODD)),
    max_size=2,
)
CUTS = st.lists(st.integers(0, 10_000), max_size=4)


def damaged(data: bytes, damage: list[tuple[int, str, bytes]]) -> bytes:
    for place, kind, byte in damage:
        at = place % (len(data) + 1)
        behind = data[at + 1 :]
        if kind == "flip":
            data = data[:at] + byte + behind
        elif kind == "insert":
            data = data[:at] + byte + data[at:]
        elif kind == "delete":
            data = data[:at] + behind
        else:
            data = data[:at] + data[at : at + 1] * 2 + behind
    return data


def cut(data: bytes, places: list[int]) -> list[bytes]:
    edges = sorted({0, len(data), *(place % (len(data) + 1) for place in places)})
    return [data[start:end] for start, end in itertools.pairwise(edges)]


@settings(max_examples=1000, deadline=None, derandomize=True, database=None)
@given(request=REQUEST, transcript=RESPONSE, damage=DAMAGE, places=CUTS, ends=st.booleans())
def test_codecs_say_what_h11_says_of_anything(
    request: Request, transcript: bytes, damage: list[tuple[int, str, bytes]], places: list[int], ends: bool
) -> None:
    data = damaged(transcript, damage)
    end = [b""] * ends
    for pieces in ([data] if data else [], cut(data, places), bytewise(data)):
        expected = judge(request, [*pieces, *end])
        for codec in (H11Alone, H11Codec, LLHTTPCodec):
            assert run(codec, request, [*pieces, *end]) == expected, codec.__name__
