"""Connector: what opens the way to a server; and `Dialer`, which makes all connections, layer by layer, on top of one.

A route says which layers there are::

    socket                  the connector: TCP, a unix socket, or whatever the caller brings
    PROXY header            tells the other end of the socket of somebody else
    TLS                     to the other end of the socket: a proxy or the origin
    CONNECT, or SOCKS       the other end is a proxy: from now on the bytes come from the origin
    TLS                     to the origin
    HTTP/1.1 or HTTP/2      by `Negotiation`

The connector makes the first TLS too, where nothing goes before it: event loops do that best in one step. What stands
between any other two layers is an `UpgradedStream`.
"""

from __future__ import annotations

import asyncio
import functools
import ssl
from collections.abc import Callable
from typing import Protocol, TypeVar

from httpcore.exceptions import ConnectError, ConnectTimeout, HTTPCoreError, ProxyError
from httpcore.pool.routes import Route, RouteOptions
from httpcore.pool.tcp_connector import TCPConnector
from httpcore.pool.tunnels import UNREACHABLE, Submit, no_connection, open_http_tunnel, open_socks_tunnel, socks_hosts
from httpcore.protocols.base import HTTPProtocol
from httpcore.protocols.handshake import Negotiation, Versions
from httpcore.proxies import Proxy
from httpcore.tls import ContextCache
from httpcore.trace import ConnectFailed, TraceHook, emit
from httpcore.upgraded import Relay, UpgradedStream
from httpcore.urls import Origin

__all__ = ["Connector", "Dialer", "check_connector"]

_P = TypeVar("_P", bound=asyncio.Protocol)
_First = TypeVar("_First", Negotiation, Relay)  # what the connector is to put on the socket


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
            origin: scheme, host and port: of a proxy, where the route begins with one.
            ssl_context: for TLS; `None` without.
            server_hostname: the name to ask for and to verify; `None` without TLS.
            trace: a hook, `None` without one.

        Returns:
            The protocol, whose `connection_made` was called.

        Raises:
            ConnectError: there is no way, or TLS failed; the cause is chained.
            ConnectTimeout: it took too long.
        """


def check_connector(connector: Connector | None, options: RouteOptions) -> None:
    """Raises `ValueError` if a connector of the caller's own is to heed a `NetworkConfig`."""
    if connector is not None and options.network is not None:
        raise ValueError("network= is for the TCPConnector: a connector of your own makes sockets in its own way")


