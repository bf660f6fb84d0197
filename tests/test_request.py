"""Request: every kind of body, the framing and host fields, and what is refused before a byte is sent."""

from __future__ import annotations

import asyncio
import base64
import gzip
import io
import os
import threading
from collections.abc import AsyncIterator, Callable, Iterable, Iterator
from pathlib import Path
from typing import BinaryIO, cast

import pytest

from httpcore import PUSHED, URL, InvalidURL, LocalProtocolError, Request, UnsupportedProtocol
from httpcore.request import BodyTypes
from httpcore.request_body import iterate_blocking

HTTP = "http://example.org/path?query"
CONTENT = b"Hello, world!"


def fields(request: Request) -> dict[str, str]:
    assert len({name.lower() for name, _ in request.headers}) == len(request.headers)
    return {name.decode().lower(): value.decode() for name, value in request.headers}


async def sent(request: Request) -> bytes:
    return b"".join([bytes(chunk) async for chunk in request.open_body()])


def generator(*chunks: bytes) -> Iterator[bytes]:
    yield from chunks


async def agenerator(*chunks: bytes) -> AsyncIterator[bytes]:
    for chunk in chunks:
        await asyncio.sleep(0)
        yield chunk


class Again:
    """An iterable that can be iterated again, without being a list."""

    def __iter__(self) -> Iterator[bytes]:
        return iter([b"Hello, ", b"world!"])


class AsyncAgain:
    def __aiter__(self) -> AsyncIterator[bytes]:
        return agenerator(b"Hello, ", b"world!")


class Reader:
    """Something with `read`, and nothing else of a file."""

    def __init__(self) -> None:
        self.rest = io.BytesIO(CONTENT)

    def read(self, size: int = -1) -> bytes:
        return self.rest.read(min(size, 5))


# Bytes and text

BYTES: list[tuple[BodyTypes, bytes]] = [
    (CONTENT, CONTENT),
    (bytearray(CONTENT), CONTENT),
    (memoryview(CONTENT), CONTENT),
    (memoryview(b"0123456789")[::3], b"0369"),
    ("Hello, world!", CONTENT),
    ("Grüße, 世界", "Grüße, 世界".encode()),
    (None, b""),
    (b"", b""),
    ("", b""),
    (bytearray(), b""),
]


@pytest.mark.parametrize("body, content", BYTES)
async def test_bytes_and_text_are_content_whose_length_is_said(body: BodyTypes, content: bytes) -> None:
    request = Request("POST", HTTP, body=body)
    assert request.content == content
    assert request.content_length == len(content)
    assert fields(request) == {"host": "example.org", "content-length": str(len(content))}
    assert not request.chunked and not request.peeks and not request.pushed
    assert await sent(request) == await sent(request) == content
    assert request.replayable


async def test_bytearray_changed_later_does_not_change_the_request() -> None:
    body = bytearray(CONTENT)
    request = Request("POST", HTTP, body=body)
    body[:] = b"changed"
    assert await sent(request) == CONTENT


async def test_large_content_comes_in_pieces_and_lets_others_run() -> None:
    request = Request("POST", HTTP, body=bytes(3 * 1024 * 1024 + 1))
    turns = 0

    async def count() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    counting = asyncio.create_task(count())
    sizes = [len(chunk) async for chunk in request.open_body()]
    counting.cancel()
    assert sizes == [65536] * 48 + [1]
    assert turns >= 3


# Streams


STREAMS: dict[str, tuple[Callable[[], BodyTypes], bool]] = {
    # what makes the body; whether it can be sent again
    "list": (lambda: [b"Hello, ", b"world!"], False),
    "tuple of buffers": (lambda: cast("Iterable[bytes]", (bytearray(b"Hello, "), memoryview(b"world!"))), False),
    "iterable": (Again, False),
    "generator": (lambda: generator(b"Hello, ", b"world!"), False),
    "async generator": (lambda: agenerator(b"Hello, ", b"world!"), False),
    "async iterable": (AsyncAgain, False),
    "reader": (Reader, False),
    "gzip file": (lambda: gzip.GzipFile(fileobj=io.BytesIO(gzip.compress(CONTENT))), True),
    "async generator function": (lambda: lambda: agenerator(b"Hello, ", b"world!"), True),
    "generator function": (lambda: lambda: generator(b"Hello, ", b"world!"), True),
    "callable of bytes": (lambda: lambda: CONTENT, True),
    "callable of bytearray": (lambda: lambda: bytearray(CONTENT), True),
    "callable of text": (lambda: lambda: "Hello, world!", True),
    "callable of a list": (lambda: lambda: [CONTENT], True),
    "callable of BytesIO": (lambda: lambda: io.BytesIO(CONTENT), True),
    "callable of a reader": (lambda: Reader, True),
}


