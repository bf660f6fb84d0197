"""What HTTP2Protocol makes of responses: each transcript whole and byte by byte, with the same events."""

from __future__ import annotations

import asyncio

import pytest
from h2.errors import ErrorCodes

from httpcore.exceptions import RemoteProtocolError
from httpcore.request import PUSHED, Request
from tests.protocols.http2_script import HTTP2Client, shape
from tests.protocols.recording import URL, Recorder

GET = Request("GET", URL)
HEAD = Request("HEAD", URL)
CL2 = (b"content-length", b"2")
STARTED = ("started",)
OK = ("data", b"ok")
END: tuple[object, ...] = ("complete", [])


def final(status: int, *fields: tuple[bytes, bytes]) -> tuple[object, ...]:
    return "response", status, b"", b"HTTP/2", list(fields)


def interim(status: int, *fields: tuple[bytes, bytes]) -> tuple[object, ...]:
    return "informational", status, list(fields)


# name: (request, the responses as (status, fields, body, trailers), the events)
RESPONSES: dict[str, tuple[Request, list, list]] = {
    "a head alone": (GET, [(200, [], b"", [])], [final(200), END]),
    "a body without a length": (GET, [(200, [], b"ok", [])], [final(200), OK, END]),
    "a length": (GET, [(200, [CL2], b"ok", [])], [final(200, CL2), OK, END]),
    "a length of zero": (
        GET,
        [(200, [(b"content-length", b"0")], b"", [])],
        [final(200, (b"content-length", b"0")), END],
    ),
    "the same length twice": (GET, [(200, [CL2, CL2], b"ok", [])], [final(200, CL2, CL2), OK, END]),
    "a length in front of trailers": (
        GET,
        [(200, [CL2], b"ok", [(b"x-sum", b"1")])],
        [final(200, CL2), OK, ("complete", [(b"x-sum", b"1")])],
    ),
    "trailers behind nothing": (
        GET,
        [(200, [], b"", [(b"x-sum", b"1"), (b"x-sum", b"2")])],
        [final(200), ("complete", [(b"x-sum", b"1"), (b"x-sum", b"2")])],
    ),
    "a body over many frames": (GET, [(200, [], b"abc" * 20_000, [])], [final(200), ("data", b"abc" * 20_000), END]),
    "HEAD": (HEAD, [(200, [], b"", [])], [final(200), END]),
    "HEAD with a length": (HEAD, [(200, [CL2], b"", [])], [final(200, CL2), END]),
    "204": (GET, [(204, [], b"", [])], [final(204), END]),
    "304 with the length of what it stands for": (GET, [(304, [CL2], b"", [])], [final(304, CL2), END]),
    "205": (GET, [(205, [], b"", [])], [final(205), END]),
    "a status beyond 599": (GET, [(999, [], b"ok", [])], [final(999), OK, END]),
    "103": (
        GET,
        [(103, [(b"link", b"</a>")], None, None), (200, [CL2], b"ok", [])],
        [interim(103, (b"link", b"</a>")), final(200, CL2), OK, END],
    ),
    "many interim responses": (
        GET,
        [(100, [], None, None), (102, [], None, None), (199, [(b"x", b"y")], None, None), (200, [], b"", [])],
        [interim(100), interim(102), interim(199, (b"x", b"y")), final(200), END],
    ),
    "fields that repeat, are empty, not ASCII": (
        GET,
        [(200, [(b"x", b"1"), (b"x", b"2"), (b"e", b""), (b"n", b"\xe9"), (b"p", b"a  b\tc")], b"", [])],
        [final(200, (b"x", b"1"), (b"x", b"2"), (b"e", b""), (b"n", b"\xe9"), (b"p", b"a  b\tc")), END],
    ),
    "cookies": (
        GET,
        [(200, [(b"set-cookie", b"a=1"), (b"x", b"y"), (b"set-cookie", b"b=2")], b"", [])],
        [final(200, (b"set-cookie", b"a=1"), (b"x", b"y"), (b"set-cookie", b"b=2")), END],
    ),
    "the most fields": (
        GET,
        [(200, [(b"a", b"b")] * 255, b"", [])],
        [final(200, *[(b"a", b"b")] * 255), END],
    ),
    "a head over a frame": (
        GET,
        [(200, [(b"x", b"X" * 15_000), (b"y", b"Z" * 15_000)], b"ok", [])],
        [final(200, (b"x", b"X" * 15_000), (b"y", b"Z" * 15_000)), OK, END],
    ),
}