class Dialer:
    """Makes the connections of routes.

    Args:
        connector: opens the first socket; `None` is a `TCPConnector` for each route's own `network`.
        contexts: where TLS contexts come from.
        versions: what may be spoken; HTTP/2 only where the route allows it as well.
        submit: sends CONNECT to the proxies of routes that have tunnels. `None` makes the connections to these proxies.
    """

    def __init__(
        self, connector: Connector | None, contexts: ContextCache, versions: Versions, submit: Submit | None
    ) -> None:
        self._connector = connector
        self._contexts = contexts
        self._versions = versions
        self._submit = submit

    async def dial(self, route: Route, seconds: float | None, trace: TraceHook | None) -> HTTPProtocol:
        """Makes a connection.

        Args:
            route: where to, and how.
            seconds: within which it has to be there, all handshakes and the loading of files included; `None` sets no
                limit.
            trace: a hook, `None` without one.

        Raises:
            ConnectError, ConnectTimeout: it was not made, or speaks a version that it may not. What else a connector
                of the caller's own raises is the cause.
            ProxyError: the proxy gave no tunnel.
            LocalProtocolError: the proxy's protocol cannot name the origin.
        """
        error: HTTPCoreError
        try:
            async with asyncio.timeout(seconds):
                return await self._make(route, seconds, trace)
        except HTTPCoreError as exc:  # first: a ConnectTimeout of the connector's is a TimeoutError too
            error = exc
            # The origin is not who failed, where a proxy forwards. Of one that gives tunnels, who asks it says so.
            forwarding = None if route.tunnel or self._submit is None else route.proxy
            if forwarding is not None and isinstance(exc, (ConnectError, ConnectTimeout)):
                error = no_connection(forwarding, exc)
        except TimeoutError as exc:
            way = "" if route.proxy is None or self._submit is None else f" through the proxy {route.proxy}"
            error = ConnectTimeout(f"no connection was made{way} within {seconds} seconds")
            error.__cause__ = exc
        except (Exception, asyncio.CancelledError) as exc:
            task = asyncio.current_task()
            if isinstance(exc, asyncio.CancelledError) and task is not None and task.cancelling():
                raise  # else it is something of the connector's own that was cancelled
            error = ConnectError(f"the connector failed: {exc!r}")
            error.__cause__ = exc
        if trace is not None:
            loop = asyncio.get_running_loop()
            emit(trace, ConnectFailed(loop.time(), error), loop)
        raise error

    async def _make(self, route: Route, seconds: float | None, trace: TraceHook | None) -> HTTPProtocol:
        versions = self._versions
        proxy_fields = None
        if route.proxy is not None and not route.tunnel:
            versions = versions._replace(http1=True)  # whatever is to be spoken with origins
            if self._submit is not None:  # it forwards requests; what is asked for tunnels says it in each CONNECT
                proxy_fields = route.proxy.fields()
        if not route.http2:
            versions = versions._replace(http2=None)
        context = await self._load(route, versions)
        pins = () if route.ssl is None else route.ssl.pins
        if route.tunnel or route.proxy_protocol is not None:
            stream = await self._open(route, seconds, trace)
            negotiation = Negotiation(versions, pins)
            await negotiation.begin(stream, context, route.server_hostname, trace)
        else:
            negotiate = functools.partial(Negotiation, versions, pins)
            negotiation = await self._connect(negotiate, route, route.origin, context, trace)
        protocol = negotiation.result()
        protocol.proxy_fields = proxy_fields
        return protocol

    async def _connect(
        self,
        factory: Callable[[], _First],
        route: Route,
        origin: Origin,
        context: ssl.SSLContext | None,
        trace: TraceHook | None,
    ) -> _First:
        """Opens the socket of `route`, to `origin`, with TLS if there is a `context`."""
        connector = self._connector or TCPConnector(route.network, to_proxy=route.proxy is not None)
        made: list[_First] = []

        def make() -> _First:
            made.append(factory())
            return made[-1]

        protocol = await connector.connect(
            make,
            origin,
            ssl_context=context,
            server_hostname=None if context is None else route.server_hostname,
            trace=trace,
        )
        if protocol in made:
            return protocol
        for each in made:
            each.abandon()
        what = type(protocol).__name__  # the pair that create_connection returns, say
        raise ConnectError(f"the connector failed: it returned {what}, not the protocol that it was to make")

    async def _load(self, route: Route, versions: Versions) -> ssl.SSLContext | None:
        if route.ssl is None:
            return None
        # A session is resumed on the same route alone, and not with whoever else is on the way (CVE-2021-22890).
        where = None if self._connector is not None else route
        # A connector of the caller's own gets the context itself: it may do with it what a stand-in cannot.
        return await self._contexts.load(route.ssl, versions.alpn_protocols, where)

    async def _open(self, route: Route, seconds: float | None, trace: TraceHook | None) -> UpgradedStream:
        """Returns the bytes from and to the origin, ahead of its TLS."""
        proxy = route.proxy if route.tunnel else None
        if proxy is None:
            return await self._open_socket(route, route.origin, trace)
        target = route.origin
        if route.network is not None:
            target = Origin(target.scheme, *route.network.destination(target.host, target.port))
        if not proxy.is_socks:
            assert self._submit is not None
            return await open_http_tunnel(self._submit, route.hop(self._versions), target, seconds, trace)
        *others, last = await socks_hosts(route, target, trace)
        for host in others:
            try:
                return await self._open_by_socks(route, proxy, host, target.port, trace)
            except ProxyError as exc:
                if exc.reply_code not in UNREACHABLE:
                    raise
        return await self._open_by_socks(route, proxy, last, target.port, trace)

    async def _open_by_socks(
        self, route: Route, proxy: Proxy, host: str, port: int, trace: TraceHook | None
    ) -> UpgradedStream:
        try:
            stream = await self._open_socket(route, proxy.origin, trace)
        except (ConnectError, ConnectTimeout) as exc:
            raise no_connection(proxy, exc) from exc
        try:
            await open_socks_tunnel(stream, proxy, host, port, trace)
        except BaseException:
            stream.abort()
            raise
        return stream

    async def _open_socket(self, route: Route, origin: Origin, trace: TraceHook | None) -> UpgradedStream:
        relay = await self._connect(Relay, route, origin, None, trace)
        stream = UpgradedStream(relay.receiver)
        if route.proxy_protocol is not None:
            info = relay.receiver.transport.get_extra_info
            try:
                stream.write(route.proxy_protocol.header(info("sockname"), info("peername")))
            except BaseException:
                stream.abort()
                raise
        return stream