@pytest.mark.parametrize("make, again", STREAMS.values(), ids=STREAMS)
async def test_stream_is_chunked_and_sent_again_only_if_it_can_be(make: Callable[[], BodyTypes], again: bool) -> None:
    request = Request("POST", HTTP, body=make())
    assert request.content is None and request.content_length is None
    assert fields(request) == {"host": "example.org", "transfer-encoding": "chunked"}
    assert request.chunked and not request.peeks and not request.pushed
    assert request.replayable  # nobody has started it
    assert await sent(request) == CONTENT
    assert request.replayable is again
    if again:
        assert await sent(request) == CONTENT
    else:
        with pytest.raises(LocalProtocolError, match="is a stream that was sent before; pass a callable instead"):
            request.open_body()


def test_gzip_files_compressed_size_is_not_its_length(tmp_path: Path) -> None:
    path = tmp_path / "content.gz"
    path.write_bytes(gzip.compress(CONTENT))
    with gzip.open(path) as file:
        assert "content-length" not in fields(Request("PUT", HTTP, body=file))
    with gzip.open(path) as file, io.BufferedReader(cast(io.RawIOBase, file)) as buffered:
        assert "content-length" not in fields(Request("PUT", HTTP, body=buffered))


async def test_stream_of_no_chunks_and_of_empty_ones() -> None:
    assert await sent(Request("POST", HTTP, body=[])) == b""
    assert [bytes(chunk) async for chunk in Request("POST", HTTP, body=[b"", b"x", b""]).open_body()] == [
        b"",
        b"x",
        b"",
    ]


@pytest.mark.parametrize("asynchronous", [False, True])
async def test_stream_that_never_waits_lets_others_run(asynchronous: bool) -> None:
    async def chunks() -> AsyncIterator[bytes]:
        for _ in range(64):
            yield bytes(65536)

    request = Request("POST", HTTP, body=chunks() if asynchronous else (bytes(65536) for _ in range(64)))
    turns = 0

    async def count() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    counting = asyncio.create_task(count())
    assert sum([len(chunk) async for chunk in request.open_body()]) == 64 * 65536
    counting.cancel()
    assert turns >= 4


@pytest.mark.parametrize("make", [generator, agenerator])
async def test_generator_is_closed_when_the_body_is_closed_early(make: Callable[..., object]) -> None:
    ended = []

    def once() -> Iterator[bytes]:
        try:
            yield b"first"
            yield b"second"
        finally:
            ended.append("sync")

    async def aonce() -> AsyncIterator[bytes]:
        try:
            yield b"first"
            yield b"second"
        finally:
            await asyncio.sleep(0)
            ended.append("async")

    body: BodyTypes = once() if make is generator else aonce()
    chunks = Request("POST", HTTP, body=body).open_body()
    assert await anext(chunks) == b"first"
    assert ended == []
    await chunks.aclose()  # type: ignore[attr-defined]
    assert ended == ["sync" if make is generator else "async"]


async def test_iterator_that_an_iterable_makes_is_closed_too() -> None:
    ended = []

    class Body:
        async def __aiter__(self) -> AsyncIterator[bytes]:
            try:
                yield b"first"
                yield b"second"
            finally:
                ended.append(True)

    chunks = Request("POST", HTTP, body=Body()).open_body()
    assert await anext(chunks) == b"first"
    await chunks.aclose()  # type: ignore[attr-defined]
    assert ended == [True]


@pytest.mark.parametrize("asynchronous", [False, True])
async def test_iterator_without_close_needs_none(asynchronous: bool) -> None:
    class Chunks:
        def __init__(self) -> None:
            self.left = [b"first", b"second"]

        def __iter__(self) -> Iterator[bytes]:
            return iter(self.left)

    class AsyncChunks(Chunks):
        def __aiter__(self) -> AsyncIterator[bytes]:
            return cast("AsyncIterator[bytes]", self)

        async def __anext__(self) -> bytes:
            if not self.left:
                raise StopAsyncIteration
            return self.left.pop(0)

    request = Request("POST", HTTP, body=AsyncChunks() if asynchronous else Chunks())
    assert await sent(request) == b"firstsecond"


@pytest.mark.parametrize("chunk", ["text", 1, None, [b"bytes"]])
@pytest.mark.parametrize("asynchronous", [False, True])
async def test_chunk_of_another_type_is_refused(chunk: object, asynchronous: bool) -> None:
    wrong = cast(bytes, chunk)
    request = Request("POST", HTTP, body=agenerator(b"fine", wrong) if asynchronous else [b"fine", wrong])
    with pytest.raises(TypeError, match=f"a body gives chunks of bytes, not {type(chunk).__name__}"):
        await sent(request)


async def test_reader_that_reads_text_is_refused() -> None:
    class TextReader:
        def read(self, size: int = -1) -> str:
            return "text"

    with pytest.raises(TypeError, match="a body gives chunks of bytes, not str"):
        await sent(Request("POST", HTTP, body=cast(BinaryIO, TextReader())))


async def test_error_of_the_body_is_raised_as_it_is() -> None:
    def failing() -> Iterator[bytes]:
        yield b"first"
        raise KeyError("mine")

    with pytest.raises(KeyError, match="mine"):
        await sent(Request("POST", HTTP, body=failing()))


