"""What HTTP2Protocol writes: fields, and frame by frame what follows them."""

from __future__ import annotations

import array
import asyncio
import io
from collections.abc import Iterable

import pytest
from h2.errors import ErrorCodes
from h2.settings import SettingCodes
from hpack import NeverIndexedHeaderTuple

from httpcore.exceptions import LocalProtocolError, ResponseClosed
from httpcore.request import PUSHED, BodyTypes, Request
from httpcore.testing import HTTP2Peer
from tests.protocols.http2_script import HTTP2Client, shape
from tests.protocols.recording import URL, Recorder


def request(method: str = "POST", headers=(), body: BodyTypes = b"", **options) -> Request:
    return Request(method, URL, headers, body, **options)


async def chunks(*parts: bytes):
    for part in parts:
        await asyncio.sleep(0)
        yield part


def head(method: bytes, *fields: tuple[bytes, bytes], path: bytes = b"/path?query") -> list[tuple[bytes, bytes]]:
    pseudo = [(b":method", method), (b":scheme", b"http"), (b":authority", b"example.org"), (b":path", path)]
    return pseudo + list(fields)


BIG = bytes(range(256)) * 1000  # over 64 KiB
FIVE = (b"content-length", b"5")

# name: (what makes it, its fields, its body, its trailers, its frames)
REQUESTS = {
    "GET": (lambda: request("GET"), head(b"GET"), b"", [], ["HEADERS END"]),
    "HEAD": (lambda: request("HEAD"), head(b"HEAD"), b"", [], ["HEADERS END"]),
    "OPTIONS of the server": (
        lambda: request("OPTIONS", target=b"*"),
        head(b"OPTIONS", path=b"*"),
        b"",
        [],
        ["HEADERS END"],
    ),
    "a target of the caller's": (
        lambda: request("GET", target=b"/other?"),
        head(b"GET", path=b"/other?"),
        b"",
        [],
        ["HEADERS END"],
    ),
    "a method of one's own, in its case": (lambda: request("bReW"), head(b"bReW"), b"", [], ["HEADERS END"]),
    "POST without a body": (
        lambda: request(),
        head(b"POST", (b"content-length", b"0")),
        b"",
        [],
        ["HEADERS END"],
    ),
    "POST of bytes": (lambda: request(body=b"hello"), head(b"POST", FIVE), b"hello", [], ["HEADERS", "DATA 5 END"]),
    "GET of bytes": (
        lambda: request("GET", body=b"hello"),
        head(b"GET", FIVE),
        b"hello",
        [],
        ["HEADERS", "DATA 5 END"],
    ),
    "bytes over a frame": (
        lambda: request(body=BIG[:20_000]),
        head(b"POST", (b"content-length", b"20000")),
        BIG[:20_000],
        [],
        ["HEADERS", "DATA 16384", "DATA 3616 END"],
    ),
    "bytes that fill a frame": (
        lambda: request(body=BIG[:16384]),
        head(b"POST", (b"content-length", b"16384")),
        BIG[:16384],
        [],
        ["HEADERS", "DATA 16384 END"],
    ),
    "a file in memory": (
        lambda: request("PUT", body=io.BytesIO(b"hello")),
        head(b"PUT", FIVE),
        b"hello",
        [],
        None,
    ),
    "a stream": (
        lambda: request(body=chunks(b"hel", b"", b"lo" * 10)),
        head(b"POST"),
        b"hel" + b"lo" * 10,
        [],
        ["HEADERS", "DATA 3", "DATA 20", "DATA 0 END"],
    ),
    "a stream that cannot wait": (
        lambda: request(body=iter([b"a", b"b"])),
        head(b"POST"),
        b"ab",
        [],
        None,
    ),
    "a stream of a known length": (
        lambda: request(headers={"Content-Length": "5"}, body=chunks(b"hel", b"lo")),
        head(b"POST", FIVE),
        b"hello",
        [],
        None,
    ),
    "a stream that the caller framed": (
        lambda: request(headers={"Transfer-Encoding": "chunked"}, body=chunks(b"a")),
        head(b"POST"),
        b"a",
        [],
        None,
    ),
    "an empty stream for POST": (lambda: request(body=chunks()), head(b"POST"), b"", [], ["HEADERS", "DATA 0 END"]),
    "a stream for GET": (
        lambda: request("GET", body=chunks(b"", b"a", b"b")),
        head(b"GET"),
        b"ab",
        [],
        ["HEADERS", "DATA 1", "DATA 1", "DATA 0 END"],
    ),
    "an empty stream for GET": (
        lambda: request("GET", body=chunks(b"", b"")),
        head(b"GET"),
        b"",
        [],
        ["HEADERS END"],
    ),
    "an empty stream for GET that was to be announced": (
        lambda: request("GET", {"Expect": "100-continue", "X": "y"}, chunks()),
        head(b"GET", (b"x", b"y")),
        b"",
        [],
        ["HEADERS END"],
    ),
    "trailers behind bytes": (
        lambda: request(body=b"hello", trailers=[("X-Sum", "1"), ("x-sum", "2")]),
        head(b"POST"),
        b"hello",
        [(b"x-sum", b"1"), (b"x-sum", b"2")],
        ["HEADERS", "DATA 5", "HEADERS END"],
    ),
    "trailers that are known at the end": (
        lambda: request("GET", body=chunks(b"a"), trailers=lambda: {"X-Sum": "1"}),
        head(b"GET"),
        b"a",
        [(b"x-sum", b"1")],
        ["HEADERS", "DATA 1", "HEADERS END"],
    ),
    "trailers that turn out to be none": (
        lambda: request(body=b"hello", trailers=dict),
        head(b"POST"),
        b"hello",
        [],
        None,
    ),
    "trailers behind nothing": (
        lambda: request("GET", body=chunks(), trailers={"X-Sum": "1"}),
        head(b"GET"),
        b"",
        [(b"x-sum", b"1")],
        ["HEADERS", "HEADERS END"],
    ),
    "trailers behind no bytes": (
        lambda: request(trailers={"X-Sum": "1"}),
        head(b"POST"),
        b"",
        [(b"x-sum", b"1")],
        ["HEADERS", "HEADERS END"],
    ),
    "a memoryview of numbers": (
        lambda: request(body=chunks(memoryview(array.array("H", [1, 2, 3])))),  # type: ignore[arg-type]
        head(b"POST"),
        array.array("H", [1, 2, 3]).tobytes(),
        [],
        None,
    ),
}


