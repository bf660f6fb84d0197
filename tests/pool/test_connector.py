"""TCPConnector: look-up, happy eyeballs, failures in words, and nothing left open whenever it is cancelled."""

from __future__ import annotations

import asyncio
import errno
import os
import socket
import struct
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from typing import TypeAlias, cast

import pytest

from httpcore import (
    ConnectError,
    ConnectionPool,
    ConnectTimeout,
    HTTP11Protocol,
    Origin,
    Request,
    ResponseHandler,
    TCPConnector,
    TimeoutConfig,
    trace,
)
from tests.conftest import TLSFiles
from tests.h11_server import H11Server, listening

AddrInfo: TypeAlias = tuple[int, int, int, str, tuple[str, int]]
Resolve: TypeAlias = Callable[..., None]


def info(host: str, port: int) -> AddrInfo:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    return (family, socket.SOCK_STREAM, socket.IPPROTO_TCP, "", (host, port))


@pytest.fixture
async def resolves_to(monkeypatch: pytest.MonkeyPatch) -> Resolve:
    """Lets the running loop find these addresses, or this error, for every name."""
    loop = asyncio.get_running_loop()
    look_up = loop.getaddrinfo

    def set_result(*results: AddrInfo | BaseException) -> None:
        async def getaddrinfo(host: str, port: int, **options: int) -> object:
            if "type" not in options:  # uvloop's sock_connect, of an address that we have given it
                return await look_up(host, port, **options)
            found: list[AddrInfo] = []
            for result in results:
                if isinstance(result, BaseException):
                    raise result
                found.append(result)
            return found

        monkeypatch.setattr(loop, "getaddrinfo", getaddrinfo)

    return set_result


def refused_port(host: str = "127.0.0.1") -> int:
    """A port on which nobody listens."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family) as sock:
        sock.bind((host, 0))
        port = sock.getsockname()[1]
        assert isinstance(port, int)
        return port


@contextmanager
def hanging(host: str = "127.0.0.1") -> Iterator[int]:
    """A port at which a connection is neither made nor refused: its backlog is full, and nobody accepts."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    waiting = [socket.socket(family) for _ in range(3)]
    with socket.socket(family) as listener:
        listener.bind((host, 0))
        listener.listen(0)
        for sock in waiting:
            sock.setblocking(False)
            sock.connect_ex(listener.getsockname())
        try:
            yield listener.getsockname()[1]
        finally:
            for sock in waiting:
                sock.close()


@contextmanager
def no_descriptor_more() -> Iterator[None]:
    before = sorted(os.listdir("/dev/fd"))
    yield
    assert sorted(os.listdir("/dev/fd")) == before


async def connect(origin: Origin) -> HTTP11Protocol:
    return await TCPConnector().connect(HTTP11Protocol, origin)


async def connected(origin: Origin) -> tuple[str, int]:
    """Connects, closes, and returns where to."""
    protocol = await connect(origin)
    address = protocol.info.peer_address
    protocol.close("enough")
    await protocol.wait_closed()
    assert isinstance(address, tuple)
    return address[0], address[1]


# Names and addresses


@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
async def test_address_needs_no_look_up(host: str, resolves_to: Resolve) -> None:
    resolves_to(AssertionError("an address must not be looked up"))
    async with listening(host=host) as listener:
        assert await connected(Origin("http", host, listener.port)) == (host, listener.port)


@pytest.mark.parametrize("host", ["example.org", "localhost", "a.b.c", "1a", "example.org.", "10.example"])
async def test_name_is_looked_up(host: str, resolves_to: Resolve) -> None:
    async with listening() as listener:
        resolves_to(info("127.0.0.1", listener.port))
        assert await connected(Origin("http", host, 80)) == ("127.0.0.1", listener.port)


async def test_name_that_is_not_found_is_a_connect_error(resolves_to: Resolve) -> None:
    resolves_to(socket.gaierror(socket.EAI_NONAME, "Name or service not known"))
    async with ConnectionPool() as pool:
        with pytest.raises(ConnectError) as caught:
            await pool.request("GET", "http://nowhere.example/")
        assert str(caught.value) == (
            "the host's name was not found: Name or service not known (nowhere.example:80, connecting)"
        )
        assert isinstance(caught.value.__cause__, socket.gaierror)
        assert not caught.value.request_sent
        assert pool.num_connections == 0


# One address


async def test_refused_port_is_a_connect_error() -> None:
    with no_descriptor_more():
        async with ConnectionPool() as pool:
            with pytest.raises(ConnectError, match=r"the connection was not made: .*Connect call failed") as caught:
                await pool.request("GET", f"http://127.0.0.1:{refused_port()}/")
            assert isinstance(caught.value.__cause__, ConnectionRefusedError)