@pytest.mark.parametrize("result", [None, 1, PUSHED], ids=repr)
async def test_callable_that_returns_no_body_is_refused(result: object) -> None:
    request = Request("POST", HTTP, body=cast("Callable[[], bytes]", lambda: result))
    with pytest.raises(TypeError, match=f"the body's callable returned {type(result).__name__}, which is no body"):
        await sent(request)


async def test_callable_that_opens_a_text_file_is_refused_and_the_file_closed() -> None:
    file = io.StringIO("text")
    with pytest.raises(TypeError, match="a body gives chunks of bytes, not str"):
        await sent(Request("POST", HTTP, body=cast("Callable[[], bytes]", lambda: file)))
    assert file.closed


@pytest.mark.parametrize("body", [1, 1.5, object(), True], ids=["int", "float", "object", "bool"])
def test_object_that_is_no_body_is_refused(body: object) -> None:
    with pytest.raises(
        TypeError, match=r"a body is bytes, str, a file, an .async. iterable of bytes or a callable, not"
    ):
        Request("POST", HTTP, body=cast(bytes, body))


def test_message_about_a_wrong_body_is_short() -> None:
    class Large:
        def __repr__(self) -> str:
            return "x" * 10_000

    with pytest.raises(TypeError) as caught:
        Request("POST", HTTP, body=cast(bytes, Large()))
    assert len(str(caught.value)) < 200


def test_dict_is_refused_with_advice() -> None:
    with pytest.raises(TypeError, match=r"a dict is no body; encode it first, for example with json.dumps"):
        Request("POST", HTTP, body=cast(bytes, {"a": 1}))


def test_text_file_is_refused_with_advice(tmp_path: Path) -> None:
    (tmp_path / "text").write_text("text")
    with (tmp_path / "text").open() as file, pytest.raises(TypeError, match="text file; open it in binary mode"):
        Request("POST", HTTP, body=cast(bytes, file))
    with pytest.raises(TypeError, match="text file"):
        Request("POST", HTTP, body=cast(bytes, io.StringIO("text")))


# Files


async def test_bytesio_is_sent_from_its_position_and_again() -> None:
    file = io.BytesIO(b"skipped" + CONTENT)
    file.seek(7)
    request = Request("POST", HTTP, body=file)
    assert fields(request)["content-length"] == "13"
    file.seek(0, io.SEEK_END)  # where it was when the request was made is what counts
    assert await sent(request) == await sent(request) == CONTENT
    assert request.replayable
    assert not file.closed


@pytest.mark.parametrize("mode", ["rb", "r+b"])
@pytest.mark.parametrize("buffering", [0, -1])
async def test_file_is_sent_from_its_position_and_again(tmp_path: Path, mode: str, buffering: int) -> None:
    path = tmp_path / "content"
    path.write_bytes(b"skipped" + CONTENT)
    with path.open(mode, buffering=buffering) as file:
        file.seek(7)
        request = Request("POST", HTTP, body=cast(BinaryIO, file))
        assert request.content is None
        assert fields(request) == {"host": "example.org", "content-length": "13"}
        assert request.content_length == 13
        assert await sent(request) == await sent(request) == CONTENT
        assert request.replayable
        assert not file.closed


async def test_file_is_read_in_pieces_and_off_the_loops_thread(tmp_path: Path) -> None:
    threads = set()

    class Watched(io.FileIO):
        def read(self, size: int | None = -1, /) -> bytes:
            threads.add(threading.current_thread())
            return super().read(-1 if size is None else size) or b""

    path = tmp_path / "content"
    path.write_bytes(bytes(150_000))
    with Watched(path) as file:
        request = Request("POST", HTTP, body=file)
        assert fields(request)["content-length"] == "150000"
        assert [len(chunk) async for chunk in request.open_body()] == [65536, 65536, 150_000 - 2 * 65536]
    assert threading.main_thread() not in threads


def test_file_beyond_its_end_has_nothing_to_send(tmp_path: Path) -> None:
    path = tmp_path / "content"
    path.write_bytes(CONTENT)
    with path.open("rb") as file:
        file.seek(100)
        assert fields(Request("POST", HTTP, body=file))["content-length"] == "0"
    in_memory = io.BytesIO(CONTENT)
    in_memory.seek(100)
    assert fields(Request("POST", HTTP, body=in_memory))["content-length"] == "0"


async def test_pipe_is_a_stream_that_can_be_sent_once() -> None:
    reading, writing = os.pipe()
    os.write(writing, CONTENT)
    os.close(writing)
    with os.fdopen(reading, "rb") as file:
        request = Request("POST", HTTP, body=file)
        assert fields(request) == {"host": "example.org", "transfer-encoding": "chunked"}
        assert await sent(request) == CONTENT
        assert not request.replayable


def test_device_that_can_be_sought_has_no_size() -> None:
    with open("/dev/zero", "rb") as file:
        assert "content-length" not in fields(Request("POST", HTTP, body=file))


