"""Route: everything that must be equal for two requests to share a connection, and so the pool's key (rule P5)."""

from __future__ import annotations

from typing import NamedTuple

from httpcore.config import SSLConfig
from httpcore.exceptions import LocalProtocolError
from httpcore.protocols.handshake import Versions
from httpcore.request import Request
from httpcore.urls import Origin

__all__ = ["Route"]


class Route(NamedTuple):
    """The way to a server.

    Attributes:
        origin: scheme, host and port.
        ssl: how TLS is made and whom it trusts; `None` without TLS.
        http2: whether HTTP/2 may be spoken on it. Over TLS the server has the last word; without, it is spoken then.
    """

    origin: Origin
    ssl: SSLConfig | None
    http2: bool

    @classmethod
    def to(cls, origin: Origin, ssl: SSLConfig, versions: Versions) -> Route:
        """Returns the route to `origin` of all who may speak `versions`; `ssl` is for `https`."""
        if origin.scheme == "https":
            return cls(origin, ssl, versions.http2 is not None)
        return cls(origin, None, not versions.http1)  # without ALPN, HTTP/2 takes prior knowledge: RFC 9113 3.3

    @classmethod
    def of(cls, request: Request, ssl: SSLConfig, versions: Versions) -> Route:
        """Returns the route of `request`: one that only HTTP/1.1 may be spoken on if it asks for an upgrade.

        Raises:
            LocalProtocolError: it needs a version of HTTP that may not be spoken.
        """
        route = cls.to(request.url.origin, ssl, versions)
        if request.upgrades and route.http2:
            if not versions.http1:
                raise LocalProtocolError(NO_UPGRADE)
            return route._replace(http2=False)
        if request.protocol is not None and not route.http2:
            raise LocalProtocolError(NO_EXTENDED_CONNECT)
        return route

    @property
    def server_hostname(self) -> str | None:
        """The name that is asked for (SNI) and verified; `None` without TLS. A final dot is not part of it."""
        return None if self.ssl is None else self.origin.host.removesuffix(".")


NO_UPGRADE = (
    "HTTP/2 has no upgrade field (RFC 9113 8.6): allow HTTP/1.1, or ask by extended CONNECT "
    '(Request("CONNECT", url, protocol="websocket"))'
)
NO_EXTENDED_CONNECT = (
    "a request with protocol= (extended CONNECT, RFC 8441) needs HTTP/2: use https with http2 allowed, or http1=False"
)