async def test_connection_that_hangs_is_a_connect_timeout() -> None:
    with hanging() as port, no_descriptor_more():
        async with ConnectionPool(timeout=TimeoutConfig(5, connect_timeout=0.1)) as pool:
            with pytest.raises(ConnectTimeout) as caught:
                await pool.request("GET", f"http://127.0.0.1:{port}/")
            assert str(caught.value) == f"no connection was made within 0.1 seconds (127.0.0.1:{port}, connecting)"
            assert not caught.value.request_sent
            assert pool.num_connections == 0


@pytest.mark.parametrize(
    "error, expected, text",
    [
        (TimeoutError(errno.ETIMEDOUT, "Connection timed out"), ConnectTimeout, "not made in time: .*timed out"),
        (ConnectionAbortedError("SSL handshake is taking longer"), ConnectTimeout, "not made in time: SSL handshake"),
        (OSError(errno.EHOSTUNREACH, "No route to host"), ConnectError, "was not made: .*No route to host"),
        (ConnectionResetError(), ConnectError, "was not made: ConnectionResetError"),
    ],
)
async def test_error_of_the_system_is_translated_with_its_words(
    error: OSError, expected: type[ConnectError | ConnectTimeout], text: str, resolves_to: Resolve
) -> None:
    resolves_to(error)
    with pytest.raises(expected, match=text) as caught:
        await connect(Origin("http", "example.org", 80))
    assert caught.value.__cause__ is error


async def test_connect_timeout_of_the_system_is_kept_by_the_pool(resolves_to: Resolve) -> None:
    resolves_to(TimeoutError(errno.ETIMEDOUT, "Connection timed out"))
    async with ConnectionPool(timeout=TimeoutConfig()) as pool:
        with pytest.raises(ConnectTimeout, match=r"the connection was not made in time: .*Connection timed out"):
            await pool.request("GET", "http://example.org/")


# Several addresses

ADDRESSES = [("127.0.0.1", "::1"), ("::1", "127.0.0.1"), ("127.0.0.1", "127.0.0.1"), ("::1", "::1")]


@pytest.mark.parametrize("dead, alive", ADDRESSES)
async def test_refused_address_gives_way_to_the_next(dead: str, alive: str, resolves_to: Resolve) -> None:
    async with listening(host=alive) as listener, ConnectionPool() as pool:
        resolves_to(info(dead, refused_port(dead)), info(alive, listener.port))
        assert (await pool.request("GET", "http://example.org/")).body == b"hello"


@pytest.mark.parametrize("dead, alive", ADDRESSES)
async def test_hanging_address_gives_way_to_the_next(dead: str, alive: str, resolves_to: Resolve) -> None:
    async with listening(host=alive) as listener:
        with hanging(dead) as port, no_descriptor_more():
            resolves_to(info(dead, port), info(alive, listener.port))
            assert await connected(Origin("http", "example.org", 80)) == (alive, listener.port)
            for peer in listener.protocols:
                assert isinstance(peer, H11Server)
                await peer.lost


async def test_families_take_turns(resolves_to: Resolve) -> None:
    events: list[trace.TraceEvent] = []
    async with listening(host="::1") as listener:
        with hanging() as port:
            resolves_to(*[info("127.0.0.1", port)] * 20, info("::1", listener.port))
            protocol = await TCPConnector().connect(
                HTTP11Protocol, Origin("http", "example.org", 80), trace=events.append
            )
            protocol.close("enough")
            await protocol.wait_closed()
    connected_to = events[-1]
    assert isinstance(connected_to, trace.TCPConnected) and connected_to.address == "::1"


async def test_all_addresses_refused_is_one_connect_error(resolves_to: Resolve) -> None:
    first, second = refused_port(), refused_port("::1")
    resolves_to(info("127.0.0.1", first), info("::1", second))
    with no_descriptor_more(), pytest.raises(ConnectError, match=r"the connection was not made: .*Connect call failed"):
        await connect(Origin("http", "example.org", 80))


async def test_all_addresses_hanging_is_a_connect_timeout(resolves_to: Resolve) -> None:
    with hanging() as first, hanging("::1") as second, no_descriptor_more():
        resolves_to(info("127.0.0.1", first), info("::1", second))
        async with ConnectionPool(timeout=TimeoutConfig(connect_timeout=0.4)) as pool:
            with pytest.raises(ConnectTimeout, match=r"no connection was made within 0\.4 seconds"):
                await pool.request("GET", "http://example.org/")


# Cancellation


async def cancelled(connecting: Awaitable[object], until: Callable[[], bool] = lambda: True) -> None:
    task = asyncio.ensure_future(connecting)
    for _ in range(5):
        await asyncio.sleep(0)
    while not until():  # noqa: ASYNC110  # nothing else tells of it
        await asyncio.sleep(0)
    assert not task.done()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_cancelled_look_up_leaves_nothing_open(monkeypatch: pytest.MonkeyPatch) -> None:
    loop = asyncio.get_running_loop()

    async def never(*args: object, **options: object) -> None:
        await loop.create_future()

    monkeypatch.setattr(loop, "getaddrinfo", never)
    with no_descriptor_more():
        await cancelled(connect(Origin("http", "example.org", 80)))