async def test_seekable_file_without_descriptor_is_rewound_but_has_no_known_size() -> None:
    class Remote(io.RawIOBase):
        """Seekable, and not a file of the system: something in a cloud."""

        def __init__(self) -> None:
            self._inner = io.BytesIO(CONTENT)

        def seekable(self) -> bool:
            return True

        def tell(self) -> int:
            return self._inner.tell()

        def seek(self, position: int, whence: int = 0, /) -> int:
            return self._inner.seek(position, whence)

        def read(self, size: int = -1, /) -> bytes:
            return self._inner.read(size)

    request = Request("POST", HTTP, body=cast(BinaryIO, Remote()))
    assert request.chunked
    assert await sent(request) == await sent(request) == CONTENT
    assert request.replayable


async def test_file_like_that_is_async_is_iterated_and_never_asked_anything() -> None:
    class AsyncFile:
        """As aiofiles has them: every method is a coroutine function."""

        async def seekable(self) -> bool:
            raise AssertionError("must not be called: nobody would await it")

        async def read(self, size: int = -1) -> bytes:
            raise AssertionError("must not be called")

        def __aiter__(self) -> AsyncIterator[bytes]:
            return agenerator(CONTENT)

    assert await sent(Request("POST", HTTP, body=cast("AsyncIterator[bytes]", AsyncFile()))) == CONTENT


@pytest.mark.parametrize("to_the_end", [True, False])
async def test_file_that_a_callable_opens_is_closed(tmp_path: Path, to_the_end: bool) -> None:
    path = tmp_path / "content"
    path.write_bytes(CONTENT)
    opened: list[BinaryIO] = []

    def opener() -> BinaryIO:
        opened.append(path.open("rb"))
        return opened[-1]

    request = Request("POST", HTTP, body=opener)
    if to_the_end:
        assert await sent(request) == await sent(request) == CONTENT
    else:
        chunks = request.open_body()
        await anext(chunks)
        await chunks.aclose()  # type: ignore[attr-defined]
    assert [file.closed for file in opened] == [True] * (2 if to_the_end else 1)


@pytest.mark.parametrize("blocking", [False, True])
@pytest.mark.parametrize("grown", [0, 1, 100_000])
async def test_of_a_file_that_grows_what_was_promised_is_read(tmp_path: Path, grown: int, blocking: bool) -> None:
    content = os.urandom(100_000)
    path = tmp_path / "content"
    path.write_bytes(content)
    with path.open("rb") as file:
        file.seek(10_000)
        request = Request("POST", HTTP, body=file)
        with path.open("ab") as end:
            end.write(bytes(grown))
        for _ in range(2):
            if blocking:
                assert b"".join(iterate_blocking(file, 10_000, request.content_length)) == content[10_000:]
            else:
                assert await sent(request) == content[10_000:]
            assert file.tell() == 100_000


async def test_file_without_a_length_is_read_to_the_end_it_has_then(tmp_path: Path) -> None:
    path = tmp_path / "content"
    path.write_bytes(CONTENT)
    with path.open("rb") as file:
        request = Request("POST", HTTP, {"transfer-encoding": "chunked"}, file)
        with path.open("ab") as end:
            end.write(CONTENT)
        assert await sent(request) == CONTENT + CONTENT


async def test_regular_file_that_says_to_have_no_size_is_read_all_the_same() -> None:
    path = Path("/proc/self/status")
    request = Request("POST", HTTP, {"transfer-encoding": "chunked"}, lambda: path.open("rb"))
    assert (await sent(request)).startswith(b"Name:")


async def test_file_that_was_closed_or_cannot_be_read_fails_when_it_is_sent(tmp_path: Path) -> None:
    path = tmp_path / "content"
    path.write_bytes(CONTENT)
    with path.open("rb") as file:
        request = Request("POST", HTTP, body=file)
    with pytest.raises(ValueError, match="closed file"):
        await sent(request)
    with path.open("wb") as writable, pytest.raises(io.UnsupportedOperation):
        await sent(Request("POST", HTTP, {"transfer-encoding": "chunked"}, writable))


# Pushed


def test_pushed_body_is_chunked_and_not_for_reading() -> None:
    request = Request("POST", HTTP, body=PUSHED)
    assert request.pushed and request.chunked and request.content is None
    assert repr(PUSHED) == "httpcore.PUSHED"
    assert not Request("POST", HTTP).pushed


def test_pushed_body_cannot_be_opened() -> None:
    request = Request("POST", HTTP, body=PUSHED)
    assert not request.replayable
    with pytest.raises(LocalProtocolError, match="the request's body is PUSHED"):
        request.open_body()


# Framing

METHODS_THAT_SELDOM_HAVE_CONTENT = ["GET", "HEAD", "DELETE", "OPTIONS", "TRACE"]
METHODS_THAT_USUALLY_DO = ["POST", "PUT", "PATCH"]


@pytest.mark.parametrize("method", [*METHODS_THAT_SELDOM_HAVE_CONTENT, "PURGE", "get"])
def test_no_body_is_not_framed(method: str) -> None:
    request = Request(method, HTTP)
    assert fields(request) == {"host": "example.org"}
    assert request.content_length is None and not request.peeks