@pytest.mark.parametrize("case", RESPONSES)
async def test_response_is_told_and_the_connection_goes_on(cut_http2, case):
    request, responses, events = RESPONSES[case]
    recorder, _ = await cut_http2.ask(request)
    for status, fields, body, trailers in responses:
        if body is None:
            cut_http2.peer.respond(1, status, fields, end_stream=False)
        else:
            cut_http2.peer.respond(1, status, fields, body, trailers)
    await recorder.end()
    assert recorder.events == [STARTED, *events]
    assert recorder.head is not None
    assert recorder.head.raw_headers == list(recorder.head.headers)
    assert shape(cut_http2.peer)[0] == "HEADERS END"
    assert "RSTSTREAM" not in shape(cut_http2.peer)
    await cut_http2.still_works()


async def test_empty_data_at_the_end_ends_the_response(cut_http2):
    recorder, _ = await cut_http2.ask()
    cut_http2.peer.respond(1, 200, [CL2], b"ok", end_stream=False)
    cut_http2.peer.send_data(1, b"")
    await recorder.until_body(b"ok")
    assert not recorder.ended
    cut_http2.peer.send_data(1, b"", end_stream=True)
    await recorder.end()
    assert recorder.events == [STARTED, final(200, CL2), OK, END]


async def test_padding_is_no_content_and_is_credited(cut_http2):
    for _ in range(3):
        recorder, incoming = await cut_http2.ask()
        cut_http2.peer.respond(incoming.stream_id, 200, [CL2], end_stream=False)
        cut_http2.peer.send_data(incoming.stream_id, b"o", pad_length=255)
        cut_http2.peer.send_data(incoming.stream_id, b"", pad_length=100)
        cut_http2.peer.send_data(incoming.stream_id, b"k", pad_length=0, end_stream=True)
        await recorder.end()
        assert (recorder.body, recorder.names[-1]) == (b"ok", "complete")
    # that no window has lost a byte is checked when the test ends


async def test_stream_ids_go_to_their_exchanges(cut_http2):
    recorders = [cut_http2.dispatch() for _ in range(3)]
    ids = [(await cut_http2.peer.receive_request()).stream_id for _ in recorders]
    assert [recorder.exchange.stream_id for recorder in recorders] == ids == [1, 3, 5]
    for stream_id in (5, 1, 3):
        cut_http2.peer.respond(stream_id, body=b"%d" % stream_id)
    for recorder in recorders:
        await recorder.end()
    assert [bytes(recorder.body) for recorder in recorders] == [b"1", b"3", b"5"]


async def test_responses_that_come_interleaved_are_told_apart(cut_http2):
    recorders = [cut_http2.dispatch() for _ in range(10)]
    ids = [(await cut_http2.peer.receive_request()).stream_id for _ in recorders]
    for stream_id in ids:
        cut_http2.peer.respond(stream_id, 200, [(b"x-id", b"%d" % stream_id)], end_stream=False)
    for _ in range(20):
        for stream_id in ids:
            cut_http2.peer.send_data(stream_id, b"<%d>" % stream_id)
    for stream_id in ids[::2]:
        cut_http2.peer.send_data(stream_id, b"", end_stream=True)
    for stream_id in ids[1::2]:
        cut_http2.peer.send_headers(stream_id, [("x-sum", str(stream_id))], end_stream=True)
    for recorder, stream_id in zip(recorders, ids, strict=True):
        await recorder.end()
        assert recorder.body == b"<%d>" % stream_id * 20
        assert recorder.head is not None
        assert recorder.head.headers["x-id"] == str(stream_id)
        assert recorder.trailers == ([(b"x-sum", b"%d" % stream_id)] if ids.index(stream_id) % 2 else [])


# Responses that contradict themselves end their stream only.