@pytest.mark.parametrize("case", REQUESTS)
async def test_request_on_the_wire(cut_http2, case):
    make, fields, body, trailers, frames = REQUESTS[case]
    recorder, incoming = await cut_http2.ask(make())
    assert incoming.fields == fields
    assert await cut_http2.peer.receive_body(1) == body
    assert await cut_http2.peer.receive_trailers(1) == trailers
    cut_http2.peer.respond(1)
    await recorder.end()
    assert recorder.names == ["started", "response", "complete"]
    assert frames is None or shape(cut_http2.peer) == frames
    assert recorder.exchange.stream_id == 1
    assert cut_http2.protocol.available == 100


async def test_body_larger_than_every_window_arrives_whole_and_in_order(cut_http2):
    recorder = cut_http2.dispatch(request(body=BIG))
    assert await cut_http2.peer.receive_body(1) == BIG
    assert shape(cut_http2.peer)[-1].endswith(" END")
    assert "DATA 0 END" not in shape(cut_http2.peer)
    cut_http2.peer.respond(1)
    await recorder.end()


async def test_streamed_body_larger_than_every_window_arrives_whole_and_in_order(http2):
    recorder = http2.dispatch(request(body=chunks(*[BIG[:50_000]] * 20)))
    assert await http2.peer.receive_body(1) == BIG[:50_000] * 20
    http2.peer.respond(1)
    await recorder.end()


async def test_file_on_disk_is_sent_from_where_it_stands(http2, tmp_path):
    path = tmp_path / "file"
    path.write_bytes(b"skipped" + BIG)
    with path.open("rb") as file:
        file.seek(7)
        recorder = http2.dispatch(request("PUT", body=file))
        assert await http2.peer.receive_body(1) == BIG
    http2.peer.respond(1)
    await recorder.end()


async def test_request_with_a_small_body_is_one_write(http2):
    pieces: list[bytes] = []
    data_received = http2.peer.data_received

    def note(data: bytes) -> None:
        pieces.append(data)
        data_received(data)

    http2.peer.data_received = note
    recorder = http2.dispatch(request(body=b"hello"))
    await http2.peer.receive_body(1)
    assert len(pieces) == 1
    http2.peer.respond(1)
    await recorder.end()


# Fields