@pytest.mark.parametrize("method", METHODS_THAT_USUALLY_DO)
def test_no_body_is_said_where_one_is_usual(method: str) -> None:
    assert fields(Request(method, HTTP)) == {"host": "example.org", "content-length": "0"}


@pytest.mark.parametrize("method", [*METHODS_THAT_SELDOM_HAVE_CONTENT, *METHODS_THAT_USUALLY_DO, "PURGE"])
def test_bytes_are_framed_whatever_the_method(method: str) -> None:
    assert fields(Request(method, HTTP, body=b"x"))["content-length"] == "1"


@pytest.mark.parametrize("body", [[b"x"], PUSHED, lambda: b"x"])
def test_stream_is_peeked_into_where_content_is_seldom(body: BodyTypes) -> None:
    for method in [*METHODS_THAT_SELDOM_HAVE_CONTENT, *METHODS_THAT_USUALLY_DO, "PURGE"]:
        request = Request(method, HTTP, body=body)
        assert request.chunked
        assert request.peeks is (method in METHODS_THAT_SELDOM_HAVE_CONTENT)


@pytest.mark.parametrize("body", [b"12345", "12345", bytearray(b"12345"), io.BytesIO(b"12345")])
def test_callers_content_length_that_is_right_is_taken_as_it_is(body: BodyTypes) -> None:
    request = Request("POST", HTTP, [("Content-LENGTH", "5")], body)
    assert [pair for pair in request.headers if pair[0] != b"Host"] == [(b"Content-LENGTH", b"5")]
    assert request.content_length == 5 and not request.chunked


@pytest.mark.parametrize("length", ["0", "4", "6", "500000000"])
@pytest.mark.parametrize("body", [b"12345", "12345", io.BytesIO(b"12345")])
def test_callers_content_length_that_is_wrong_is_refused(body: BodyTypes, length: str) -> None:
    with pytest.raises(LocalProtocolError, match=f"the content-length header says {length}, the body has 5"):
        Request("POST", HTTP, {"content-length": length}, body)


@pytest.mark.parametrize("body", [[b"12345"], PUSHED, lambda: b"12345"])
@pytest.mark.parametrize("method", ["GET", "POST"])
def test_callers_content_length_frames_a_stream(method: str, body: BodyTypes) -> None:
    request = Request(method, HTTP, {"content-length": "5"}, body)
    assert request.content_length == 5 and not request.chunked and not request.peeks


@pytest.mark.parametrize("body", [b"12345", b"", None, [b"12345"], PUSHED, io.BytesIO(b"12345")])
@pytest.mark.parametrize("coding", ["chunked", "Chunked"])
@pytest.mark.parametrize("method", ["GET", "POST"])
def test_callers_chunked_frames_any_body(method: str, coding: str, body: BodyTypes) -> None:
    request = Request(method, HTTP, {"transfer-encoding": coding}, body)
    assert fields(request) == {"host": "example.org", "transfer-encoding": coding}
    assert request.chunked and request.content_length is None and not request.peeks


@pytest.mark.parametrize("value", ["five", "-5", "+5", "5,5", "5 5", "0x5", "", "٥".encode(), "5.0", "9" * 5000])
def test_content_length_that_is_no_number_is_refused_briefly(value: str | bytes) -> None:
    with pytest.raises(LocalProtocolError, match="the content-length header is no possible number") as caught:
        Request("POST", HTTP, [("content-length", value)], [b"12345"])
    assert len(str(caught.value)) < 120


@pytest.mark.parametrize("value", ["gzip", "gzip, chunked", "chunked, chunked", "identity", "", "chunkedx", "xchunked"])
def test_transfer_encoding_other_than_chunked_is_refused(value: str) -> None:
    with pytest.raises(LocalProtocolError, match="the only transfer-encoding that can be sent is chunked"):
        Request("POST", HTTP, {"transfer-encoding": value}, [b"x"])


@pytest.mark.parametrize(
    "headers",
    [
        [("content-length", "5"), ("transfer-encoding", "chunked")],
        [("transfer-encoding", "chunked"), ("Content-Length", "5")],
        [("content-length", "5"), ("Content-Length", "5")],
        [("content-length", "5"), ("content-length", "6")],
        [("transfer-encoding", "chunked"), ("Transfer-Encoding", "chunked")],
        [("host", "example.org"), ("Host", "example.org")],
        [("host", "example.org"), ("host", "evil.example")],
    ],
)
def test_fields_that_contradict_each_other_are_refused(headers: list[tuple[str | bytes, str | bytes]]) -> None:
    with pytest.raises(LocalProtocolError, match=r"the headers must not have (two|both)"):
        Request("POST", HTTP, headers, b"12345")


# Expect: 100-continue


