"""Tunnels: the raw bytes to an origin, through a proxy. CONNECT to HTTP proxies, and the handshakes of SOCKS.

CONNECT is a request like any other, on a connection like any other: those to proxies are kept in books of their own, so
that a proxy which speaks HTTP/2 gives many tunnels on one connection, and a refusal is read as any response is.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable
from typing import TypeAlias

from httpcore.config import TimeoutConfig
from httpcore.exceptions import (
    ConnectError,
    ConnectTimeout,
    HTTPCoreError,
    ProxyError,
    ReadError,
    WriteError,
    quote_peer_text,
)
from httpcore.handlers import ResponseHandler, ResponseHead
from httpcore.headers import Headers
from httpcore.pool.routes import Route
from httpcore.pool.tcp_connector import resolve
from httpcore.protocols.exchange import HTTPExchange
from httpcore.protocols.socks import SocksHandshake
from httpcore.proxies import Proxy
from httpcore.request import Request
from httpcore.trace import ConnectFailed, TraceEvent, TraceHook, TunnelEstablished, TunnelStarted, emit
from httpcore.upgraded import UpgradedStream
from httpcore.urls import Origin, authority_form

__all__ = [
    "MAX_REFUSAL_SIZE",
    "REFUSAL_TIMEOUT",
    "UNREACHABLE",
    "Submit",
    "no_connection",
    "open_http_tunnel",
    "open_socks_tunnel",
    "socks_hosts",
]

MAX_REFUSAL_SIZE = 64 * 1024
"""Bytes of a proxy's answer that refuses a tunnel which are kept for `ProxyError.body`."""

REFUSAL_TIMEOUT = 1.0
"""Seconds for the content of such an answer, or half of what is left of the connect timeout if that is less: that it
refuses is known by then, and must not become a timeout."""

UNREACHABLE = frozenset({3, 4, 5, 6, 8})
"""Replies of a SOCKS5 proxy after which another address may do: no route to it, refused, no such kind (RFC 1928 6)."""

Submit: TypeAlias = Callable[[HTTPExchange, Route], None]
"""Starts an exchange on a connection of a route, now or later, or fails it: `Slots.submit`."""


def no_connection(proxy: Proxy, exc: ConnectError | ConnectTimeout) -> ConnectError | ConnectTimeout:
    """Returns what `exc`, on the way to `proxy`, means for who wanted an origin, whose host and port are others."""
    kind = ConnectTimeout if isinstance(exc, ConnectTimeout) else ConnectError
    error = kind(f"no connection to the proxy {proxy}: {exc.args[0]}")
    error.__cause__ = exc
    return error


async def open_http_tunnel(
    submit: Submit, hop: Route, target: Origin, seconds: float | None, trace: TraceHook | None
) -> UpgradedStream:
    """Asks the proxy at the end of `hop` for a tunnel (RFC 9110 9.3.6).

    Args:
        submit: sends the request.
        hop: the route to the proxy.
        target: to whose host and port the tunnel is to lead.
        seconds: the connect timeout, for the connection to the proxy.
        trace: a hook, which hears of that connection and of the tunnel, not of the exchange.

    Raises:
        ProxyError: the proxy refused, or broke the rules, or the connection to it.
        ConnectError, ConnectTimeout: there is no connection to the proxy.
    """
    proxy = hop.proxy
    assert proxy is not None
    loop = asyncio.get_running_loop()
    fields = proxy.fields()
    request = _Connect("CONNECT", str(proxy), fields, target=authority_form(target))
    handler = _TunnelHandler(proxy, fields, target, loop, None if seconds is None else loop.time() + seconds)
    if trace is not None:
        emit(trace, TunnelStarted(loop.time(), str(proxy), target.host, target.port), loop)
    # The whole has a deadline, which is the dial's.
    timeout = TimeoutConfig(None, connect_timeout=seconds)
    exchange = HTTPExchange(request, handler, timeout, loop, None if trace is None else _of_connections(trace))
    submit(exchange, hop)
    try:
        stream = await handler.answer
    except BaseException as exc:
        # The dial's deadline, or the end of the pool. A proxy of which nothing was heard is not asked again meanwhile.
        exchange.timed_out = isinstance(exc, asyncio.CancelledError)
        exchange.abort()
        handler.drop()
        raise
    finally:
        handler.stop_waiting()
    if trace is not None:
        emit(trace, TunnelEstablished(loop.time(), str(proxy), target.host, target.port), loop)
    return stream


async def socks_hosts(route: Route, target: Origin, trace: TraceHook | None) -> list[str]:
    """Returns what a SOCKS proxy is to be asked for, one after the other: the name, or the addresses it leads to.

    Raises:
        ConnectError, ConnectTimeout: see `resolve`; or the proxy can be told of none of the addresses.
    """
    proxy = route.proxy
    assert proxy is not None
    if proxy.resolves_names:
        return [target.host]
    infos = await resolve(route.network, target.host, target.port, is_proxy=False, trace=trace)
    hosts = [str(info[4][0]) for info in infos if info[0] == socket.AF_INET or proxy.scheme != "socks4"]
    if not hosts:
        raise ConnectError("SOCKS4 has IPv4 addresses only, and the host has none")
    return hosts


