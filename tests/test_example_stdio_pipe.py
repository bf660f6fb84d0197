"""examples/stdio_pipe.py: HTTP/1.1 and HTTP/2, with and without TLS, through the stdin and stdout of real processes."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import json
import os
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import cast

import pytest
import uvloop

import httpcore
from examples import stdio_pipe
from examples.stdio_pipe import LINGER, PipeConnector, PipeTransport
from tests import origin_app
from tests.asgi_server import asgi_server
from tests.asgi_server_h2 import H2Origin, asgi_server_h2
from tests.clock import Clock, clock, until
from tests.conftest import TLSFiles
from tests.content import blocks, sha256
from tests.origin_app import Message, Receive, Send
from tests.servers import Origin, serving

__all__ = ["clock"]

WAYS = {"http": "HTTP/1.1", "https": "HTTP/1.1", "h2": "HTTP/2", "h2c": "HTTP/2"}
HTTP11_WAYS = [way for way, version in WAYS.items() if version == "HTTP/1.1"]
SIZE = 20_000_003  # bytes
IN_BETWEEN = 8_000_000  # bytes: more than pipes, sockets and buffers between a client and a server hold
_ROOT = Path(__file__).parents[1]


class RecordedPipe(PipeTransport):
    """Remembers every one that was made, and what its flow control did."""

    all: list[RecordedPipe]

    def __init__(self) -> None:
        super().__init__()
        self.all.append(self)
        self.starts = self.ends = 0
        self.writing_paused = False
        self.pauses = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.starts += 1
        super().connection_made(transport)

    def pause_writing(self) -> None:
        self.writing_paused = True
        self.pauses += 1
        super().pause_writing()

    def resume_writing(self) -> None:
        self.writing_paused = False
        super().resume_writing()

    def connection_lost(self, exc: Exception | None) -> None:
        self.ends += 1
        super().connection_lost(exc)

    @property
    def pid(self) -> int:
        return cast(int, self.get_extra_info("pid"))


Pipes = list[RecordedPipe]


@pytest.fixture
def pipes(monkeypatch: pytest.MonkeyPatch) -> Pipes:
    """Every transport that a connector makes, in order. The commands find the project."""
    RecordedPipe.all = []
    monkeypatch.setattr(stdio_pipe, "PipeTransport", RecordedPipe)
    monkeypatch.setenv("PYTHONPATH", str(_ROOT))
    return RecordedPipe.all


def children() -> list[str]:
    """The processes that this one has started and that are not gone."""
    found: list[str] = []
    for thread in Path("/proc/self/task").iterdir():
        with contextlib.suppress(OSError):  # it has ended since; its children are another's now
            found += (thread / "children").read_text().split()
    return sorted(found)


def descriptors() -> list[str]:
    """The pipes and sockets that are open. (uvloop opens /dev/null, too, for a process, and closes it in its time.)"""
    found = []
    for descriptor in os.listdir("/proc/self/fd"):
        with contextlib.suppress(FileNotFoundError):  # that of the folder
            found.append(os.readlink(f"/proc/self/fd/{descriptor}"))
    return sorted(name for name in found if name.startswith(("pipe:", "socket:")))


@asynccontextmanager
async def nothing_left() -> AsyncIterator[None]:
    """Waits, behind what is inside, until no process, pipe or socket is there that was not before."""
    if isinstance(asyncio.get_running_loop(), uvloop.Loop):  # it has some of its own, from its first process on
        await (await asyncio.create_subprocess_exec("true")).wait()
    before, open_before = children(), descriptors()
    yield
    await until(lambda: children() == before and descriptors() == open_before)


@asynccontextmanager
async def serve(way: str, tls: TLSFiles, app=origin_app.app) -> AsyncIterator[Origin]:
    context = tls.server_context if way in ("https", "h2") else None
    async with (asgi_server if way in HTTP11_WAYS else asgi_server_h2)(app, context) as origin:
        yield origin


@asynccontextmanager
async def piped(way: str, tls: TLSFiles, **options) -> AsyncIterator[httpcore.ConnectionPool]:
    """A pool that makes its connections with the example, and whose every transport has come to its end."""
    config = httpcore.SSLConfig(verify=str(tls.ca_path))
    options = {"connector": PipeConnector(), "http1": way != "h2c", **options}
    async with nothing_left():
        async with httpcore.ConnectionPool(config, 30, **options) as pool:
            yield pool
        await until(lambda: all(pipe.ends == pipe.starts for pipe in RecordedPipe.all))


@pytest.fixture(params=WAYS)
def way(request: pytest.FixtureRequest) -> str:
    return str(request.param)


# Exchanges


async def test_requests_share_one_process(way: str, tls: TLSFiles, pipes: Pipes) -> None:
    async with serve(way, tls) as origin, piped(way, tls) as pool:
        for _ in range(3):
            response = await pool.request("GET", origin.url + "/hello")
            assert (response.http_version.decode(), response.body) == (WAYS[way], b"Hello, world")
            assert [str(pipe.pid) for pipe in pipes if str(pipe.pid) in children()] == [str(pipes[0].pid)]
        assert (len(pipes), origin.connections) == (1, 1)


@pytest.mark.parametrize("way", ["h2", "h2c"])
async def test_requests_at_once_share_one_process_on_http2(way: str, tls: TLSFiles, pipes: Pipes) -> None:
    async with serve(way, tls) as origin, piped(way, tls) as pool:
        responses = await asyncio.gather(*(pool.request("GET", origin.url + "/bytes/300000") for _ in range(3)))
        assert {len(response.body) for response in responses} == {300_000}
        assert origin.connections == 1


async def test_large_download_goes_at_the_pace_of_its_reader(way: str, tls: TLSFiles, pipes: Pipes) -> None:
    sent = 0

    async def app(scope: Message, receive: Receive, send: Send) -> None:
        async def count(message: Message) -> None:
            nonlocal sent
            await send(message)
            sent += len(message.get("body", b""))

        await origin_app.app(scope, receive, count)

    async with serve(way, tls, app) as origin, piped(way, tls) as pool:
        url = origin.url + f"/bytes/{SIZE}"
        async with await pool.request("GET", url, stream=True) as response:
            if way in HTTP11_WAYS:
                # Nobody reads: so the pipe is not read, and the server has to wait.
                await until(lambda: not pipes[0].is_reading())
                assert sum(map(len, pipes[0]._received)) <= 512 * 1024
            digest, size = hashlib.sha256(), 0
            async for part in response.raw():
                digest.update(part)
                size += len(part)
                assert sent - size <= IN_BETWEEN
                await asyncio.sleep(0)
    assert (size, digest.hexdigest()) == (SIZE, sha256(SIZE))


async def test_large_upload_goes_at_the_pace_of_the_server(way: str, tls: TLSFiles, pipes: Pipes) -> None:
    go_on = asyncio.Event()
    produced = 0

    async def app(scope: Message, receive: Receive, send: Send) -> None:
        await go_on.wait()
        await origin_app.app(scope, receive, send)

    async def body() -> AsyncIterator[bytes]:
        nonlocal produced
        for block in blocks(SIZE):
            produced += len(block)
            yield block

    def stuck() -> bool:
        if way in HTTP11_WAYS:
            return bool(pipes) and pipes[0].writing_paused
        assert isinstance(origin, H2Origin)
        return any(connection.http.inbound_flow_control_window == 0 for connection in origin.opened) or produced > 65536

    async with serve(way, tls, app) as origin, piped(way, tls) as pool:
        uploading = asyncio.create_task(pool.request("PUT", origin.url + "/upload", body=body))
        await until(stuck)
        assert produced <= IN_BETWEEN
        go_on.set()
        response = await uploading
    report = json.loads(response.body)
    assert (report["size"], report["sha256"]) == (SIZE, sha256(SIZE))
    if way in HTTP11_WAYS:
        assert pipes[0].pauses > 1
        assert not pipes[0].writing_paused


def test_http11_and_http2_are_spoken_on_uvloop_too(tls: TLSFiles, pipes: Pipes) -> None:
    async def main(way: str) -> None:
        async with serve(way, tls) as origin, piped(way, tls) as pool:
            async with await pool.request("GET", origin.url + "/bytes/3000000", stream=True) as response:
                size = 0
                async for part in response.raw():
                    size += len(part)
            assert size == 3_000_000
            response = await pool.request("PUT", origin.url + "/upload", body=b"x" * 3_000_000)
            assert json.loads(response.body)["size"] == 3_000_000
            assert len(pipes) == 1
        pipes.clear()

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(main("http"))
        runner.run(main("h2c"))


@pytest.mark.parametrize("way", ["http", "https"])
def test_it_works_on_uvloop(way: str, tls: TLSFiles, pipes: Pipes) -> None:
    async def main() -> None:
        async with serve(way, tls) as origin:
            async with httpcore.ConnectionPool(
                httpcore.SSLConfig(verify=str(tls.ca_path)), connector=PipeConnector()
            ) as pool:
                assert (await pool.request("GET", origin.url + "/hello")).body == b"Hello, world"
            await until(lambda: str(pipes[0].pid) not in children())

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(main())


async def test_upgraded_stream_ends_its_sides_one_after_the_other(tls: TLSFiles, pipes: Pipes) -> None:
    async def echo_at_the_end(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: echo\r\n\r\n")
        writer.write(await reader.read())

    class Upgrading(httpcore.ResponseHandler):
        def __init__(self) -> None:
            self.stream: asyncio.Future[httpcore.UpgradedStream] = asyncio.get_running_loop().create_future()

        def connection_upgraded(self, stream: httpcore.UpgradedStream) -> None:
            self.stream.set_result(stream)

    content = b"".join(blocks(300_000))
    async with serving(echo_at_the_end) as origin, piped("http", tls) as pool:
        handler = Upgrading()
        headers = [("connection", "upgrade"), ("upgrade", "echo")]
        pool.dispatch(httpcore.Request("GET", origin.url, headers), handler)
        stream = await handler.stream
        stream.write(content)
        stream.write_eof()
        received = b""
        while part := await stream.read():
            received += part
        assert received == content
        assert stream.get_extra_info("pid") == pipes[0].pid
        stream.close()


@pytest.mark.parametrize("way", ["https", "h2"])
async def test_pipe_leads_to_a_proxy_too(way: str, tls: TLSFiles, pipes: Pipes) -> None:
    async def copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(65536):
            writer.write(data)
        writer.write_eof()

    async def tunnel(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        method, target, _ = (await reader.readuntil(b"\r\n\r\n")).split(b" ", 2)
        assert method == b"CONNECT"
        from_origin, to_origin = await asyncio.open_connection("127.0.0.1", int(target.rpartition(b":")[2]))
        writer.write(b"HTTP/1.1 200 OK\r\n\r\n")
        await asyncio.gather(copy(reader, to_origin), copy(from_origin, writer))
        to_origin.close()

    async with serve(way, tls) as origin, serving(tunnel) as proxy, piped(way, tls, proxy=proxy.url) as pool:
        for _ in range(2):
            response = await pool.request("GET", origin.url + "/bytes/1000000")
            assert (response.http_version.decode(), len(response.body)) == (WAYS[way], 1_000_000)
        assert (origin.connections, proxy.connections, len(pipes)) == (1, 1, 1)


# The process ends


async def test_killed_process_breaks_its_exchange_and_the_pool_goes_on(way: str, tls: TLSFiles, pipes: Pipes) -> None:
    async with serve(way, tls) as origin, piped(way, tls) as pool:
        response = await pool.request("GET", origin.url + "/stall", stream=True)
        parts = response.raw()
        assert await anext(parts) == b"begun"
        os.kill(pipes[0].pid, signal.SIGKILL)
        with pytest.raises(httpcore.ReadError, match="the command ended with status -9") as caught:
            await anext(parts)
        assert caught.value.request_sent
        assert pool.num_connections == 0
        assert (await pool.request("GET", origin.url + "/hello")).body == b"Hello, world"
        assert [pipe.ends for pipe in pipes] == [1, 0]


async def test_killed_process_breaks_an_upload(way: str, tls: TLSFiles, pipes: Pipes) -> None:
    begun = asyncio.Event()
    more = asyncio.Event()

    async def body() -> AsyncIterator[bytes]:
        yield b"x" * 1000
        begun.set()
        await more.wait()

    async with serve(way, tls) as origin, piped(way, tls) as pool:
        uploading = asyncio.create_task(pool.request("POST", origin.url + "/upload", body=body()))
        await begun.wait()
        os.kill(pipes[0].pid, signal.SIGKILL)
        with pytest.raises(httpcore.NetworkError, match="the command ended with status -9"):
            await uploading
        assert pool.num_connections == 0


async def test_process_killed_while_idle_leaves_the_pool(way: str, tls: TLSFiles, pipes: Pipes) -> None:
    async with serve(way, tls) as origin, piped(way, tls) as pool:
        assert (await pool.request("GET", origin.url + "/hello")).status_code == 200
        os.kill(pipes[0].pid, signal.SIGKILL)
        await until(lambda: pool.num_connections == 0)
        assert (await pool.request("GET", origin.url + "/hello")).status_code == 200
        assert len(pipes) == 2


@pytest.mark.parametrize("killed", [False, True])
async def test_response_that_ends_with_the_connection_is_whole_unless_the_command_broke(
    killed: bool, tls: TLSFiles, pipes: Pipes
) -> None:
    stay = asyncio.Event()

    async def without_length(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\n\r\nas far as it came")
        if killed:
            await stay.wait()

    async with serving(without_length) as origin, piped("http", tls) as pool:
        async with await pool.request("GET", origin.url, stream=True) as response:
            parts = response.raw()
            assert await anext(parts) == b"as far as it came"
            if killed:
                os.kill(pipes[0].pid, signal.SIGKILL)
                with pytest.raises(httpcore.ReadError, match="the command ended with status -9"):
                    await anext(parts)
            else:
                assert [part async for part in parts] == []
        stay.set()


async def test_server_that_closes_an_idle_connection_ends_the_process(tls: TLSFiles, pipes: Pipes) -> None:
    leave = asyncio.Event()

    async def answer_once(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok")
        await leave.wait()

    async with serving(answer_once) as origin, piped("http", tls) as pool:
        assert (await pool.request("GET", origin.url)).body == b"ok"
        assert pool.num_keepalive_connections == 1
        leave.set()
        await until(lambda: pool.num_connections == 0)
        assert (await pool.request("GET", origin.url)).body == b"ok"


@pytest.mark.parametrize("way, error", [("http", httpcore.ReadError), ("https", httpcore.ConnectError)])
async def test_command_that_finds_no_server_is_a_typed_error(
    way: str, error: type[httpcore.HTTPCoreError], tls: TLSFiles, pipes: Pipes, capfd: pytest.CaptureFixture[str]
) -> None:
    async with serve(way, tls) as origin:
        pass  # nobody listens there any more
    async with piped(way, tls) as pool:
        with pytest.raises(error, match="the command ended with status 1"):
            await pool.request("GET", origin.url)
        assert pool.num_connections == 0
    assert "Connection refused" in capfd.readouterr().err  # the command's own words


async def test_command_that_ends_with_what_it_had_to_say_is_no_server(tls: TLSFiles, pipes: Pipes) -> None:
    async with piped("http", tls, connector=PipeConnector(["echo", "{host} is not {port}"])) as pool:
        with pytest.raises(httpcore.RemoteProtocolError):
            await pool.request("GET", "http://nowhere.example/")
        assert pool.num_connections == 0


# Connecting


async def test_command_that_is_not_there_is_a_connect_error(way: str, tls: TLSFiles, pipes: Pipes) -> None:
    async with piped(way, tls, connector=PipeConnector(["no-such-command"])) as pool:
        with pytest.raises(
            httpcore.ConnectError, match=r"no connection through no-such-command: .*No such file"
        ) as info:
            await pool.request("GET", "https://example.org/" if way != "h2c" else "http://example.org/")
        assert isinstance(info.value.__cause__, FileNotFoundError)
        assert not info.value.request_sent
        assert pool.num_connections == 0


async def test_certificate_of_another_name_is_a_connect_error(tls: TLSFiles, pipes: Pipes) -> None:
    asyncio.get_running_loop().set_exception_handler(lambda loop, context: None)  # the server's own complaint
    async with serve("https", tls) as origin, piped("https", tls) as pool:
        command = [part.replace("{host}", "127.0.0.1") for part in PipeConnector().command]
        async with httpcore.ConnectionPool(
            httpcore.SSLConfig(verify=str(tls.ca_path)), connector=PipeConnector(command)
        ) as other:
            with pytest.raises(httpcore.ConnectError, match="the server's certificate was refused: Hostname mismatch"):
                await other.request("GET", origin.url.replace("localhost", "elsewhere.example"))
            assert other.num_connections == 0
        assert pool.num_connections == 0


class Silent(asyncio.Protocol):
    """A server that says nothing."""

    received: asyncio.Event

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        self.received.set()


@asynccontextmanager
async def silent_server() -> AsyncIterator[str]:
    Silent.received = asyncio.Event()
    server = await asyncio.get_running_loop().create_server(Silent, "127.0.0.1", 0)
    async with server:
        yield f"https://127.0.0.1:{server.sockets[0].getsockname()[1]}/"


async def test_cancelled_handshake_leaves_no_process(tls: TLSFiles, pipes: Pipes) -> None:
    async with silent_server() as url, nothing_left():
        connecting = asyncio.create_task(httpcore.ClientConnection.connect(url, connector=PipeConnector()))
        await Silent.received.wait()
        connecting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await connecting
        await until(lambda: [pipe.ends for pipe in pipes] == [1])


async def test_handshake_that_takes_too_long_leaves_no_process(tls: TLSFiles, pipes: Pipes) -> None:
    async with silent_server() as url, piped("https", tls) as pool:
        with pytest.raises(httpcore.ConnectTimeout):
            await pool.request("GET", url, timeout=httpcore.TimeoutConfig(connect_timeout=0.5))
        assert pool.num_connections == 0


async def test_closed_pool_ends_the_process_of_a_handshake(tls: TLSFiles, pipes: Pipes) -> None:
    async with silent_server() as url, piped("https", tls) as pool:
        asking = asyncio.create_task(pool.request("GET", url))
        await Silent.received.wait()
        await pool.close()
        with pytest.raises(httpcore.PoolClosed):
            await asking


async def connected(command: list[str]) -> httpcore.HTTP11Protocol:
    return await PipeConnector(command).connect(
        httpcore.HTTP11Protocol, httpcore.Origin("http", "a", 80), ssl_context=None, server_hostname=None, trace=None
    )


@pytest.mark.parametrize("loop_factory", [asyncio.new_event_loop, uvloop.new_event_loop])
def test_connection_cancelled_at_every_turn_leaves_no_process(loop_factory, pipes: Pipes) -> None:
    async def main() -> None:
        protocol = await connected(["cat"])  # uvloop opens a descriptor with its first process, for good
        protocol.close("enough")
        await protocol.wait_closed()
        for turns in range(1, 1000):
            async with nothing_left():
                connecting = asyncio.ensure_future(connected(["cat"]))
                for _ in range(turns):
                    await asyncio.sleep(0)
                finished = connecting.done()
                connecting.cancel()
                try:
                    protocol = await connecting
                except asyncio.CancelledError:
                    pass
                else:
                    protocol.close("enough")
                    await protocol.wait_closed()
            if finished:
                assert turns > 2
                return

    with asyncio.Runner(loop_factory=loop_factory) as runner:
        runner.run(main())


# The transport


async def test_command_that_does_not_end_when_its_stdin_does_is_killed(pipes: Pipes, clock: Clock) -> None:
    async with nothing_left():
        protocol = await connected(["sleep", "1000"])
        protocol.close("enough")
        protocol.close("again")
        pipe = pipes[0]
        assert pipe.is_closing()
        await clock.advance(LINGER - 0.1)
        assert str(pipe.pid) in children()
        await clock.advance(0.2)
        await protocol.wait_closed()
    assert pipe.ends == 1


async def test_command_that_closes_its_stdout_and_stays_is_killed(pipes: Pipes, clock: Clock) -> None:
    async with nothing_left():
        protocol = await connected(["sh", "-c", "exec >&-; exec sleep 1000"])
        pipe = pipes[0]
        await until(pipe.is_closing)
        assert not protocol.closed
        await clock.advance(LINGER + 0.1)
        await protocol.wait_closed()
    assert not protocol.ready()


async def test_transport_is_one_to_the_protocol_it_carries(pipes: Pipes) -> None:
    class Reader(asyncio.Protocol):
        def __init__(self) -> None:
            self.received = b""
            self.calls: list[str] = []
            self.lost = asyncio.get_running_loop().create_future()

        def connection_made(self, transport: asyncio.BaseTransport) -> None:
            self.calls.append("made")

        def data_received(self, data: bytes) -> None:
            self.received += data

        def eof_received(self) -> bool:
            self.calls.append("eof")
            return True

        def connection_lost(self, exc: Exception | None) -> None:
            self.calls.append("lost")
            self.lost.set_result(exc)

    async with nothing_left():
        reader = await PipeConnector(["cat"]).connect(
            Reader, httpcore.Origin("http", "a", 80), ssl_context=None, server_hostname=None, trace=None
        )
        pipe = pipes[0]
        assert pipe.get_protocol() is reader
        assert pipe.is_reading() and not pipe.is_closing() and pipe.can_write_eof()
        assert (pipe.get_extra_info("socket"), pipe.get_extra_info("ssl_object", 1)) == (None, 1)

        pipe.writelines([b"one ", bytearray(b"two "), memoryview(b"three ")])
        await until(lambda: reader.received == b"one two three ")

        pipe.pause_reading()
        pipe.pause_reading()
        assert not pipe.is_reading()
        pipe.write(b"x" * 1_000_000)
        await until(lambda: pipe.writing_paused)  # nobody reads what cat has to write
        assert pipe.get_write_buffer_size() > 0
        assert reader.received == b"one two three "
        pipe.resume_reading()
        pipe.resume_reading()
        pipe.write(b"y")
        pipe.write_eof()
        pipe.write(b"too late")
        await until(lambda: reader.calls[-1] == "eof")
        assert reader.received == b"one two three " + b"x" * 1_000_000 + b"y"

        # It said that it closes by itself.
        assert not reader.lost.done()
        pipe.close()
        assert await reader.lost is None
        pipe.abort()
    assert reader.calls == ["made", "eof", "lost"]


async def test_what_was_read_when_reading_was_paused_waits(pipes: Pipes) -> None:
    """asyncio hands a command's output on one turn of the loop after it has read it."""
    async with nothing_left():
        protocol = await connected(["cat"])
        pipe = pipes[0]
        pipe.pause_reading()
        pipe.pipe_data_received(1, b"HTTP/1.1 200 OK\r\n\r\n")
        assert not protocol.closing
        pipe.resume_reading()
        assert not protocol.closing
        await until(lambda: protocol.closing)  # bytes on an idle connection
        await protocol.wait_closed()


# The command line


async def run(*arguments: str) -> tuple[int | None, str, str]:
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-W", "error", str(_ROOT / "examples" / "stdio_pipe.py"), *arguments),
        env={"PYTHONPATH": str(_ROOT), "PYTHONASYNCIODEBUG": "0"},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    out, err = await process.communicate()
    return process.returncode, out.decode(), err.decode()


async def test_example_prints_what_it_got_through_its_relay(way: str, tls: TLSFiles) -> None:
    if way == "h2c":
        way = "http"
    async with serve(way, tls) as origin:
        code, out, err = await run(origin.url + "/hello", "--ca", str(tls.ca_path))
    assert (code, out, err) == (0, f"{WAYS[way]} 200\nHello, world\n", "")


async def test_example_runs_the_command_it_is_given(tls: TLSFiles) -> None:
    async with serve("http", tls) as origin:
        code, out, err = await run(origin.url + "/hello", "--command", " ".join(stdio_pipe.RELAY))
    assert (code, out, err) == (0, "HTTP/1.1 200\nHello, world\n", "")
