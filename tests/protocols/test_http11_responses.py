"""What HTTP11Protocol makes of good responses: each transcript whole and byte by byte, with the same events."""

from __future__ import annotations

import asyncio

import pytest

from httpcore.exceptions import LocalProtocolError, RemoteProtocolError, ResponseClosed
from httpcore.protocols.states import ConnectionState
from httpcore.request import PUSHED, Request
from tests.protocols.recording import URL, Recorder, response

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
END = ("complete", [])
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
        [("response", 200, b"OK", b"HTTP/1.1", [
            (b"x", b"1"), (b"x", b"2"), (b"e", b""), (b"p", b"a  b"), (b"n", b"\xe9"), (b"content-length", b"2"),
        ]), OK, END],
        REUSED,
    ),  # fmt: skip
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
        [interim(100), interim(102), interim(103, b"link: a"), interim(103, b"link: b", cl2), interim(199)]
        + [final(200, cl2), OK, END],
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
}  # fmt: skip


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
        assert cut_client.protocol.close_reason == "HTTP says that it ends here"
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


class TestUpgrade:
    """101 and 2xx to CONNECT: the connection is the caller's."""

    @pytest.mark.parametrize("leftover", [b"", b"left over"])
    @pytest.mark.parametrize(
        ("request_", "transcript"),
        [
            (UPGRADE, response(b"Connection: upgrade", b"Upgrade: websocket", status=b"101 OK")),
            (CONNECT, response()),
            (CONNECT, response(CL2, status=b"299 OK")),
            (CONNECT, response(TE)),
            (CONNECT, response(status=b"103 OK") + response(version=b"HTTP/1.0")),
        ],
    )
    async def test_gives_a_raw_stream_with_what_came_behind_the_head(self, cut_client, request_, transcript, leftover):
        recorder = await cut_client.answer(transcript + leftover, request_)
        assert [name for name in recorder.names if name != "informational"] == [
            "started",
            "response",
            "upgraded",
            "complete",
        ]
        stream = recorder.stream
        assert stream is not None
        assert cut_client.protocol.state == ConnectionState.UPGRADED
        assert cut_client.protocol.available == cut_client.protocol.in_flight == 0
        cut_client.peer.send(b", and more")
        received = b""
        while len(received) < len(leftover) + 10:
            received += await stream.read()
        assert received == leftover + b", and more"
        stream.write(b"up")
        assert await cut_client.peer.receive(2) == b"up"
        cut_client.peer.send_eof()
        assert await stream.read() == b""
        stream.write(b"half-closed")
        assert await cut_client.peer.receive(11) == b"half-closed"
        stream.close()
        await stream.wait_closed()
        assert cut_client.protocol.closed

    async def test_flow_control_reaches_the_stream(self, connect):
        client = await connect(capacity=1000)
        recorder = await client.answer(response(), CONNECT)
        stream = recorder.stream
        client.peer.pause()
        stream.write(bytes(200_000))
        drained = asyncio.ensure_future(stream.drain())
        await asyncio.sleep(0.1)
        assert not drained.done()
        client.peer.resume()
        await drained
        stream.abort()

    async def test_reset_reaches_the_stream(self, client):
        recorder = await client.answer(response(), CONNECT)
        client.peer.abort()
        await recorder.stream.wait_closed()
        assert client.protocol.closed
        assert recorder.names[-1] == "complete"

    async def test_handler_that_does_not_want_the_stream_has_it_closed(self, client):
        class Plain(Recorder):
            def connection_upgraded(self, stream):
                self._note("upgraded")
                super(Recorder, self).connection_upgraded(stream)

        recorder = client.dispatch(CONNECT, Plain())
        client.peer.send(response())
        await recorder.end()
        assert recorder.names == ["started", "response", "upgraded", "complete"]
        await client.peer.closed()

    async def test_handler_that_raises_in_upgraded_fails_and_closes(self, client):
        error = ValueError("from the handler")

        def fail() -> None:
            raise error

        recorder = client.dispatch(CONNECT, Recorder().on("upgraded", fail))
        client.peer.send(response() + b"leftover")
        await recorder.end()
        assert recorder.error is error
        await client.peer.closed()

    async def test_handler_that_aborts_in_upgraded_fails_and_closes(self, client):
        recorder = Recorder()
        client.dispatch(CONNECT, recorder.on("upgraded", lambda: recorder.exchange.abort()))
        client.peer.send(response() + b"leftover")
        await recorder.end()
        assert type(recorder.error) is ResponseClosed
        await client.peer.closed()

    @pytest.mark.parametrize("name", ["started", "response"])
    async def test_abort_before_it_is_upgraded_closes(self, client, name):
        recorder = Recorder()
        client.dispatch(CONNECT, recorder.on(name, lambda: recorder.exchange.abort()))
        client.peer.send(response() + b"leftover")
        await recorder.end()
        assert recorder.stream is None
        await client.peer.closed()

    async def test_unasked_for_is_an_error(self, cut_client):
        recorder = await cut_client.answer(response(b"Upgrade: websocket", status=b"101 OK"))
        assert type(recorder.error) is RemoteProtocolError
        await cut_client.peer.closed()

    @pytest.mark.parametrize("expect", [{}, {"Expect": "100-continue"}])
    async def test_before_the_request_ended_is_an_error(self, cut_client, expect):
        """RFC 9110 7.8: the server has to receive the whole request before it switches."""
        headers = {"Connection": "upgrade", "Upgrade": "websocket", **expect}
        recorder = cut_client.dispatch(Request("POST", URL, headers, PUSHED))
        cut_client.peer.send(response(b"Connection: upgrade", b"Upgrade: websocket", status=b"101 OK"))
        await recorder.end()
        assert type(recorder.error) is RemoteProtocolError
        await cut_client.peer.closed()


