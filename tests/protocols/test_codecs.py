"""That all codecs are equal: whatever a server sends, they report what h11 would that reads every byte of it.

There is no list of differences, because there is none. What llhttp refuses is judged by h11, what it accepts and h11
does not is not given to the caller, and the heads and chunks that no parser sees are of a form that h11 accepts.
"""

from __future__ import annotations

import pytest

from httpcore.protocols.codec import Codec
from httpcore.protocols.h11_codec import H11Codec
from httpcore.protocols.llhttp_codec import LLHTTPCodec
from tests.protocols.codec_corpus import CORPUS, GET
from tests.protocols.codec_reference import COMPLETE, ERROR, H11Alone, bytewise, judge, run
from tests.protocols.test_http11_malformed import FLOODS

CODECS = [H11Codec, LLHTTPCodec]
LONG = 500  # bytes, beyond which a transcript is only sent whole


@pytest.mark.parametrize("case", CORPUS)
def test_codecs_say_what_h11_says_however_the_bytes_are_cut(case: str) -> None:
    request, transcript = CORPUS[case]
    expected = judge(request, [transcript, b""])
    cuts = [[transcript[:at], transcript[at:], b""] for at in range(1, len(transcript)) if len(transcript) < LONG]
    for codec in CODECS:
        assert run(codec, request, [transcript]) == judge(request, [transcript])
        assert run(codec, request, [transcript, b""]) == expected
        # Whether a connection is reused depends on whether it is known in time that there is more.
        for pieces in cuts:
            assert run(codec, request, pieces)[:2] == expected[:2], pieces
        if len(transcript) < LONG:
            assert run(codec, request, [*bytewise(transcript), b""]) == judge(request, [*bytewise(transcript), b""])


def test_the_corpus_has_enough_of_each_kind() -> None:
    verdicts = [judge(request, [transcript, b""]).verdict for request, transcript in CORPUS.values()]
    assert verdicts.count(ERROR) > 400
    assert verdicts.count(COMPLETE) > 400


@pytest.mark.parametrize("size", [None, 1000, 65_536, 65_537])
@pytest.mark.parametrize("case", FLOODS)
@pytest.mark.parametrize("codec", [H11Alone, *CODECS])
def test_limits_are_the_same(codec: type[Codec], case: str, size: int | None) -> None:
    transcript = FLOODS[case]
    pieces = [transcript] if size is None else [transcript[at : at + size] for at in range(0, len(transcript), size)]
    outcome = run(codec, GET, pieces)
    assert outcome.verdict == ERROR
    assert outcome.events == run(H11Alone, GET, pieces).events


def test_most_responses_need_no_parser() -> None:
    """What is fast is fast because of this; that it makes no difference is seen above."""
    for head, body in (
        (b"HTTP/1.1 200 OK\r\nServer: x\r\nContent-Length: 2\r\n\r\n", b"ok"),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", b"2\r\nok\r\n0\r\n\r\n"),
    ):
        for pieces in ([head + body], [head, *bytewise(body)]):
            codec = H11Codec()
            codec.send_head(GET)
            assert b"ok" in b"".join(e for piece in pieces for e in codec.receive(piece) if isinstance(e, bytes))
            assert codec._connection is None
            assert codec._chunked is None


def test_plain_heads_that_no_common_one_is_like_are_llhttps() -> None:
    for head in (
        b"HTTP/1.1 103 Early Hints\r\nLink: a\r\n\r\nHTTP/1.1 200 OK\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nX: \xe9\r\n\r\n",
        b"HTTP/1.0 200 OK\r\n\r\n",
        b"HTTP/1.1 200\r\n\r\n",
    ):
        for pieces in ([head], bytewise(head)):
            codec = LLHTTPCodec()
            codec.send_head(GET)
            assert [event for piece in pieces for event in codec.receive(piece)]
            assert codec._connection is None
