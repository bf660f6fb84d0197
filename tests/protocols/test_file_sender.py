"""A file that is sent past the transport: what the server receives, and every way in which that can end."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import gc
import io
import os
import random
import resource
import socket
import struct
import threading
import warnings
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import BinaryIO

import pytest
import uvloop

import httpcore
from httpcore.config import TimeoutConfig
from httpcore.exceptions import (
    LocalProtocolError,
    ReadError,
    RemoteProtocolError,
    ResponseClosed,
    TotalTimeout,
    WriteError,
    WriteTimeout,
)
from httpcore.protocols import HTTP11Protocol
from httpcore.request import Request
from httpcore.sync.loop_thread import loop_thread
from httpcore.testing import HTTP11Peer, ScriptedPeer
from httpcore.trace import BodySent, TraceEvent
from tests.clock import turns, until
from tests.protocols.loops import on_every_loop
from tests.protocols.recording import Recorder, response

URL = "http://localhost/path"
OK = response(b"Content-Length: 2", body=b"ok")
CONTENT = random.Random(1).randbytes(8_000_000)  # more than the buffers of a connection hold
SIZE = len(CONTENT)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A file with CONTENT."""
    path = tmp_path / "content"
    path.write_bytes(CONTENT)
    return path


@pytest.fixture(autouse=True)
def _descriptors() -> Iterator[None]:
    """Fails a test after which a descriptor is left open."""
    uvloop.new_event_loop().close()  # the first one leaves two descriptors of its own
    loop_thread()  # as does that of blocking calls, which is there to stay
    gc.collect()
    before = open_descriptors()
    yield
    gc.collect()
    assert open_descriptors() <= before


def open_descriptors() -> set[str]:
    """Returns the numbers of those that are open, but for one that each of uvloop's loops has once it has a stream."""
    found = set()
    for number in os.listdir("/proc/self/fd"):
        with contextlib.suppress(FileNotFoundError):  # that of the listing itself
            if os.readlink(f"/proc/self/fd/{number}") != os.devnull:
                found.add(number)
    return found


class Calls:
    """The calls of `os.sendfile`: how many there were, and what happens in which.

    Attributes:
        sizes: what each sent; 0 where the socket took nothing.
        reactions: what is called before the call of that number, from 0 on.
        errors: what the call of that number raises instead.
    """

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.sizes: list[int] = []
        self.reactions: dict[int, Callable[[], object]] = {}
        self.errors: dict[int, OSError] = {}
        self._sendfile = os.sendfile
        monkeypatch.setattr(os, "sendfile", self)

    def __call__(self, out: int, file: int, offset: int, count: int) -> int:
        number = len(self.sizes)
        self.sizes.append(0)
        if number in self.reactions:
            self.reactions[number]()
        if number in self.errors:
            raise self.errors[number]
        self.sizes[-1] = self._sendfile(out, file, offset, count)
        return self.sizes[-1]

    @property
    def sent(self) -> int:
        return sum(self.sizes)


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> Calls:
    """Watches `os.sendfile`."""
    return Calls(monkeypatch)


@asynccontextmanager
async def connected(
    peer: Callable[[], ScriptedPeer] = ScriptedPeer, *, family: str = "tcp", send_buffer: int | None = None
) -> AsyncIterator[tuple[HTTP11Protocol, ScriptedPeer]]:
    """A protocol connected to a peer, both closed in the end."""
    loop = asyncio.get_running_loop()
    if family == "unix":
        ours, theirs = socket.socketpair()
    else:
        with socket.create_server(("127.0.0.1", 0)) as server:
            ours = socket.create_connection(server.getsockname())
            theirs, _ = server.accept()
    if send_buffer is not None:  # and the kernel lets neither grow by itself
        ours.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, send_buffer)
        theirs.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, send_buffer)
    for sock in (ours, theirs):
        sock.setblocking(False)
    create = loop.create_unix_connection if family == "unix" else loop.create_connection
    _, other = await create(peer, sock=theirs)
    transport, protocol = await create(HTTP11Protocol, sock=ours)
    try:
        yield protocol, other
    finally:
        transport.abort()
        await protocol.wait_closed()
        if other.connected:
            other.transport.abort()
            await other.closed()
        assert protocol.closed
        await asyncio.sleep(0)  # for a pump that was stopped by it


