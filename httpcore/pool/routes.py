"""Route: everything that must be equal for two requests to share a connection, and so the pool's key (rule P5)."""

from __future__ import annotations

from typing import NamedTuple

from httpcore.config import SSLConfig, SSLTypes
from httpcore.exceptions import ConnectError, HTTPCoreError, LocalProtocolError
from httpcore.network import NetworkConfig
from httpcore.pool.tcp_connector import check_target
from httpcore.protocols.handshake import Versions
from httpcore.proxies import DIRECT, Proxy, ProxyChooser, ProxyOverride
from httpcore.proxy_protocol import ProxyProtocol
from httpcore.request import Request
from httpcore.urls import Origin

__all__ = [
    "NOT_FORWARDED",
    "NO_EXTENDED_CONNECT",
    "NO_OPTIONS",
    "NO_PROXY_CREDENTIALS",
    "NO_UPGRADE",
    "Route",
    "RouteOptions",
    "can_forward",
]

_ANY_NETWORK = NetworkConfig()


class RouteOptions(NamedTuple):
    """What a caller may say of how servers are reached: for all requests, or for one.

    Attributes:
        ssl: how TLS is made and whom it trusts.
        proxy: a proxy, what chooses one for an origin, or `None` for none.
        network: how sockets are made; `None` for the defaults.
        proxy_protocol: what tells a server behind a load balancer of the client, ahead of everything else.
    """

    ssl: SSLConfig
    proxy: Proxy | ProxyChooser | None
    network: NetworkConfig | None
    proxy_protocol: ProxyProtocol | None

    def override(
        self,
        ssl: SSLTypes = None,
        proxy: ProxyOverride | ProxyChooser | None = None,
        network: NetworkConfig | None = None,
        proxy_protocol: ProxyProtocol | None = None,
    ) -> RouteOptions:
        """Returns these options with what is not `None` in place of their own; `DIRECT` stands for no proxy.

        Raises:
            TypeError: one of them is of another type.
            InvalidURL, UnsupportedProtocol, ValueError: the proxy's URL.
        """
        options = self
        if ssl is not None:
            options = options._replace(ssl=SSLConfig.of(ssl))
        if proxy is DIRECT:
            options = options._replace(proxy=None)
        elif proxy is not None:
            options = options._replace(proxy=proxy if callable(proxy) else Proxy.of(proxy))
        if network is not None:
            if not isinstance(network, NetworkConfig):
                raise TypeError(f"network takes a NetworkConfig, not {type(network).__name__}")
            options = options._replace(network=None if network == _ANY_NETWORK else network)
        if proxy_protocol is not None:
            if not isinstance(proxy_protocol, ProxyProtocol):
                raise TypeError(f"proxy_protocol takes a ProxyProtocol, not {type(proxy_protocol).__name__}")
            options = options._replace(proxy_protocol=proxy_protocol)
        return options

    def choose_proxy(self, origin: Origin) -> Proxy | None:
        """Returns the proxy for `origin`.

        Raises:
            ConnectError: the chooser raised something, which is the cause, or returned something else.
        """
        chooser = self.proxy
        if chooser is None or isinstance(chooser, Proxy):
            return chooser
        try:
            proxy = chooser(origin)
            return None if proxy is None or proxy is DIRECT else Proxy.of(proxy)
        except HTTPCoreError:
            raise
        except Exception as exc:
            raise ConnectError(f"no proxy could be chosen: the chooser failed with {type(exc).__name__}") from exc


NO_OPTIONS = RouteOptions(SSLConfig(), None, None, None)