async def nothing_yet():
    await asyncio.Event().wait()
    yield b""


class TestNothingIsLeftOver:
    """Bytes behind a complete response are no answer to anything: the response stands, the connection goes."""

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
    async def test_bytes_behind_a_response_close(self, cut_client, case, rest):
        request, transcript = self.COMPLETE[case]
        recorder = await cut_client.answer(transcript + self.REST[rest], request)
        assert recorder.names[-1] == "complete"
        await cut_client.peer.closed()
        assert cut_client.protocol.closed
        with pytest.raises(LocalProtocolError, match="can take no exchange"):
            cut_client.protocol.dispatch(GET, Recorder())

    @pytest.mark.parametrize("case", COMPLETE)
    async def test_bytes_in_a_later_segment_close(self, cut_client, case):
        request, transcript = self.COMPLETE[case]
        recorder = await cut_client.answer(transcript, request)
        assert recorder.names[-1] == "complete"
        assert cut_client.protocol.available == 1
        cut_client.peer.send(response(CL2, body=b"no"))
        await cut_client.peer.closed()
        assert cut_client.protocol.close_reason == "bytes came while it was idle"

    async def test_bytes_before_the_first_request_close(self, client):
        client.peer.send(b"\r\n")
        await client.peer.closed()
        assert client.protocol.close_reason == "bytes came while it was idle"

    @pytest.mark.parametrize("body", [PUSHED, nothing_yet], ids=["pushed", "stream"])
    async def test_bytes_before_the_request_was_sent_are_no_answer(self, cut_client, body):
        """The head waits for the body's first chunk: what comes meanwhile answers nothing."""
        recorder = cut_client.dispatch(Request("GET", URL, body=body))
        cut_client.peer.send(response(CL2, body=b"no", status=b"408 Request Timeout"))
        await recorder.end()
        assert recorder.names == ["started", "failed"]
        assert type(recorder.error) is RemoteProtocolError
        assert recorder.error.request_sent is False
        await cut_client.peer.closed()

    @pytest.mark.parametrize("body", [PUSHED, nothing_yet], ids=["pushed", "stream"])
    async def test_end_before_the_request_was_sent_is_an_error(self, client, body):
        recorder = client.dispatch(Request("GET", URL, body=body))
        client.peer.send_eof()
        await recorder.end()
        assert type(recorder.error) is RemoteProtocolError
        assert recorder.error.request_sent is False

    async def test_end_while_idle_closes(self, client):
        await client.answer(response(CL2, body=b"ok"))
        client.peer.send_eof()
        await client.peer.closed()
        assert client.protocol.close_reason == "the server closed it"

    async def test_reset_while_idle_closes(self, client):
        await client.answer(response(CL2, body=b"ok"))
        client.peer.abort()
        await client.protocol.wait_closed()
        assert client.protocol.closed
        assert client.protocol.close_reason.startswith("connection lost: ")