def dispatch(protocol: HTTP11Protocol, body: BinaryIO, timeout: TimeoutConfig | None = None, **fields: str) -> Recorder:
    recorder = Recorder()
    request = Request("POST", URL, {name.replace("_", "-"): value for name, value in fields.items()}, body)
    protocol.dispatch(request, recorder, timeout=timeout or TimeoutConfig(30))
    return recorder


async def ended(recorder: Recorder) -> BaseException | None:
    """Waits for the exchange's end; returns the error."""
    await recorder.end()
    assert recorder.violations == []
    assert [name for name in recorder.names if name in ("complete", "failed")] == recorder.names[-1:]
    return recorder.error


OPENERS: dict[str, Callable[[Path], BinaryIO]] = {
    "BufferedReader": lambda path: path.open("rb"),
    "FileIO": lambda path: path.open("rb", buffering=0),
    "BufferedRandom": lambda path: path.open("r+b"),
}


@pytest.mark.parametrize("family", ["tcp", "unix"])
@pytest.mark.parametrize("kind", OPENERS)
@pytest.mark.parametrize("start", [0, 1, 1_234_567])
@on_every_loop
async def test_file_is_received_as_it_is_and_the_connection_goes_on(path, calls, family, kind, start):
    async with connected(family=family) as (protocol, peer):
        with OPENERS[kind](path) as file:
            file.seek(start)
            for _ in range(2):  # from the same place
                before = calls.sent
                recorder = dispatch(protocol, file)
                head = await peer.receive_until(b"\r\n\r\n")
                assert b"Content-Length: %d\r\n" % (SIZE - start) in head
                assert await peer.receive(SIZE - start) == CONTENT[start:]
                peer.send(OK)
                assert await ended(recorder) is None
                assert recorder.body == b"ok"
                assert calls.sent - before == SIZE - start
                assert file.tell() == SIZE
                file.seek(7)  # a request has its own idea of where its body begins
                file.seek(start)
        assert protocol.available == 1


@on_every_loop
async def test_what_was_written_and_not_flushed_is_sent_too(tmp_path, calls):
    async with connected() as (protocol, peer):
        with (tmp_path / "new").open("w+b") as file:
            file.write(CONTENT[:100_000])
            file.seek(0)
            recorder = Recorder()
            request = Request("POST", URL, body=file)
            file.seek(50_000)
            file.write(b"late")
            protocol.dispatch(request, recorder)
            await peer.receive_until(b"\r\n\r\n")
            assert await peer.receive(100_000) == CONTENT[:50_000] + b"late" + CONTENT[50_004:100_000]
            peer.send(OK)
            assert await ended(recorder) is None
        assert calls.sent == 100_000


class Subclass(io.FileIO):
    """Has a say in what is read from it."""

    def read(self, size: int | None = -1, /) -> bytes:
        return (super().read(size) or b"").swapcase()


