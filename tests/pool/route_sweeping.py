"""What the sweeps of routes have in common: servers for every kind of route, and books checked at every step."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import os
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import AsyncExitStack, asynccontextmanager
from typing import NamedTuple, cast

import pytest
from h2.exceptions import StreamClosedError

from httpcore import ClientConnection, ConnectionPool, PoolLimits, Proxy, ProxyProtocol, SSLConfig
from httpcore.config import TimeoutConfig
from httpcore.testing import MemoryConnector
from tests.clock import until
from tests.conftest import TLSFiles
from tests.h11_server import H11Server, listening
from tests.pool.books import check_books
from tests.pool.steps import Steps
from tests.pool.version_server import AutoHTTP2Peer
from tests.proxies.http2_proxy import HTTP2Proxy
from tests.proxies.http_proxy import HTTPProxy
from tests.proxies.relay import ClientEnd
from tests.proxies.relay import Proxy as Relay
from tests.proxies.script import Answer, Then, reset
from tests.proxies.socks_server import SOCKSServer
from tests.proxies.ways import Connect, to_address, to_protocol

__all__ = ["CONNECT_TIMEOUT", "KINDS", "Kind", "Stack", "WatchedSteps", "Wire", "all_quiet", "standing"]

CONNECT_TIMEOUT = 0.9  # seconds; shorter than anything else that a clock which is moved could end
_AUTH = ("user", "pass")


class Kind(NamedTuple):
    """A kind of route.

    Attributes:
        proxy: the scheme of the proxy's URL; `"PROXY"` for a server which wants that header, and is no proxy.
        proxy_http2: whether the proxy speaks HTTP/2.
        origin: what the origin speaks: `"http"`; over TLS `"https"` and, on HTTP/2, `"h2"`.
        tunnel: whether http origins are reached through a tunnel.
        auth: whether the proxy wants credentials.
    """

    proxy: str
    proxy_http2: bool = False
    origin: str = "http"
    tunnel: bool = True
    auth: bool = False

    @property
    def secure(self) -> bool:  # with TLS that only sockets can carry
        return self.origin != "http" or (self.proxy == "https" and not self.proxy_http2)


MEMORY_KINDS = {
    "forwarding": Kind("http", tunnel=False),
    "forwarding on HTTP/2": Kind("https", proxy_http2=True, tunnel=False),
    "CONNECT": Kind("http"),
    "CONNECT on HTTP/2": Kind("https", proxy_http2=True),
    "SOCKS5": Kind("socks5h"),
    "SOCKS5 with auth": Kind("socks5h", auth=True),
    "SOCKS4A": Kind("socks4a"),
    "PROXY": Kind("PROXY"),
}
TLS_KINDS = {
    "CONNECT, TLS": Kind("http", origin="https"),
    "CONNECT, TLS, HTTP/2": Kind("http", origin="h2"),
    "TLS, CONNECT, TLS": Kind("https", origin="https"),
    "TLS, CONNECT, TLS, HTTP/2": Kind("https", origin="h2"),
    "TLS, CONNECT on HTTP/2, TLS": Kind("https", proxy_http2=True, origin="https"),
    "TLS, CONNECT on HTTP/2, TLS, HTTP/2": Kind("https", proxy_http2=True, origin="h2"),
    "TLS, forwarding": Kind("https", tunnel=False),
    "SOCKS5, TLS": Kind("socks5h", origin="https", auth=True),
    "SOCKS4A, TLS, HTTP/2": Kind("socks4a", origin="h2"),
    "PROXY, TLS": Kind("PROXY", origin="https"),
}
KINDS = MEMORY_KINDS | TLS_KINDS


class WatchedSteps(Steps):
    """Steps after each of which the books of pools are checked.

    Attributes:
        pools: whose.
    """

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        super().__init__(monkeypatch)
        self.pools: list[ConnectionPool] = []
        self._fault: AssertionError | None = None
        run = asyncio.Handle._run

        def run_and_check(handle: asyncio.Handle) -> None:
            run(handle)
            try:
                for pool in self.pools:
                    check_books(pool)
            except AssertionError as exc:
                exc.add_note(f"after {handle!r}")
                self._fault = self._fault or exc
                self.pools.clear()

        monkeypatch.setattr(asyncio.Handle, "_run", run_and_check)

    def check(self) -> None:
        """Raises what was found so far."""
        self.actions = {}
        self.pools.clear()
        if self._fault is not None:
            raise self._fault


class _ChoseHTTP2:
    """What the link in memory has in place of a TLS object."""

    def selected_alpn_protocol(self) -> str:
        return "h2"


class _HTTP2Origin(AutoHTTP2Peer):
    """Answers, unless the request was cancelled in the same breath."""

    def respond(
        self,
        stream_id: int,
        status: int = 200,
        headers: Iterable[tuple[str | bytes, str | bytes]] = (),
        body: bytes = b"",
        trailers: Iterable[tuple[str | bytes, str | bytes]] = (),
        *,
        end_stream: bool = True,
    ) -> None:
        with contextlib.suppress(StreamClosedError):
            super().respond(stream_id, status, headers, body, trailers, end_stream=end_stream)


class _HeaderEnd(ClientEnd):
    """Takes the PROXY header off, and leads on to the origin."""

    proxy: _HeaderServer

    def received(self) -> None:
        if (end := self.buffer.find(b"\r\n")) < 0:
            return
        assert self.buffer.startswith(b"PROXY TCP4 ")
        del self.buffer[: end + 2]
        self.proxy.requests.append(None)
        self.start(self.tunnel("", 0, Answer(b"", Then.PROCEED), lambda error: Answer(b"", Then.CLOSE)))


class _HeaderServer(Relay):
    """Wants the PROXY header, version 1."""

    def __init__(self, connect: Connect) -> None:
        super().__init__(connect)
        self.requests: list[None] = []

    def accept(self) -> asyncio.Protocol:
        return _HeaderEnd(self)


class _WireEnd(ClientEnd):
    """The client's end of a wire, on which the wire does what it is told."""

    proxy: Wire

    def __init__(self, wire: Wire) -> None:
        super().__init__(wire)
        self.sent = 0
        self._pieces = bytearray()
        self._writer: asyncio.Task[None] | None = None
        self._told = False
        self._eof_waits = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._told = self.proxy.connections == self.proxy.cut_connection
        self.proxy._ends.append(self)
        super().connection_made(transport)
        self.start(self.tunnel("", 0, Answer(b"", Then.PROCEED), lambda error: Answer(b"", Then.CLOSE)))
        if self._told and self.proxy.cut_after == 0:
            self._cut()

    def write(self, data: bytes | bytearray) -> None:
        if self.proxy.one_by_one:
            self._pieces += data
            if self._writer is None:
                self._writer = self.proxy.start(self._write_pieces())
            return
        if not self._told or self.proxy.cut_after is None:
            super().write(data)
            self.sent += len(data)
            return
        if (room := self.proxy.cut_after - self.sent) > 0:
            super().write(data[:room])
            self.sent += len(data[:room])
            if room <= len(data):
                self._cut()

    async def _write_pieces(self) -> None:
        while self._pieces and not self.transport.is_closing():
            self.transport.write(self._pieces[:1])
            del self._pieces[:1]
            self.sent += 1
            await asyncio.sleep(0)
        self._writer = None
        if self._eof_waits:
            self.write_eof()

    def write_eof(self) -> None:
        self._eof_waits = bool(self._pieces)
        if not self._eof_waits and not (self._told and self.proxy.cut_after is not None):
            super().write_eof()

    def _cut(self) -> None:
        self.proxy.was_cut = True
        self.proxy.changes.notify()
        if self.proxy.cut == "end":
            self.transport.close()
        elif self.proxy.cut == "reset":
            reset(self.transport)