class Route(NamedTuple):
    """The way to a server.

    Attributes:
        origin: scheme, host and port of who speaks HTTP with us: the proxy, where requests are forwarded by one.
        ssl: how TLS is made with it, and whom that trusts; `None` without TLS.
        http2: whether HTTP/2 may be spoken on it. Over TLS the server has the last word; without, it is spoken then.
        proxy: who leads there, or is there; `None` without one. Its credentials are part of it.
        tunnel: whether the proxy gives us a tunnel to the origin, and is not itself who speaks HTTP with us.
        network: how the first socket is made; `None` for the defaults.
        proxy_protocol: what is sent on it ahead of everything else; `None` for nothing.
    """

    origin: Origin
    ssl: SSLConfig | None
    http2: bool
    proxy: Proxy | None = None
    tunnel: bool = False
    network: NetworkConfig | None = None
    proxy_protocol: ProxyProtocol | None = None

    @classmethod
    def to(cls, origin: Origin, options: RouteOptions, versions: Versions, *, forward: bool = True) -> Route:
        """Returns the route to `origin` of all who may speak `versions`.

        Through a tunnel where there is a proxy; or to the proxy itself, if it may `forward` requests and can: not to
        where `NetworkConfig.connect_to` leads instead, which nothing but a tunnel reaches under the origin's own name.

        Raises:
            ConnectError: see `RouteOptions.choose_proxy`; or the egress policy refuses the address in the URL, which
                nobody but the proxy would see.
        """
        proxy = None if options.proxy is None else options.choose_proxy(origin)
        if proxy is not None and proxy.resolves_names:
            check_target(options.network, origin.host, origin.port)
        tls = origin.scheme == "https"
        # Without ALPN, HTTP/2 takes prior knowledge: RFC 9113 3.3.
        http2 = versions.http2 is not None if tls else not versions.http1
        ssl = options.ssl if tls else None
        route = cls(origin, ssl, http2, proxy, proxy is not None, options.network, options.proxy_protocol)
        if proxy is None or tls or http2 or not forward or proxy.tunnel or proxy.is_socks:
            return route
        network = options.network
        if network is not None and network.destination(origin.host, origin.port) != (origin.host, origin.port):
            return route
        return route.hop(versions)

    @classmethod
    def of(cls, request: Request, options: RouteOptions, versions: Versions) -> Route:
        """Returns the route of `request`.

        If it asks for an upgrade, one that only HTTP/1.1 may be spoken on.

        Raises:
            LocalProtocolError: it needs a version of HTTP that may not be spoken, or has credentials for a proxy, which
                would reach its origin.
            ConnectError: see `to`.
        """
        forward = options.proxy is None or can_forward(request, options.network)
        route = cls.to(request.url.origin, options, versions, forward=forward)
        names = request.names
        if b"upgrade" in names and route.http2:
            if not versions.http1:
                raise LocalProtocolError(NO_UPGRADE)
            route = route._replace(http2=False)
        if request.protocol is not None and not route.http2:
            raise LocalProtocolError(NO_EXTENDED_CONNECT)
        if b"proxy-authorization" in names and route.exposes_proxy_credentials(options):
            raise LocalProtocolError(NO_PROXY_CREDENTIALS)
        return route

    def exposes_proxy_credentials(self, options: RouteOptions) -> bool:
        """Returns whether the origin would see a `proxy-authorization` of a request's own, which is meant for a proxy.

        Not so where there are no proxies at all: the origin may be one, to whoever asks it by hand.
        """
        return self.tunnel or (self.proxy is None and options.proxy is not None)  # the chooser chose none

    def hop(self, versions: Versions) -> Route:
        """Returns the route to the proxy itself, for requests that it forwards and for those that ask for a tunnel."""
        proxy = self.proxy
        assert proxy is not None and not proxy.is_socks
        http2 = proxy.ssl is not None and versions.http2 is not None
        return self._replace(origin=proxy.origin, ssl=proxy.ssl, http2=http2, tunnel=False)

    @property
    def server_hostname(self) -> str | None:
        """The name that is asked for (SNI) and verified; `None` without TLS. A final dot is not part of it."""
        if self.ssl is None:
            return None
        return self.ssl.server_hostname or self.origin.host.removesuffix(".")


def can_forward(request: Request, network: NetworkConfig | None) -> bool:
    """Returns whether a proxy can forward `request`: not what is to be upgraded, and no CONNECT.

    Nor, under an egress policy, one whose target may lead elsewhere than its URL: a proxy goes by the target.
    """
    if request.upgrades or request.method == b"CONNECT":
        return False
    return network is None or network.egress is None or request.target[:1] == b"/" or request.target == b"*"


NO_UPGRADE = (
    "HTTP/2 has no upgrade field (RFC 9113 8.6): allow HTTP/1.1, or ask by extended CONNECT "
    '(Request("CONNECT", url, protocol="websocket"))'
)
NO_PROXY_CREDENTIALS = "proxy-authorization would go to the origin, and not to a proxy: use Proxy(auth=)"
NOT_FORWARDED = (
    "no proxy forwards an upgrade or a CONNECT, nor, under an egress policy, a target that is no path: use "
    "Proxy(tunnel=True)"
)
NO_EXTENDED_CONNECT = (
    "a request with protocol= (extended CONNECT, RFC 8441) needs HTTP/2: use https with http2 allowed, or http1=False"
)