@pytest.mark.parametrize("why", ["small", "in memory", "chunked", "subclass", "subclass below", "no sendfile"])
@on_every_loop
async def test_what_cannot_be_sent_so_is_read(tmp_path, path, calls, monkeypatch, why):
    content, fields = CONTENT, {}
    if why == "small":
        content = CONTENT[: 64 * 1024 - 1]
        path.write_bytes(content)
    if why == "chunked":
        fields["transfer_encoding"] = "chunked"
    if why == "no sendfile":
        monkeypatch.delattr(os, "sendfile")
    files: dict[str, Callable[[], BinaryIO]] = {
        "in memory": lambda: io.BytesIO(content),
        "subclass": lambda: Subclass(path),
        "subclass below": lambda: io.BufferedReader(Subclass(path)),
    }
    if "subclass" in why:
        content = content.swapcase()
    if why == "subclass below":  # which has no read of its own: it is asked by readinto
        content = CONTENT
    async with connected(HTTP11Peer) as (protocol, peer):
        assert isinstance(peer, HTTP11Peer)
        with files.get(why, lambda: path.open("rb"))() as file:
            recorder = dispatch(protocol, file, None, **fields)
            _, body = await peer.receive_request()
            assert body == content
            peer.send_response(200)
            assert await ended(recorder) is None
    assert calls.sizes == []


@pytest.mark.parametrize("way", ["tls", "memory"])
async def test_what_is_not_a_plain_socket_is_written_to_by_the_transport(path, calls, tls, way):
    if way == "tls":
        server = await asyncio.start_server(answer, "127.0.0.1", 0, ssl=tls.server_context)
        url = f"https://127.0.0.1:{server.sockets[0].getsockname()[1]}/"
        async with server, httpcore.ConnectionPool(ssl=tls.client_context) as http:
            with path.open("rb") as file:
                result = await http.request("POST", url, body=file)
                assert result.body == b"%d" % hash(CONTENT)
    else:
        connector = httpcore.testing.MemoryConnector(capacity=1 << 20)
        async with connector, httpcore.ConnectionPool(connector=connector) as http:
            with path.open("rb") as file:
                task = asyncio.create_task(http.request("POST", "http://a/", body=file))
                peer = await connector.accept()
                await peer.receive_until(b"\r\n\r\n")
                assert await peer.receive(SIZE) == CONTENT
                peer.send(OK)
                assert (await task).body == b"ok"
    assert calls.sizes == []