@pytest.mark.parametrize(
    ("request_", "fields", "parts"),
    [
        (GET, [(b"content-length", b"3")], [b"ok"]),
        (GET, [(b"content-length", b"3")], []),
        (GET, [(b"content-length", b"1")], [b"ok"]),
        (GET, [(b"content-length", b"1")], [b"o", b"k"]),
        (GET, [(b"content-length", b"0")], [b"k"]),
        (GET, [(b"content-length", b"2"), (b"content-length", b"3")], [b"ok"]),
        (GET, [(b"content-length", b"x")], [b"ok"]),
        (GET, [(b"content-length", b"-2")], [b"ok"]),
        (GET, [(b"content-length", b"+2")], [b"ok"]),
        (GET, [(b"content-length", b"2 ")], [b"ok"]),
        (GET, [(b"content-length", b"")], [b"ok"]),
        (GET, [(b"content-length", b"9" * 5000)], [b"ok"]),
        (HEAD, [], [b"k"]),
        (HEAD, [CL2], [b"ok"]),
    ],
)
@pytest.mark.parametrize("status", [200, 404])
async def test_length_that_is_not_kept_fails_its_stream_only(cut_http2, request_, fields, parts, status):
    other, _ = await cut_http2.ask()
    recorder, _ = await cut_http2.ask(request_)
    cut_http2.peer.respond(3, status, fields, end_stream=not parts)
    for part in parts:
        cut_http2.peer.send_data(3, part, end_stream=part is parts[-1])
    await recorder.end()
    assert type(recorder.error) is RemoteProtocolError
    assert "PROTOCOL_ERROR" in str(recorder.error)
    cut_http2.peer.respond(1)
    await other.end()
    assert other.names[-1] == "complete"
    await cut_http2.still_works()


@pytest.mark.parametrize("status", [204, 304])
async def test_content_where_there_is_none_fails_its_stream_only(cut_http2, status):
    recorder, _ = await cut_http2.ask()
    cut_http2.peer.respond(1, status, body=b"content")
    await recorder.end()
    assert type(recorder.error) is RemoteProtocolError
    assert recorder.body == b""
    await cut_http2.still_works()


async def test_fault_before_the_end_resets_the_stream(cut_http2):
    recorder, _ = await cut_http2.ask()
    cut_http2.peer.respond(1, 200, [(b"content-length", b"1")], b"too much", end_stream=False)
    await recorder.end()
    assert await cut_http2.peer.receive_reset(1) is ErrorCodes.PROTOCOL_ERROR
    await cut_http2.still_works()


# What comes before the request has ended.


async def test_echo_whose_body_waits_for_its_own_answer(cut_http2):
    recorder = Recorder()

    async def body():
        for number in range(5):
            yield b"%d" % number
            await recorder.until_body(b"01234"[: number + 1])

    await cut_http2.ask(Request("POST", URL, body=body()), recorder)
    cut_http2.peer.respond(1, end_stream=False)
    while part := await cut_http2.peer.receive_data(1):
        cut_http2.peer.send_data(1, part)
    cut_http2.peer.send_data(1, b"", end_stream=True)
    await recorder.end()
    assert recorder.body == b"01234"
    assert recorder.names[-1] == "complete"
    await cut_http2.still_works()


@pytest.mark.parametrize("reset", [True, False])
async def test_response_before_the_request_body_ends_stops_it_and_keeps_the_connection(cut_http2, reset):
    closed = asyncio.Event()

    async def body():
        try:
            yield b"some"
            await asyncio.Event().wait()
        finally:
            closed.set()

    recorder, _ = await cut_http2.ask(Request("POST", URL, body=body()))
    assert await cut_http2.peer.receive_data(1) == b"some"
    cut_http2.peer.respond(1, 413, body=b"ok")
    if reset:
        cut_http2.peer.reset(1, ErrorCodes.NO_ERROR)  # RFC 9113 8.1
    await recorder.end()
    assert (recorder.statuses, recorder.body, recorder.names[-1]) == ([413], b"ok", "complete")
    await closed.wait()
    await cut_http2.still_works()
    assert "END" not in " ".join(shape(cut_http2.peer))


async def test_response_before_the_first_piece_leaves_the_body_unopened(http2):
    opened = False

    async def body():
        nonlocal opened
        opened = True
        yield b"some"

    client = http2
    recorder = Recorder()
    client.dispatch(Request("POST", URL, body=body), recorder)
    # Before the task that reads the body takes its first step: on a busy machine the server can be that fast.
    block = client.peer.encode_headers([(":status", "413")])
    client.protocol.data_received(len(block).to_bytes(3, "big") + b"\x01\x05\0\0\0\x01" + block)
    assert recorder.names == ["started", "response", "complete"]
    await client.settle()
    assert not opened
    assert shape(client.peer) == ["HEADERS", "RSTSTREAM"]