async def open_socks_tunnel(
    stream: UpgradedStream, proxy: Proxy, host: str, port: int, trace: TraceHook | None
) -> None:
    """Asks the SOCKS `proxy` at the other end of `stream` to connect it with `host` and `port`.

    Raises:
        ProxyError: the proxy refused, or broke the rules, or the connection.
        LocalProtocolError: this version of SOCKS cannot name the host.
    """
    loop = asyncio.get_running_loop()
    if trace is not None:
        emit(trace, TunnelStarted(loop.time(), str(proxy), host, port), loop)
    handshake = SocksHandshake(5 if proxy.scheme.startswith("socks5") else 4, host, port, proxy.auth)
    try:
        stream.write(handshake.begin())
        while not handshake.done:
            received = await stream.read()
            if not received:
                handshake.eof()
            if answer := handshake.receive(received):
                stream.write(answer)
    except (ReadError, WriteError) as exc:
        raise ProxyError(f"the connection to the proxy {proxy} broke in the middle of its handshake") from exc
    if handshake.leftover:  # a server of HTTP/2 may speak first
        stream.unread(handshake.leftover)
    if trace is not None:
        emit(trace, TunnelEstablished(loop.time(), str(proxy), host, port), loop)


class _Connect(Request):
    """A CONNECT that is sent again where its connection, a reused one, died: nothing went through the tunnel yet."""

    @property
    def idempotent(self) -> bool:
        return True


class _TunnelHandler(ResponseHandler):
    """Waits for the answer to CONNECT."""

    def __init__(
        self,
        proxy: Proxy,
        fields: list[tuple[bytes, bytes]],
        target: Origin,
        loop: asyncio.AbstractEventLoop,
        ends_at: float | None,
    ) -> None:
        self.answer: asyncio.Future[UpgradedStream] = loop.create_future()
        self.stream: UpgradedStream | None = None
        self._proxy = proxy
        sent = [value.rpartition(b" ")[2] for _, value in fields] + list(proxy.auth or ())[1:]
        self._secrets = [value for value in sent if value]
        self._target = target
        self._loop = loop
        self._ends_at = ends_at  # when the dial times out
        self._head: ResponseHead | None = None
        self._body = b""
        self._deadline: asyncio.TimerHandle | None = None

    def response_received(self, head: ResponseHead) -> None:
        self._head = head
        if not 200 <= head.status_code < 300:
            now = self._loop.time()
            left = REFUSAL_TIMEOUT if self._ends_at is None else (self._ends_at - now) / 2
            self._deadline = self._loop.call_at(now + min(left, REFUSAL_TIMEOUT), self._refuse)

    def data_received(self, data: bytes) -> None:
        self._body += data[: MAX_REFUSAL_SIZE - len(self._body)]
        if len(self._body) == MAX_REFUSAL_SIZE:
            self._refuse()

    def connection_upgraded(self, stream: UpgradedStream) -> None:
        self.stream = stream
        if self.answer.done():  # cancelled
            stream.abort()
        else:
            self.answer.set_result(stream)

    def response_complete(self, trailers: Headers) -> None:
        self._refuse()

    def exchange_failed(self, exc: BaseException) -> None:
        if not self.answer.done():
            self.answer.set_exception(self._translate(exc))

    def drop(self) -> None:
        """Nobody waits any more: what came at the same moment is dropped."""
        if self.stream is not None:
            self.stream.abort()
        if self.answer.done() and not self.answer.cancelled():
            self.answer.exception()  # or its future would complain

    def stop_waiting(self) -> None:
        """The content of a refusal is not waited for any more."""
        if self._deadline is not None:
            self._deadline.cancel()

    def _refuse(self) -> None:
        if not self.answer.done():
            self.answer.set_exception(self._refusal())

    def _refusal(self) -> ProxyError:
        head = self._head
        assert head is not None
        words = str(head.status_code)
        if head.reason:
            words += f" {self._quote(head.reason)}"
        if challenges := head.headers.get_list("proxy-authenticate"):
            words += f", and asks for credentials: {self._quote(', '.join(challenges).encode('latin-1'))}"
        return ProxyError(
            f"the proxy {self._proxy} refused a tunnel to {self._target.host}:{self._target.port} with {words}",
            status_code=head.status_code,
            headers=head.headers,
            body=self._body,
        )

    def _quote(self, text: bytes) -> str:
        """Returns what the proxy said as it may stand in a message: not where it repeats what only it was told."""
        if any(secret in text for secret in self._secrets):
            return "[not shown, as it repeats what the proxy was sent]"
        return quote_peer_text(text)

    def _translate(self, exc: BaseException) -> HTTPCoreError:
        """Returns what a failed exchange means for who wanted a tunnel, whose host and port are others."""
        if isinstance(exc, (ConnectError, ConnectTimeout)) and self._head is None:
            return no_connection(self._proxy, exc)
        if self._head is not None:  # the rest of a refusal is missing, but what was refused is clear
            error = self._refusal()
        else:
            error = ProxyError(f"the proxy {self._proxy} gave no tunnel: {''.join(map(str, exc.args[:1]))}")
        error.__cause__ = exc
        return error


def _of_connections(trace: TraceHook) -> TraceHook:
    """Returns a hook that passes on to `trace` what happens to connections, and not what happens to exchanges."""

    def hook(event: TraceEvent) -> None:
        if event.name.startswith("connect.") and not isinstance(event, ConnectFailed):
            trace(event)

    return hook