async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Answers one upload with what it hashes to."""
    await reader.readuntil(b"\r\n\r\n")
    result = b"%d" % hash(await reader.readexactly(SIZE))
    writer.write(response(b"Content-Length: %d" % len(result), b"Connection: close", body=result))
    writer.close()


@pytest.mark.parametrize("number", [0, 1, 3])
@pytest.mark.parametrize("code", [errno.EINVAL, errno.ENOSYS, errno.EIO, errno.EPIPE])
@on_every_loop
async def test_where_sendfile_fails_the_pump_goes_on(path, calls, number, code):
    calls.errors[number] = OSError(code, os.strerror(code))
    async with connected() as (protocol, peer):
        with path.open("rb") as file:
            recorder = dispatch(protocol, file)
            await peer.receive_until(b"\r\n\r\n")
            assert await peer.receive(SIZE) == CONTENT
            peer.send(OK)
            assert await ended(recorder) is None
            assert file.tell() == SIZE
        assert protocol.available == 1
    assert len(calls.sizes) == number + 1
    assert calls.sent < SIZE


@pytest.mark.parametrize("free", [0, 1], ids=["for the socket", "for the file"])
@on_every_loop
async def test_without_a_free_descriptor_the_pump_sends_it(path, calls, free):
    async with connected() as (protocol, peer):
        with path.open("rb") as file, contextlib.ExitStack() as limits:
            before = resource.getrlimit(resource.RLIMIT_NOFILE)
            limits.callback(resource.setrlimit, resource.RLIMIT_NOFILE, before)
            highest = max(map(int, os.listdir("/proc/self/fd")))
            resource.setrlimit(resource.RLIMIT_NOFILE, (highest + 2, before[1]))
            taken = []
            with contextlib.suppress(OSError):
                while True:
                    taken.append(os.dup(0))
            for number in taken[free:]:
                limits.callback(os.close, number)
            for number in taken[:free]:
                os.close(number)
            recorder = dispatch(protocol, file)
            await peer.receive_until(b"\r\n\r\n")
            assert await peer.receive(SIZE) == CONTENT
            peer.send(OK)
            assert await ended(recorder) is None
    assert calls.sizes == []


@pytest.mark.parametrize("knows", ["what is in memory", "that nothing is", "nothing"])
@on_every_loop
async def test_what_the_kernel_does_not_have_in_memory_is_read_in_by_another_thread(path, calls, monkeypatch, knows):
    threads = set()
    pread = os.pread

    def watched_pread(*args) -> bytes:
        threads.add(threading.current_thread())
        return pread(*args)

    def preadv(*args) -> int:
        if knows == "nothing":
            raise OSError(errno.EOPNOTSUPP, os.strerror(errno.EOPNOTSUPP))
        raise BlockingIOError

    monkeypatch.setattr(os, "pread", watched_pread)
    if knows != "what is in memory":
        monkeypatch.setattr(os, "preadv", preadv)
    async with connected() as (protocol, peer):
        with path.open("rb") as file:
            recorder = dispatch(protocol, file)
            await peer.receive_until(b"\r\n\r\n")
            assert await peer.receive(SIZE) == CONTENT
            peer.send(OK)
            assert await ended(recorder) is None
    assert calls.sent == SIZE
    assert threading.main_thread() not in threads
    assert bool(threads) == (knows != "what is in memory")


# A file that is not what it was


@pytest.mark.parametrize("way", ["sendfile", "pump"])
@pytest.mark.parametrize("when", [0, 2])
@on_every_loop
async def test_file_that_shrinks_fails_its_exchange_and_the_connection(path, calls, monkeypatch, way, when):
    async with connected() as (protocol, peer):
        with path.open("rb") as file:
            if way == "pump":
                calls.errors[0] = OSError(errno.EINVAL, "")
            calls.reactions[0 if way == "pump" else when] = lambda: os.truncate(path, SIZE // 2)
            recorder = dispatch(protocol, file)
            await peer.receive_eof()
            assert type(error := await ended(recorder)) is LocalProtocolError
            assert "bytes shorter than its content-length" in str(error)
            assert peer.received.partition(b"\r\n\r\n")[2] == CONTENT[: SIZE // 2]
        assert protocol.closing


@pytest.mark.parametrize("way", ["sendfile", "pump"])
@on_every_loop
async def test_of_a_file_that_grows_what_was_promised_is_sent(path, calls, way):
    async with connected() as (protocol, peer):
        with path.open("rb") as file:
            if way == "pump":
                calls.errors[0] = OSError(errno.EINVAL, "")
            recorder = dispatch(protocol, file)
            with path.open("ab") as end:
                end.write(b"more" * 100_000)
            await peer.receive_until(b"\r\n\r\n")
            assert await peer.receive(SIZE) == CONTENT
            peer.send(OK)
            assert await ended(recorder) is None
            assert file.tell() == SIZE
        assert protocol.available == 1


@pytest.mark.parametrize("wrong", [-1, 1, -SIZE // 2])
@on_every_loop
async def test_length_that_the_caller_says_is_held_to_where_a_callable_opens_the_file(path, calls, wrong):
    opened: list[BinaryIO] = []

    def opener() -> BinaryIO:
        opened.append(path.open("rb"))
        return opened[-1]

    async with connected() as (protocol, peer):
        recorder = Recorder()
        protocol.dispatch(Request("POST", URL, {"Content-Length": str(SIZE + wrong)}, opener), recorder)
        received = await peer.receive_eof()
        error = await ended(recorder)
        assert type(error) is LocalProtocolError
        assert ("longer" if wrong < 0 else "shorter") in str(error)
        assert received.partition(b"\r\n\r\n")[2] == CONTENT[: SIZE + min(wrong, 0)]
    assert calls.sent == SIZE + min(wrong, 0)
    assert [file.closed for file in opened] == [True]


# Answers that come before the end


@on_every_loop
async def test_answer_that_comes_early_is_delivered_and_closes_the_connection(path, calls):
    async with connected() as (protocol, peer):
        with path.open("rb") as file:
            recorder = dispatch(protocol, file)
            await peer.receive(1_000_000)
            peer.pause()
            peer.send(response(b"Content-Length: 2", body=b"no", status=b"413 Too Large"))
            assert await ended(recorder) is None
            assert (recorder.statuses, bytes(recorder.body)) == ([413], b"no")
            assert protocol.closing
            await protocol.wait_closed()
    assert 0 < calls.sent < SIZE


@on_every_loop
async def test_answer_and_upload_run_at_the_same_time(path, calls):
    async with connected() as (protocol, peer):
        with path.open("rb") as file:
            recorder = dispatch(protocol, file)
            await peer.receive_until(b"\r\n\r\n")
            peer.send(response(b"Content-Length: %d" % SIZE))
            for start in range(0, SIZE, 1_000_000):
                peer.send(await peer.receive(1_000_000))
                await recorder.until_body(CONTENT[: start + 1_000_000])
            assert await ended(recorder) is None
        assert protocol.available == 1
    assert calls.sent == SIZE


@pytest.mark.parametrize("status", [100, 413, None])
@on_every_loop
async def test_file_waits_for_100_continue(path, calls, status):
    async with connected() as (protocol, peer):
        with path.open("rb") as file:
            timeout = TimeoutConfig(30, continue_timeout=30 if status else 0.05)
            recorder = dispatch(protocol, file, timeout, expect="100-continue")
            await peer.receive_until(b"\r\n\r\n")
            if status == 413:
                peer.send(response(b"Content-Length: 2", body=b"no", status=b"413 Too Large"))
            else:
                assert calls.sizes == []
                if status == 100:
                    peer.send(b"HTTP/1.1 100 Continue\r\n\r\n")
                assert await peer.receive(SIZE) == CONTENT
                peer.send(OK)
            assert await ended(recorder) is None
    assert calls.sent == (0 if status == 413 else SIZE)


@on_every_loop
async def test_head_that_waits_in_the_transport_goes_first(path, calls):
    async with connected(send_buffer=64 * 1024) as (protocol, peer):
        peer.pause()
        with path.open("rb") as file:
            file.seek(-200_000, os.SEEK_END)
            filler = {f"X-{number}": "x" * 60_000 for number in range(100)}
            recorder = Recorder()
            protocol.dispatch(Request("POST", URL, filler, file), recorder, timeout=TimeoutConfig(30))
            transport = protocol._transport
            assert transport.get_write_buffer_size()
            seen = []
            calls.reactions = {number: lambda: seen.append(transport.get_write_buffer_size()) for number in range(10)}
            await asyncio.sleep(0.05)
            assert calls.sizes == []
            peer.resume()
            head = await peer.receive_until(b"\r\n\r\n")
            assert len(head) > 6_000_000
            assert await peer.receive(200_000) == CONTENT[-200_000:]
            peer.send(OK)
            assert await ended(recorder) is None
    assert calls.sent == 200_000
    assert set(seen) == {0}


# How it can fail


@pytest.mark.parametrize("number", range(4))
@pytest.mark.parametrize("answered", [False, True])
@on_every_loop
async def test_server_that_breaks_the_connection(path, calls, number, answered):
    """It refuses an upload and closes with it unread: the kernel resets. Where it answered before, that is heard."""
    async with connected() as (protocol, peer):
        peer.pause()

        def break_off() -> None:
            sock = peer.transport.get_extra_info("socket")
            if answered:
                os.write(sock.fileno(), response(b"Content-Length: 2", b"Connection: close", body=b"no"))
            else:
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            peer.transport.abort()

        with path.open("rb") as file:
            calls.reactions[number] = break_off
            recorder = dispatch(protocol, file)
            error = await ended(recorder)
            if answered:
                assert (error, recorder.statuses, bytes(recorder.body)) == (None, [200], b"no")
            else:
                assert type(error) is WriteError
        await protocol.wait_closed()
    assert calls.sent < SIZE


@pytest.mark.parametrize("before", [0, 1, 2_000_000])
@on_every_loop
async def test_server_that_takes_no_more_meets_the_write_timeout(path, calls, before):
    async with connected(send_buffer=64 * 1024) as (protocol, peer):
        with path.open("rb") as file:
            recorder = dispatch(protocol, file, TimeoutConfig(30, write_timeout=0.1))
            await peer.receive(before)
            peer.pause()
            assert type(await ended(recorder)) is WriteTimeout
        await protocol.wait_closed()
    assert 0 < calls.sent < SIZE


@on_every_loop
async def test_head_of_which_the_server_takes_nothing_meets_the_write_timeout(path, calls):
    async with connected(send_buffer=4096) as (protocol, peer):
        peer.pause()
        with path.open("rb") as file:
            filler = {f"X-{number}": "x" * 60_000 for number in range(100)}
            recorder = Recorder()
            timeout = TimeoutConfig(30, write_timeout=0.1)
            protocol.dispatch(Request("POST", URL, filler, file), recorder, timeout=timeout)
            assert type(await ended(recorder)) is WriteTimeout
    assert calls.sizes == []


@on_every_loop
async def test_slow_server_that_goes_on_taking_does_not_meet_the_write_timeout(path, calls):
    loop = asyncio.get_running_loop()
    async with connected() as (protocol, peer):
        with path.open("rb") as file:
            recorder = dispatch(protocol, file, TimeoutConfig(30, write_timeout=1))
            await peer.receive_until(b"\r\n\r\n")
            began = loop.time()
            for _ in range(12):  # each well within the timeout, all of them over it
                peer.pause()
                await asyncio.sleep(0.1)
                peer.resume()
                await peer.receive(SIZE // 12)
            assert loop.time() - began > 1
            await peer.receive(SIZE % 12)
            peer.send(OK)
            assert await ended(recorder) is None
    assert 0 in calls.sizes


@on_every_loop
async def test_total_timeout_ends_it(path, calls):
    async with connected() as (protocol, peer):
        peer.pause()
        with path.open("rb") as file:
            recorder = dispatch(protocol, file, TimeoutConfig(30, total_timeout=0.1))
            assert type(await ended(recorder)) is TotalTimeout


@pytest.mark.parametrize("way", ["exchange", "connection", "close"])
@pytest.mark.parametrize("number", range(6))
@pytest.mark.parametrize("in_memory", [True, False])
@on_every_loop
async def test_end_by_the_caller_at_every_step(path, calls, monkeypatch, way, number, in_memory):
    """Whatever ends it, and wherever it is, no byte is sent after that, and nothing is left open."""
    steps = 0

    def step() -> None:
        nonlocal steps
        if steps == number:
            if way == "connection":
                protocol.abort(ReadError("the test ends it"))
            else:
                if way == "close":
                    protocol.close("the test ends it")
                recorder.exchange.abort()
        steps += 1

    async with connected() as (protocol, peer):
        if not in_memory:
            pread, loop = os.pread, asyncio.get_running_loop()

            def watched_pread(*args) -> bytes:
                loop.call_soon_threadsafe(step)
                return pread(*args)

            monkeypatch.setattr(os, "preadv", refuse)
            monkeypatch.setattr(os, "pread", watched_pread)
        else:
            calls.reactions = {count: lambda: asyncio.get_running_loop().call_soon(step) for count in range(number + 1)}
        with path.open("rb") as file:
            recorder = dispatch(protocol, file)
            error = await ended(recorder)
            assert type(error) is (ReadError if way == "connection" else ResponseClosed)
            sent = calls.sent
            assert sent < SIZE
        received = await peer.receive_eof()
        assert len(received.partition(b"\r\n\r\n")[2]) == calls.sent == sent
        await protocol.wait_closed()


def refuse(*args) -> int:
    raise BlockingIOError


@on_every_loop
async def test_connection_that_is_lost_before_the_first_byte_is_left_alone(path, calls):
    async with connected() as (protocol, _):
        with path.open("rb") as file:
            recorder = dispatch(protocol, file)
            protocol._transport.abort()
            assert type(await ended(recorder)) is RemoteProtocolError
    assert calls.sizes == []


@pytest.mark.parametrize("number", range(3))
@on_every_loop
async def test_file_that_its_owner_closes_in_the_middle(path, calls, number):
    """Its descriptor is another's then, perhaps at once: what is sent is what was opened, or it fails."""
    async with connected() as (protocol, peer):
        with contextlib.ExitStack() as others:
            file = others.enter_context(path.open("rb"))

            def replace() -> None:
                file.close()
                others.enter_context(open("/dev/zero", "rb"))

            calls.reactions[number] = replace
            recorder = dispatch(protocol, file)
            received = await peer.receive_eof()
            assert type(await ended(recorder)) is ValueError  # as it is closed, it cannot be left at its end
            assert CONTENT.startswith(received.partition(b"\r\n\r\n")[2])


