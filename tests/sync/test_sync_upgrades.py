"""SyncUpgradedStream: the raw stream after 101 and after CONNECT, with blocking calls."""

from __future__ import annotations

import asyncio
import concurrent.futures
import signal
import threading
from collections.abc import Iterator
from types import FrameType

import pytest

import httpcore
from tests.conftest import TLSFiles
from tests.servers import serving
from tests.sync.conftest import Background
from tests.sync.test_loop_thread import run_program

Pool = httpcore.SyncConnectionPool
_UPGRADE = {"connection": "upgrade", "upgrade": "echo"}


@pytest.fixture
def echo(servers: Background, tls: TLSFiles) -> Iterator[str]:
    """Answers anything with 101, CONNECT with 200; then sends back what comes, begins TLS when told to, and ends."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        if head.startswith(b"CONNECT"):
            writer.write(b"HTTP/1.1 200 OK\r\n\r\n")
        else:
            writer.write(b"HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: echo\r\n\r\n")
        while data := await reader.read(65536):
            if data == b"STARTTLS":
                writer.write(b"GO")  # else the client's first record may be read along with the command
                await writer.start_tls(tls.server_context)
                continue
            if data == b"QUIT":
                return
            if data == b"WAIT":
                continue
            writer.write(data)
            await writer.drain()

    with servers.opened(serving(serve)) as origin:
        yield origin.url


def _upgraded(http: Pool, url: str) -> httpcore.SyncUpgradedStream:
    response = http.request("GET", url, _UPGRADE)
    assert response.status_code == 101
    assert response.upgraded is not None
    assert response.upgraded is response.upgraded
    return response.upgraded


def test_echo_after_101(echo: str):
    with Pool() as http, _upgraded(http, echo) as stream:
        for _ in range(3):
            stream.write(b"ping")
            assert stream.read() == b"ping"
        stream.write(b"QUIT")
        assert stream.read() == b""


def test_echo_after_connect(echo: str):
    with Pool() as http:
        response = http.request("CONNECT", echo, target="example.org:443")
        assert response.status_code == 200
        assert response.upgraded is not None
        with response.upgraded as stream:
            stream.write(b"ping")
            assert stream.read(2) + stream.read(2) == b"ping"
            assert stream.get_extra_info("peername") == ("127.0.0.1", int(echo.rpartition(":")[2]))
            stream.write_eof()
            assert stream.read() == b""


def test_ordinary_response_has_none(url: str):
    with Pool() as http:
        assert http.request("GET", url + "/hello").upgraded is None


def test_tls_begins_on_the_stream(echo: str, tls: TLSFiles):
    with Pool() as http, _upgraded(http, echo) as stream:
        stream.write(b"STARTTLS")
        assert stream.read() == b"GO"
        stream.start_tls(tls.client_context, server_hostname="localhost")
        stream.write(b"secret")
        assert stream.read() == b"secret"
        assert stream.get_extra_info("ssl_object") is not None


def test_much_goes_both_ways_in_two_threads(echo: str):
    size = 5_000_000

    def write() -> None:
        for _ in range(size // 50_000):
            stream.write(bytes(50_000))

    with Pool() as http, _upgraded(http, echo) as stream:
        thread = threading.Thread(target=write)
        thread.start()
        received = 0
        while received < size:
            received += len(stream.read())
        thread.join()
    assert received == size


def test_read_timeout_leaves_the_stream_usable(echo: str):
    with Pool() as http, _upgraded(http, echo) as stream:
        with pytest.raises(httpcore.ReadTimeout):
            stream.read(timeout=0.05)
        stream.write(b"ping", timeout=10)
        assert stream.read(timeout=10) == b"ping"


@pytest.mark.parametrize("error", [KeyboardInterrupt, TimeoutError])  # the latter is what an alarm's handler may raise
def test_signal_in_read_leaves_the_stream_usable(echo: str, error: type[BaseException]):
    raised = threading.Event()

    def on_signal(number: int, frame: FrameType | None) -> None:
        # While it waits: where asyncio wakes a loop up, it swallows any OSError, and so a TimeoutError.
        while frame is not None and frame.f_code is not concurrent.futures.Future.result.__code__:
            frame = frame.f_back
        if frame is not None and not raised.is_set():
            raised.set()
            raise error

    def interrupt() -> None:
        while not raised.wait(0.01):
            signal.pthread_kill(threading.main_thread().ident, signal.SIGUSR1)  # type: ignore[arg-type]  # it runs

    before = signal.signal(signal.SIGUSR1, on_signal)
    with Pool() as http, _upgraded(http, echo) as stream:
        thread = threading.Thread(target=interrupt)
        with pytest.raises(error):
            thread.start()
            stream.read()
        thread.join()
        stream.write(b"ping")
        assert stream.read() == b"ping"
    signal.signal(signal.SIGUSR1, before)


def test_close_ends_a_read_in_another_thread(echo: str):
    errors: list[BaseException] = []
    begun = threading.Event()

    def read() -> None:
        begun.set()
        try:
            stream.read()
        except httpcore.HTTPCoreError as exc:
            errors.append(exc)

    with Pool() as http:
        stream = _upgraded(http, echo)
        thread = threading.Thread(target=read)
        thread.start()
        begun.wait()
        stream.close()
        thread.join()
        stream.close()
        with pytest.raises((httpcore.WriteError, httpcore.ResponseClosed)):
            stream.write(b"late")
    assert [type(error) for error in errors] == [httpcore.ResponseClosed]


def test_stream_that_is_dropped_is_aborted_with_a_warning(echo: str):
    with Pool() as http:
        stream = _upgraded(http, echo)
        with pytest.warns(ResourceWarning, match="unclosed <UpgradedStream"):
            del stream


def test_blocking_calls_where_the_system_has_neither_eventfd_nor_forks_nor_interruptible_waits(
    echo: str, origin_app_url: str
):
    """As on Windows: the loop is asyncio's as it is, and a thread that waits looks for signals now and then."""
    program = """
        import os, sys, httpcore  # and by that all of asyncio
        sys.platform = "win32"
        del os.register_at_fork
        with httpcore.SyncConnectionPool() as pool:
            assert pool.request("GET", sys.argv[1] + "/hello").status_code == 200
            try:
                pool.request("GET", sys.argv[1] + "/hang", timeout=httpcore.TimeoutConfig(read_timeout=0.5))
            except httpcore.ReadTimeout:
                print("no answer")
            response = pool.request("GET", sys.argv[2], {"connection": "upgrade", "upgrade": "echo"})
            with response.upgraded as stream:
                try:
                    stream.read(timeout=0.5)
                except httpcore.ReadTimeout:
                    print("no bytes")
                stream.write(b"ping")
                print(stream.read())
        from httpcore.sync.loop_thread import background_loop
        print(type(background_loop()._selector).__name__)
    """
    assert run_program(program, origin_app_url, echo) == "no answer\nno bytes\nb'ping'\nEpollSelector\n"