class TestFullDuplex:
    """The response is delivered while the request is still being sent."""

    async def test_echo_whose_body_waits_for_its_own_answer(self, cut_client):
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
    async def test_response_before_the_request_body_ends_closes(self, cut_client, framing):
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

    async def test_head_of_an_early_response_comes_at_once_and_the_upload_goes_on(self, cut_client):
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

    async def test_upload_stops_although_the_server_reads_nothing(self, connect):
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


class TestClosing:
    """close and abort, from the connection's owner."""

    async def test_close_while_idle_closes_at_once(self, client):
        client.protocol.close("no longer needed")
        assert client.protocol.closing
        assert client.protocol.available == 0
        client.protocol.close("again")
        await client.peer.closed()
        assert client.protocol.close_reason == "no longer needed"
        assert client.protocol.closed
        client.protocol.close("too late")

    async def test_close_while_active_closes_after_the_response(self, client):
        recorder = client.dispatch()
        client.protocol.close("no longer needed")
        assert not client.protocol.closing
        client.peer.send(response(CL2, body=b"ok"))
        await recorder.end()
        assert recorder.names[-1] == "complete"
        await client.peer.closed()
        assert client.protocol.close_reason == "no longer needed"

    async def test_abort_while_idle(self, client):
        client.protocol.abort(RemoteProtocolError("enough"))
        assert client.protocol.closing
        client.protocol.abort(RemoteProtocolError("again"))
        await client.peer.closed()
        client.protocol.abort(RemoteProtocolError("too late"))
        assert client.protocol.close_reason == "enough"

    async def test_abort_while_active_fails_the_exchange(self, client):
        recorder = client.dispatch()
        error = RemoteProtocolError("enough")
        client.protocol.abort(error)
        assert recorder.error is error
        await client.peer.closed()

    async def test_bytes_that_come_while_closing_are_dropped(self, connect):
        client = await connect(capacity=1000)
        client.peer.pause()
        recorder = await client.answer_early(Request("POST", URL, {"Connection": "close"}, bytes(50_000)))
        assert client.protocol.state == ConnectionState.CLOSING
        client.protocol.data_received(b"late")
        client.protocol.eof_received()
        assert recorder.names[-1] == "complete"

    async def test_dispatch_on_a_busy_connection_is_refused_and_harms_nothing(self, client):
        recorder = client.dispatch()
        refused = Recorder()
        with pytest.raises(LocalProtocolError, match="can take no exchange: <HTTP11Protocol .* 1 in flight>"):
            client.protocol.dispatch(GET, refused, timeout=5)
        assert refused.names == []
        client.peer.send(response(CL2, body=b"ok"))
        await recorder.end()
        assert recorder.names[-1] == "complete"

    async def test_dispatch_on_a_closing_transport_is_refused(self, client):
        client.transport.close()
        with pytest.raises(LocalProtocolError, match="can take no exchange"):
            client.protocol.dispatch(GET, Recorder())

    async def test_next_exchange_may_start_in_the_callback_that_ends_the_last(self, cut_client):
        following: list[Recorder] = []

        def dispatch_next() -> None:
            if len(following) < 3:
                recorder = Recorder().on("complete", dispatch_next)
                following.append(recorder)
                cut_client.dispatch(None, recorder)

        dispatch_next()
        for _ in range(3):
            await cut_client.peer.receive_until(b"\r\n\r\n")
            cut_client.peer.send(response(CL2, body=b"ok"))
        for recorder in following:
            await recorder.end()
            assert recorder.body == b"ok"

    async def test_owner_hears_of_the_end_before_the_handler(self, client):
        heard: list[tuple[str, int]] = []
        client.protocol.on_change = lambda protocol: heard.append(("owner", protocol.available))
        recorder = client.dispatch(None, Recorder().on("complete", lambda: heard.append(("handler", 1))))
        client.peer.send(response(CL2, body=b"ok"))
        await recorder.end()
        assert heard == [("owner", 1), ("handler", 1)]
        client.peer.close()
        await client.protocol.wait_closed()
        assert heard[2:] == [("owner", 0), ("owner", 0)]  # closing, closed

    async def test_owner_may_abort_the_exchange_that_is_just_ending(self, client):
        recorder = client.dispatch()
        client.protocol.on_change = lambda protocol: recorder.exchange.abort()
        client.peer.send(response(CL2, body=b"ok"))
        await recorder.end()
        assert type(recorder.error) is ResponseClosed
        again = await client.answer(response(CL2, body=b"ok"))
        assert again.ended