# What others see of it


@on_every_loop
async def test_others_get_their_turns(path, calls):
    turns: list[int] = []

    def turn() -> None:
        turns.append(len(calls.sizes))
        if calls.sent < SIZE:
            asyncio.get_running_loop().call_soon(turn)

    async with connected() as (protocol, peer):
        with path.open("rb") as file:
            recorder = dispatch(protocol, file)
            turn()
            await peer.receive_until(b"\r\n\r\n")
            assert await peer.receive(SIZE) == CONTENT
            peer.send(OK)
            assert await ended(recorder) is None
    assert set(range(len(calls.sizes))) <= set(turns)
    assert max(calls.sizes) <= 1024 * 1024


@on_every_loop
async def test_hook_hears_once_that_the_body_was_sent(path, calls):
    events: list[TraceEvent] = []
    async with connected() as (protocol, peer):
        with path.open("rb") as file:
            recorder = Recorder()
            protocol.dispatch(Request("POST", URL, body=file), recorder, trace=events.append)
            await peer.receive_until(b"\r\n\r\n")
            assert await peer.receive(SIZE) == CONTENT
            peer.send(OK)
            assert await ended(recorder) is None
    assert [type(event) for event in events].count(BodySent) == 1
    assert recorder.exchange.timings.sent is not None