async def test_cancelled_connection_leaves_nothing_open() -> None:
    with hanging() as port, no_descriptor_more():
        await cancelled(connect(Origin("http", "127.0.0.1", port)))


async def test_cancelled_race_leaves_nothing_open(resolves_to: Resolve) -> None:
    with hanging() as first, hanging("::1") as second, no_descriptor_more():
        resolves_to(info("127.0.0.1", first), info("::1", second))
        await cancelled(connect(Origin("http", "example.org", 80)))


async def test_connection_cancelled_at_every_turn_leaves_nothing_open(tls: TLSFiles) -> None:
    """Cancels after 1, 2, 3 ... turns of the loop, until the connection is made before that."""
    asyncio.get_running_loop().set_exception_handler(lambda loop, context: None)  # the server's own complaint
    finished = False
    turns = 0
    async with listening(ssl_context=tls.server_context) as listener:
        before = len(os.listdir("/dev/fd"))
        while not finished:
            turns += 1
            connecting = asyncio.ensure_future(
                TCPConnector().connect(
                    HTTP11Protocol,
                    Origin("https", "127.0.0.1", listener.port),
                    ssl_context=tls.client_context,
                    server_hostname="127.0.0.1",
                )
            )
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
            while len(os.listdir("/dev/fd")) > before:  # noqa: ASYNC110  # the server's end of it
                await asyncio.sleep(0)
    assert turns > 5


async def test_cancelled_handshake_leaves_nothing_open(tls: TLSFiles) -> None:
    class Silent(asyncio.Protocol):
        def __init__(self) -> None:
            self.lost = asyncio.get_running_loop().create_future()
            self.received = b""

        def data_received(self, data: bytes) -> None:
            self.received += data

        def connection_lost(self, exc: Exception | None) -> None:
            self.lost.set_result(exc)

    async with listening(Silent) as listener:
        with no_descriptor_more():
            connecting = TCPConnector().connect(
                HTTP11Protocol,
                Origin("https", "127.0.0.1", listener.port),
                ssl_context=tls.client_context,
                server_hostname="127.0.0.1",
            )
            # The client's first flight came: it waits for the server's.
            await cancelled(connecting, lambda: any(getattr(peer, "received", b"") for peer in listener.protocols))
            for peer in listener.protocols:
                assert isinstance(peer, Silent)
                await peer.lost


async def test_closed_pool_ends_a_connection_that_is_being_made() -> None:
    with hanging() as port, no_descriptor_more():
        pool = ConnectionPool()
        asking = asyncio.create_task(pool.request("GET", f"http://127.0.0.1:{port}/"))
        await asyncio.sleep(0)
        await pool.close()
        with pytest.raises(Exception, match="the pool was closed"):
            await asking
        assert pool.num_connections == 0


# Trace


async def test_server_that_resets_at_once_is_a_connect_error_also_when_traced(monkeypatch: pytest.MonkeyPatch) -> None:
    """The peer's address, which the trace wants, is gone by then."""

    class Resetting(asyncio.Protocol):
        def connection_made(self, transport: asyncio.BaseTransport) -> None:
            sock = transport.get_extra_info("socket")
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            transport = cast(asyncio.Transport, transport)
            transport.abort()

    loop = asyncio.get_running_loop()
    real = loop.sock_connect

    async def connect_and_see_the_reset(sock: socket.socket, address: tuple[str, int]) -> None:
        await real(sock, address)
        with pytest.raises(ConnectionResetError):
            await loop.sock_recv(sock, 1)
        await asyncio.sleep(0)  # Python 3.11 traces no coroutine that goes on after an exception was thrown into it

    monkeypatch.setattr(loop, "sock_connect", connect_and_see_the_reset)
    events: list[trace.TraceEvent] = []
    async with listening(Resetting) as listener:
        with pytest.raises(ConnectError, match=r"the connection was not made: .*not connected"):
            await TCPConnector().connect(
                HTTP11Protocol, Origin("http", "127.0.0.1", listener.port), trace=events.append
            )
    assert isinstance(events[-1], trace.ResolveComplete)


async def test_connector_gives_a_protocol_that_works_without_a_pool() -> None:
    async with listening() as listener:
        protocol = await connect(Origin("http", "127.0.0.1", listener.port))

        class Handler(ResponseHandler):
            def __init__(self) -> None:
                self.body = b""
                self.done = asyncio.get_running_loop().create_future()

            def data_received(self, data: bytes) -> None:
                self.body += data

            def response_complete(self, trailers: object) -> None:
                self.done.set_result(None)

        handler = Handler()
        protocol.dispatch(Request("GET", listener.url()), handler)
        await handler.done
        assert handler.body == b"hello"
        protocol.close("enough")
        await protocol.wait_closed()