class Wire(Relay):
    """Stands in front of a proxy, passes everything on, and cuts one connection after some bytes for the client.

    Attributes:
        cut_after: how many; `None` does not cut.
        cut: `"end"`, `"reset"`, or `"hang"`: then nothing comes any more.
        cut_connection: which of the connections, counted from 0.
        one_by_one: whether the client gets each byte by itself.
        was_cut: whether that has happened.
        sent: how many bytes each connection has carried to the client, in the order of their beginnings.
    """

    def __init__(self, connect: Connect) -> None:
        super().__init__(connect)
        self.cut_after: int | None = None
        self.cut = "end"
        self.cut_connection = 0
        self.one_by_one = False
        self.was_cut = False
        self._ends: list[_WireEnd] = []

    @property
    def sent(self) -> list[int]:
        return [end.sent for end in self._ends]

    def cut_next(self, cut: str, after: int) -> None:
        """Cuts the next connection after so many bytes."""
        self.cut, self.cut_after, self.cut_connection, self.was_cut = cut, after, self.connections, False

    def accept(self) -> asyncio.Protocol:
        return _WireEnd(self)


class Stack(NamedTuple):
    """Servers of one kind of route.

    Attributes:
        url: at the origin.
        other_url: at another origin.
        options: what a `ConnectionPool` and `ClientConnection.connect` take, to reach them.
        front: what is connected to: the proxy, or the wire ahead of it.
        proxy: the proxy.
        wire: what stands ahead of it, or of the origin; `None` for nothing.
        connector: the link in memory; `None` for sockets.
    """

    kind: Kind
    url: str
    other_url: str
    options: dict[str, object]
    front: Relay
    proxy: Relay
    wire: Wire | None
    connector: MemoryConnector[asyncio.Protocol] | None

    def make_pool(self, limit: int | None = 1) -> ConnectionPool:
        return ConnectionPool(limits=PoolLimits(hard_limit=limit), **self.options)  # type: ignore[arg-type]

    async def connect(self) -> ClientConnection:
        return await ClientConnection.connect(self.url, **self.options)  # type: ignore[arg-type]

    @property
    def asked(self) -> int:
        """How many requests the proxy has had, handshakes included."""
        return len(self.proxy.requests)  # type: ignore[attr-defined]

    async def all_gone(self) -> None:
        """Returns once no end of any connection is open, and no task of a server's is left."""
        await until(lambda: not self.front.ends and not self.proxy.ends and not (self.wire and self.wire.ends))
        if self.connector is not None:
            await self.connector.all_closed()


