"""Connectors of a caller's own: whatever gives a transport for a protocol will do; what is wrong about one is said."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
from collections.abc import AsyncIterator, Callable
from typing import Any, TypeVar, cast

import pytest
import uvloop

from httpcore import (
    ConnectError,
    ConnectionPool,
    ConnectTimeout,
    HTTPCoreError,
    NetworkError,
    Origin,
    PoolLimits,
    SSLConfig,
    TimeoutConfig,
)
from httpcore.testing import MemoryTransport, memory_link
from tests.asgi_server import asgi_server
from tests.asgi_server_h2 import asgi_server_h2
from tests.clock import until
from tests.conftest import TLSFiles
from tests.h11_server import H11Server, listening
from tests.origin_app import app

P = TypeVar("P", bound=asyncio.Protocol)
Factory = Callable[[], P]


class OnLoop:
    """What the running loop gives, whichever loop that is."""

    async def connect(
        self,
        protocol_factory: Factory[P],
        origin: Origin,
        *,
        ssl_context: ssl.SSLContext | None,
        server_hostname: str | None,
        **options: object,
    ) -> P:
        loop = asyncio.get_running_loop()
        _, protocol = await loop.create_connection(
            protocol_factory, "127.0.0.1", origin.port, ssl=ssl_context, server_hostname=server_hostname
        )
        return protocol


class OnSocketPair:
    """One half of a pair of sockets; the other is the server's."""

    def __init__(self) -> None:
        self.servers: list[H11Server] = []

    async def connect(
        self,
        protocol_factory: Factory[P],
        origin: Origin,
        *,
        ssl_context: ssl.SSLContext | None,
        server_hostname: str | None,
        **options: object,
    ) -> P:
        loop = asyncio.get_running_loop()
        ours, theirs = socket.socketpair()
        _, server = await loop.create_connection(H11Server, sock=theirs)
        self.servers.append(server)
        _, protocol = await loop.create_connection(
            protocol_factory, sock=ours, ssl=ssl_context, server_hostname=server_hostname
        )
        return protocol


class InMemory:
    """No socket at all."""

    def __init__(self, wrap: Callable[[asyncio.Transport], object] | None = None) -> None:
        self.transports: list[MemoryTransport] = []
        self._wrap = wrap

    async def connect(self, protocol_factory: Factory[P], origin: Origin, **options: object) -> P:
        protocol = protocol_factory()
        link = _Wrapping(protocol, self._wrap) if self._wrap is not None else protocol
        transport, _ = memory_link(link, H11Server())
        self.transports.append(transport)
        await asyncio.sleep(0)  # both ends have their connection_made then
        if isinstance(link, _Wrapping) and link.error is not None:
            raise link.error
        return protocol


class _Wrapping(asyncio.Protocol):
    """Gives a protocol a transport that has something of its own."""

    def __init__(self, protocol: asyncio.Protocol, wrap: Callable[[asyncio.Transport], object]) -> None:
        self._protocol = protocol
        self._wrap = wrap
        self.error: Exception | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        wrapped = cast(asyncio.Transport, self._wrap(cast(asyncio.Transport, transport)))
        try:
            self._protocol.connection_made(wrapped)
        except OSError as exc:
            self.error = exc

    def connection_lost(self, exc: Exception | None) -> None:
        self._protocol.connection_lost(exc)


class Broken:
    """A transport of which some methods raise."""

    def __init__(self, transport: asyncio.Transport, *names: str) -> None:
        self._transport = transport
        self._names = names

    def __getattr__(self, name: str) -> object:
        if name in self._names:
            return self._fail
        return getattr(self._transport, name)

    def _fail(self, *args: object, **options: object) -> object:
        raise OSError("out of order")


# What works


@pytest.mark.parametrize("loop_factory", [asyncio.new_event_loop, uvloop.new_event_loop])
def test_create_connection_of_the_running_loop_will_do(
    loop_factory: Callable[[], asyncio.AbstractEventLoop], tls: TLSFiles
) -> None:
    async def main() -> None:
        async with ConnectionPool(SSLConfig(verify=str(tls.ca_path)), connector=OnLoop()) as pool:
            for server, context, version in [
                (asgi_server, None, b"HTTP/1.1"),
                (asgi_server, tls.server_context, b"HTTP/1.1"),
                (asgi_server_h2, tls.server_context, b"HTTP/2"),
            ]:
                async with cast(Any, server)(app, context) as origin:
                    for _ in range(2):
                        response = await pool.request("GET", origin.url + "/hello")
                        assert (response.http_version, response.body) == (version, b"Hello, world")
                    assert origin.connections == 1
        assert pool.num_connections == 0

    with asyncio.Runner(loop_factory=loop_factory) as runner:
        runner.run(main())


@pytest.mark.parametrize("loop_factory", [asyncio.new_event_loop, uvloop.new_event_loop])
def test_pair_of_sockets_will_do(loop_factory: Callable[[], asyncio.AbstractEventLoop]) -> None:
    async def main() -> None:
        connector = OnSocketPair()
        async with ConnectionPool(connector=connector) as pool:
            body = b"x" * 1_000_000
            for _ in range(2):
                assert (await pool.request("POST", "http://nowhere.example/", body=body)).body == b"hello"
        (server,) = connector.servers
        await server.lost
        assert [asked.body for asked in server.asked] == [body, body]

    with asyncio.Runner(loop_factory=loop_factory) as runner:
        runner.run(main())