@pytest.mark.parametrize(
    "body, value, expects",
    [
        (b"x", "100-continue", True),
        (b"x", "100-Continue", True),
        ([b"x"], "100-continue", True),
        (PUSHED, "100-continue", True),
        (b"", "100-continue", False),
        (None, "100-continue", False),
        (b"x", "200-ok", False),
    ],
)
def test_expect_counts_where_there_is_a_body(body: BodyTypes, value: str, expects: bool) -> None:
    assert Request("POST", HTTP, {"Expect": value}, body).expects_continue is expects
    assert not Request("POST", HTTP, body=body).expects_continue


@pytest.mark.parametrize(
    "value, closes", [("close", True), ("Keep-Alive, CLOSE", True), ("keep-alive", False), ("x-close", False)]
)
def test_connection_close_is_noticed(value: str, closes: bool) -> None:
    assert Request("GET", HTTP, {"Connection": value}).closes is closes
    assert Request("GET", HTTP, [("Connection", value), ("Connection", "x")]).closes is closes
    assert not Request("GET", HTTP).closes


def test_request_knows_what_was_given_and_whether_it_upgrades() -> None:
    request = Request("GET", HTTP, {"UPGRADE": "websocket"})
    assert request.upgrades
    assert request.names == {b"upgrade"}  # not what was added
    assert not Request("GET", HTTP).upgrades


# Host, target and credentials


@pytest.mark.parametrize(
    "url, host, target",
    [
        ("http://example.org", "example.org", "/"),
        ("http://EXAMPLE.org:80/a b", "example.org", "/a%20b"),
        ("https://example.org:443/?q#fragment", "example.org", "/?q"),
        ("http://example.org:443/", "example.org:443", "/"),
        ("https://example.org:80/", "example.org:80", "/"),
        ("http://127.0.0.1:8080/", "127.0.0.1:8080", "/"),
        ("http://[::1]/", "[::1]", "/"),
        ("https://[2001:DB8::1]:8443/x", "[2001:db8::1]:8443", "/x"),
        ("http://bücher.example/", "xn--bcher-kva.example", "/"),
        (b"http://example.org/bytes", "example.org", "/bytes"),
        (URL("http://example.org:8000/url"), "example.org:8000", "/url"),
    ],
)
def test_host_and_target_come_from_the_url(url: str | bytes | URL, host: str, target: str) -> None:
    request = Request("GET", url)
    assert request.headers[0] == (b"Host", host.encode())
    assert request.target == target.encode()


def test_given_host_is_kept_where_it_stands() -> None:
    request = Request("GET", HTTP, [("accept", "*/*"), ("hOST", "virtual.example")])
    assert request.headers == [(b"accept", b"*/*"), (b"hOST", b"virtual.example")]


@pytest.mark.parametrize(
    "url, credentials",
    [
        ("http://user:pass@example.org/", b"user:pass"),
        ("http://user@example.org/", b"user:"),
        ("http://:token@example.org/", b":token"),
        ("http://us%40er:p%3A%2Fss@example.org/", b"us@er:p:/ss"),
        ("http://j%C3%BCrgen:x@example.org/", "jürgen:x".encode()),
    ],
)
def test_user_info_is_sent_as_basic_credentials_and_nowhere_else(url: str, credentials: bytes) -> None:
    request = Request("GET", url)
    assert fields(request) == {
        "host": "example.org",
        "authorization": f"Basic {base64.b64encode(credentials).decode()}",
    }
    assert request.target == b"/"
    assert repr(request) == "<Request GET http://example.org/>"


def test_own_authorization_goes_before_user_info() -> None:
    request = Request("GET", "http://user:pass@example.org/", {"Authorization": "Bearer mine"})
    assert fields(request) == {"host": "example.org", "authorization": "Bearer mine"}


def test_user_with_a_colon_is_refused_without_being_shown() -> None:
    with pytest.raises(InvalidURL, match="the user in the URL has a colon") as caught:
        Request("GET", "http://us%3Aer:secret@example.org/")
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize(
    "url, target, sent_target",
    [
        ("https://example.org/", None, b"example.org:443"),
        ("http://example.org", None, b"example.org:80"),
        ("https://[::1]:8443/", None, b"[::1]:8443"),
        ("http://proxy.example:3128/", "example.org:443", b"example.org:443"),
        ("http://proxy.example:3128/", b"[::1]:443", b"[::1]:443"),
    ],
)
def test_connect_names_its_target_also_in_host(url: str, target: str | bytes | None, sent_target: bytes) -> None:
    request = Request("CONNECT", url, target=target)
    assert request.target == sent_target
    assert request.headers == [(b"Host", sent_target)]
    assert request.content_length is None


@pytest.mark.parametrize("body", [b"x", [b"x"], PUSHED])
def test_connect_with_a_body_is_refused(body: BodyTypes) -> None:
    with pytest.raises(LocalProtocolError, match="a CONNECT request has no body"):
        Request("CONNECT", "http://proxy.example/", body=body, target="example.org:443")


def test_connect_keeps_the_host_it_is_given() -> None:
    request = Request("CONNECT", "http://proxy.example/", {"Host": "example.org"}, target="example.org:443")
    assert request.headers == [(b"Host", b"example.org")]