@on_every_loop
async def test_file_is_sent_again_from_its_beginning(path, calls):
    connections: list[int] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connections.append(0)
        try:
            if len(connections) > 1:
                return await answer(reader, writer)
            await reader.readuntil(b"\r\n\r\n")
            writer.write(OK)
            await reader.readuntil(b"\r\n\r\n")
            await reader.readexactly(3_000_000)
        finally:
            writer.transport.abort() if len(connections) == 1 else writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/"
    async with httpcore.ConnectionPool() as http:
        await http.request("GET", url)
        with path.open("rb") as file:
            result = await http.request("PUT", url, body=file)
            assert result.body == b"%d" % hash(CONTENT)
            assert file.tell() == SIZE
    server.close()
    await server.wait_closed()
    assert len(connections) == 2
    assert calls.sent > SIZE


@pytest.mark.parametrize("secure", [False, True], ids=["plain", "tls"])
async def test_blocking_call_sends_a_file_past_the_transport_too(path, calls, tls, secure):
    server = await asyncio.start_server(answer, "127.0.0.1", 0, ssl=tls.server_context if secure else None)
    url = f"http{'s' * secure}://127.0.0.1:{server.sockets[0].getsockname()[1]}/"

    def upload() -> bytes:
        with httpcore.SyncConnectionPool(ssl=tls.client_context) as http, path.open("rb") as file:
            body = http.request("POST", url, body=file).body
            assert file.tell() == SIZE
            return body

    assert await asyncio.to_thread(upload) == b"%d" % hash(CONTENT)
    server.close()
    await server.wait_closed()
    assert calls.sent == (0 if secure else SIZE)