async def test_link_in_memory_will_do() -> None:
    connector = InMemory()
    async with ConnectionPool(connector=connector) as pool:
        for _ in range(2):
            assert (await pool.request("GET", "http://nowhere.example/")).body == b"hello"
    (transport,) = connector.transports
    assert transport.is_closed()


# What does not


@contextlib.asynccontextmanager
async def one_place(connector: object) -> AsyncIterator[ConnectionPool]:
    """A pool with room for one connection, whose first is to fail: the second shows that its place is free again."""

    class Then:
        calls = 0

        async def connect(self, protocol_factory: Factory[P], origin: Origin, **options: Any) -> P:
            self.calls += 1
            chosen = cast(Any, connector if self.calls == 1 else OnLoop())
            return cast(P, await chosen.connect(protocol_factory, origin, **options))

    timeout = TimeoutConfig(5, pool_timeout=1)
    pool = ConnectionPool(None, timeout, PoolLimits(hard_limit=1), connector=Then())
    async with listening() as listener, pool:
        yield pool
        assert pool.num_connections == 0
        assert (await pool.request("GET", listener.url())).body == b"hello"


class Raising:
    def __init__(self, error: BaseException) -> None:
        self._error = error

    async def connect(self, protocol_factory: Factory[P], origin: Origin, **options: object) -> P:
        raise self._error


@pytest.mark.parametrize(
    "error",
    [
        KeyError("odd"),
        ExceptionGroup("some", [OSError("odd"), ValueError("odd")]),
        OSError("odd"),
        EOFError("odd"),
        RecursionError("odd"),
    ],
    ids=lambda error: type(error).__name__,
)
async def test_whatever_a_connector_raises_is_a_connect_error_and_the_place_is_free(error: Exception) -> None:
    async with one_place(Raising(error)) as pool:
        with pytest.raises(ConnectError, match=r"the connector failed: .*odd") as caught:
            await pool.request("GET", "http://nowhere.example/")
        assert caught.value.__cause__ is error
        assert not caught.value.request_sent
        assert (caught.value.host, caught.value.port) == ("nowhere.example", 80)


@pytest.mark.parametrize(
    "error, expected",
    [
        (TimeoutError("odd"), ConnectTimeout),
        (ConnectTimeout("odd"), ConnectTimeout),
        (ConnectError("odd"), ConnectError),
    ],
    ids=lambda value: getattr(value, "__name__", type(value).__name__),
)
async def test_typed_error_of_a_connector_is_kept(error: Exception, expected: type[HTTPCoreError]) -> None:
    async with one_place(Raising(error)) as pool:
        with pytest.raises(expected) as caught:
            await pool.request("GET", "http://nowhere.example/")
        assert error in (caught.value, caught.value.__cause__)


async def test_connector_that_says_it_was_cancelled_while_nobody_did_lets_no_request_wait() -> None:
    async with one_place(Raising(asyncio.CancelledError("odd"))) as pool:
        with pytest.raises(ConnectError, match=r"the connector failed: CancelledError.*odd"):
            await pool.request("GET", "http://nowhere.example/")


@pytest.mark.parametrize("value", [None, "a transport", 5, object()], ids=["None", "str", "int", "object"])
async def test_connector_that_returns_anything_but_a_protocol_is_a_connect_error(value: object) -> None:
    class Wrong:
        async def connect(self, protocol_factory: Factory[P], origin: Origin, **options: object) -> object:
            return value

    async with one_place(Wrong()) as pool:
        with pytest.raises(ConnectError, match=f"the connector failed: .*{type(value).__name__}"):
            await pool.request("GET", "http://nowhere.example/")


async def test_connector_that_returns_the_transport_too_is_a_connect_error_that_leaves_nothing_open() -> None:
    class Pair:
        async def connect(self, protocol_factory: Factory[P], origin: Origin, **options: object) -> object:
            return await asyncio.get_running_loop().create_connection(protocol_factory, "127.0.0.1", origin.port)

    async with listening() as listener, one_place(Pair()) as pool:
        with pytest.raises(ConnectError, match=r"the connector failed: .*tuple"):
            await pool.request("GET", listener.url())
        await until(lambda: len(listener.protocols) == 1)
        assert await cast(H11Server, listener.protocols[0]).lost is None


async def test_connector_that_is_no_connector_is_a_connect_error() -> None:
    async with one_place(object()) as pool:
        with pytest.raises(ConnectError, match=r"the connector failed: AttributeError.*connect"):
            await pool.request("GET", "http://nowhere.example/")


@pytest.mark.parametrize("names", [("get_extra_info",), ("set_protocol",), ("set_protocol", "abort")], ids=str)
async def test_transport_that_raises_when_it_is_taken_is_a_connect_error(names: tuple[str, ...]) -> None:
    connector = InMemory(lambda transport: Broken(transport, *names))
    async with one_place(connector) as pool:
        with pytest.raises(ConnectError, match="out of order"):
            await pool.request("GET", "http://nowhere.example/")
        # One whose abort raises is its connector's to close.
        assert connector.transports[0].is_closing() is ("abort" not in names)
        connector.transports[0].abort()


@pytest.mark.parametrize("names", [("write",), ("writelines", "write")], ids=str)
async def test_transport_that_raises_when_it_is_written_to_is_a_network_error(names: tuple[str, ...]) -> None:
    connector = InMemory(lambda transport: Broken(transport, *names))
    async with one_place(connector) as pool:
        with pytest.raises(NetworkError, match=r"the transport refused what was written: .*out of order") as caught:
            await pool.request("POST", "http://nowhere.example/", body=b"x" * 200_000)
        assert isinstance(caught.value.__cause__, OSError)
    assert connector.transports[0].is_closed()