@pytest.mark.parametrize("protocol", ["websocket", b"websocket"])
def test_extended_connect_names_host_and_path_of_its_url(protocol: str | bytes) -> None:
    request = Request("CONNECT", "https://u:p@example.org:8443/chat?x=1", protocol=protocol)
    assert request.protocol == b"websocket"
    assert request.target == b"/chat?x=1"
    assert request.headers == [(b"Host", b"example.org:8443"), (b"Authorization", b"Basic dTpw")]
    assert request.content_length is None and not request.chunked
    assert Request("CONNECT", HTTP, protocol=protocol, target="/other").target == b"/other"


def test_request_has_no_protocol_unless_it_is_given_and_copies_keep_it() -> None:
    assert Request("GET", HTTP).protocol is None
    assert Request("CONNECT", HTTP).protocol is None
    copy = Request("CONNECT", HTTP, protocol="websocket").with_headers([(b"origin", b"http://a")])
    assert (copy.protocol, copy.target) == (b"websocket", b"/path?query")


@pytest.mark.parametrize("method", ["GET", "POST", "connect"])
def test_protocol_is_for_connect_alone(method: str) -> None:
    with pytest.raises(LocalProtocolError, match=r"protocol is for CONNECT, .* \(RFC 8441 4\)"):
        Request(method, HTTP, protocol="websocket")


def test_protocol_beside_an_upgrade_field_is_refused() -> None:
    with pytest.raises(LocalProtocolError, match="without an upgrade field"):
        Request("CONNECT", HTTP, {"Upgrade": "websocket"}, protocol="websocket")


@pytest.mark.parametrize("protocol", ["", "web socket", "web/socket", "web\r\nsocket", b"\xff", "wébsocket"])
def test_protocol_that_is_no_token_is_refused(protocol: str | bytes) -> None:
    with pytest.raises(LocalProtocolError, match=r"^the protocol '.*' is not a token \(RFC 8441 4\)$"):
        Request("CONNECT", HTTP, protocol=protocol)


@pytest.mark.parametrize("protocol", [1, True, ["websocket"]])
def test_protocol_of_another_type_is_refused(protocol: object) -> None:
    with pytest.raises(TypeError, match=f"^a protocol must be str or bytes, not {type(protocol).__name__}$"):
        Request("CONNECT", HTTP, protocol=protocol)  # type: ignore[arg-type]


@pytest.mark.parametrize("body", [b"x", [b"x"], PUSHED])
def test_extended_connect_with_a_body_is_refused(body: BodyTypes) -> None:
    with pytest.raises(LocalProtocolError, match="a CONNECT request has no body"):
        Request("CONNECT", HTTP, body=body, protocol="websocket")


@pytest.mark.parametrize("target", ["*", b"*", "http://example.org/absolute", "/origin?form"])
def test_given_target_is_sent_as_it_is(target: str | bytes) -> None:
    request = Request("OPTIONS", HTTP, target=target)
    assert request.target == (target if isinstance(target, bytes) else target.encode())
    assert fields(request) == {"host": "example.org"}


@pytest.mark.parametrize("url, error", [("example.org", UnsupportedProtocol), ("http://", InvalidURL)])
def test_bad_url_is_refused(url: str, error: type[Exception]) -> None:
    with pytest.raises(error):
        Request("GET", url)


# Trailers


@pytest.mark.parametrize("body", [b"", None, b"x", [b"x"], PUSHED, io.BytesIO(b"x")])
@pytest.mark.parametrize("method", ["GET", "POST"])
def test_trailers_make_any_body_chunked(method: str, body: BodyTypes) -> None:
    request = Request(method, HTTP, body=body, trailers={"Checksum": "1"})
    assert fields(request) == {"host": "example.org", "transfer-encoding": "chunked"}
    assert request.trailers == [(b"Checksum", b"1")]
    assert not request.peeks  # the head cannot be sent without framing that has room for trailers


def test_trailers_that_are_called_for_are_kept_as_they_are() -> None:
    def trailers() -> dict[str, str]:
        return {"checksum": "1"}

    request = Request("GET", HTTP, trailers=trailers)
    assert request.trailers is trailers
    assert request.chunked


@pytest.mark.parametrize("trailers", [{"checksum": "1"}, lambda: {"checksum": "1"}])
def test_trailers_behind_a_content_length_are_refused(trailers: Callable[[], dict[str, str]]) -> None:
    with pytest.raises(LocalProtocolError, match="trailers need a chunked body, and the headers have a content-length"):
        Request("POST", HTTP, {"content-length": "1"}, b"x", trailers=trailers)


def test_no_trailers_leave_the_framing_alone() -> None:
    assert fields(Request("POST", HTTP, body=b"x", trailers=[]))["content-length"] == "1"


# Sending again


@pytest.mark.parametrize("method", ["GET", "HEAD", "PUT", "DELETE", "OPTIONS", "TRACE"])
def test_idempotent_methods(method: str) -> None:
    assert Request(method, HTTP).idempotent
    assert not Request(method.lower(), HTTP).idempotent  # another method