async def fields_of(client: HTTP2Client, headers: Iterable, **options) -> list[tuple[bytes, bytes]]:
    recorder, incoming = await client.ask(request("GET", headers, **options))
    client.peer.respond(incoming.stream_id)
    await recorder.end()
    return incoming.headers


async def test_names_are_lower_case_and_order_and_values_are_kept(cut_http2):
    headers = [(b"zeta", b"1"), (b"ALPHA", b"2"), (b"zeta", b"3"), (b"X-Odd", b" \xff;\t~ "), (b"Empty", b"")]
    assert await fields_of(cut_http2, headers) == [
        (b"zeta", b"1"),
        (b"alpha", b"2"),
        (b"zeta", b"3"),
        (b"x-odd", b"\xff;\t~"),
        (b"empty", b""),
    ]


@pytest.mark.parametrize(
    ("url", "headers", "authority"),
    [
        ("http://example.org/", (), b"example.org"),
        ("http://example.org:8080/", (), b"example.org:8080"),
        ("http://example.org/", {"HoSt": "other:1234"}, b"other:1234"),
        ("http://[::1]:8080/", (), b"[::1]:8080"),
    ],
)
async def test_host_becomes_authority(http2, url, headers, authority):
    recorder, incoming = await http2.ask(Request("GET", url, headers))
    assert incoming.authority == authority
    assert incoming.headers == []
    http2.peer.respond(1)
    await recorder.end()


@pytest.mark.parametrize(
    ("headers", "sent"),
    [
        ([("Connection", "keep-alive")], []),
        ([("Connection", "close")], []),
        ([("Keep-Alive", "timeout=5")], []),
        ([("Proxy-Connection", "keep-alive")], []),
        ([("Connection", "x-one, X-Two ,,"), ("x-one", "1"), ("X-TWO", "2"), ("x-three", "3")], [(b"x-three", b"3")]),
        ([("Connection", "a"), ("Connection", "b"), ("a", "1"), ("b", "2"), ("c", "3")], [(b"c", b"3")]),
        ([("HTTP2-Settings", "AAMAAABk")], []),
        ([("TE", "trailers")], [(b"te", b"trailers")]),
        ([("TE", "Trailers")], [(b"te", b"trailers")]),
        ([("TE", "gzip")], []),
        ([("TE", "trailers, gzip")], [(b"te", b"trailers")]),
        ([("Connection", "te"), ("TE", "trailers")], []),
    ],
)
async def test_connection_specific_fields_are_removed(http2, headers, sent):
    assert await fields_of(http2, headers) == sent


async def test_upgrade_is_refused_and_nothing_is_sent(http2):
    headers = {"Upgrade": "h2c", "Connection": "upgrade, http2-settings", "HTTP2-Settings": "AAMAAABk"}
    recorder = http2.dispatch(Request("GET", URL, headers))
    await recorder.end()
    assert isinstance(recorder.error, LocalProtocolError)
    assert "HTTP/2 has no upgrade" in str(recorder.error)
    assert http2.protocol.in_flight == 0
    await http2.still_works()


async def test_close_asked_for_leaves_the_connection_to_others(http2):
    await fields_of(http2, {"Connection": "close"})
    await http2.still_works()


async def test_secrets_are_never_indexed(http2):
    headers = [
        ("Authorization", "Bearer x"),
        ("Proxy-Authorization", "Basic eA=="),
        ("Cookie", "short=1"),
        ("X-Other", "y"),
    ]
    for _ in range(2):
        sent = await fields_of(http2, headers)
        assert [isinstance(field, NeverIndexedHeaderTuple) for field in sent] == [True, True, True, False]


async def test_credentials_of_the_url_are_never_indexed(http2):
    recorder, incoming = await http2.ask(Request("GET", "http://user:password@example.org/"))
    assert incoming.headers == [(b"authorization", b"Basic dXNlcjpwYXNzd29yZA==")]
    assert isinstance(incoming.headers[0], NeverIndexedHeaderTuple)
    assert incoming.authority == b"example.org"
    http2.peer.respond(1)
    await recorder.end()


async def test_cookies_arrive_in_order(http2):
    sent = await fields_of(http2, [("Cookie", "a=1; b=2"), ("X", "y"), ("Cookie", "c=" + "3" * 100)])
    crumbs = b"; ".join(value for name, value in sent if name == b"cookie").split(b"; ")
    assert crumbs == [b"a=1", b"b=2", b"c=" + b"3" * 100]