# What happens at the same moment


@on_every_loop
async def test_connection_that_is_lost_between_two_pieces_fails_the_exchange(path, calls):
    """The transport knows already that it is, and nobody else was told."""
    async with connected() as (protocol, _):
        calls.reactions[1] = lambda: asyncio.get_running_loop().call_soon(protocol._transport.abort)
        with path.open("rb") as file:
            recorder = dispatch(protocol, file)
            assert type(await ended(recorder)) is RemoteProtocolError
    assert len(calls.sizes) == 2


@on_every_loop
async def test_without_a_write_timeout_a_slow_server_is_waited_for(path, calls):
    async with connected(send_buffer=64 * 1024) as (protocol, peer):
        peer.pause()
        with path.open("rb") as file:
            recorder = dispatch(protocol, file, TimeoutConfig(None))
            await until(lambda: 0 in calls.sizes)
            peer.resume()
            await peer.receive_until(b"\r\n\r\n")
            assert await peer.receive(SIZE) == CONTENT
            peer.send(OK)
            assert await ended(recorder) is None


@on_every_loop
async def test_exchange_that_ends_as_the_socket_takes_more_sends_nothing_more(path, calls):
    """Both are found in one turn of the loop: the end first."""
    async with connected(send_buffer=64 * 1024) as (protocol, peer):
        peer.pause()
        with path.open("rb") as file, peer.transport.get_extra_info("socket").dup() as theirs:
            recorder = dispatch(protocol, file)
            await until(lambda: 0 in calls.sizes)
            await turns()  # nothing but the server's reading makes it go on
            sent = calls.sent
            asyncio.get_running_loop().call_soon(recorder.exchange.abort)
            received = 0
            with contextlib.suppress(BlockingIOError):
                while True:
                    received += len(theirs.recv(1_000_000))
            assert received > 64 * 1024
            assert type(await ended(recorder)) is ResponseClosed
        await protocol.wait_closed()
    assert calls.sent == sent