@pytest.mark.parametrize("method", ["POST", "PATCH", "CONNECT", "PURGE"])
def test_other_methods_are_idempotent_with_a_key_only(method: str) -> None:
    assert not Request(method, HTTP).idempotent
    assert Request(method, HTTP, {"Idempotency-Key": "1"}).idempotent


# with_headers


async def test_copy_with_more_headers_leaves_the_original_alone() -> None:
    original = Request("POST", HTTP, {"X-One": "1"}, b"body", trailers={"checksum": "1"})
    before = list(original.headers)
    copy = original.with_headers([(b"X-Two", b"2")])
    assert original.headers == before
    assert copy.headers == [*before, (b"X-Two", b"2")]
    for name in Request.__slots__:
        if name != "headers":
            assert getattr(copy, name) == getattr(original, name)
    assert await sent(copy) == await sent(original) == b"body"


@pytest.mark.parametrize("first", ["copy", "original"])
async def test_copy_and_original_share_a_one_shot_body(first: str) -> None:
    original = Request("POST", HTTP, body=generator(CONTENT))
    copy = original.with_headers([])
    one, other = (copy, original) if first == "copy" else (original, copy)
    assert await sent(one) == CONTENT
    assert not other.replayable
    with pytest.raises(LocalProtocolError, match="was sent before"):
        other.open_body()


# Smuggling

CONTROLS = ["\r", "\n", "\r\n", "\x00", "\r\nX: y", "\x0b", "\x7f"]


def variants(bad: str, *templates: str) -> Iterator[str | bytes]:
    """Yields each template with `bad` in its place, as text and as bytes."""
    for template in templates:
        text = template.format(bad)
        yield from (text, text.encode())


@pytest.mark.parametrize("bad", [*CONTROLS, " ", "\t", ":", "é"])
def test_method_that_could_end_the_line_is_refused(bad: str) -> None:
    for method in variants(bad, "G{}ET", "{}GET", "GET{}"):
        with pytest.raises(LocalProtocolError, match="is not a token"):
            Request(method, HTTP)


def test_empty_method_is_refused() -> None:
    with pytest.raises(LocalProtocolError, match="is not a token"):
        Request("", HTTP)


@pytest.mark.parametrize("bad", [*CONTROLS, " ", "\t", "é"])
@pytest.mark.parametrize("method", ["GET", "CONNECT", "OPTIONS"])
def test_target_that_could_end_the_line_is_refused(method: str, bad: str) -> None:
    for target in variants(bad, "/a{}b", "{}/", "/{}"):
        with pytest.raises(LocalProtocolError, match="the request target has the byte"):
            Request(method, HTTP, target=target)


def test_empty_target_is_refused() -> None:
    with pytest.raises(LocalProtocolError, match="the request target is empty"):
        Request("GET", HTTP, target="")


@pytest.mark.parametrize("bad", CONTROLS)
def test_url_that_could_end_the_line_is_refused(bad: str) -> None:
    for where in variants(bad, "http://example.org/a{}b", "http://exa{}mple.org/", "http://u{}ser@example.org/"):
        with pytest.raises(InvalidURL):
            Request("GET", where)


def with_field(kind: str, name: str | bytes, value: str | bytes) -> Request:
    pairs = [(name, value)]
    return Request("POST", HTTP, pairs) if kind == "headers" else Request("POST", HTTP, trailers=pairs)


@pytest.mark.parametrize("kind", ["headers", "trailers"])
@pytest.mark.parametrize("bad", [*CONTROLS, " ", "\t", ":", "é", "("])
def test_name_that_could_end_the_line_is_refused(kind: str, bad: str) -> None:
    for name in variants(bad, "X{}Y", "{}X", "X{}"):
        with pytest.raises(LocalProtocolError, match="is not a token"):
            with_field(kind, name, b"value")


@pytest.mark.parametrize("kind", ["headers", "trailers"])
@pytest.mark.parametrize("bad", CONTROLS)
def test_value_that_could_end_the_line_is_refused(kind: str, bad: str) -> None:
    for name in ("X-Field", "Host", "Content-Length", "Transfer-Encoding"):
        for value in variants(bad, "a{}b", "{}b", "a{}", "a{} b"):
            with pytest.raises(LocalProtocolError, match="has a control character"):
                with_field(kind, name, value)


@pytest.mark.parametrize("name", ["Content-Length", "Transfer-Encoding", "Host", "Authorization", "Trailer"])
def test_field_that_must_come_first_is_refused_in_trailers(name: str) -> None:
    with pytest.raises(LocalProtocolError, match="is not allowed in trailers"):
        Request("POST", HTTP, trailers={name: "x"})


@pytest.mark.parametrize("method", ["GET", "get", "PROPFIND", "M-SEARCH", b"X!#$%&'*+.^_`|~"])
def test_any_token_is_a_method_and_keeps_its_case(method: str | bytes) -> None:
    assert Request(method, HTTP).method == (method.encode() if isinstance(method, str) else method)