async def test_head_over_a_frame_is_continued(cut_http2):
    headers = [(f"x-{number}", chr(ord("a") + number) * 4000) for number in range(12)]
    assert await fields_of(cut_http2, headers) == [(name.encode(), value.encode()) for name, value in headers]
    frames = shape(cut_http2.peer)
    assert frames[0] == "HEADERS END"
    assert frames[1:] == ["CONTINUATION"] * (len(frames) - 1) != []
    assert all(frame.body_len <= 16384 for frame in cut_http2.peer.frames)


@pytest.mark.parametrize("target", [b"http://example.org/", b"example.org:80"])
async def test_target_that_is_no_path_is_refused_and_harms_nothing(http2, target):
    recorder = http2.dispatch(request("GET", target=target))
    await recorder.end()
    assert type(recorder.error) is LocalProtocolError
    assert not recorder.error.request_sent
    await http2.still_works()
    assert recorder.exchange.stream_id is None


@pytest.mark.parametrize(
    ("pair", "error"),
    [
        ((b"x", b"a\r\nsmuggled: b"), LocalProtocolError),
        ((b"x", b"a\nsmuggled: b"), LocalProtocolError),
        ((b"x", b"a\rb"), LocalProtocolError),
        ((b"x", b"a\0b"), LocalProtocolError),
        ((b"x: y\r\nsmuggled", b"b"), LocalProtocolError),
        ((b":path", b"/other"), LocalProtocolError),
        ((b":path\0", b"/other"), LocalProtocolError),
        ((b"", b"b"), LocalProtocolError),
        ((b"host", b"a\r\nb"), LocalProtocolError),
        (("x", "y"), TypeError),
        (5, TypeError),
    ],
)
@pytest.mark.parametrize("method", ["POST", "GET"])
async def test_header_that_was_put_into_the_list_cannot_smuggle(http2, method, pair, error):
    """`Request` checks what it is made from; what is put into `Request.headers` afterwards it does not see."""
    changed = request(method, body=lambda: iter([b"a"]))
    changed.headers.append(pair)
    recorder = http2.dispatch(changed)
    await recorder.end()
    assert type(recorder.error) is error
    await http2.still_works()
    assert [type(event).__name__ for event in http2.peer.events].count("RequestReceived") == 1


# Bodies


@pytest.mark.parametrize(
    "parts", [(b"hel", b"lo!"), (b"hello!",), (b"hell",), (), (b"hello", b"!")], ids=lambda parts: b"|".join(parts)
)
async def test_stream_that_does_not_fit_its_length_fails_and_resets_the_stream(cut_http2, parts):
    recorder = cut_http2.dispatch(request(headers={"Content-Length": "5"}, body=chunks(*parts)))
    await recorder.end()
    assert type(recorder.error) is LocalProtocolError
    assert recorder.error.request_sent
    assert await cut_http2.peer.receive_reset(1) is ErrorCodes.CANCEL
    assert "END" not in " ".join(shape(cut_http2.peer))
    assert b"!" not in b"".join(getattr(frame, "data", b"") for frame in cut_http2.peer.frames[1:])
    await cut_http2.still_works()


@pytest.mark.parametrize("pushed", [[b"hello", b"!"], [b"hello!"]])
async def test_pushing_more_than_the_length_is_told_to_the_caller_as_well(http2, pushed):
    recorder = http2.dispatch(request(headers={"Content-Length": "5"}, body=PUSHED))
    for data in pushed[:-1]:
        recorder.exchange.write(data)
    with pytest.raises(LocalProtocolError, match="content-length"):
        recorder.exchange.write(pushed[-1])
    assert type(recorder.error) is LocalProtocolError
    assert await http2.peer.receive_reset(1) is ErrorCodes.CANCEL
    await http2.still_works()


async def test_pushing_less_than_the_length_is_told_to_the_caller_as_well(http2):
    recorder = http2.dispatch(request(headers={"Content-Length": "5"}, body=PUSHED))
    recorder.exchange.write(b"hell")
    with pytest.raises(LocalProtocolError):
        recorder.exchange.write_eof()
    assert type(recorder.error) is LocalProtocolError
    assert await http2.peer.receive_reset(1) is ErrorCodes.CANCEL
    await http2.still_works()


async def test_body_that_raises_fails_with_its_error_and_resets_the_stream(http2):
    error = ValueError("from the body")

    async def body():
        yield b"some"
        raise error

    recorder = http2.dispatch(request(body=body()))
    await recorder.end()
    assert recorder.error is error
    assert await http2.peer.receive_reset(1) is ErrorCodes.CANCEL
    assert await http2.peer.receive_data(1) == b"some"
    await http2.still_works()