async def test_head_of_an_early_response_comes_at_once_and_the_upload_goes_on(cut_http2):
    recorder, _ = await cut_http2.ask(Request("POST", URL, body=PUSHED))
    cut_http2.peer.respond(1, 200, [CL2], b"o", end_stream=False)
    await recorder.until("data")
    recorder.exchange.write(b"more")
    recorder.exchange.write_eof()
    assert await cut_http2.peer.receive_body(1) == b"more"
    cut_http2.peer.send_data(1, b"k", end_stream=True)
    await recorder.end()
    assert recorder.names[-1] == "complete"
    await cut_http2.still_works()


async def test_early_response_stops_an_upload_that_no_window_has_room_for(http2):
    given = 0

    async def body():
        nonlocal given
        while True:
            given += 10_000
            yield bytes(10_000)

    http2.peer.auto_credit = False
    recorder, _ = await http2.ask(Request("POST", URL, body=body()))
    http2.peer.respond(1, 413, body=b"ok")
    await recorder.end()
    assert (recorder.statuses, recorder.names[-1]) == ([413], "complete")
    assert given < 300_000
    await http2.still_works()


# Pausing


async def paused_response(client: HTTP2Client, body: bytes) -> Recorder:
    recorder = Recorder()
    recorder.on("response", lambda: recorder.exchange.pause_reading())
    await client.ask(None, recorder)
    client.peer.respond(1, body=body)
    await recorder.until("response")
    await client.settle()
    return recorder


async def test_paused_response_waits_and_others_go_on(cut_http2):
    recorder = await paused_response(cut_http2, b"slow")
    assert recorder.body == b""
    await cut_http2.still_works()
    assert recorder.body == b""
    recorder.exchange.resume_reading()
    assert recorder.body == b""  # who asks for it is not called back at once
    await recorder.end()
    assert recorder.events == [STARTED, final(200), ("data", b"slow"), END]


async def test_paused_response_with_trailers_ends_once_it_was_read(cut_http2):
    recorder = Recorder()
    recorder.on("response", lambda: recorder.exchange.pause_reading())
    await cut_http2.ask(None, recorder)
    cut_http2.peer.respond(1, body=b"slow", trailers=[("x-sum", "1")])
    await recorder.until("response")
    await cut_http2.settle()
    assert not recorder.ended
    recorder.exchange.resume_reading()
    await recorder.end()
    assert recorder.events == [STARTED, final(200), ("data", b"slow"), ("complete", [(b"x-sum", b"1")])]


async def test_paused_response_without_content_ends_all_the_same(cut_http2):
    recorder = Recorder()
    recorder.on("response", lambda: recorder.exchange.pause_reading())
    await cut_http2.ask(None, recorder)
    cut_http2.peer.respond(1)
    await recorder.end()
    assert recorder.names == ["started", "response", "complete"]


async def test_pause_and_resume_in_one_turn_lose_nothing(cut_http2):
    recorder = await paused_response(cut_http2, b"slow")
    for _ in range(3):
        recorder.exchange.resume_reading()
        recorder.exchange.pause_reading()
    await cut_http2.settle()
    assert recorder.body == b""
    recorder.exchange.resume_reading()
    recorder.exchange.resume_reading()
    await recorder.end()
    assert recorder.body == b"slow"


async def test_pause_in_data_received_holds_the_next_piece(cut_http2):
    recorder = Recorder()
    recorder.on("data", lambda: recorder.exchange.pause_reading())
    await cut_http2.ask(None, recorder)
    cut_http2.peer.respond(1, end_stream=False)
    for part in (b"a", b"b", b"c"):
        cut_http2.peer.send_data(1, part, end_stream=part == b"c")
    await recorder.until("data")
    await cut_http2.settle()
    assert recorder.body == b"a"
    while not recorder.ended:
        recorder.exchange.resume_reading()
        await cut_http2.settle()
    assert recorder.body == b"abc"


async def test_abort_of_a_paused_response_gives_its_credit_back(cut_http2):
    recorder = await paused_response(cut_http2, b"x" * 50_000)
    assert cut_http2.protocol.window.waiting == 50_000
    recorder.exchange.abort()
    assert cut_http2.protocol.window.waiting == 0
    await cut_http2.still_works()


async def test_paused_response_survives_the_connection_that_brought_it(cut_http2):
    recorder = await paused_response(cut_http2, b"all there")
    assert cut_http2.protocol.in_flight == 0
    cut_http2.peer.close()
    await cut_http2.protocol.wait_closed()
    recorder.exchange.resume_reading()
    await recorder.end()
    assert recorder.events == [STARTED, final(200), ("data", b"all there"), END]