@asynccontextmanager
async def all_quiet() -> AsyncIterator[None]:
    """Fails where the loop's exception handler was called, or a descriptor or task of what ran inside is left."""
    loop = asyncio.get_running_loop()
    complaints: list[dict[str, object]] = []
    loop.set_exception_handler(lambda _loop, context: complaints.append(context))
    tasks, descriptors = asyncio.all_tasks(), len(os.listdir("/dev/fd"))
    gc.freeze()  # all that the tests have loaded would be looked at each time
    try:
        yield
        gc.collect()  # what was never retrieved is told of when it is collected
    finally:
        gc.unfreeze()
    await until(lambda: asyncio.all_tasks() <= tasks and len(os.listdir("/dev/fd")) <= descriptors)
    assert not complaints, "\n".join(f"{context}" for context in complaints)


def _make_proxy(kind: Kind, connect: Connect) -> Relay:
    auth = _AUTH if kind.auth else None
    if kind.proxy == "PROXY":
        return _HeaderServer(connect)
    if kind.proxy.startswith("socks"):
        return SOCKSServer(connect=connect, auth=auth)
    if kind.proxy_http2:
        return HTTP2Proxy(connect=connect, auth=auth)
    return HTTPProxy(connect=connect, auth=auth)


@asynccontextmanager
async def standing(kind: Kind, tls: TLSFiles, *, wired: str = "", segment: int | None = None) -> AsyncIterator[Stack]:
    """Servers for a kind of route: in memory where there is no TLS, else on sockets.

    Args:
        kind: which.
        tls: certificates.
        wired: what there is to be a `Wire` ahead of: the "proxy", the "origin", or nothing.
        segment: the most bytes that are delivered at once, in memory.
    """
    make_origin = cast(Callable[[], asyncio.Protocol], _HTTP2Origin if kind.origin == "h2" else H11Server)
    async with AsyncExitStack() as exits:
        if not kind.secure:
            connect, host = to_protocol(make_origin, segment=segment), "a"
        else:
            context = None
            if kind.origin != "http":
                context = tls.server_context
                context.set_alpn_protocols(["h2" if kind.origin == "h2" else "http/1.1"])
            origin = await exits.enter_async_context(listening(make_origin, ssl_context=context))
            connect, host = to_address("127.0.0.1", origin.port), "localhost"
        wire = None
        if wired == "origin":
            wire = await exits.enter_async_context(Wire(connect))
            if kind.secure:
                await exits.enter_async_context(wire.listening(None))
                connect = to_address("127.0.0.1", wire.port)
            else:
                connect = to_protocol(wire.accept)
        proxy = await exits.enter_async_context(_make_proxy(kind, connect))
        front, connector = proxy, None
        port = 1080
        if kind.secure:
            context = tls.server_context if kind.proxy == "https" else None
            if context is not None:
                context.set_alpn_protocols(["h2" if kind.proxy_http2 else "http/1.1"])
            await exits.enter_async_context(proxy.listening(context))
            port = proxy.port
            if wired == "proxy":
                front = wire = await exits.enter_async_context(Wire(to_address("127.0.0.1", port)))
                await exits.enter_async_context(wire.listening(None))
                port = wire.port
        else:
            if wired == "proxy":
                front = wire = await exits.enter_async_context(Wire(to_protocol(proxy.accept)))
            extra = {"ssl_object": _ChoseHTTP2()} if kind.proxy_http2 else None
            connector = MemoryConnector(front.accept, segment=segment, client_extra=extra)
        config = SSLConfig(verify=str(tls.ca_path))
        options: dict[str, object] = {
            "ssl": config,
            "timeout": TimeoutConfig(None, connect_timeout=CONNECT_TIMEOUT),
            "connector": connector,
        }
        scheme = "http" if kind.origin == "http" else "https"
        url, other_url = f"{scheme}://{host}/", f"{scheme}://{'b' if host == 'a' else '127.0.0.1'}/"
        if kind.proxy == "PROXY":
            options["proxy_protocol"] = ProxyProtocol(version=1, source=("192.0.2.1", 1), destination=("192.0.2.2", 2))
            url, other_url = (f"{each[:-1]}:{port}/" for each in (url, other_url))
        else:
            auth = _AUTH if kind.auth else None
            options["proxy"] = Proxy(
                f"{kind.proxy}://localhost:{port}",
                auth=auth,
                ssl=config if kind.proxy == "https" else None,
                tunnel=kind.tunnel and not kind.proxy.startswith("socks"),
            )
        yield (stack := Stack(kind, url, other_url, options, front, proxy, wire, connector))
        await stack.all_gone()