@pytest.mark.parametrize("body", [b"hello", lambda: chunks(b"hello")], ids=["bytes", "stream"])
async def test_trailers_that_raise_fail_with_their_error_and_reset_the_stream(http2, body):
    error = ValueError("from the trailers")

    def trailers():
        raise error

    recorder = http2.dispatch(request(body=body, trailers=trailers))
    await recorder.end()
    assert recorder.error is error
    assert await http2.peer.receive_reset(1) is ErrorCodes.CANCEL
    assert "END" not in " ".join(shape(http2.peer))
    await http2.still_works()


@pytest.mark.parametrize("body", [b"x" * 300_000, lambda: chunks(*[b"x" * 30_000] * 10)], ids=["bytes", "stream"])
async def test_body_waits_for_a_transport_that_is_full(connect_http2, body):
    client = await connect_http2(HTTP2Peer({SettingCodes.INITIAL_WINDOW_SIZE: 10**6}), capacity=1000)
    client.peer.credit(10**6)
    await client.settle()
    client.peer.pause()
    recorder = client.dispatch(request(body=body))
    for _ in range(100):
        await asyncio.sleep(0)
    assert 64 * 1024 < client.transport.get_write_buffer_size() < 256 * 1024  # of which there would be more
    client.peer.resume()
    assert await client.peer.receive_body(1) == b"x" * 300_000
    client.peer.respond(1)
    await recorder.end()


async def test_stream_that_was_sent_before_fails_before_anything_is_sent_twice(http2):
    sent = request(body=chunks(b"a"))
    recorder = await http2.answer(sent)
    assert recorder.names[-1] == "complete"
    again = await http2.dispatch(sent).end()
    assert type(again.error) is LocalProtocolError
    await http2.still_works()


@pytest.mark.parametrize("when", ["at the start", "later"])
@pytest.mark.parametrize(
    ("method", "headers", "parts", "trailers", "frames"),
    [
        ("POST", (), [b"a", b"", bytearray(b"bc")], (), ["HEADERS", "DATA 1", "DATA 2", "DATA 0 END"]),
        ("POST", (), [], (), ["HEADERS", "DATA 0 END"]),
        ("POST", (), [b"a"], {"X-Sum": "1"}, ["HEADERS", "DATA 1", "HEADERS END"]),
        ("POST", {"Content-Length": "3"}, [b"a", b"bc"], (), None),
        ("POST", {"Content-Length": "0"}, [], (), None),
        ("GET", (), [b"a"], (), None),
        ("GET", (), [], (), ["HEADERS END"]),
        ("GET", (), [], {"X-Sum": "1"}, ["HEADERS", "HEADERS END"]),
    ],
)
async def test_pushed_body_on_the_wire(cut_http2, when, method, headers, parts, trailers, frames):
    recorder = Recorder()

    def push() -> None:
        for part in parts:
            recorder.exchange.write(part)
        recorder.exchange.write_eof(trailers)

    if when == "at the start":
        recorder.on("started", push)
    cut_http2.dispatch(request(method, headers, PUSHED), recorder)
    if when == "later":
        push()
    assert await cut_http2.peer.receive_body(1) == b"".join(parts)
    assert await cut_http2.peer.receive_trailers(1) == [(b"x-sum", b"1")] * bool(trailers)
    cut_http2.peer.respond(1)
    await recorder.end()
    assert recorder.names == ["started", "response", "complete"]
    if frames is not None and when == "later":
        assert shape(cut_http2.peer) == frames
    assert cut_http2.protocol.available == 100


async def test_head_of_a_pushed_get_waits_for_the_first_byte(http2):
    recorder = http2.dispatch(request("GET", body=PUSHED))
    recorder.exchange.write(b"")
    await http2.settle()
    assert shape(http2.peer) == []
    recorder.exchange.write(b"a")
    assert (await http2.peer.receive_request()).fields == head(b"GET")
    recorder.exchange.abort()