async def test_on_another_system_than_linux_another_thread_reads_the_file_in(path, calls, monkeypatch):
    monkeypatch.setattr("httpcore.protocols.file_sender.sys", SimpleNamespace(platform="darwin"))
    threads = set()
    pread = os.pread

    def watched_pread(*args) -> bytes:
        threads.add(threading.current_thread())
        return pread(*args)

    monkeypatch.setattr(os, "pread", watched_pread)
    async with connected() as (protocol, peer):
        with path.open("rb") as file:
            recorder = dispatch(protocol, file)
            await peer.receive_until(b"\r\n\r\n")
            assert await peer.receive(SIZE) == CONTENT
            peer.send(OK)
            assert await ended(recorder) is None
    assert calls.sent == SIZE
    assert threads and threading.main_thread() not in threads


def test_loop_that_is_closed_in_the_middle_leaves_the_file_and_the_socket_closed(path, calls):
    loop = asyncio.new_event_loop()
    ours, theirs = socket.socketpair()
    ours.setblocking(False)

    async def begin() -> None:
        _, protocol = await loop.create_unix_connection(HTTP11Protocol, sock=ours)
        protocol.dispatch(Request("POST", URL, body=file), Recorder(), timeout=TimeoutConfig(None))
        await until(lambda: 0 in calls.sizes)

    with theirs, warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)  # of the transport, which nobody closes
        with path.open("rb") as file:
            loop.run_until_complete(begin())
            loop.set_exception_handler(lambda loop, context: None)  # it tells of the task
            loop.close()
            gc.collect()
        received = 0
        while data := theirs.recv(1_000_000):  # to its end: no copy of the other socket is open
            received += len(data)
    assert calls.sent <= received < SIZE
