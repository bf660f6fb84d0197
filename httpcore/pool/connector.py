"""Connector: what opens the way to a server, the one for TCP and TLS, and `dial`, which all connections come from."""

from __future__ import annotations

import asyncio
import functools
import socket
import ssl
from collections.abc import Callable, Sequence
from typing import Protocol, TypeAlias, TypeVar

import aiohappyeyeballs

from httpcore.exceptions import ConnectError, ConnectTimeout, HTTPCoreError
from httpcore.pool.routes import Route
from httpcore.protocols.base import HTTPProtocol
from httpcore.protocols.handshake import Negotiation, Versions
from httpcore.tls import ContextCache, describe_tls_error
from httpcore.trace import (
    ConnectFailed,
    ResolveComplete,
    ResolveStarted,
    TCPConnected,
    TLSEstablished,
    TraceHook,
    emit,
)
from httpcore.urls import Origin

__all__ = ["Connector", "TCPConnector", "dial"]

_P = TypeVar("_P", bound=asyncio.Protocol)

_AddrInfo: TypeAlias = tuple[
    socket.AddressFamily, socket.SocketKind, int, str, tuple[str, int] | tuple[str, int, int, int] | tuple[int, bytes]
]

_HAPPY_EYEBALLS_DELAY = 0.25  # seconds before the next address is tried as well: RFC 8305 8
_TLS_SHUTDOWN_TIMEOUT = 1.0  # seconds for the peer to answer close_notify; it owes us nothing else by then


class Connector(Protocol):
    """What a pool makes its connections with: `ConnectionPool(connector=...)`.

    Anything that gives a transport for a protocol will do: a tunnel, an in-memory link, another loop's ways.
    """

    async def connect(
        self,
        protocol_factory: Callable[[], _P],
        origin: Origin,
        *,
        ssl_context: ssl.SSLContext | None,
        server_hostname: str | None,
        trace: TraceHook | None,
    ) -> _P:
        """Opens a way to `origin`.

        It may be cancelled at any moment, by a timeout or because the pool is closed, and must leave nothing open then.

        Args:
            protocol_factory: makes the protocol for the transport. In its `connection_made`, which is for it to know
                the version that the server chose, it may put another protocol in its place (`set_protocol`).
            origin: scheme, host and port.
            ssl_context: for TLS; `None` without.
            server_hostname: the name to ask for and to verify; `None` without TLS.
            trace: a hook, `None` without one.

        Returns:
            The protocol, whose `connection_made` was called.

        Raises:
            ConnectError: there is no way, or TLS failed; the cause is chained.
            ConnectTimeout: it took too long.
        """


class TCPConnector:
    """Opens TCP connections, with TLS where it is asked for: happy eyeballs on every loop (RFC 8305)."""

    async def connect(
        self,
        protocol_factory: Callable[[], _P],
        origin: Origin,
        *,
        ssl_context: ssl.SSLContext | None = None,
        server_hostname: str | None = None,
        trace: TraceHook | None = None,
    ) -> _P:
        """See `Connector.connect`."""
        loop = asyncio.get_running_loop()
        try:
            infos = await _resolve(loop, origin, trace)
            sock = await aiohappyeyeballs.start_connection(
                infos, happy_eyeballs_delay=_HAPPY_EYEBALLS_DELAY, interleave=1, loop=loop
            )
            if trace is not None:
                try:
                    emit(trace, TCPConnected(loop.time(), str(sock.getpeername()[0])), loop)
                except OSError:  # the server has reset it already
                    sock.close()
                    raise
            if ssl_context is None:
                _, protocol = await loop.create_connection(protocol_factory, sock=sock)
                return protocol
            transport, protocol = await loop.create_connection(
                protocol_factory,
                sock=sock,
                ssl=ssl_context,
                server_hostname=server_hostname,
                ssl_shutdown_timeout=_TLS_SHUTDOWN_TIMEOUT,
            )
            if trace is not None:
                tls = transport.get_extra_info("ssl_object")
                emit(trace, TLSEstablished(loop.time(), tls.version(), tls.selected_alpn_protocol()), loop)
            return protocol
        except OSError as exc:
            raise _translate(exc) from exc


async def dial(
    connector: Connector,
    contexts: ContextCache,
    versions: Versions,
    route: Route,
    seconds: float | None,
    trace: TraceHook | None,
) -> HTTPProtocol:
    """Makes the connection of a route.

    Args:
        connector: opens it.
        contexts: where the TLS context comes from.
        versions: what may be spoken; HTTP/2 only if the route allows it as well.
        route: where to, and how.
        seconds: within which it has to be there, TLS and the loading of its files included; `None` sets no limit.
        trace: a hook, `None` without one.

    Raises:
        ConnectError, ConnectTimeout: it was not made, or speaks a version that it may not. What else a connector of
            the caller's own raises is the cause.
    """
    if not route.http2:
        versions = versions._replace(http2=None)
    error: HTTPCoreError
    try:
        async with asyncio.timeout(seconds):
            negotiation = await connector.connect(
                functools.partial(Negotiation, versions),
                route.origin,
                ssl_context=None if route.ssl is None else await contexts.load(route.ssl, versions.alpn_protocols),
                server_hostname=route.server_hostname,
                trace=trace,
            )
            return negotiation.result()
    except HTTPCoreError as exc:  # first: a ConnectTimeout of the connector's is a TimeoutError too
        error = exc
    except TimeoutError as exc:
        error = ConnectTimeout(f"no connection was made within {seconds} seconds")
        error.__cause__ = exc
    except Exception as exc:
        error = ConnectError(f"the connector failed: {exc!r}")
        error.__cause__ = exc
    if trace is not None:
        loop = asyncio.get_running_loop()
        emit(trace, ConnectFailed(loop.time(), error), loop)
    raise error


async def _resolve(loop: asyncio.AbstractEventLoop, origin: Origin, trace: TraceHook | None) -> Sequence[_AddrInfo]:
    host, port = origin.host, origin.port
    if trace is not None:
        emit(trace, ResolveStarted(loop.time(), host, port), loop)
    # An address needs no look-up, and so no thread.
    infos: Sequence[_AddrInfo]
    if _is_address(host):
        infos = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_NUMERICHOST)
    else:
        infos = await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    if trace is not None:
        emit(trace, ResolveComplete(loop.time(), tuple(str(info[4][0]) for info in infos)), loop)
    return infos


def _is_address(host: str) -> bool:
    return ":" in host or host.rpartition(".")[2].isdigit()  # URL lets no other host end in a number


def _translate(exc: OSError) -> ConnectError | ConnectTimeout:
    if isinstance(exc, socket.gaierror):
        return ConnectError(f"the host's name was not found: {exc.strerror}")
    if isinstance(exc, ssl.SSLError):
        return ConnectError(describe_tls_error(exc))
    # asyncio reports a TLS handshake that takes over a minute so, and the system a TCP one that got no answer.
    if isinstance(exc, (ConnectionAbortedError, TimeoutError)):
        return ConnectTimeout(f"the connection was not made in time: {exc}")
    return ConnectError(f"the connection was not made: {str(exc) or type(exc).__name__}")