async def test_who_pushes_is_told_when_the_windows_are_full_and_when_they_open(http2):
    http2.peer.auto_credit = False
    recorder, _ = await http2.ask(request(body=PUSHED))
    recorder.exchange.write(bytes(65535))
    assert not recorder.writing_paused
    recorder.exchange.write(bytes(70_000))
    assert recorder.writing_paused
    recorder.exchange.write_eof()
    http2.peer.credit(70_000, 1)
    http2.peer.credit(70_000)
    assert len(await http2.peer.receive_body(1)) == 135_535
    assert recorder.names == ["started", "pause_writing", "resume_writing"]
    http2.peer.respond(1)
    await recorder.end()


async def test_buffer_that_was_pushed_may_be_used_again(http2):
    recorder = http2.dispatch(request(body=PUSHED))
    recorder.exchange.write(bytes(65535))  # what follows has to wait
    buffer = bytearray(b"hello")
    recorder.exchange.write(buffer)
    buffer[:] = b"other"
    recorder.exchange.write(memoryview(buffer))
    buffer[:] = b"third"
    recorder.exchange.write_eof()
    assert (await http2.peer.receive_body(1))[65535:] == b"helloother"
    http2.peer.respond(1)
    await recorder.end()


async def test_write_to_a_request_with_a_body_of_its_own_is_refused(http2):
    recorder, _ = await http2.ask(request(body=b"hello"))
    with pytest.raises(LocalProtocolError, match="PUSHED"):
        recorder.exchange.write(b"more")
    with pytest.raises(LocalProtocolError, match="PUSHED"):
        recorder.exchange.write_eof()
    http2.peer.respond(1)
    await recorder.end()
    assert recorder.names[-1] == "complete"


async def test_write_after_write_eof_is_refused_and_harms_nothing(http2):
    recorder, _ = await http2.ask(request(body=PUSHED))
    recorder.exchange.write_eof()
    with pytest.raises(LocalProtocolError, match="ended already"):
        recorder.exchange.write(b"more")
    with pytest.raises(LocalProtocolError, match="ended already"):
        recorder.exchange.write_eof()
    http2.peer.respond(1)
    await recorder.end()
    assert recorder.names[-1] == "complete"


async def test_body_with_a_length_may_have_trailers(http2):
    recorder = http2.dispatch(request(headers={"Content-Length": "1"}, body=PUSHED))
    recorder.exchange.write(b"a")
    recorder.exchange.write_eof({"X-Sum": "1"})
    assert await http2.peer.receive_trailers(1) == [(b"x-sum", b"1")]
    http2.peer.respond(1)
    await recorder.end()


async def test_calls_after_the_end_are_ignored(http2):
    recorder = http2.dispatch(request(body=PUSHED))
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
    assert await http2.peer.receive_reset(1) is ErrorCodes.CANCEL
    assert shape(http2.peer) == ["HEADERS", "RSTSTREAM"]
    await http2.still_works()


async def test_abort_in_started_sends_nothing(http2):
    recorder = Recorder()
    http2.dispatch(request(body=b"hello"), recorder.on("started", lambda: recorder.exchange.abort()))
    assert recorder.names == ["started", "failed"]
    await http2.still_works()
    assert shape(http2.peer) == ["HEADERS END"]  # of the request that still_works sends


async def test_next_request_on_the_connection_is_like_the_first(cut_http2):
    for number in range(3):
        recorder, incoming = await cut_http2.ask(request(body=b"hello"))
        assert incoming.fields == head(b"POST", FIVE)
        assert await cut_http2.peer.receive_body(incoming.stream_id) == b"hello"
        cut_http2.peer.respond(incoming.stream_id, body=b"ok")
        await recorder.end()
        assert recorder.body == b"ok"
        assert recorder.exchange.stream_id == incoming.stream_id == 2 * number + 1
        assert cut_http2.protocol.reused


async def test_request_goes_out_before_the_servers_settings_came(connect_http2):
    client = await connect_http2(settled=False)
    recorder, incoming = await client.ask(request(body=b"hello"))
    assert incoming.stream_id == 1
    client.peer.respond(1)
    await recorder.end()


async def test_client_announces_itself_and_refuses_push(http2):
    settings = await http2.peer.receive_settings()
    assert http2.peer.received.startswith(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")
    assert settings[0x2] == 0  # ENABLE_PUSH
    assert settings[0x4] == http2.protocol.config.stream_window  # INITIAL_WINDOW_SIZE
    await http2.settle()
    assert http2.peer.h2.outbound_flow_control_window >= http2.protocol.config.connection_window
    assert [type(frame).__name__ for frame in http2.peer.frames[:3]] == [
        "SettingsFrame",
        "WindowUpdateFrame",
        "SettingsFrame",
    ]
